// Maps of where an answer came from, as edgeclf/explanation/cam.py and methods.py make them.

import { placement } from "./resample.js";

/** @typedef {{values: Float32Array, rows: number, columns: number}} Grid Row by row, 0..1. */
/** @typedef {import("./resample.js").Box} Box */

/**
 * The class activation map: what each cell adds to a class's logit, cut off at zero.
 * @param {Float32Array} cells The features [rows, columns, channels].
 * @param {[number, number, number]} shape
 * @param {Float32Array} weights Of the dense layer for the class [channels].
 * @returns {Grid}
 */
export function classActivation(cells, [rows, columns, channels], weights) {
  const values = new Float32Array(rows * columns);
  for (let cell = 0; cell < values.length; cell++) {
    let sum = 0;
    for (let c = 0, at = cell * channels; c < channels; c++, at++) sum += cells[at] * weights[c];
    values[cell] = Math.max(sum, 0);
  }
  return { values: scaled(values), rows, columns };
}

/** Values of at least 0 divided by the largest, if that is above 0. @param {Float32Array} values */
export function scaled(values) {
  const largest = values.reduce((most, value) => Math.max(most, value), 0);
  return largest > 0 ? values.map((value) => value / largest) : values;
}

/**
 * A part of a grid in finer steps, bilinear between the centres of its cells.
 * @param {Grid} grid
 * @param {number} width
 * @param {number} height
 * @param {Box} box In cells.
 * @returns {Grid}
 */
export function enlarged({ values, rows, columns }, width, height, [left, top, right, bottom]) {
  const [across, down] = [shares(columns, width, left, right), shares(rows, height, top, bottom)];
  const narrow = new Float32Array(height * columns);
  for (let y = 0; y < height; y++) {
    const [above, below, share] = down[y];
    for (let x = 0; x < columns; x++) narrow[y * columns + x] = values[above * columns + x] * (1 - share) + values[below * columns + x] * share;
  }
  const fine = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [before, after, share] = across[x];
      fine[y * width + x] = narrow[y * columns + before] * (1 - share) + narrow[y * columns + after] * share;
    }
  }
  return { values: fine, rows: height, columns: width };
}

/**
 * For each step between two places: the cells on both sides of its centre, and the second one's share.
 * @param {number} cells
 * @param {number} steps
 * @param {number} start
 * @param {number} end
 * @returns {[number, number, number][]}
 */
function shares(cells, steps, start, end) {
  return Array.from({ length: steps }, (_, i) => {
    const centre = Math.min(Math.max(start + ((i + 0.5) * (end - start)) / steps - 0.5, 0), cells - 1);
    const before = Math.min(Math.floor(centre), Math.max(0, cells - 2));
    return [before, Math.min(before + 1, cells - 1), centre - before];
  });
}

/**
 * A map of the model's input as one of the picture that the input was made of.
 * @param {Grid} grid Over the whole input.
 * @param {number} width Of the upright picture.
 * @param {number} height
 * @param {import("./resample.js").ImageSpec} spec
 * @param {number} side How many steps along the picture's longer side.
 * @returns {Grid} Zero where the input shows nothing of the picture.
 */
export function inPicture(grid, width, height, spec, side) {
  const { box, inside } = placement(width, height, spec);
  const [across, down] = [grid.columns / spec.width, grid.rows / spec.height];
  const steps = [width, height].map((size) => Math.max(1, Math.round((size * side) / Math.max(width, height))));
  /** The part of the grid that a step of the picture looks at. @param {number} axis @param {number} cells */
  const range = (axis, cells) => {
    const [from, to] = [box[axis], box[axis + 2]];
    const [first, last] = [inside[axis] * cells, inside[axis + 2] * cells];
    const rate = (last - first) / (to - from);
    const full = axis ? height : width;
    return [first - from * rate, first + (full - from) * rate];
  };
  const [left, right] = range(0, across);
  const [top, bottom] = range(1, down);
  const fine = enlarged(grid, steps[0], steps[1], [left, top, right, bottom]);
  if (spec.resize !== "crop") return fine;
  const outside = (/** @type {number} */ i, /** @type {number} */ axis) => {
    const place = ((i + 0.5) * (axis ? height : width)) / steps[axis];
    return place < box[axis] || place > box[axis + 2];
  };
  return { ...fine, values: fine.values.map((value, i) => (outside(i % steps[0], 0) || outside(Math.floor(i / steps[0]), 1) ? 0 : value)) };
}

/**
 * Pearson's correlation of two maps; null where one is the same everywhere, or of another size.
 * @param {Float32Array} a
 * @param {Float32Array} b
 */
export function correlation(a, b) {
  const mean = (/** @type {Float32Array} */ of) => of.reduce((sum, value) => sum + value, 0) / of.length;
  const [meanA, meanB] = [mean(a), mean(b)];
  let [both, squareA, squareB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i] - meanA, b[i] - meanB];
    both += x * y;
    squareA += x * x;
    squareB += y * y;
  }
  return squareA > 0 && squareB > 0 && a.length === b.length ? both / Math.sqrt(squareA * squareB) : null;
}

/**
 * What a map says, for whoever does not see it.
 * @param {Grid} grid Over the picture.
 * @returns {{peak: string, share: number} | null} Where its largest value is, in thirds of the
 *   picture, and how much of the picture is above half of it; null where nothing is.
 */
export function summary({ values, rows, columns }) {
  const largest = values.reduce((most, value) => Math.max(most, value), 0);
  if (!largest) return null;
  const at = values.indexOf(largest);
  const third = (/** @type {number} */ i, /** @type {number} */ size, /** @type {string[]} */ names) => names[Math.min(2, Math.floor((3 * (i + 0.5)) / size))];
  const down = third(Math.floor(at / columns), rows, ["top", "", "bottom"]);
  const across = third(at % columns, columns, ["left", "", "right"]);
  const peak = [down, across].filter(Boolean).join(" ") || "centre";
  return { peak, share: values.filter((value) => value > largest / 2).length / values.length };
}
