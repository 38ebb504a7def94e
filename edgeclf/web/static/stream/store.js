// The frames that were numbered and have no answer yet, where each must get one.

/**
 * @typedef {object} Kept
 * @property {number} sequence
 * @property {number} takenMs
 * @property {Uint8Array} picture
 * @property {number | null} sentMs Null where it is to be sent, perhaps again.
 * @property {boolean} sentBefore
 */

export const MOST = 30;
export const KEPT_MS = 30_000;

export class Store {
  /** @type {Map<number, Kept>} In the order of their numbers. */
  #frames = new Map();

  get size() {
    return this.#frames.size;
  }

  /** Frames on their way. */
  get sent() {
    return [...this.#frames.values()].filter(({ sentMs }) => sentMs !== null).length;
  }

  /** @param {number} sequence @param {number} takenMs @param {Uint8Array} picture */
  add(sequence, takenMs, picture) {
    this.#frames.set(sequence, { sequence, takenMs, picture, sentMs: null, sentBefore: false });
  }

  /** @param {number} sequence */
  get(sequence) {
    return this.#frames.get(sequence);
  }

  /** The first that is to be sent. */
  next() {
    return [...this.#frames.values()].find(({ sentMs }) => sentMs === null);
  }

  /** The first of all. */
  oldest() {
    return this.#frames.values().next().value;
  }

  /** Notes that a frame has its answer; false where it had one. @param {number} sequence */
  settle(sequence) {
    return this.#frames.delete(sequence);
  }

  /** What was on its way was lost with the connection. */
  restart() {
    for (const frame of this.#frames.values()) frame.sentMs = null;
  }

  /** Gives up what is too old to be kept; how many. @param {number} nowMs */
  expire(nowMs) {
    const old = [...this.#frames.values()].filter(({ takenMs }) => nowMs - takenMs > KEPT_MS);
    for (const { sequence } of old) this.#frames.delete(sequence);
    return old.length;
  }
}
