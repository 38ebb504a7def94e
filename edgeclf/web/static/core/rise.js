// A map from many answers to the same picture, partly hidden: for files that have no dense head.
// RISE as in edgeclf/explanation/perturbation.py, by the same masks.

import { enlarged, scaled } from "./maps.js";
import { defaultRng } from "./numpy_random.js";
import { roundHalfEven } from "./resample.js";

const CELLS = 7; // of the masks along each side
const SHOWN = 0.5; // how many of them
const LEAST_SPAN = 1e-5; // below are the roundings of the sums
const SEED = 0;

/** What the graph's first step makes zero of. @param {number | number[]} mean @returns {[number, number, number]} */
export function hiddenColour(mean) {
  const [red, green, blue] = [mean, mean, mean].map((all, c) => Math.min(Math.max(Array.isArray(all) ? all[c] : all, 0), 255));
  return [red, green, blue];
}

/**
 * @param {(tensor: Uint8Array) => Promise<number>} score A class's probability for a picture.
 * @param {Uint8Array} image [height, width, 3], the model's input.
 * @param {{height: number, width: number}} size
 * @param {[number, number, number]} hidden The colour of what is hidden.
 * @param {number} passes
 * @param {(done: number) => Promise<void>} tick Called after each pass; what it throws ends it.
 * @returns {Promise<import("./maps.js").Grid>} [height, width], from the least to the most telling place.
 */
export async function rise(score, image, { height, width }, hidden, passes, tick) {
  const seen = new Float32Array(height * width).fill(1e-6);
  const total = new Float32Array(height * width);
  const shown = new Uint8Array(image.length);
  const next = defaultRng(SEED);
  for (let done = 1; done <= passes; done++) {
    const mask = randomMask(next, height, width);
    mask.forEach((share, place) => {
      for (let c = 0, at = 3 * place; c < 3; c++, at++) shown[at] = roundHalfEven(Math.fround(hidden[c] + (image[at] - hidden[c]) * share));
    });
    const probability = await score(shown.slice());
    mask.forEach((share, place) => {
      seen[place] += share;
      total[place] += probability * share;
    });
    await tick(done);
  }
  const mean = total.map((sum, place) => sum / seen[place]);
  const least = mean.reduce((low, value) => Math.min(low, value), Infinity);
  const span = mean.map((value) => value - least);
  const flat = span.every((value) => value <= LEAST_SPAN);
  return { values: flat ? span.fill(0) : scaled(span), rows: height, columns: width };
}

/** @param {() => number} next @param {number} height @param {number} width */
export function randomMask(next, height, width) {
  const side = CELLS + 1;
  const values = Float32Array.from({ length: side * side }, () => (next() < SHOWN ? 1 : 0));
  const [left, top] = [next(), next()];
  return enlarged({ values, rows: side, columns: side }, width, height, [left, top, left + CELLS, top + CELLS]).values;
}
