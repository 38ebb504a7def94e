// The modules of the stream by node: against a service that is a few lines here, and a clock that obeys.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { delayMs } from "../../edgeclf/web/static/stream/backoff.js";
import { Clock } from "../../edgeclf/web/static/stream/clock.js";
import { HEADER_BYTES, pack, unpack } from "../../edgeclf/web/static/stream/framing.js";
import { Link } from "../../edgeclf/web/static/stream/link.js";
import { Pacing, STEPS, sizeOf } from "../../edgeclf/web/static/stream/pacing.js";
import { PostSocket } from "../../edgeclf/web/static/stream/post_socket.js";
import { KEPT_MS, MOST, Store } from "../../edgeclf/web/static/stream/store.js";

const PICTURE = new Uint8Array([7, 8, 9]);
let now = 0;

/** Lets time pass, with the timers that fall into it. */
function pass(ms) {
  for (let left = ms; left > 0; left -= 10) {
    now += 10;
    mock.timers.tick(10);
  }
}

class FakeSocket {
  sent = [];
  closed = false;

  send(message) {
    this.sent.push(typeof message === "string" ? JSON.parse(message) : unpack(message));
  }

  close() {
    this.closed = true;
  }

  open(window = 2) {
    this.onopen({});
    const { clock_ms } = this.sent[0];
    this.say({ type: "welcome", window, clock_ms, service_ms: now + 5_000 });
  }

  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }

  answer(sequence, more = {}) {
    this.say({ type: "answer", sequence, outcome: "answered", ...more });
  }

  get frames() {
    return this.sent.filter(({ picture }) => picture).map(({ sequence }) => sequence);
  }

  cut(code = 1006, reason = "") {
    this.onclose({ code, reason });
  }
}

/** A link with sockets that the test holds. */
function linked(mode = "drop", options = {}) {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  now = 1_000;
  const made = { sockets: [], answers: [], states: [] };
  made.link = new Link({
    mode, deadlineMs: 1_000, budgetMs: 100, session: "0123456789abcdef", now: () => now, random: () => 1,
    open: () => {
      made.sockets.push(new FakeSocket());
      return made.sockets.at(-1);
    },
    answered: (said, ageMs) => made.answers.push([said.sequence, said.outcome, ageMs]),
    changed: (state, code) => made.states.push(code ? `${state}: ${code}` : state),
    ...options,
  });
  for (let i = 0; i < 10; i++) made.link.pacing.note(10, now, true); // two may be on their way
  made.link.start();
  return made;
}

/** Takes a frame and hands it over at once. */
function take(link, picture = PICTURE) {
  const sequence = link.take();
  link.offer(sequence, now, picture);
  return sequence;
}

test("a frame has 16 bytes before its picture, as the service reads them", () => {
  const message = pack({ sequence: 0x01020304, resent: false, takenMs: 1.5 }, PICTURE);
  assert.equal(HEADER_BYTES, 16);
  assert.deepEqual([...message], [1, 1, 0, 0, 1, 2, 3, 4, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 7, 8, 9]);
  assert.deepEqual(unpack(pack({ sequence: 2 ** 32 - 1, resent: true, takenMs: 9 }, PICTURE)), { sequence: 2 ** 32 - 1, resent: true, takenMs: 9, picture: PICTURE });
});

test("the clocks' difference is that of the quickest exchange", () => {
  const clock = new Clock();
  assert.equal(clock.offsetMs, null);
  clock.note(0, 400, 1_390); // slow on one way: 190 off
  clock.note(500, 520, 1_510);
  assert.equal(clock.offsetMs, 1_000);
  for (let i = 0; i < 16; i++) clock.note(1_000, 1_100, 3_050);
  assert.equal(clock.offsetMs, 2_000); // what is long ago counts no more
});

test("waiting doubles up to 2 s, and is any part of that", () => {
  assert.deepEqual([0, 1, 2, 5, 9].map((n) => delayMs(n, () => 1)), [250, 500, 1_000, 2_000, 2_000]);
  assert.equal(delayMs(2, () => 0.25), 250);
});

test("frames become smaller on a slow link, then coarser, and larger again after 5 s", () => {
  const pacing = new Pacing(100);
  const feed = (trip, times, from = 0) => {
    for (let i = 0; i < times; i++) pacing.note(trip, from + i * 100, true);
  };
  feed(150, 30);
  assert.deepEqual(pacing.step, STEPS[0]); // longer than a frame's time, and no queue
  feed(300, 20);
  assert.deepEqual(pacing.step, { scale: 1.125, quality: 0.8 });
  feed(300, 90);
  assert.deepEqual(pacing.step, { scale: 1, quality: 0.4 });
  feed(50, 50, 10_000);
  assert.deepEqual(pacing.step, { scale: 1, quality: 0.4 }, "not after 4 s");
  feed(50, 30, 15_000);
  assert.deepEqual(pacing.step, { scale: 1, quality: 0.6 });
});

test("a link that is far too slow is met in a few answers", () => {
  const pacing = new Pacing(33);
  for (let i = 0; i < 3; i++) pacing.note(333, i, true);
  assert.deepEqual(pacing.step, { scale: 1, quality: 0.8 });
  for (let i = 0; i < 3; i++) pacing.note(170, i, true);
  assert.deepEqual(pacing.step, { scale: 1, quality: 0.4 });
});

test("one frame is on its way where two would be a queue, or where one was refused", () => {
  const pacing = new Pacing(100);
  assert.equal(pacing.window(2), 1, "before anything is known");
  for (let i = 0; i < 10; i++) pacing.note(10, i, true);
  assert.equal(pacing.window(2), 2);
  pacing.note(10, 0, false);
  assert.equal(pacing.window(2), 1);
  for (let i = 0; i < 20; i++) pacing.note(10, i, true);
  assert.equal(pacing.window(2), 2);
  for (let i = 0; i < 10; i++) pacing.note(600, i, true);
  assert.equal(pacing.window(2), 1);
});

test("a frame is as large as the model needs, and never larger than the camera's", () => {
  assert.deepEqual(sizeOf([1280, 720], [96, 96], 2), [341, 192]);
  assert.deepEqual(sizeOf([480, 640], [224, 224], 1), [224, 299]);
  assert.deepEqual(sizeOf([160, 120], [224, 224], 2), [160, 120]);
});

test("a store gives frames in order, again after a cut, and not for ever", () => {
  const store = new Store();
  for (const n of [1, 2, 3]) store.add(n, n, PICTURE);
  store.next().sentMs = 5;
  assert.deepEqual([store.next().sequence, store.oldest().sequence, store.sent], [2, 1, 1]);
  store.restart();
  assert.equal(store.next().sequence, 1);
  assert.ok(store.settle(1));
  assert.ok(!store.settle(1), "a second answer");
  assert.equal(store.expire(KEPT_MS + 2.5), 1);
  assert.equal(store.oldest().sequence, 3);
});

test("no more frames are on their way than the window", () => {
  const { link, sockets, answers } = linked();
  assert.ok(!link.room, "before it is open");
  sockets[0].open();
  assert.deepEqual(sockets[0].sent[0], { type: "hello", mode: "drop", deadline_ms: 1_000, session: "0123456789abcdef", clock_ms: 1_000 });
  assert.deepEqual([take(link), take(link)], [1, 2]);
  assert.ok(!link.room);
  pass(40);
  sockets[0].answer(1);
  assert.ok(link.room);
  assert.deepEqual(answers, [[1, "answered", 40]]);
  assert.deepEqual(link.counts, { sent: 2, answered: 1, dropped: 0, late: 0, replaced: 0, resent: 0, duplicate: 0, refused: 0, lost: 0, here: 0 });
});

test("a frame that is being taken has its place, and gives it back", () => {
  const { link, sockets } = linked();
  sockets[0].open();
  const first = link.take();
  link.take();
  assert.ok(!link.room);
  link.offer(first, now, null); // the camera gave no picture
  assert.ok(link.room);
  assert.equal(link.counts.dropped, 1);
});

test("what is late or was replaced is told, and no answer", () => {
  const { link, sockets, answers } = linked();
  sockets[0].open();
  take(link), take(link);
  pass(1_200);
  sockets[0].answer(2, { replaced: [1] }); // in time for the service, and not for us
  assert.deepEqual(answers, [[2, "late", 1_200]]);
  take(link);
  sockets[0].say({ type: "answer", sequence: 3, outcome: "late", code: "deadline_exceeded" });
  assert.deepEqual([link.counts.late, link.counts.replaced, link.counts.answered], [2, 1, 0]);
});

test("the service is told how far the clocks are apart", () => {
  const { link, sockets } = linked();
  sockets[0].open();
  const ping = sockets[0].sent[1];
  assert.deepEqual(ping, { type: "ping", clock_ms: 1_000, offset_ms: 5_000 });
  link.stop();
});

test("a peer that is silent is left after three pings", () => {
  const { sockets, states } = linked();
  sockets[0].open();
  pass(5_900);
  assert.ok(!sockets[0].closed);
  pass(200);
  assert.ok(sockets[0].closed);
  assert.deepEqual(states, ["connecting", "open", "waiting"]);
  pass(250);
  assert.equal(sockets.length, 2);
});

test("dropping: what a cut took is dropped, and the numbers go on", () => {
  const { link, sockets } = linked();
  sockets[0].open();
  take(link), take(link);
  sockets[0].cut();
  assert.ok(!link.room && !link.well);
  assert.equal(link.counts.dropped, 2);
  assert.equal(link.number(), 3); // to this browser
  pass(250);
  sockets[1].open();
  assert.equal(take(link), 4);
  assert.deepEqual(sockets[1].frames, [4]);
});

test("blocking: every frame is answered once, over cuts", () => {
  const { link, sockets, answers } = linked("block");
  sockets[0].open();
  for (let i = 0; i < 5; i++) take(link);
  assert.deepEqual(sockets[0].frames, [1, 2]); // the window
  sockets[0].answer(1);
  sockets[0].cut();
  take(link); // numbered while there is no link
  pass(250);
  sockets[1].open();
  assert.deepEqual(sockets[1].frames, [2, 3]);
  assert.deepEqual(sockets[1].sent.filter(({ picture }) => picture).map(({ resent }) => resent), [true, true]);
  sockets[1].answer(2, { duplicate: true }); // it had been answered, and the answer was lost
  sockets[1].answer(2); // and once more
  for (const n of [3, 4, 5, 6]) sockets[1].answer(n);
  assert.deepEqual(answers.map(([n]) => n), [1, 2, 3, 4, 5, 6]);
  const { sent, resent, answered, duplicate, dropped, lost } = link.counts;
  assert.deepEqual({ sent, resent, answered, duplicate, dropped, lost }, { sent: 5 - 1 + 2, resent: 2, answered: 6, duplicate: 2, dropped: 0, lost: 0 });
});

test("blocking: no frame is taken that has no place, and one that is too old is lost and said so", () => {
  const { link, sockets } = linked("block");
  while (link.room) take(link);
  assert.equal(link.unanswered, MOST);
  pass(KEPT_MS + 100);
  while (link.state !== "connecting") pass(50);
  sockets.at(-1).open();
  assert.equal(link.counts.lost, MOST);
  assert.ok(link.room);
});

test("blocking: a frame that found the service busy goes again, one that is no picture does not", () => {
  const { link, sockets, answers } = linked("block");
  sockets[0].open();
  take(link);
  sockets[0].answer(1, { outcome: "refused", code: "busy", retry_after_ms: 500 });
  pass(400);
  take(link);
  assert.deepEqual([answers, sockets[0].frames], [[], [1]], "nothing goes meanwhile");
  pass(100);
  assert.deepEqual(sockets[0].frames, [1, 1]); // one at a time, after that
  sockets[0].answer(1, { outcome: "refused", code: "picture_refused" });
  assert.deepEqual([answers[0][1], link.unanswered], ["refused", 1]);
});

test("somebody else may answer a frame, and then the link's answer is a duplicate", () => {
  const { link, sockets, answers } = linked("block");
  sockets[0].open();
  take(link);
  assert.equal(link.oldest().sequence, 1);
  assert.ok(link.settle(1));
  sockets[0].answer(1);
  assert.deepEqual([answers, link.counts.duplicate], [[], 1]);
});

test("a stream that the service ends stays ended, and its reason is told", () => {
  const { link, sockets, states } = linked();
  sockets[0].open();
  sockets[0].say({ type: "problem", code: "no_key", error: "" });
  sockets[0].cut(1008, "no_key");
  pass(20_000);
  assert.deepEqual([sockets.length, states.at(-1)], [1, "ended: no_key"]);
  link.start();
  assert.equal(sockets.length, 2);
});

test("the network's return ends the waiting", () => {
  const { link, sockets } = linked();
  for (let i = 0; i < 6; i++) {
    sockets.at(-1).cut();
    pass(delayMs(i, () => 1));
  }
  sockets.at(-1).cut();
  const before = sockets.length;
  link.hurry();
  assert.equal(sockets.length, before + 1);
});

const soon = async () => {
  for (let i = 0; i < 9; i++) await null;
};

test("where no WebSocket passes, requests go one at a time", async () => {
  const asked = [];
  const poster = {
    probe: async () => {},
    ask: (picture, timeoutMs) => new Promise((resolve, reject) => asked.push({ timeoutMs, resolve, reject })),
  };
  const { link, sockets, answers } = linked("drop", { instead: () => new PostSocket(poster, () => now) });
  sockets[0].cut();
  pass(250);
  sockets[1].cut();
  pass(500);
  await soon();
  assert.deepEqual([link.state, link.fallback, sockets.length], ["open", true, 2]);
  const sequence = link.take();
  now += 300;
  link.offer(sequence, now - 300, PICTURE);
  assert.ok(!link.room);
  assert.equal(asked[0].timeoutMs, 700);
  asked[0].resolve({ top: [] });
  await soon();
  assert.deepEqual(answers, [[1, "answered", 300]]);
  take(link);
  asked[1].reject({ code: "offline" }); // the network is gone: WebSockets are tried again
  await soon();
  assert.equal(link.state, "waiting");
  pass(250);
  assert.deepEqual([sockets.length, link.fallback], [3, false]);
  link.stop();
});

test("a WebSocket is tried again after a while, and a bad link is not taken for one that refuses it", async () => {
  const poster = { probe: async () => {}, ask: async () => ({}) };
  const { link, sockets } = linked("drop", { instead: () => new PostSocket(poster, () => now) });
  for (const wait of [250, 500]) {
    sockets.at(-1).cut();
    pass(wait);
  }
  await soon();
  assert.deepEqual([link.fallback, sockets.length], [true, 2]);
  for (let i = 0; i < 20; i++) {
    pass(1_600); // with the pings' answers
    await soon();
  }
  assert.deepEqual([link.state, link.fallback, sockets.length], ["connecting", false, 3]);
  sockets[2].open();
  for (let cuts = 0; cuts < 5; cuts++) {
    sockets.at(-1).cut();
    while (link.state === "waiting") pass(10);
    assert.deepEqual([link.fallback, sockets.length], [false, 4 + cuts]);
  }
  link.stop();
});
