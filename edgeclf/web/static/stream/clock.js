// How far the service's clock is ahead of ours: the middle of the quickest of the last exchanges.

const KEPT = 16;

export class Clock {
  /** @type {{tripMs: number, offsetMs: number}[]} */
  #exchanges = [];

  /**
   * @param {number} sentMs When we asked, by our clock.
   * @param {number} receivedMs When the answer came, by our clock.
   * @param {number} serviceMs When it was given, by the service's.
   */
  note(sentMs, receivedMs, serviceMs) {
    this.#exchanges.push({ tripMs: receivedMs - sentMs, offsetMs: serviceMs - (sentMs + receivedMs) / 2 });
    if (this.#exchanges.length > KEPT) this.#exchanges.shift();
  }

  /** Null while nothing is known; another service may have another clock. */
  get offsetMs() {
    if (!this.#exchanges.length) return null;
    return this.#exchanges.reduce((best, each) => (each.tripMs < best.tripMs ? each : best)).offsetMs;
  }

  forget() {
    this.#exchanges = [];
  }
}
