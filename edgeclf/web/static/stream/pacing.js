// How large a frame is and how many are on their way: as much as the link carries without a queue.

/**
 * @typedef {object} Step
 * @property {number} scale Shorter side, in multiples of the model's input.
 * @property {number} quality Of JPEG, 0..1.
 */

/** @type {Step[]} From the best to the smallest; below the model's input nothing is gained by pixels. */
export const STEPS = [
  { scale: 2, quality: 0.8 }, { scale: 1.5, quality: 0.8 }, { scale: 1.125, quality: 0.8 },
  { scale: 1, quality: 0.8 }, { scale: 1, quality: 0.6 }, { scale: 1, quality: 0.4 },
];
const JUDGED = 10; // answers
const JUDGED_SOON = 3; // where each took very long
const SLOW = 2; // round trips that take more frames' times than that are too long: one step, two at
const VERY_SLOW = 4; // this, and one more each time it doubles
const UP_MS = 5_000; // below one frame's time, before a larger one is tried
const LONG_MS = 500; // a round trip for which two frames on their way are a queue

export class Pacing {
  #at = 0;
  /** @type {number[]} */
  #trips = [];
  /** @type {number | null} */
  #quickSince = null;
  #failed = false;
  #median = Infinity; // until something is known of the link, nothing waits behind another frame

  /** @param {number} budgetMs Between two frames. */
  constructor(budgetMs) {
    this.budgetMs = budgetMs;
  }

  get step() {
    return STEPS[this.#at];
  }

  /** Frames on their way at once. @param {number} most */
  window(most) {
    return this.#failed || this.#median > LONG_MS ? 1 : most;
  }

  /**
   * @param {number} tripMs From sending to the answer.
   * @param {number} nowMs
   * @param {boolean} good Whether it was an answer.
   */
  note(tripMs, nowMs, good) {
    this.#failed = !good;
    this.#trips.push(tripMs);
    const very = this.#trips.every((each) => each > VERY_SLOW * this.budgetMs);
    if (this.#trips.length < (very ? JUDGED_SOON : JUDGED)) return;
    this.#median = [...this.#trips].sort((a, b) => a - b)[this.#trips.length >> 1];
    this.#trips = [];
    if (this.#median > SLOW * this.budgetMs) {
      const steps = Math.floor(Math.log2(this.#median / this.budgetMs / SLOW)) + 1;
      this.#at = Math.min(this.#at + steps, STEPS.length - 1);
      this.#quickSince = null;
    } else if (this.#median > this.budgetMs) {
      this.#quickSince = null;
    } else {
      this.#quickSince ??= nowMs;
      if (nowMs - this.#quickSince < UP_MS) return;
      this.#at = Math.max(this.#at - 1, 0);
      this.#quickSince = null;
    }
  }
}

/**
 * The size of a frame: never larger than the camera's, the same shape.
 * @param {[number, number]} camera Width and height.
 * @param {[number, number]} input Likewise, of the model.
 * @param {number} scale
 * @returns {[number, number]}
 */
export function sizeOf([width, height], input, scale) {
  const factor = Math.min(1, (scale * Math.max(...input)) / Math.min(width, height));
  return [Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor))];
}
