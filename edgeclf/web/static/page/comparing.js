// What each precision of a model says of one photo: asked, and compared with the most exact one.

import { correlation } from "../core/maps.js";
import { ranked } from "../core/confidence.js";
import { Engine } from "./engine.js";
import { explainedByServer, explainedHere } from "./explaining.js";
import { modelBytes } from "./model_cache.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./api.js").ModelEntry} ModelEntry */

/**
 * @typedef {object} Said What one file says of the photo.
 * @property {ModelEntry} model
 * @property {string} label
 * @property {Map<string, number>} probabilities By label.
 * @property {import("./explaining.js").Explained | null} explained Of the class that all are asked
 *   about; null where a map takes more than one pass.
 * @property {number} medianMs Of the model alone.
 */

/**
 * @typedef {object} Difference
 * @property {number} change Largest of a probability.
 * @property {boolean} sameLabel
 * @property {number | null} correlation Of the maps; null where there are not two, or one is empty.
 */

const RUNS = 5; // that are timed, after one that is not
const EXACTNESS = ["fp32", "fp16", "dynamic", "int8", "int8-full"];

/** How exact a precision is, the most exact first. @param {ModelEntry} model */
export const rank = ({ precision, format }) => EXACTNESS.indexOf(precision) + (format === "tflite" ? 0 : 0.5);

/** Files of one family have the same labels and so can be compared. @param {ModelEntry} model */
export const family = ({ name, classes, labels }) => `${name} of ${classes} classes: ${labels.join()}`;

/**
 * The files of a model that are served, by what can be compared; the most exact of each first.
 * @param {ModelEntry[]} versions
 * @returns {ModelEntry[][]}
 */
export function families(versions) {
  /** @type {Map<string, ModelEntry[]>} */
  const found = new Map();
  for (const each of versions.filter(({ state }) => state === "ready")) {
    const key = family(each);
    found.set(key, [...(found.get(key) ?? []), each]);
  }
  return [...found.values()].map((members) => members.sort((a, b) => rank(a) - rank(b)));
}

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * @param {Api} api
 * @param {ModelEntry} model
 * @param {Blob} picture
 * @param {string | null} about The class that its map is of; null for its own answer.
 * @param {AbortSignal} signal
 * @returns {Promise<Said>}
 */
export async function askServer(api, model, picture, about, signal) {
  const times = [];
  let said = await api.classify(model, picture, null, model.classes);
  for (let i = 0; i < RUNS; i++) {
    signal.throwIfAborted();
    said = await api.classify(model, picture, null, model.classes);
    times.push(said.timing.inference_ms);
  }
  return {
    model, label: said.top[0].label, medianMs: median(times),
    probabilities: new Map(said.top.map(({ label, probability }) => [label, probability])),
    explained: model.explains ? await explainedByServer(api, model, picture, about ?? said.top[0].label, signal) : null,
  };
}

/**
 * @param {Api} api
 * @param {ModelEntry} model
 * @param {Blob} picture
 * @param {string | null} about
 * @param {AbortSignal} signal
 * @returns {Promise<Said>}
 */
export async function askHere(api, model, picture, about, signal) {
  const engine = new Engine(); // one file's at a time, so that it frees what it took
  const stop = () => engine.end("cancelled");
  signal.addEventListener("abort", stop);
  try {
    const [homes, { bytes }] = [await api.engines(), await modelBytes(model, () => api.file(model))];
    signal.throwIfAborted();
    const loaded = await engine.load(bytes, homes);
    const times = [];
    let said = await engine.classify(await picture.arrayBuffer());
    for (let i = 0; i < RUNS; i++) {
      said = await engine.classify(await picture.arrayBuffer());
      times.push(said.ms.inference);
    }
    const { labels } = loaded.metadata;
    const label = labels[ranked(said.probabilities)[0]];
    return {
      model, label, medianMs: median(times),
      probabilities: new Map(labels.map((each, i) => [each, said.probabilities[i]])),
      explained: loaded.maps.method === "cam" ? await explainedHere(engine, loaded, picture, about ?? label, signal, () => {}) : null,
    };
  } finally {
    signal.removeEventListener("abort", stop);
    engine.end("engine_failed");
  }
}

/** @param {Said} said @param {Said} exact @returns {Difference} */
export function difference(said, exact) {
  const changes = [...exact.probabilities].map(([label, probability]) => Math.abs(probability - (said.probabilities.get(label) ?? Infinity)));
  const both = said.explained && exact.explained;
  return {
    change: Math.max(...changes),
    sameLabel: said.label === exact.label,
    correlation: both && said.explained && exact.explained ? correlation(said.explained.map.values, exact.explained.map.values) : null,
  };
}
