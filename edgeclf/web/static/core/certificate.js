// The certificate replayed here: do this browser's engine, decoder and arithmetic still compute the
// certified model? The rules are those of edgeclf/trust/certificate.py and docs/artifact.md.

import { judge } from "./confidence.js";
import { decode } from "./decode.js";
import { fromBase64, hexSha256 } from "./hash.js";
import { fit, withoutAlpha } from "./resample.js";

/** @typedef {import("./artifact.js").Metadata} Metadata */
/** @typedef {{sha256: string, shape: number[], means: number[]}} Fingerprint */
/**
 * @typedef {object} Certificate
 * @property {{png: string, artifact: number[], confidence?: number | null, novelty?: number | null}[]} images
 * @property {{jpeg: string, decoded: Fingerprint, tensor: Fingerprint, artifact: number[]}} photo
 */

/**
 * @typedef {object} Replay
 * @property {"identical" | "equivalent" | "differs" | "none"} verdict `none`: the file has no certificate.
 * @property {"kernels" | "decoder" | "resizing" | "answer" | "trust" | null} step Where it differs.
 * @property {number} images How many golden images were asked.
 * @property {number} maxChange Largest difference to a certified probability of theirs.
 * @property {number} tolerance What is allowed.
 * @property {number} levels How far a block of the photo is off, of 255 levels.
 * @property {number} photoChange Of a probability of the photo.
 * @property {boolean} sameDecoded Whether the decoded photo is the certified one to the bit.
 * @property {boolean} sameTensor Likewise what the model gets of it.
 * @property {boolean} scaled Whether this browser's decoder gives reduced JPEGs as Pillow does.
 * @property {number | null} confidenceChange
 * @property {number | null} noveltyChange Null where nobody can tell: it takes features that are not given.
 */

/** @typedef {{probabilities: Float32Array, pooled: Float32Array | null}} Run What an engine says, and the mean of its features. */

/** @type {Record<string, number>} */
const TOLERANCES = { fp32: 0.001, fp16: 0.005, dynamic: 0.03, int8: 0.05, "int8-full": 0.05 };
const LEVELS = 1.0;
const BLOCKS = 8;

/** Where the largest value is; the first of equal ones. @param {ArrayLike<number>} values */
export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** @param {ArrayLike<number>} answer @param {ArrayLike<number>} certified */
function changeOf(answer, certified) {
  let most = 0;
  for (let i = 0; i < certified.length; i++) most = Math.max(most, Math.abs(answer[i] - Math.fround(certified[i])));
  return answer.length === certified.length ? most : Infinity;
}

/**
 * Asks the golden images and the photo again.
 * @param {Metadata} metadata
 * @param {(tensor: Uint8Array) => Promise<Run>} run The engine.
 * @returns {Promise<Replay>}
 */
export async function replay(metadata, run) {
  /** @type {Replay} */
  const found = {
    verdict: "none", step: null, images: 0, maxChange: 0, tolerance: TOLERANCES[metadata.precision], levels: 0, photoChange: 0,
    sameDecoded: false, sameTensor: false, scaled: false, confidenceChange: null, noveltyChange: null,
  };
  const certificate = metadata.certificate;
  if (!certificate?.images?.length || !certificate.photo) return found;
  found.step = await replayImages(metadata, certificate, run, found);
  if (!found.step) found.step = await replayPhoto(metadata, certificate.photo, run, found);
  const least = Math.min(1, metadata.trust?.temperature.value ?? 1);
  const trusted = Math.max(found.confidenceChange ?? 0, found.noveltyChange ?? 0);
  if (!found.step && trusted > found.tolerance / least) found.step = "trust";
  found.verdict = found.step ? "differs" : found.sameDecoded && found.sameTensor ? "identical" : "equivalent";
  return found;
}

/**
 * @param {Metadata} metadata
 * @param {Certificate} certificate
 * @param {(tensor: Uint8Array) => Promise<Run>} run
 * @param {Replay} found Is filled.
 */
async function replayImages(metadata, certificate, run, found) {
  let wrong = 0;
  for (const { png, artifact, confidence, novelty } of certificate.images) {
    const { rgba } = await decode(fromBase64(png), metadata.image, false);
    const { probabilities: answer, pooled } = await run(withoutAlpha(rgba));
    found.images += 1;
    found.maxChange = Math.max(found.maxChange, changeOf(answer, artifact));
    wrong += Number(argmax(answer) !== argmax(artifact));
    if (metadata.trust && typeof confidence === "number") {
      const judged = judge(answer, metadata.trust, pooled);
      found.confidenceChange = Math.max(found.confidenceChange ?? 0, Math.abs(judged.confidence - confidence));
      if (typeof novelty === "number" && judged.novelty !== null) {
        found.noveltyChange = Math.max(found.noveltyChange ?? 0, Math.abs(judged.novelty - novelty));
      }
    }
  }
  return wrong || found.maxChange > found.tolerance ? "kernels" : null;
}

/**
 * @param {Metadata} metadata
 * @param {Certificate["photo"]} photo
 * @param {(tensor: Uint8Array) => Promise<Run>} run
 * @param {Replay} found Is filled.
 */
async function replayPhoto(metadata, photo, run, found) {
  const jpeg = fromBase64(photo.jpeg);
  const { image } = metadata;
  // Only a decoder that gives Pillow's very pixels at a reduced scale is used at one.
  let decoded = await decode(jpeg, image, true);
  let own = await fingerprint(withoutAlpha(decoded.rgba), decoded.height, decoded.width);
  found.scaled = decoded.way === "scaled" && own.sha256 === photo.decoded.sha256;
  if (decoded.way === "scaled" && !found.scaled) {
    decoded = await decode(jpeg, image, false);
    own = await fingerprint(withoutAlpha(decoded.rgba), decoded.height, decoded.width);
  }
  found.sameDecoded = own.sha256 === photo.decoded.sha256;
  found.levels = distance(own, photo.decoded);
  if (found.levels > LEVELS) return "decoder";
  const tensor = fit(decoded.rgba, decoded.width, decoded.height, image);
  const made = await fingerprint(tensor, image.height, image.width);
  found.sameTensor = made.sha256 === photo.tensor.sha256;
  found.levels = Math.max(found.levels, distance(made, photo.tensor));
  if (found.levels > LEVELS) return "resizing";
  const { probabilities: answer } = await run(tensor);
  found.photoChange = changeOf(answer, photo.artifact);
  const other = argmax(answer) !== argmax(photo.artifact);
  return other || found.photoChange > found.tolerance ? "answer" : null;
}

/**
 * A hash, which tells whether anything differs, and means of 8 x 8 blocks, which tell how much.
 * @param {Uint8Array} rgb [height, width, 3].
 * @param {number} height
 * @param {number} width
 * @returns {Promise<Fingerprint>}
 */
export async function fingerprint(rgb, height, width) {
  const [rows, columns] = [height, width].map(edges);
  const means = [];
  for (let i = 0; i + 1 < rows.length; i++) {
    for (let j = 0; j + 1 < columns.length; j++) {
      let sum = 0;
      for (let y = rows[i]; y < rows[i + 1]; y++) {
        for (let at = (y * width + columns[j]) * 3, end = (y * width + columns[j + 1]) * 3; at < end; at++) sum += rgb[at];
      }
      const area = (rows[i + 1] - rows[i]) * (columns[j + 1] - columns[j]) * 3;
      means.push(Math.round((100 * sum) / area) / 100);
    }
  }
  return { sha256: await hexSha256(rgb), shape: [height, width, 3], means };
}

/** Where the blocks begin and the last one ends; the first ones have the rest. @param {number} size */
function edges(size) {
  const count = Math.min(BLOCKS, size);
  const places = [0];
  for (let i = 0; i < count; i++) places.push(places[i] + Math.floor(size / count) + Number(i < size % count));
  return places;
}

/** @param {Fingerprint} own @param {Fingerprint} certified */
function distance(own, certified) {
  if (own.shape.join() !== certified.shape.join()) return 255;
  return own.means.reduce((most, mean, i) => Math.max(most, Math.abs(mean - certified.means[i])), 0);
}
