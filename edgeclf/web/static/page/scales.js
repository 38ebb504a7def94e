// From values to places on an axis, and which values are named there. Pure, so that node can test it.

/**
 * @typedef {object} Scale
 * @property {(value: number) => number} at The place of a value, 0..1 from the axis's start.
 * @property {number[]} ticks Values to be named.
 */

/** @param {number} least @param {number} most @param {number} [count] About how many ticks. @returns {Scale} */
export function linear(least, most, count = 5) {
  const span = most > least ? most - least : 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((each) => each * power >= rough) ?? 10);
  const ticks = [];
  for (let i = Math.ceil(least / step - 1e-9); i * step <= least + span * (1 + 1e-9); i++) ticks.push(Number((i * step).toPrecision(12)));
  return { at: (value) => (value - least) / span, ticks };
}

/** Of values above 0; each decade is as long as the next. @param {number} least @param {number} most @returns {Scale} */
export function logarithmic(least, most) {
  const low = Math.log10(least);
  const span = Math.max(Math.log10(most) - low, 1e-9);
  /** @param {number[]} steps */
  const within = (steps) => {
    const found = [];
    for (let power = Math.floor(low); power <= Math.ceil(low + span); power++) {
      for (const step of steps) {
        const value = Number((step * 10 ** power).toPrecision(6));
        if (value >= least * (1 - 1e-9) && value <= most * (1 + 1e-9)) found.push(value);
      }
    }
    return found;
  };
  const ticks = span > 2.5 ? within([1]) : span > 1.2 ? within([1, 3]) : within([1, 2, 5]);
  return { at: (value) => (Math.log10(value) - low) / span, ticks };
}

/** Of shares below 1: as far from 0.9 to 0.99 as from 0 to 0.9, for tails. @param {number} most @returns {Scale} */
export function tails(most) {
  const nines = (/** @type {number} */ share) => -Math.log10(1 - share);
  const span = Math.max(nines(most), 0.5);
  const ticks = [0, 0.5, 0.9, 0.99, 0.999, 0.9999].filter((share) => nines(share) <= span * 1.001);
  return { at: (share) => nines(share) / span, ticks };
}

/** Short, for an axis. @param {number} value */
export function short(value) {
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  return String(Number(value.toPrecision(3)));
}
