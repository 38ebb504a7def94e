// A camera of benchmarks/link.py: the page's own modules under node, or a sender without any of them.
// node --experimental-websocket link_client.mjs '{"kind": ..., ...}' prints a line of JSON.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { pack } from "../edgeclf/web/static/stream/framing.js";
import { Link } from "../edgeclf/web/static/stream/link.js";
import { STEPS, sizeOf } from "../edgeclf/web/static/stream/pacing.js";

const AGAIN_MS = 250;
const asked = JSON.parse(process.argv[2]);
const now = () => performance.now();
const session = `benchmark-${process.pid}-${Math.round(now())}`;

/** Node's WebSocket says of a connection that never came to be that it failed, and not that it closed. */
function opened() {
  const made = new WebSocket(url, ["edgeclf.stream.1"]);
  made.addEventListener("error", () => setTimeout(() => {
    const told = made.onclose;
    made.onclose = null; // once
    told?.({ code: 1006, reason: "" });
  }));
  return made;
}

/** What is told of each answer: number, what became of it, and its age in milliseconds. */
const answers = [];
const { pictures = 0, folder = "", url, deadlineMs, fps, seconds, kind } = asked;
const frame = (step, i) => new Uint8Array(readFileSync(join(folder, `${step}.${i % pictures}.jpg`)));

async function paced(mode) {
  const budgetMs = 1_000 / asked.rate;
  const link = new Link({
    mode, deadlineMs, budgetMs, session, open: opened,
    answered: (said, ageMs) => answers.push([said.sequence, said.top ? "answered" : said.outcome, ageMs, Boolean(said.duplicate)]),
    changed: () => {},
  });
  const steps = [];
  let taken = 0;
  link.start();
  const start = now();
  let last = -Infinity;
  await every(1_000 / fps, () => {
    const at = now();
    if (at - start > 1_000 * seconds) return false;
    if (at - last < 0.9 * budgetMs) return true;
    last = at;
    if (!link.room) {
      link.counts.dropped += 1;
      return true;
    }
    const step = STEPS.indexOf(link.pacing.step);
    steps.push(step);
    link.offer(link.take(), at, frame(step, taken++));
    return true;
  });
  const numbered = link.number() - 1;
  const end = now() + 1_000 * asked.graceS;
  while (link.unanswered && now() < end) await sleep(20);
  link.stop();
  return { numbered, counts: link.counts, steps: STEPS.map((_, i) => steps.filter((each) => each === i).length) };
}

/** Every frame goes at once; when the connection is gone, another one is made. */
async function naive() {
  let [socket, sequence, sent] = [null, 0, 0];
  const takenMs = new Map();
  const connect = () => {
    const made = opened();
    made.onopen = () => made.send(JSON.stringify({ type: "hello", mode: "block", clock_ms: now() }));
    made.onmessage = ({ data }) => {
      const said = JSON.parse(data);
      if (said.type === "welcome") socket = made;
      if (said.type === "answer") answers.push([said.sequence, said.outcome, now() - takenMs.get(said.sequence), Boolean(said.duplicate)]);
    };
    made.onclose = () => {
      if (socket === made) socket = null;
      setTimeout(connect, AGAIN_MS);
    };
  };
  connect();
  const start = now();
  await every(1_000 / asked.rate, () => {
    const at = now();
    if (at - start > 1_000 * seconds) return false;
    takenMs.set(++sequence, at);
    if (socket) {
      socket.send(pack({ sequence, resent: false, takenMs: at }, frame(asked.step, sequence)));
      sent += 1;
    }
    return true;
  });
  await sleep(1_000 * asked.graceS);
  return { numbered: sequence, counts: { sent } };
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Calls at even times, by the clock and not by the last call's end. */
async function every(ms, call) {
  for (let at = now(); call(); ) {
    at += ms;
    await sleep(Math.max(0, at - now()));
  }
}

if (kind === "steps") {
  console.log(JSON.stringify(STEPS.map(({ scale, quality }) => ({ quality, size: sizeOf(asked.camera, asked.input, scale) }))));
} else {
  const found = await (kind === "naive" ? naive() : paced(kind));
  console.log(JSON.stringify({ ...found, answers }));
}
process.exit(0);
