// The page's end of the worker: one model in one worker, which is ended to free its memory.

import { Problem } from "../core/problem.js";

/** @typedef {import("../engine/session.js").Loaded} Loaded */
/** @typedef {import("../engine/session.js").Answer} Answer */
/** @typedef {import("../engine/session.js").Explanation} Explanation */

export class Engine {
  /** @type {Worker | null} */
  #worker = null;
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Problem) => void, told?: (done: number) => void}>} */
  #waiting = new Map();
  #number = 0;

  /**
   * @param {ArrayBuffer} bytes The model's file.
   * @param {import("../engine/adapters.js").Homes} homes
   * @returns {Promise<Loaded>}
   */
  load(bytes, homes) {
    this.end("engine_failed");
    const name = `edgeclf-${crypto.randomUUID()}`;
    let worker;
    try {
      worker = this.#worker = new Worker(new URL("../engine/worker.js", import.meta.url), { name });
    } catch {
      throw new Problem("engine_blocked");
    }
    worker.addEventListener("message", ({ data }) => {
      if (data.lives) this.#attend(worker, name);
      else this.#settle(data);
    });
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.end(event.message ? "worker_ended" : "engine_blocked");
    });
    return this.#ask("load", { bytes, homes });
  }

  /** @param {ArrayBuffer} bytes A picture's file. @returns {Promise<Answer>} */
  classify(bytes) {
    return this.#ask("classify", { bytes }, [bytes]);
  }

  /**
   * @param {ArrayBuffer} bytes A picture's file.
   * @param {number | null} target The class's position; null for the most probable one.
   * @param {number} passes For files that have no dense layer at their end.
   * @param {AbortSignal} signal
   * @param {(done: number) => void} told How many passes are done, now and then.
   * @returns {Promise<Explanation>}
   */
  explain(bytes, target, passes, signal, told) {
    if (signal.aborted) return Promise.reject(new Problem("cancelled"));
    const asked = this.#ask("explain", { bytes, target, passes }, [bytes], told);
    const which = this.#number;
    signal.addEventListener("abort", () => {
      if (this.#waiting.has(which)) this.#worker?.postMessage({ id: 0, op: "cancel", which });
    });
    return asked;
  }

  get running() {
    return this.#worker !== null;
  }

  /** Ends the worker; what it owes is refused. @param {string} code */
  end(code) {
    this.#worker?.terminate();
    this.#worker = null;
    for (const { reject } of this.#waiting.values()) reject(new Problem(code, { reason: "it was ended" }));
    this.#waiting.clear();
  }

  /**
   * A browser that ends a worker tells nobody. But it frees the lock that the worker holds while it lives.
   * @param {Worker} worker
   * @param {string} name Of the lock.
   */
  #attend(worker, name) {
    navigator.locks.request(name, () => {
      if (this.#worker === worker) this.end("worker_ended");
    });
  }

  /**
   * @param {string} op
   * @param {Record<string, unknown>} message
   * @param {Transferable[]} [moved] Given away instead of copied.
   * @param {(done: number) => void} [told] How far it is.
   * @returns {Promise<any>}
   */
  #ask(op, message, moved = [], told = () => {}) {
    const worker = this.#worker;
    if (!worker) return Promise.reject(new Problem("worker_ended"));
    const id = ++this.#number;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, told });
      worker.postMessage({ id, op, ...message }, moved);
    });
  }

  /** @param {{id: number, done?: number, result?: unknown, problem?: {code: string, details: Record<string, string | number>}}} data */
  #settle({ id, done, result, problem }) {
    const waiting = this.#waiting.get(id);
    if (done !== undefined) return waiting?.told?.(done);
    this.#waiting.delete(id);
    if (problem) waiting?.reject(new Problem(problem.code, problem.details));
    else waiting?.resolve(result);
  }
}
