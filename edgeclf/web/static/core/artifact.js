// An artifact read from its bytes: the seal first, then the metadata. docs/artifact.md is the format.

import { sha256, toHex } from "./hash.js";
import { Problem } from "./problem.js";

/** @typedef {import("./resample.js").ImageSpec} ImageSpec */
/** @typedef {import("./certificate.js").Certificate} Certificate */
/** @typedef {import("./confidence.js").Trust} Trust */

/**
 * @typedef {object} Metadata What the page needs of it.
 * @property {string} name
 * @property {string} version
 * @property {string[]} labels
 * @property {ImageSpec} image
 * @property {"fp32" | "fp16" | "dynamic" | "int8" | "int8-full"} precision
 * @property {Certificate | null} certificate
 * @property {Trust | null} trust
 * @property {{mean: number | [number, number, number]}} normalization
 * @property {any} [features] See features.js.
 */

/**
 * @typedef {object} Artifact
 * @property {"tflite" | "onnx" | "keras"} format Told from the bytes, never from a name.
 * @property {Metadata} metadata
 * @property {string} sha256 Of the whole file.
 */

const SEAL = "edgeclf.seal:sha256:";
const DIGITS = 64;
const MAGIC = "edgeclf.artifact";
const DOCUMENT = "edgeclf.json";
const FORMAT_VERSION = 1;
const BLOCK = 4 << 20;
const METADATA_PROPS = 14;
const END_BYTES = 22; // zip: end of central directory
const IMAGE_MEMBERS = ["height", "kernel", "resize", "scaled_decode", "width"];
const text = new TextDecoder();

/**
 * Reads an artifact and checks its seal before anything else looks at it.
 * @param {Uint8Array} bytes
 * @returns {Promise<Artifact>}
 */
export async function readArtifact(bytes) {
  await checkSeal(bytes);
  const format = formatOf(bytes);
  const document = format === "onnx" ? onnxProperty(bytes, "edgeclf") : zipMember(bytes, DOCUMENT);
  if (document === null) throw new Problem("no_metadata");
  /** @type {any} */
  let metadata;
  try {
    metadata = JSON.parse(text.decode(document));
  } catch (error) {
    throw Problem.of(error, "no_metadata");
  }
  checkMetadata(metadata);
  return { format, metadata, sha256: toHex(await sha256(bytes)) };
}

/** @param {Uint8Array} bytes */
export function formatOf(bytes) {
  if (text.decode(bytes.subarray(4, 8)) === "TFL3") return "tflite";
  return text.decode(bytes.subarray(0, 2)) === "PK" ? "keras" : "onnx";
}

/** @param {Uint8Array} bytes */
async function checkSeal(bytes) {
  const sealed = text.decode(bytes.subarray(-DIGITS - SEAL.length, -DIGITS)) === SEAL;
  if (sealed && text.decode(bytes.subarray(-DIGITS)) === (await sealOf(bytes))) return;
  const front = text.decode(bytes.subarray(0, 64));
  const was = sealed || front.includes(MAGIC) || front.includes(DOCUMENT);
  throw new Problem(was ? "damaged_artifact" : "no_artifact");
}

/** The digits that fit all that is before them. @param {Uint8Array} bytes */
async function sealOf(bytes) {
  const body = bytes.subarray(0, Math.max(0, bytes.length - DIGITS));
  const blocks = Array.from({ length: Math.ceil(body.length / BLOCK) }, (_, i) => body.subarray(i * BLOCK, (i + 1) * BLOCK));
  const digests = await Promise.all(blocks.map(sha256));
  const joined = new Uint8Array(32 * digests.length);
  digests.forEach((digest, i) => joined.set(digest, 32 * i));
  return toHex(await sha256(joined));
}

/** @param {any} metadata */
function checkMetadata(metadata) {
  if (metadata?.format_version !== FORMAT_VERSION) {
    throw new Problem("later_format", { writer: String(metadata?.written_by ?? "another edgeclf") });
  }
  const members = Object.keys(metadata.image ?? {}).filter((name) => name !== "crop_share").sort();
  const whole = Array.isArray(metadata.labels) && metadata.labels.length > 1;
  // A member of `image` that is not known here would change what the model is given.
  if (!whole || members.join() !== IMAGE_MEMBERS.join()) {
    throw new Problem("no_metadata", { reason: `image has ${members.join(", ") || "no members"}` });
  }
}

/**
 * A stored member of the zip at the file's end, whose comment is the seal.
 * @param {Uint8Array} bytes
 * @param {string} name
 */
export function zipMember(bytes, name) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    const end = bytes.length - SEAL.length - DIGITS - END_BYTES;
    const count = view.getUint16(end + 10, true);
    let at = view.getUint32(end + 16, true);
    for (let i = 0; i < count; i++) {
      const [method, packed, full] = [view.getUint16(at + 10, true), view.getUint32(at + 20, true), view.getUint32(at + 24, true)];
      const [nameLength, extra, comment] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
      if (text.decode(bytes.subarray(at + 46, at + 46 + nameLength)) === name) {
        if (method !== 0 || packed !== full) throw new Problem("no_metadata", { reason: "it is compressed" });
        const header = view.getUint32(at + 42, true);
        const start = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
        return bytes.subarray(start, start + packed);
      }
      at += 46 + nameLength + extra + comment;
    }
    return null;
  } catch (error) {
    throw Problem.of(error, "no_metadata");
  }
}

/**
 * A value of an ONNX file's `metadata_props`.
 * @param {Uint8Array} bytes
 * @param {string} key
 */
export function onnxProperty(bytes, key) {
  for (const [number, payload] of protobufFields(bytes)) {
    if (number !== METADATA_PROPS) continue;
    const entry = new Map(protobufFields(payload));
    if (text.decode(entry.get(1)) === key) return entry.get(2) ?? new Uint8Array();
  }
  return null;
}

/**
 * Number and payload of each field of a protobuf message.
 * @param {Uint8Array} message
 * @returns {Generator<[number, Uint8Array]>}
 */
export function* protobufFields(message) {
  let at = 0;
  /** @returns {number} */
  const varint = () => {
    let [value, place] = [0, 1];
    for (;;) {
      if (at >= message.length) throw new Problem("no_metadata", { reason: "the file is cut short" });
      const byte = message[at++];
      value += (byte & 127) * place;
      if (byte < 128) return value;
      place *= 128;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const wire = tag & 7;
    let start = at;
    if (wire === 0) varint();
    else if (wire === 2) {
      const length = varint();
      start = at;
      at += length;
    } else if (wire === 1 || wire === 5) at += wire === 1 ? 8 : 4;
    else throw new Problem("no_metadata", { reason: `wire type ${wire}` });
    yield [Math.floor(tag / 8), message.subarray(start, at)];
  }
}
