// One form for what the server and what this browser say of a picture, and how far the two are apart.

import { predictionSet, ranked } from "../core/confidence.js";

/**
 * @typedef {object} Answer
 * @property {"server" | "browser"} side
 * @property {{index: number, label: string, probability: number}[]} scores Most probable first.
 * @property {number | null} confidence
 * @property {boolean | null} unknown
 * @property {boolean} cannotTellUnknown Whether the file could tell, and this side cannot.
 * @property {string[] | null} set
 * @property {string} sha256 Of the model's file.
 * @property {string | null} tensorSha256
 * @property {number} totalMs
 * @property {number} inferenceMs Of the model alone.
 * @property {string} detail
 */

const SHOWN_MS = 1;

/**
 * @param {import("./api.js").ServerAnswer} said
 * @param {number} elapsedMs With the way there and back.
 * @returns {Answer}
 */
export function ofServer(said, elapsedMs) {
  const { decode_ms = 0, preprocess_ms = 0, inference_ms = 0 } = said.timing;
  return {
    side: "server", scores: said.top, confidence: said.confidence, unknown: said.unknown, cannotTellUnknown: false,
    set: said.set ?? null, sha256: said.sha256, tensorSha256: said.tensor_sha256 ?? null, totalMs: elapsedMs,
    inferenceMs: inference_ms, detail: `decode ${decode_ms.toFixed(SHOWN_MS)}, resize ${preprocess_ms.toFixed(SHOWN_MS)}, model ${inference_ms.toFixed(SHOWN_MS)}`,
  };
}

/**
 * @param {import("../engine/session.js").Answer} found
 * @param {import("../engine/session.js").Loaded} loaded
 * @param {number | null} coverage
 * @param {number} elapsedMs
 * @returns {Answer}
 */
export function ofBrowser(found, loaded, coverage, elapsedMs) {
  const { labels, trust } = loaded.metadata;
  const { probabilities, ms } = found;
  const named = (/** @type {number[]} */ order) => order.map((index) => labels[index]);
  return {
    side: "browser",
    scores: ranked(probabilities).map((index) => ({ index, label: labels[index], probability: probabilities[index] })),
    confidence: found.confidence,
    unknown: found.novelty === null ? null : found.novelty > 1,
    cannotTellUnknown: trust !== null && trust !== undefined && found.novelty === null,
    set: trust && coverage !== null ? named(predictionSet(probabilities, trust, coverage)) : null,
    sha256: loaded.sha256, tensorSha256: found.tensorSha256, totalMs: elapsedMs,
    inferenceMs: ms.inference, detail: `decode ${ms.decode.toFixed(SHOWN_MS)}, resize ${ms.resize.toFixed(SHOWN_MS)}, model ${ms.inference.toFixed(SHOWN_MS)}`,
  };
}

/**
 * @typedef {object} Comparison
 * @property {boolean} sameFile
 * @property {boolean} sameTensor To the bit.
 * @property {boolean} sameLabel
 * @property {number} change Largest difference of a probability.
 * @property {boolean} within Whether that is no more than the certificate allows.
 */

/**
 * @param {Answer} server
 * @param {Answer} browser
 * @param {number} tolerance
 * @returns {Comparison}
 */
export function compare(server, browser, tolerance) {
  const here = new Map(browser.scores.map(({ index, probability }) => [index, probability]));
  const change = Math.max(...server.scores.map(({ index, probability }) => Math.abs(probability - (here.get(index) ?? Infinity))));
  return {
    sameFile: server.sha256 === browser.sha256,
    sameTensor: server.tensorSha256 !== null && server.tensorSha256 === browser.tensorSha256,
    sameLabel: server.scores[0].index === browser.scores[0].index,
    change,
    within: change <= tolerance,
  };
}
