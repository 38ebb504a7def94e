// A camera that is answered: by the service as long as the link is well, else by this browser.

import { STEPS, sizeOf } from "../stream/pacing.js";

/** @typedef {import("../stream/link.js").Link} Link */

/**
 * @typedef {object} Local The engine in this browser.
 * @property {boolean} ready
 * @property {(picture: Uint8Array) => Promise<any>} ask
 */
/**
 * @typedef {object} Options
 * @property {{grab: (size: [number, number], quality: number) => Promise<Blob | null>, size: [number, number]}} camera
 * @property {Link | null} link Null where this browser answers everything.
 * @property {Local} local
 * @property {() => boolean} failOver Whether this browser may answer while the link is not well.
 * @property {[number, number]} input Of the model: width and height.
 * @property {number} budgetMs
 * @property {(found: any, sequence: number, ageMs: number) => unknown} answered By this browser.
 * @property {(error: unknown) => unknown} failed
 */

const TOLERANCE = 0.9; // of the time between two frames: a camera's are never quite even

export class Run {
  paused = false;
  answering = false;
  #sequence = 0;
  #last = -Infinity;
  counts = { here: 0, dropped: 0 };

  /** @param {Options} options */
  constructor(options) {
    this.options = options;
  }

  /** Who answers the next frame. @returns {"server" | "browser" | "nobody"} */
  get side() {
    const { link, local, failOver } = this.options;
    if (link?.well) return "server";
    return local.ready && (!link || failOver()) ? "browser" : "nobody";
  }

  /** A frame has come from the camera. @param {number} takenMs */
  async come(takenMs) {
    const { link, budgetMs } = this.options;
    if (this.paused || takenMs - this.#last < TOLERANCE * budgetMs) return;
    this.#last = takenMs;
    const side = this.side;
    if (link && (side === "server" || link.options.mode === "block")) {
      if (link.room) await this.#send(link, takenMs);
      else link.counts.dropped += 1;
      if (this.side === "browser") this.catchUp(link);
    } else if (side === "browser" && !this.answering) await this.#answer(takenMs);
    else (link?.counts ?? this.counts).dropped += 1;
  }

  /** @param {Link} link @param {number} takenMs */
  async #send(link, takenMs) {
    const sequence = link.take();
    let picture = null;
    try {
      picture = await this.#picture(link.pacing.step);
    } finally {
      link.offer(sequence, takenMs, picture);
    }
  }

  /** @param {import("../stream/pacing.js").Step} step */
  async #picture({ scale, quality }) {
    const { camera, input } = this.options;
    const blob = await camera.grab(sizeOf(camera.size, input, scale), quality);
    return blob && new Uint8Array(await blob.arrayBuffer());
  }

  /** @param {number} takenMs */
  async #answer(takenMs) {
    const { link } = this.options;
    this.answering = true;
    try {
      const sequence = link ? link.number() : (this.#sequence += 1);
      const picture = await this.#picture(link?.pacing.step ?? STEPS[0]);
      const found = picture && (await this.#ask(picture));
      if (found) this.#tell(found, sequence, takenMs);
    } finally {
      this.answering = false;
    }
  }

  /** Answers what waits for the link, in its order, until that is well again. @param {Link} link */
  async catchUp(link) {
    if (this.answering) return;
    this.answering = true;
    try {
      for (let frame; this.side === "browser" && !this.paused && (frame = link.oldest()); ) {
        const { sequence, picture, takenMs } = frame;
        const found = await this.#ask(picture.slice());
        if (!found) return;
        if (link.settle(sequence)) this.#tell(found, sequence, takenMs); // else the link was quicker
      }
    } finally {
      this.answering = false;
    }
  }

  /** What the engine says; null where it fails. @param {Uint8Array} picture Given away. */
  async #ask(picture) {
    try {
      return await this.options.local.ask(picture);
    } catch (error) {
      this.options.failed(error);
      return null;
    }
  }

  /** @param {any} found @param {number} sequence @param {number} takenMs */
  #tell(found, sequence, takenMs) {
    (this.options.link?.counts ?? this.counts).here += 1;
    this.options.answered(found, sequence, performance.now() - takenMs);
  }
}
