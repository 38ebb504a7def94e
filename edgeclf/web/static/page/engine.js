// The page's end of the worker: one model in one worker, which is ended to free its memory.

import { Problem } from "../core/problem.js";

/** @typedef {import("../engine/session.js").Loaded} Loaded */
/** @typedef {import("../engine/session.js").Answer} Answer */

export class Engine {
  /** @type {Worker | null} */
  #worker = null;
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Problem) => void}>} */
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
   * @returns {Promise<any>}
   */
  #ask(op, message, moved = []) {
    const worker = this.#worker;
    if (!worker) return Promise.reject(new Problem("worker_ended"));
    const id = ++this.#number;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      worker.postMessage({ id, op, ...message }, moved);
    });
  }

  /** @param {{id: number, result?: unknown, problem?: {code: string, details: Record<string, string | number>}}} data */
  #settle({ id, result, problem }) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (problem) waiting?.reject(new Problem(problem.code, problem.details));
    else waiting?.resolve(result);
  }
}
