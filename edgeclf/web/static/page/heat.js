// A map as a picture: viridis, with a line around what is above half of the largest value.

import { enlarged } from "../core/maps.js";
import { percent } from "./dom.js";

/** @typedef {import("../core/maps.js").Grid} Grid */

// Viridis by van der Walt and Smith (CC0) at tenths of its way, as edgeclf/explanation/overlay.py has it.
const VIRIDIS = ["440154", "482575", "414487", "345f8d", "2a788e", "21908c", "22a884", "43bf71", "7ad151", "bcdf27", "fde725"].map((hex) =>
  [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
const LINE = 0.5;

/** Red, green and blue, 0..255, of a value 0..1. @param {number} value */
export function colour(value) {
  const place = Math.min(Math.max(value, 0), 1) * (VIRIDIS.length - 1);
  const below = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[below].map((from, c) => from + (VIRIDIS[below + 1][c] - from) * (place - below));
}

/**
 * Draws a map so that it fills a canvas.
 * @param {HTMLCanvasElement} canvas
 * @param {Grid} grid
 */
export function drawMap(canvas, grid) {
  const { width, height } = canvas;
  const { values } = enlarged(grid, width, height, [0, 0, grid.columns, grid.rows]);
  const made = new ImageData(width, height);
  const above = (/** @type {number} */ x, /** @type {number} */ y) => values[Math.min(y, height - 1) * width + Math.min(x, width - 1)] > LINE;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const edge = above(x, y) !== above(x + 1, y) || above(x, y) !== above(x, y + 1);
      const [red, green, blue] = edge ? [255, 255, 255] : colour(values[at]);
      made.data.set([red, green, blue, 255], 4 * at);
    }
  }
  canvas.getContext("2d")?.putImageData(made, 0, 0);
}

/** The scale of its colours, from nothing to the most telling place. @param {HTMLCanvasElement} canvas */
export function drawScale(canvas) {
  drawMap(canvas, { values: Float32Array.of(0, 1), rows: 1, columns: 2 });
}

/** @param {{peak: string, share: number} | null} found What a map says. */
export function inWords(found) {
  if (!found) return "No place speaks for this class.";
  const where = found.peak === "centre" ? "in the centre" : `at the ${found.peak}`;
  return `The most telling place is ${where}; what is above half of it covers ${percent(found.share)} of the picture.`;
}
