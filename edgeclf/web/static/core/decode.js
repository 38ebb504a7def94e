// A picture's bytes to upright pixels: steps 1 to 5 of the policy in edgeclf/image/__init__.py.
// Needs a browser: its decoders, and a canvas to read what they give.

import { decodeJpeg } from "./jpeg.js";
import { Problem } from "./problem.js";
import { examine } from "./picture.js";
import { reduce } from "./resample.js";

/** @typedef {import("./resample.js").ImageSpec} ImageSpec */

/**
 * @typedef {object} Decoded
 * @property {Uint8ClampedArray} rgba Upright, four bytes a pixel.
 * @property {number} width
 * @property {number} height
 * @property {number} factor How many times smaller than the file it is: 1, 2, 4 or 8.
 * @property {Way} way
 * @property {string} format
 */

/**
 * In full; at a reduced scale by the browser, as Pillow does it; likewise by `jpeg.js`; or in full and then
 * averaged, for the few kinds of JPEG that it does not read.
 * @typedef {"full" | "scaled" | "own" | "reduced"} Way
 */

const MARGIN = 2; // a JPEG is decoded at no less than this many times the input size
const FACTORS = [8, 4, 2];
const TRANSPOSED = 5; // from here on, an orientation swaps rows and columns
const WITH_ALPHA = ["PNG", "WEBP", "GIF", "BMP", "AVIF"];
const PACKED = ["RGBA", "RGBX", "BGRA", "BGRX"]; // what a decoder gives whose colours are final

/** How much smaller a JPEG may be decoded. @param {number} width Upright. @param {number} height @param {ImageSpec} spec */
export function scaleOf(width, height, spec) {
  if (!spec.scaled_decode) return 1;
  return FACTORS.find((k) => width >= MARGIN * k * spec.width && height >= MARGIN * k * spec.height) ?? 1;
}

/**
 * Decodes a picture.
 * @param {Uint8Array} bytes The file.
 * @param {ImageSpec} spec
 * @param {boolean} scaled Whether this browser's decoder gives at a reduced scale what Pillow's gives.
 * @returns {Promise<Decoded>}
 */
export async function decode(bytes, spec, scaled) {
  const picture = await examine(bytes);
  const turned = picture.orientation >= TRANSPOSED;
  const [width, height] = turned ? [picture.height, picture.width] : [picture.width, picture.height];
  const factor = picture.format === "JPEG" ? scaleOf(width, height, spec) : 1;
  const blob = new Blob(/** @type {BlobPart[]} */ (picture.parts), { type: picture.type });
  if (factor > 1 && scaled) {
    const found = await decodeScaled(blob, Math.ceil(picture.width / factor), Math.ceil(picture.height / factor));
    if (found) return { ...turn(found, picture.orientation), factor, way: "scaled", format: picture.format };
  }
  if (factor > 1) {
    const found = decodeJpeg(bytes, factor);
    if (found) return { ...turn(found, picture.orientation), factor, way: "own", format: picture.format };
  }
  const full = await decodeFull(blob, WITH_ALPHA.includes(picture.format));
  const small = factor > 1 ? reduce(full.rgba, full.width, full.height, factor) : full;
  return { ...turn(small, picture.orientation), factor, way: factor > 1 ? "reduced" : "full", format: picture.format };
}

/** @typedef {{rgba: Uint8ClampedArray, width: number, height: number}} Pixels */

/** As stored, not turned. @param {Blob} blob @param {boolean} alpha @returns {Promise<Pixels>} */
async function decodeFull(blob, alpha) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" });
  } catch (error) {
    throw new Problem("damaged_picture", { reason: error instanceof Error ? error.message : "" });
  }
  const { width, height } = bitmap;
  try {
    return { rgba: read(bitmap, width, height, alpha), width, height };
  } finally {
    bitmap.close();
  }
}

/** @param {CanvasImageSource} source @param {number} width @param {number} height @param {boolean} alpha */
function read(source, width, height, alpha) {
  // Read by the CPU: a canvas on the GPU would be copied back, and not always to the bit.
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  if (!context) throw new Problem("no_canvas");
  if (alpha) {
    context.fillStyle = "#fff"; // what shows through
    context.fillRect(0, 0, width, height);
  }
  context.drawImage(source, 0, 0);
  return context.getImageData(0, 0, width, height).data;
}

/**
 * By the JPEG decoder's own scale; null where this browser has none, or it gives another size.
 * @param {Blob} blob
 * @param {number} width Wanted, as stored.
 * @param {number} height
 * @returns {Promise<Pixels | null>}
 */
async function decodeScaled(blob, width, height) {
  if (typeof ImageDecoder === "undefined") return null;
  const decoder = new ImageDecoder({
    data: await blob.arrayBuffer(), type: blob.type, colorSpaceConversion: "none", desiredWidth: width, desiredHeight: height,
  });
  try {
    const { image } = await decoder.decode();
    try {
      const { codedWidth, codedHeight, format } = image;
      if (codedWidth !== width || codedHeight !== height || !PACKED.includes(String(format))) return null;
      const rgba = new Uint8ClampedArray(width * height * 4);
      await image.copyTo(rgba, { format: "RGBA" }); // as stored, not turned
      return { rgba, width, height };
    } finally {
      image.close();
    }
  } catch (error) {
    throw new Problem("damaged_picture", { reason: error instanceof Error ? error.message : "" });
  } finally {
    decoder.close();
  }
}

/**
 * Applies an EXIF orientation.
 * @param {Pixels} pixels
 * @param {number} orientation 1 to 8.
 * @returns {Pixels}
 */
export function turn({ rgba, width, height }, orientation) {
  if (orientation === 1) return { rgba, width, height };
  const from = new Uint32Array(rgba.buffer, rgba.byteOffset, width * height);
  const to = new Uint32Array(width * height);
  const swapped = orientation >= TRANSPOSED;
  const outWidth = swapped ? height : width;
  // Where the upright picture's first pixel lies, and the steps to its right and its lower neighbour.
  const right = width - 1;
  const last = width * (height - 1);
  const [start, across, down] = {
    2: [right, -1, width], 3: [last + right, -1, -width], 4: [last, 1, -width], 5: [0, width, 1],
    6: [last, -width, 1], 7: [last + right, -width, -1], 8: [right, width, -1],
  }[orientation] ?? [0, 1, width];
  for (let at = 0, row = start; at < to.length; row += down) {
    for (let x = 0, place = row; x < outWidth; x++, place += across) to[at++] = from[place];
  }
  return { rgba: new Uint8ClampedArray(to.buffer), width: outWidth, height: swapped ? width : height };
}
