// What a file's member `trust` makes of an answer: docs/artifact.md, Trust. As edgeclf/inference/confidence.py.

/**
 * @typedef {object} Trust
 * @property {{value: number, floor: number}} temperature
 * @property {{score: string, threshold: number}} novelty
 * @property {{score: "plain" | "raps", penalty: number, levels: {coverage: number, quantiles: number[]}[]}} sets
 */

/**
 * @typedef {object} Judged
 * @property {number} confidence How often such an answer is right, 0..1.
 * @property {number | null} novelty 1 is the threshold; null where the file measures it in its features.
 */

/**
 * @param {ArrayLike<number>} probabilities
 * @param {Trust} trust
 * @returns {Judged}
 */
export function judge(probabilities, trust) {
  const { value, floor } = trust.temperature;
  const shares = Array.from(probabilities, (p) => Math.max(p, floor));
  const most = Math.max(...shares);
  const confidence = 1 / shares.reduce((sum, share) => sum + (share / most) ** (1 / value), 0);
  const { score, threshold } = trust.novelty;
  return { confidence, novelty: score === "confidence" ? (1 - confidence) / threshold : null };
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
