// A map from either side, in one form.

import { fromBase64 } from "../core/hash.js";
import { Problem } from "../core/problem.js";

/** @typedef {import("./api.js").ModelEntry} ModelEntry */
/** @typedef {import("./api.js").Api} Api */

/**
 * @typedef {object} Explained
 * @property {import("../core/maps.js").Grid} map Over the upright picture.
 * @property {string} label Of the class.
 * @property {number} probability
 * @property {"cam" | "rise"} method
 * @property {number} passes
 * @property {number} ms
 */

export const PASSES = 256; // that a map may take where one is not enough

/**
 * @param {Api} api
 * @param {ModelEntry} model
 * @param {Blob} picture
 * @param {string | null} label
 * @param {AbortSignal} signal
 * @returns {Promise<Explained>}
 */
export async function explainedByServer(api, model, picture, label, signal) {
  const start = performance.now();
  const { explanation } = await api.explain(model, picture, label, PASSES, signal);
  if (!explanation) throw new Problem("no_explanation");
  return { ...explanation, map: await levels(explanation.map), ms: performance.now() - start };
}

/**
 * @param {import("./engine.js").Engine} engine
 * @param {import("../engine/session.js").Loaded} loaded
 * @param {Blob} picture
 * @param {string | null} label
 * @param {AbortSignal} signal
 * @param {(done: number) => void} told
 * @returns {Promise<Explained>}
 */
export async function explainedHere(engine, loaded, picture, label, signal, told) {
  const { labels } = loaded.metadata;
  const target = label === null ? null : labels.indexOf(label);
  const { index, ...found } = await engine.explain(await picture.arrayBuffer(), target, PASSES, signal, told);
  return { ...found, label: labels[index] };
}

/** The levels of a grey PNG, 0..1. @param {string} png In base64. @returns {Promise<import("../core/maps.js").Grid>} */
async function levels(png) {
  const bitmap = await createImageBitmap(new Blob([fromBase64(png)], { type: "image/png" }));
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Problem("no_canvas");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  return { values: Float32Array.from({ length: width * height }, (_, i) => data[4 * i] / 255), rows: height, columns: width };
}
