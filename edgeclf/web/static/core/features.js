// The member `features` of a file: where its last feature map is, and the dense layer that reads it.
// As edgeclf/artifact/features.py; docs/artifact.md is the format.

import { fromBase64 } from "./hash.js";
import { Problem } from "./problem.js";

/**
 * @typedef {object} Features
 * @property {string} tensor Its name in the graph.
 * @property {"nhwc" | "nchw"} layout How the graph holds it.
 * @property {[number, number, number]} shape Rows, columns and channels.
 * @property {((target: number) => Float32Array) | null} weights Of the dense layer for a class
 *   [channels]; null where the file names none.
 */

/** The arrays of a head's types; all little-endian, as are all machines that run browsers. */
const TYPES = /** @type {const} */ ({ int8: Int8Array, float16: Uint16Array, float32: Float32Array });

/**
 * @param {import("./artifact.js").Metadata} metadata
 * @param {Uint8Array} bytes The whole file.
 * @returns {Features | null} Null where the file says nothing of them.
 */
export function readFeatures(metadata, bytes) {
  const record = metadata.features;
  if (!record) return null;
  try {
    const { tensor, layout, shape: [height, width, channels], pooling, head } = record;
    const whole = [height, width, channels].every((size) => Number.isInteger(size) && size > 0);
    if (typeof tensor !== "string" || !["nhwc", "nchw"].includes(layout) || pooling !== "mean" || !whole) throw new Error("its features");
    const weights = head ? readHead(head, bytes, channels, metadata.labels.length) : null;
    return { tensor, layout, shape: [height, width, channels], weights };
  } catch (error) {
    throw Problem.of(error, "no_metadata");
  }
}

/**
 * @param {any} head
 * @param {Uint8Array} bytes
 * @param {number} channels
 * @param {number} classes
 * @returns {(target: number) => Float32Array}
 */
function readHead(head, bytes, channels, classes) {
  const count = channels * classes;
  const stored = head.kind === "dense" ? new Int8Array(fromBase64(head.weights).buffer) : head.kind === "stored" ? storedAt(head, bytes, count) : null;
  const scale = floats(head.scale);
  if (stored?.length !== count || ![1, classes].includes(scale.length)) throw new Error("its head");
  const value = stored instanceof Uint16Array ? (/** @type {number} */ i) => halfFloat(stored[i]) : (/** @type {number} */ i) => stored[i];
  return (target) => Float32Array.from({ length: channels }, (_, c) =>
    value(head.by_class ? target * channels + c : c * classes + target) * scale[scale.length > 1 ? target : 0]);
}

/** @param {any} head @param {Uint8Array} bytes @param {number} count */
function storedAt({ type, position }, bytes, count) {
  const Kind = TYPES[/** @type {keyof typeof TYPES} */ (type)];
  return new Kind(bytes.slice(position, position + count * Kind.BYTES_PER_ELEMENT).buffer);
}

/** @param {string} text Base64 of float32. */
export const floats = (text) => new Float32Array(fromBase64(text).buffer);

/** @param {number} bits */
export function halfFloat(bits) {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 0 ? fraction * 2 ** -24 : exponent === 31 ? (fraction ? NaN : Infinity) : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}

/**
 * What an engine gave, as [rows, columns, channels].
 * @param {Float32Array} values In the layout of the graph.
 * @param {Features} features
 */
export function inCells(values, { layout, shape: [height, width, channels] }) {
  const cells = height * width;
  if (values.length !== cells * channels || !values.every(Number.isFinite)) {
    throw new Problem("engine_failed", { reason: `it gave ${values.length} features, or not finite ones; expected ${cells * channels}` });
  }
  if (layout === "nhwc") return values;
  return Float32Array.from(values, (_, i) => values[(i % channels) * cells + Math.floor(i / channels)]);
}

/**
 * The mean over rows and columns [channels].
 * @param {Float32Array} cells [rows, columns, channels].
 * @param {number} channels
 */
export function pooled(cells, channels) {
  const sums = new Float64Array(channels);
  cells.forEach((value, i) => (sums[i % channels] += value));
  return Float32Array.from(sums, (sum) => (sum * channels) / cells.length);
}
