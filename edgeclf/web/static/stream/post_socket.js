// Where a proxy lets no WebSocket pass: the same stream by requests, one at a time.

import { unpack } from "./framing.js";

/** @typedef {import("./link.js").Socket} Socket */

/**
 * @typedef {object} Poster
 * @property {() => Promise<unknown>} probe Rejects where the service cannot be reached.
 * @property {(picture: Uint8Array, timeoutMs: number | null, signal: AbortSignal) => Promise<Record<string, any>>} ask
 *   Rejects with a Problem.
 */

/** @implements {Socket} */
export class PostSocket {
  /** @type {(() => void) | null} */
  onopen = null;
  /** @type {((event: {data: string}) => void) | null} */
  onmessage = null;
  /** @type {((event: {code: number, reason: string}) => void) | null} */
  onclose = null;
  #ending = new AbortController();
  /** @type {number | null} */
  #deadlineMs = null;

  /** @param {Poster} poster @param {() => number} [now] */
  constructor(poster, now = () => performance.now()) {
    this.poster = poster;
    this.now = now;
    poster.probe().then(() => this.onopen?.(), () => this.#end());
  }

  /** @param {string | Uint8Array} message */
  send(message) {
    if (typeof message !== "string") {
      this.#ask(message);
      return;
    }
    const said = JSON.parse(message);
    if (said.type === "hello") this.#deadlineMs = said.mode === "drop" ? said.deadline_ms : null;
    const clock = { clock_ms: said.clock_ms, service_ms: said.clock_ms }; // ages are told apart here
    this.#tell(said.type === "hello" ? { type: "welcome", window: 1, ...clock } : { type: "pong", ...clock });
  }

  close() {
    this.#ending.abort();
  }

  /** @param {Uint8Array} message */
  async #ask(message) {
    const { sequence, takenMs, picture } = unpack(message);
    const restMs = this.#deadlineMs === null ? null : this.#deadlineMs - (this.now() - takenMs);
    if (restMs !== null && restMs < 1) {
      this.#tell({ type: "answer", sequence, outcome: "late" });
      return;
    }
    try {
      const said = await this.poster.ask(picture, restMs, this.#ending.signal);
      this.#tell({ type: "answer", sequence, outcome: "answered", ...said });
    } catch (error) {
      const { code = "offline", details = {} } = /** @type {any} */ (error);
      if (code === "offline" || code === "timeout" || code === "cancelled") this.#end();
      else if (code === "deadline_exceeded") this.#tell({ type: "answer", sequence, outcome: "late" });
      else {
        const wait = details.seconds ? { retry_after_ms: 1000 * details.seconds } : {};
        this.#tell({ type: "answer", sequence, outcome: "refused", code, error: details.error ?? code, ...wait });
      }
    }
  }

  /** @param {Record<string, unknown>} said */
  #tell(said) {
    queueMicrotask(() => this.onmessage?.({ data: JSON.stringify(said) }));
  }

  #end() {
    this.onclose?.({ code: 1006, reason: "" });
  }
}
