// Pillow's 8-bit resampling (Resample.c) to the bit, and the three policies of edgeclf/image/resizing.py.

/**
 * @typedef {object} ImageSpec How a photo becomes a tensor; part of every artifact.
 * @property {number} height Rows of the model's input.
 * @property {number} width Columns of the model's input.
 * @property {"stretch" | "crop" | "letterbox"} resize
 * @property {"bilinear" | "bicubic" | "lanczos" | "box"} kernel
 * @property {boolean} scaled_decode Whether JPEGs may be decoded at a reduced DCT scale.
 * @property {number} [crop_share] How much of the centre `crop` keeps, of a side; 1 where it is not said.
 */

/** @typedef {[number, number, number, number]} Box Left, top, right, bottom. */

const PRECISION_BITS = 32 - 8 - 2;
const HALF = 1 << (PRECISION_BITS - 1);
export const LETTERBOX = 127;

/** @param {number} x */
const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

/** Each filter with how far it reaches. @type {Record<string, [number, (x: number) => number]>} */
const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    const a = -0.5;
    const far = Math.abs(x);
    if (far < 1) return ((a + 2) * far - (a + 3)) * far * far + 1;
    return far < 2 ? (((far - 5) * far + 8) * far - 4) * a : 0;
  }],
  lanczos: [3, (x) => (-3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

/** Python's round: half to even. @param {number} x */
export function roundHalfEven(x) {
  const below = Math.floor(x);
  const rest = x - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

/**
 * Which part of a picture becomes which part of the input.
 * @param {number} width Of the upright picture.
 * @param {number} height
 * @param {ImageSpec} spec
 * @returns {{box: Box, inside: Box}} In the picture, where `crop` leaves something out, and in the
 *   input, where `letterbox` leaves borders.
 */
export function placement(width, height, spec) {
  /** @type {Box} */
  const whole = [0, 0, width, height];
  /** @type {Box} */
  const everywhere = [0, 0, spec.width, spec.height];
  if (spec.resize === "stretch") return { box: whole, inside: everywhere };
  const pick = spec.resize === "crop" ? Math.max : Math.min;
  const fitting = pick(spec.width / width, spec.height / height);
  const scale = spec.resize === "crop" ? fitting / (spec.crop_share ?? 1) : fitting;
  if (spec.resize === "crop") {
    const [keptWidth, keptHeight] = [spec.width / scale, spec.height / scale];
    const [left, top] = [(width - keptWidth) / 2, (height - keptHeight) / 2];
    return {
      box: [Math.max(left, 0), Math.max(top, 0), Math.min(left + keptWidth, width), Math.min(top + keptHeight, height)],
      inside: everywhere,
    };
  }
  const inner = [Math.max(1, roundHalfEven(width * scale)), Math.max(1, roundHalfEven(height * scale))];
  const [x, y] = [Math.floor((spec.width - inner[0]) / 2), Math.floor((spec.height - inner[1]) / 2)];
  return { box: whole, inside: [x, y, x + inner[0], y + inner[1]] };
}

/**
 * Weights of one direction, as integers of 22 bits after the point.
 * @param {number} size Of the picture in this direction.
 * @param {number} from Where the box begins and ends, already rounded to float32.
 * @param {number} to
 * @param {number} outSize
 * @param {string} kernel
 */
function weigh(size, from, to, outSize, kernel) {
  const [reach, filter] = FILTERS[kernel];
  const scale = Math.fround(to - from) / outSize; // Pillow subtracts in float32
  const stretch = Math.max(scale, 1);
  const support = reach * stretch;
  const most = Math.ceil(support) * 2 + 1;
  const weights = new Int32Array(outSize * most);
  const first = new Int32Array(outSize);
  const count = new Int32Array(outSize);
  const row = new Float64Array(most);
  const step = 1 / stretch;
  for (let out = 0; out < outSize; out++) {
    const center = from + (out + 0.5) * scale;
    const begin = Math.max(0, Math.trunc(center - support + 0.5));
    const length = Math.min(size, Math.trunc(center + support + 0.5)) - begin;
    let sum = 0;
    for (let i = 0; i < length; i++) {
      row[i] = filter((i + begin - center + 0.5) * step);
      sum += row[i];
    }
    for (let i = 0; i < length; i++) {
      const weight = (sum === 0 ? row[i] : row[i] / sum) * (1 << PRECISION_BITS);
      weights[out * most + i] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    first[out] = begin;
    count[out] = length;
  }
  return { weights, first, count, most };
}

/** @param {number} value */
const clip = (value) => (value < 0 ? 0 : value > 255 ? 255 : value);

/**
 * Resizes a part of a picture.
 * @param {Uint8ClampedArray | Uint8Array} rgba Four bytes a pixel, row by row; the fourth is not looked at.
 * @param {number} width
 * @param {number} height
 * @param {Box} box The part, in pixels and fractions of them.
 * @param {number} outWidth
 * @param {number} outHeight
 * @param {string} kernel
 * @returns {Uint8Array} Three bytes a pixel.
 */
export function resample(rgba, width, height, box, outWidth, outHeight, kernel) {
  const [left, top, right, bottom] = box.map(Math.fround); // as Pillow holds it
  const vertical = weigh(height, top, bottom, outHeight, kernel);
  const needed = bottom !== height || top !== 0 || outHeight !== height;
  const y0 = needed ? vertical.first[0] : 0;
  const y1 = needed ? vertical.first[outHeight - 1] + vertical.count[outHeight - 1] : height;
  const rows = left === 0 && right === width && outWidth === width
    ? withoutAlpha(rgba.subarray(y0 * width * 4, y1 * width * 4))
    : alongRows(rgba, width, y0, y1, weigh(width, left, right, outWidth, kernel), outWidth);
  return needed ? alongColumns(rows, outWidth, y0, vertical, outHeight) : rows;
}

/** @param {Uint8ClampedArray | Uint8Array} rgba */
export function withoutAlpha(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    rgb[to] = rgba[from];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + 2];
  }
  return rgb;
}

/**
 * @param {Uint8ClampedArray | Uint8Array} rgba
 * @param {number} width
 * @param {number} y0
 * @param {number} y1
 * @param {ReturnType<typeof weigh>} across
 * @param {number} outWidth
 */
function alongRows(rgba, width, y0, y1, { weights, first, count, most }, outWidth) {
  const out = new Uint8Array((y1 - y0) * outWidth * 3);
  let to = 0;
  for (let y = y0; y < y1; y++) {
    const line = y * width * 4;
    for (let x = 0; x < outWidth; x++) {
      let from = line + first[x] * 4;
      let at = x * most;
      let [red, green, blue] = [HALF, HALF, HALF];
      for (const end = at + count[x]; at < end; at++, from += 4) {
        const weight = weights[at];
        red = (red + Math.imul(rgba[from], weight)) | 0;
        green = (green + Math.imul(rgba[from + 1], weight)) | 0;
        blue = (blue + Math.imul(rgba[from + 2], weight)) | 0;
      }
      out[to] = clip(red >> PRECISION_BITS);
      out[to + 1] = clip(green >> PRECISION_BITS);
      out[to + 2] = clip(blue >> PRECISION_BITS);
      to += 3;
    }
  }
  return out;
}

/**
 * @param {Uint8Array} rows
 * @param {number} outWidth
 * @param {number} y0 Which row of the picture is the first of `rows`.
 * @param {ReturnType<typeof weigh>} down
 * @param {number} outHeight
 */
function alongColumns(rows, outWidth, y0, { weights, first, count, most }, outHeight) {
  const stride = outWidth * 3;
  const out = new Uint8Array(outHeight * stride);
  const sums = new Int32Array(stride);
  for (let y = 0; y < outHeight; y++) {
    sums.fill(HALF);
    for (let i = 0; i < count[y]; i++) {
      const weight = weights[y * most + i];
      const from = (first[y] - y0 + i) * stride;
      for (let x = 0; x < stride; x++) sums[x] = (sums[x] + Math.imul(rows[from + x], weight)) | 0;
    }
    for (let x = 0; x < stride; x++) out[y * stride + x] = clip(sums[x] >> PRECISION_BITS);
  }
  return out;
}

/**
 * Fits an upright picture to the input size.
 * @param {Uint8ClampedArray | Uint8Array} rgba Four bytes a pixel.
 * @param {number} width
 * @param {number} height
 * @param {ImageSpec} spec
 * @returns {Uint8Array} [spec.height, spec.width, 3], 0..255.
 */
export function fit(rgba, width, height, spec) {
  const { box, inside } = placement(width, height, spec);
  const [innerWidth, innerHeight] = [inside[2] - inside[0], inside[3] - inside[1]];
  const fitted = resample(rgba, width, height, box, innerWidth, innerHeight, spec.kernel);
  if (innerWidth === spec.width && innerHeight === spec.height) return fitted;
  const canvas = new Uint8Array(spec.height * spec.width * 3).fill(LETTERBOX);
  for (let y = 0; y < innerHeight; y++) {
    const at = ((inside[1] + y) * spec.width + inside[0]) * 3;
    canvas.set(fitted.subarray(y * innerWidth * 3, (y + 1) * innerWidth * 3), at);
  }
  return canvas;
}

/**
 * The mean of each block of pixels, for JPEGs that nothing here decodes at a reduced scale.
 * @param {Uint8ClampedArray | Uint8Array} rgba
 * @param {number} width
 * @param {number} height
 * @param {number} factor 2, 4 or 8: a side of a block; those at the edges may be smaller.
 */
export function reduce(rgba, width, height, factor) {
  const [outWidth, outHeight] = [Math.ceil(width / factor), Math.ceil(height / factor)];
  const out = new Uint8ClampedArray(outWidth * outHeight * 4);
  const sums = new Uint32Array(outWidth * 3);
  for (let y = 0; y < outHeight; y++) {
    sums.fill(0);
    const [y0, y1] = [y * factor, Math.min(height, (y + 1) * factor)];
    for (let from = y0; from < y1; from++) {
      for (let x = 0, at = from * width * 4; x < width; x++, at += 4) {
        const to = ((x / factor) | 0) * 3;
        sums[to] += rgba[at];
        sums[to + 1] += rgba[at + 1];
        sums[to + 2] += rgba[at + 2];
      }
    }
    for (let x = 0; x < outWidth; x++) {
      const area = (Math.min(width, (x + 1) * factor) - x * factor) * (y1 - y0);
      const to = (y * outWidth + x) * 4;
      for (let channel = 0; channel < 3; channel++) {
        out[to + channel] = Math.floor((sums[x * 3 + channel] + area / 2) / area);
      }
      out[to + 3] = 255;
    }
  }
  return { rgba: out, width: outWidth, height: outHeight };
}
