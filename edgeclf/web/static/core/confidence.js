// What a file's member `trust` makes of an answer: docs/artifact.md, Trust. As edgeclf/inference/confidence.py.

import { floats } from "./features.js";
import { fromBase64 } from "./hash.js";

/**
 * @typedef {object} Trust
 * @property {{value: number, floor: number}} temperature
 * @property {{score: string, threshold: number, basis?: string, scale?: string, length?: number}} novelty
 * @property {{score: "plain" | "raps", penalty: number, levels: {coverage: number, quantiles: number[]}[]}} sets
 */

/**
 * @typedef {object} Judged
 * @property {number} confidence How often such an answer is right, 0..1.
 * @property {number | null} novelty 1 is the threshold; null where the file measures it in its
 *   features, and there are none.
 */

/** Whether a file's novelty is measured in its features. @param {Trust | null | undefined} trust */
export const needsFeatures = (trust) => trust?.novelty.basis !== undefined;

/**
 * @param {ArrayLike<number>} probabilities
 * @param {Trust} trust
 * @param {Float32Array | null} [pooled] The features' mean over rows and columns [channels].
 * @returns {Judged}
 */
export function judge(probabilities, trust, pooled = null) {
  const { value, floor } = trust.temperature;
  const shares = Array.from(probabilities, (p) => Math.max(p, floor));
  const most = Math.max(...shares);
  const confidence = 1 / shares.reduce((sum, share) => sum + (share / most) ** (1 / value), 0);
  const { score, threshold } = trust.novelty;
  if (score === "confidence") return { confidence, novelty: (1 - confidence) / threshold };
  return { confidence, novelty: pooled && novelty(pooled, trust.novelty) / threshold };
}

const TINY = 1e-12;

/** @param {Float32Array} a @param {Float32Array} b */
function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** @param {Float32Array} row */
const lengthOf = (row) => Math.max(Math.sqrt(dot(row, row)), TINY);

/** The bare score of features, by their mean. @param {Float32Array} pooled @param {Trust["novelty"]} record */
function novelty(pooled, { score, basis = "", scale = "", length: usual = Infinity }) {
  const scales = floats(scale);
  const stored = new Int8Array(fromBase64(basis).buffer);
  const width = pooled.length;
  const rows = Array.from(scales, (factor, k) => Float32Array.from(stored.subarray(k * width, (k + 1) * width), (value) => value * factor));
  const long = lengthOf(pooled);
  const unit = pooled.map((value) => value / long);
  if (score === "cosine") return 1 - Math.max(...rows.map((row) => dot(unit, row)));
  const [mean, ...directions] = rows;
  const offset = unit.map((value, c) => value - mean[c]);
  const outside = offset.slice();
  for (const direction of directions) {
    const along = dot(offset, direction);
    direction.forEach((value, c) => (outside[c] -= along * value));
  }
  return lengthOf(outside) * (score === "scaled_residual" ? Math.max(1, long / usual) : 1);
}

/**
 * Positions of the classes, most probable first; of equal ones the model's first.
 * @param {ArrayLike<number>} probabilities
 */
export function ranked(probabilities) {
  return Array.from(probabilities, (_, i) => i).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
}

/**
 * The classes of which one is right this often; most probable first, at least one.
 * @param {ArrayLike<number>} probabilities
 * @param {Trust} trust
 * @param {number} coverage One of the file's levels, or less.
 * @returns {number[]} Positions.
 */
export function predictionSet(probabilities, trust, coverage) {
  const { score, penalty, levels } = trust.sets;
  const level = [...levels].sort((a, b) => a.coverage - b.coverage).find((each) => each.coverage >= coverage);
  if (!level) return [];
  const order = ranked(probabilities);
  let before = 0;
  return order.filter((index, rank) => {
    const own = probabilities[index];
    const value = score === "plain" ? 1 - own : before + penalty * rank;
    before += own;
    const limit = level.quantiles.length === 1 ? level.quantiles[0] : level.quantiles[index];
    return rank === 0 || value <= limit;
  });
}
