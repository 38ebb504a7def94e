// The way to the service and back, over connections that come and go; the numbers of frames go on.

import { delayMs } from "./backoff.js";
import { Clock } from "./clock.js";
import { pack } from "./framing.js";
import { Pacing } from "./pacing.js";
import { MOST, Store } from "./store.js";

/**
 * @typedef {object} Socket As much of a WebSocket as is needed.
 * @property {string} [binaryType]
 * @property {((event: any) => any) | null} onopen
 * @property {((event: any) => any) | null} onmessage Of an event with `data`.
 * @property {((event: any) => any) | null} onclose Of one with `code` and `reason`.
 * @property {(message: any) => void} send
 * @property {(code?: number) => void} close
 */
/** @typedef {"drop" | "block"} Mode */
/** @typedef {"stopped" | "connecting" | "open" | "waiting" | "ended"} State */
/** @typedef {Record<string, any> & {sequence: number, outcome: "answered" | "late" | "refused"}} Said */
/**
 * @typedef {object} Options
 * @property {Mode} mode
 * @property {number} deadlineMs
 * @property {number} budgetMs Between two frames.
 * @property {string} session
 * @property {() => Socket} open
 * @property {() => Socket} [instead] Another way, where the first is refused.
 * @property {(said: Said, ageMs: number) => void} answered
 * @property {(state: State, code: string) => void} changed The code says why, where there is a reason.
 * @property {() => number} [now] Milliseconds.
 * @property {() => number} [random]
 */

const PING_MS = 2_000;
const MOST_MISSED = 3;
const CONNECT_MS = 5_000;
const REFUSED = 2; // attempts that never opened, where none ever did, before another way is tried
const INSTEAD_MS = 30_000; // that it is gone, before the first one is tried again
const STALLED_MS = 2_000;
const POLICY = 1008; // the service will not have us

export class Link {
  /** @type {State} */
  state = "stopped";
  /** Whether it goes the other way now. */
  fallback = false;
  counts = { sent: 0, answered: 0, dropped: 0, late: 0, replaced: 0, resent: 0, duplicate: 0, refused: 0, lost: 0, here: 0 };
  /** @type {Socket | null} */
  #socket = null;
  #store = new Store();
  #clock = new Clock();
  #sequence = 0;
  #window = 1;
  #taken = 0; // numbered, and not handed over yet
  #attempt = 0;
  #refused = 0;
  #passed = false; // whether the first way has ever been open: then it is the link that is bad
  #missed = 0;
  #code = "";
  #heldMs = -Infinity; // nothing goes before, as the service is busy
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #back;

  /** @param {Options} options */
  constructor(options) {
    this.options = options;
    this.pacing = new Pacing(options.budgetMs);
    this.now = options.now ?? (() => performance.now());
    this.random = options.random ?? Math.random;
  }

  start() {
    if (this.state === "stopped" || this.state === "ended") this.#connect();
  }

  /** What has no answer stays, for the next start. */
  stop() {
    this.#leave("stopped");
  }

  /** The network is back: no more waiting. */
  hurry() {
    if (this.state !== "waiting") return;
    this.#attempt = 0;
    this.#connect();
  }

  /** Whether answers come: it is open, and nothing has been on its way for long. */
  get well() {
    const oldest = this.#store.oldest();
    const limit = this.#blocks ? STALLED_MS : this.options.deadlineMs;
    return this.state === "open" && !(oldest && oldest.sentMs !== null && this.now() - oldest.sentMs > limit);
  }

  /** Whether a frame that is taken now has a place. */
  get room() {
    const held = this.#store.size + this.#taken;
    return this.#blocks ? held < MOST : this.state === "open" && held < this.#most;
  }

  /** The number of a frame that is being taken. */
  take() {
    this.#taken += 1;
    return this.number();
  }

  /** The next number, for a frame that goes elsewhere. */
  number() {
    return (this.#sequence = (this.#sequence + 1) >>> 0);
  }

  /**
   * Hands a frame over.
   * @param {number} sequence From `take`.
   * @param {number} takenMs
   * @param {Uint8Array | null} picture Null where it could not be made.
   */
  offer(sequence, takenMs, picture) {
    this.#taken -= 1;
    if (!picture || (!this.#blocks && this.state !== "open")) {
      this.counts.dropped += 1;
      return;
    }
    this.#store.add(sequence, takenMs, picture);
    this.#pump();
  }

  /** The first frame without an answer, where each must get one: somebody else may answer it. */
  oldest() {
    return this.#blocks ? this.#store.oldest() : undefined;
  }

  /** Somebody else has answered a frame; false where it has had its answer. @param {number} sequence */
  settle(sequence) {
    return this.#store.settle(sequence);
  }

  get unanswered() {
    return this.#store.size;
  }

  get #blocks() {
    return this.options.mode === "block";
  }

  get #most() {
    return this.pacing.window(this.#window);
  }

  // --- the connection ---------------------------------------------------------------------------

  #connect() {
    clearTimeout(this.#timer);
    this.fallback = !this.#passed && this.#refused >= REFUSED && this.options.instead !== undefined;
    this.#code = "";
    this.#become("connecting");
    /** @type {Socket} */
    let socket;
    try {
      socket = this.fallback && this.options.instead ? this.options.instead() : this.options.open();
    } catch {
      this.#refused += 1; // by a policy of the browser
      this.#wait();
      return;
    }
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify(this.#hello()));
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    this.#timer = setTimeout(() => this.#lost(0, ""), CONNECT_MS);
  }

  #hello() {
    const { mode, deadlineMs, session } = this.options;
    return { type: "hello", mode, deadline_ms: deadlineMs, session, clock_ms: this.now() };
  }

  /** @param {number} code @param {string} reason */
  #lost(code, reason) {
    if (this.fallback) this.#refused = 0; // neither way leads there: the link is bad
    else if (this.state === "connecting") this.#refused += 1;
    if (code === POLICY) {
      this.#code = this.#code || reason;
      this.#leave("ended");
    } else this.#wait();
  }

  #wait() {
    this.#leave("waiting");
    this.#timer = setTimeout(() => this.#connect(), delayMs(this.#attempt, this.random));
    this.#attempt += 1;
  }

  /** Whatever refused the first way may let it pass by now; one failure more, and it is as before. */
  #tryAgain() {
    this.#wait();
    this.#refused = REFUSED - 1;
  }

  /** @param {State} state */
  #leave(state) {
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    clearTimeout(this.#back);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null; // it may take long to end
      socket.close(1000);
    }
    if (this.#blocks) this.#store.restart();
    else {
      this.counts.dropped += this.#store.size;
      this.#store = new Store();
    }
    this.#become(state);
  }

  /** @param {State} state */
  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.options.changed(state, this.#code);
  }

  #ping() {
    if (this.#missed >= MOST_MISSED) {
      this.#lost(0, "");
      return;
    }
    this.#missed += 1;
    this.#socket?.send(JSON.stringify({ type: "ping", clock_ms: this.now(), offset_ms: this.#clock.offsetMs }));
    this.#timer = setTimeout(() => this.#ping(), PING_MS);
  }

  // --- what goes and comes ----------------------------------------------------------------------

  #pump() {
    if (this.state !== "open" || !this.#socket || this.now() < this.#heldMs) return;
    this.counts.lost += this.#blocks ? this.#store.expire(this.now()) : 0;
    for (let frame; this.#store.sent < this.#most && (frame = this.#store.next()); ) {
      const { sequence, takenMs, sentBefore: resent } = frame;
      frame.sentMs = this.now();
      frame.sentBefore = true;
      this.counts[resent ? "resent" : "sent"] += 1;
      this.#socket.send(pack({ sequence, resent, takenMs }, frame.picture));
    }
  }

  /** @param {any} said */
  #hear(said) {
    this.#missed = 0;
    if (said.type === "welcome") this.#clock.forget(); // another service has another clock
    if (said.type === "welcome" || said.type === "pong") this.#clock.note(said.clock_ms, this.now(), said.service_ms);
    if (said.type === "welcome") this.#welcome(said.window);
    else if (said.type === "answer") this.#settle(said);
    else if (said.type === "problem") this.#code = said.code;
  }

  /** @param {number} window */
  #welcome(window) {
    clearTimeout(this.#timer);
    this.#window = window;
    this.#attempt = 0;
    this.#heldMs = -Infinity;
    if (this.fallback) this.#back = setTimeout(() => this.#tryAgain(), INSTEAD_MS);
    else this.#passed = true;
    this.#become("open");
    this.#ping();
    this.#pump();
  }

  /** @param {Said} said */
  #settle(said) {
    for (const sequence of said.replaced ?? []) if (this.#store.settle(sequence)) this.counts.replaced += 1;
    const frame = this.#store.get(said.sequence);
    if (said.duplicate || !frame) this.counts.duplicate += 1;
    if (!frame) return;
    const now = this.now();
    this.pacing.note(now - (frame.sentMs ?? now), now, said.outcome !== "refused");
    if (this.#blocks && said.outcome === "refused" && said.retry_after_ms) {
      frame.sentMs = null;
      this.#heldMs = now + said.retry_after_ms;
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => this.#pump(), said.retry_after_ms);
      return;
    }
    this.#store.settle(said.sequence);
    const ageMs = now - frame.takenMs;
    const late = said.outcome === "late" || (!this.#blocks && said.outcome === "answered" && ageMs > this.options.deadlineMs);
    const outcome = late ? "late" : said.outcome;
    this.counts[outcome] += 1;
    this.options.answered({ ...said, outcome }, ageMs);
    this.#pump();
  }
}
