// What a picture's bytes say before it is decoded: format, size, and how it is turned.
// Told from the content, never from the file's name; the limits are those of edgeclf/image/limits.py.

import { Problem } from "./problem.js";

export const MAX_BYTES = 256 * 2 ** 20;
export const MAX_PIXELS = 89_478_485;
export const MAX_SIDE = 65_535;
const MAX_SCANS = 50;
const ORIENTATION = 0x0112;
const SHORT = 3;

/** Bytes as letters of the same numbers, which TextDecoder's latin1 does not give. @param {Uint8Array} bytes */
const letters = (bytes) => String.fromCharCode(...bytes);

/**
 * @typedef {object} Picture
 * @property {string} format JPEG, PNG, WEBP, GIF, BMP or AVIF.
 * @property {string} type Its media type.
 * @property {number} width As stored; turned pictures are not turned yet. 0 where it is not known.
 * @property {number} height
 * @property {number} orientation 1 to 8, as EXIF says it; 1 where nothing or nonsense does.
 * @property {Uint8Array[]} parts The file without what says so: one browser turns by it what the
 *   other does not, and asking them not to (`imageOrientation: "none"`) is heard by some alone.
 */

/** Formats that browsers do not decode, and the service may. */
const ELSEWHERE = [
  [/^(II\*\0|MM\0\*|II\+\0|MM\0\+)/, "TIFF"],
  [/^P[1-6]/, "PPM"],
  [/^....ftyp(hei|hev|mif|msf)/s, "HEIC"],
];
/** Formats that edgeclf refuses everywhere, by their names. */
const REFUSED = [
  [/^\0\0\x01\0/, "ICO"],
  [/^(\xff\x0a|\0\0\0\x0cJXL )/, "JPEG XL"],
  [/^(\0\0\0\x0cjP {2}|\xff\x4f\xff\x51)/, "JPEG 2000"],
  [/^\s*(<\?xml|<!--|<svg|<!DOCTYPE svg)/i, "SVG"],
  [/^%PDF/, "PDF"],
];

/**
 * Reads a picture's head.
 * @param {Uint8Array} bytes The whole file.
 * @returns {Promise<Picture>}
 */
export async function examine(bytes) {
  if (!bytes.length) throw new Problem("empty_file");
  if (bytes.length > MAX_BYTES) throw new Problem("too_many_bytes", { bytes: bytes.length });
  const head = letters(bytes.subarray(0, 64));
  const reader = READERS.find(([pattern]) => pattern.test(head));
  if (!reader) {
    const elsewhere = ELSEWHERE.find(([pattern]) => /** @type {RegExp} */ (pattern).test(head));
    if (elsewhere) throw new Problem("browser_cannot_decode", { format: String(elsewhere[1]) });
    const refused = REFUSED.find(([pattern]) => /** @type {RegExp} */ (pattern).test(head));
    throw refused ? new Problem("format_refused", { format: String(refused[1]) }) : new Problem("no_picture");
  }
  const [, format, read] = reader;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let found;
  try {
    found = await read(view, bytes);
  } catch (error) {
    throw Problem.of(error, "damaged_picture");
  }
  const { width, height } = found;
  if (width * height > MAX_PIXELS || Math.max(width, height) > MAX_SIDE) throw new Problem("too_many_pixels", { width, height });
  return { format, type: `image/${format.toLowerCase()}`, orientation: 1, parts: [bytes], ...found };
}

/** @typedef {{width: number, height: number, orientation?: number, parts?: Uint8Array[]}} Head */
/** @type {[RegExp, string, (view: DataView, bytes: Uint8Array) => Head | Promise<Head>][]} */
const READERS = [
  [/^\xff\xd8\xff/, "JPEG", readJpeg],
  [/^\x89PNG\r\n\x1a\n/, "PNG", readPng],
  [/^RIFF....WEBP/s, "WEBP", readWebp],
  [/^GIF8/, "GIF", (view) => ({ width: view.getUint16(6, true), height: view.getUint16(8, true) })],
  [/^BM/, "BMP", readBmp],
  [/^....ftyp(avif|avis)/s, "AVIF", readAvif],
];

/** @param {DataView} view @param {Uint8Array} bytes @returns {Head} */
function readJpeg(view, bytes) {
  let [at, orientation, scans, kept] = [2, 1, 0, 0];
  const parts = [];
  /** @type {Head | null} */
  let found = null;
  let progressive = false;
  while (at + 4 <= bytes.length) {
    if (bytes[at] !== 0xff || bytes[at + 1] === 0 || bytes[at + 1] === 0xff || isRestart(bytes[at + 1])) {
      at += 1; // within a scan
      continue;
    }
    const marker = bytes[at + 1];
    if (marker === 0xd9) break;
    const length = view.getUint16(at + 2);
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      if (bytes[at + 4] !== 8) throw new Problem("jpeg_bits", { bits: bytes[at + 4] });
      found ??= { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
      progressive = marker === 0xc2;
    } else if (marker === 0xe1 && letters(bytes.subarray(at + 4, at + 10)) === "Exif\0\0" && !found) {
      orientation = exifOrientation(bytes.subarray(at + 10, at + 2 + length));
      parts.push(bytes.subarray(kept, at));
      kept = at + 2 + length;
    } else if (marker === 0xda) {
      scans += 1;
      if (scans > MAX_SCANS) throw new Problem("too_many_scans", { scans: MAX_SCANS });
      if (!progressive) break;
    }
    at += 2 + length;
  }
  if (!found || !scans) throw new Problem("damaged_picture", { reason: "its header is cut short" });
  return { ...found, orientation, parts: [...parts, bytes.subarray(kept)] };
}

/** @param {number} marker */
const isRestart = (marker) => marker >= 0xd0 && marker <= 0xd8;

/**
 * The orientation in a block of EXIF; an unreadable one counts as upright.
 * @param {Uint8Array} block From the byte order on, perhaps with `Exif\0\0` before it.
 */
export function exifOrientation(block) {
  try {
    const start = letters(block.subarray(0, 6)) === "Exif\0\0" ? 6 : 0;
    const view = new DataView(block.buffer, block.byteOffset + start, block.byteLength - start);
    const order = view.getUint16(0);
    if (order !== 0x4949 && order !== 0x4d4d) return 1;
    const little = order === 0x4949;
    const at = view.getUint32(4, little);
    for (let i = 0, count = view.getUint16(at, little); i < count; i++) {
      const entry = at + 2 + 12 * i;
      if (view.getUint16(entry, little) !== ORIENTATION) continue;
      const value = view.getUint16(entry + 2, little) === SHORT ? view.getUint16(entry + 8, little) : 1;
      return value >= 1 && value <= 8 ? value : 1;
    }
  } catch {
    // damaged: upright
  }
  return 1;
}

/** @param {DataView} view @param {Uint8Array} bytes @returns {Promise<Head>} */
async function readPng(view, bytes) {
  let [orientation, kept] = [/** @type {number | null} */ (null), 0];
  const parts = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = letters(bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (kind === "eXIf") {
      orientation ??= exifOrientation(content);
      parts.push(bytes.subarray(kept, at));
      kept = at + 12 + length;
    }
    if (kind === "zTXt" || kind === "tEXt") orientation ??= await magickOrientation(kind, content);
    else if (kind === "IEND") break;
    at += 12 + length;
  }
  return { width: view.getUint32(16), height: view.getUint32(20), orientation: orientation ?? 1, parts: [...parts, bytes.subarray(kept)] };
}

/**
 * The orientation that ImageMagick keeps in a PNG's text; null where there is none.
 * @param {string} kind
 * @param {Uint8Array} content
 */
async function magickOrientation(kind, content) {
  const end = content.indexOf(0);
  if (letters(content.subarray(0, end)) !== "Raw profile type exif") return null;
  try {
    const packed = content.subarray(end + (kind === "zTXt" ? 2 : 1));
    const stream = new Blob([/** @type {BlobPart} */ (packed)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const lines = kind === "zTXt" ? await new Response(stream).text() : new TextDecoder().decode(packed);
    const digits = lines.split("\n").slice(3).join("").match(/[0-9a-f]{2}/gi) ?? [];
    return exifOrientation(Uint8Array.from(digits, (pair) => parseInt(pair, 16)));
  } catch {
    return 1;
  }
}

/** @param {DataView} view @param {Uint8Array} bytes @returns {Head} */
function readWebp(view, bytes) {
  const kind = letters(bytes.subarray(12, 16));
  if (kind === "VP8 ") return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  if (kind === "VP8L") {
    const bits = view.getUint32(21, true);
    return { width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1 };
  }
  let orientation = 1;
  const plain = bytes.slice();
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at + 4, true);
    if (letters(bytes.subarray(at, at + 4)) === "EXIF") {
      orientation = exifOrientation(bytes.subarray(at + 8, at + 8 + length));
      plain.fill(0, at + 8, at + 8 + length); // cut out, it would be missing
    }
    at += 8 + length + (length & 1);
  }
  /** @param {number} at */
  const side = (at) => (view.getUint32(at, true) & 0xffffff) + 1;
  return { width: side(24), height: side(27), orientation, parts: [plain] };
}

/** @param {DataView} view @returns {Head} */
function readBmp(view) {
  if (view.getUint32(14, true) === 12) return { width: view.getUint16(18, true), height: view.getUint16(20, true) };
  return { width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
}

/** An AVIF is turned by its own boxes, which browsers follow. @param {DataView} view @param {Uint8Array} bytes @returns {Head} */
function readAvif(view, bytes) {
  let [width, height] = [0, 0];
  const head = letters(bytes.subarray(0, 8_192));
  for (let at = head.indexOf("ispe"); at >= 0; at = head.indexOf("ispe", at + 4)) {
    const [w, h] = [view.getUint32(at + 8), view.getUint32(at + 12)];
    if (w * h > width * height) [width, height] = [w, h];
  }
  return { width, height };
}
