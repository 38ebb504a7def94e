// A JPEG decoded at 1/2, 1/4 or 1/8 of its size in the frequency domain, as libjpeg does it to the bit: so
// a browser whose own decoder has no such scale gets the very pixels that Pillow's `draft` gives.
// The transforms are those of its jidctred.c and jidctint.c, in integers of 13 bits after the point.

import { readJpeg, ZIGZAG } from "./jpeg_scan.js";

/** @typedef {import("./jpeg_scan.js").Component} Component */
/** @typedef {(coefficients: Int32Array, out: Uint8ClampedArray, at: number, stride: number) => void} Transform */

const BITS = 13;
const PASS_BITS = 2;
/** @param {number} x */
const fix = (x) => Math.round(x * (1 << BITS));
const workspace = new Int32Array(64);

/** Two outputs of the odd part of four. @type {[number, number, number, number][]} */
const ODD_4 = [
  [1.061594337, -2.172734803, 1.451774981, -0.211164243],
  [2.562915447, 0.899976223, -0.601344887, -0.509795579],
].map((row) => /** @type {[number, number, number, number]} */ (row.map(fix)));
const ODD_2 = [3.624509785, -1.27275858, 0.850430095, -0.720959822].map(fix);
const [EVEN_2, EVEN_6] = [fix(1.847759065), -fix(0.765366865)];

/**
 * @param {Int32Array} x Eight of them, `step` apart.
 * @param {number} at
 * @param {number} step
 * @param {ArrayLike<number>} factors Of the first, third, fifth and seventh.
 */
const odd = (x, at, step, factors) =>
  Math.imul(x[at + step], factors[0]) + Math.imul(x[at + 3 * step], factors[1]) +
  Math.imul(x[at + 5 * step], factors[2]) + Math.imul(x[at + 7 * step], factors[3]);

/** @param {number} value @param {number} shift */
const descale = (value, shift) => (value + (1 << (shift - 1))) >> shift;

/** @type {Transform} */
function to4(x, out, at, stride) {
  for (let column = 0; column < 8; column++) four(x, column, 8, BITS - PASS_BITS + 1, workspace, column, 8, 0);
  for (let row = 0; row < 4; row++) four(workspace, row * 8, 1, BITS + PASS_BITS + 4, out, at + row * stride, 1, 128);
}

/**
 * @param {Int32Array} x
 * @param {number} at
 * @param {number} step
 * @param {number} shift
 * @param {Int32Array | Uint8ClampedArray} out
 * @param {number} to
 * @param {number} outStep
 * @param {number} center
 */
function four(x, at, step, shift, out, to, outStep, center) {
  const middle = x[at] << (BITS + 1);
  const even = Math.imul(x[at + 2 * step], EVEN_2) + Math.imul(x[at + 6 * step], EVEN_6);
  const inner = odd(x, at, step, ODD_4[0]);
  const outer = odd(x, at, step, ODD_4[1]);
  out[to] = descale(middle + even + outer, shift) + center;
  out[to + outStep] = descale(middle - even + inner, shift) + center;
  out[to + 2 * outStep] = descale(middle - even - inner, shift) + center;
  out[to + 3 * outStep] = descale(middle + even - outer, shift) + center;
}

/** @type {Transform} */
function to2(x, out, at, stride) {
  for (let column = 0; column < 8; column += column ? 2 : 1) {
    const change = odd(x, column, 8, ODD_2);
    const middle = x[column] << (BITS + 2);
    workspace[column] = descale(middle + change, BITS - PASS_BITS + 2);
    workspace[column + 8] = descale(middle - change, BITS - PASS_BITS + 2);
  }
  for (let row = 0; row < 2; row++) {
    const change = odd(workspace, row * 8, 1, ODD_2);
    const middle = workspace[row * 8] << (BITS + 2);
    out[at + row * stride] = descale(middle + change, BITS + PASS_BITS + 5) + 128;
    out[at + row * stride + 1] = descale(middle - change, BITS + PASS_BITS + 5) + 128;
  }
}

/** @type {Transform} */
function to8(x, out, at, stride) {
  for (let column = 0; column < 8; column++) eight(x, column, 8, BITS - PASS_BITS, workspace, column, 8, 0);
  for (let row = 0; row < 8; row++) eight(workspace, row * 8, 1, BITS + PASS_BITS + 3, out, at + row * stride, 1, 128);
}

const EIGHT = [
  0.541196100, -1.847759065, 0.765366865, 1.175875602, 0.298631336, 2.053119869, 3.072711026, 1.501321110,
  -0.899976223, -2.562915447, -1.961570560, -0.390180644,
].map(fix);

/** After Loeffler, Ligtenberg and Moschytz, with 12 multiplications. @type {typeof four} */
function eight(x, at, step, shift, out, to, outStep, center) {
  const [two, six] = [x[at + 2 * step], x[at + 6 * step]];
  const turned = Math.imul(two + six, EIGHT[0]);
  const [even2, even3] = [turned + Math.imul(six, EIGHT[1]), turned + Math.imul(two, EIGHT[2])];
  const [even0, even1] = [(x[at] + x[at + 4 * step]) << BITS, (x[at] - x[at + 4 * step]) << BITS];
  let [a, b, c, d] = [x[at + 7 * step], x[at + 5 * step], x[at + 3 * step], x[at + step]];
  const all = Math.imul(a + b + c + d, EIGHT[3]);
  const [z1, z2] = [Math.imul(a + d, EIGHT[8]), Math.imul(b + c, EIGHT[9])];
  const [z3, z4] = [Math.imul(a + c, EIGHT[10]) + all, Math.imul(b + d, EIGHT[11]) + all];
  a = Math.imul(a, EIGHT[4]) + z1 + z3;
  b = Math.imul(b, EIGHT[5]) + z2 + z4;
  c = Math.imul(c, EIGHT[6]) + z2 + z3;
  d = Math.imul(d, EIGHT[7]) + z1 + z4;
  const evens = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];
  const odds = [d, c, b, a];
  for (let i = 0; i < 4; i++) {
    out[to + i * outStep] = descale(evens[i] + odds[i], shift) + center;
    out[to + (7 - i) * outStep] = descale(evens[i] - odds[i], shift) + center;
  }
}

/** By the size of what a block becomes. @type {Record<number, Transform>} */
const TRANSFORMS = { 2: to2, 4: to4, 8: to8 };
const PLACES = Uint8Array.from({ length: 64 }, (_, i) => i);
/** Those that `to2` looks at. */
const FEW = PLACES.filter((i) => [i & 7, i >> 3].every((at) => at === 0 || at % 2 === 1));

/**
 * Decodes a JPEG at a reduced scale.
 * @param {Uint8Array} bytes The file.
 * @param {number} factor 2, 4 or 8.
 * @returns {{rgba: Uint8ClampedArray, width: number, height: number} | null} As stored, not turned;
 *   null where the file is of a kind that is not read here.
 */
export function decodeJpeg(bytes, factor) {
  const jpeg = readJpeg(bytes, factor === 8);
  if (!jpeg) return null;
  const least = 8 / factor;
  const [mostH, mostV] = [Math.max(...jpeg.components.map(({ h }) => h)), Math.max(...jpeg.components.map(({ v }) => v))];
  const [width, height] = [Math.ceil(jpeg.width / factor), Math.ceil(jpeg.height / factor)];
  const planes = [];
  for (const part of jpeg.components) {
    const size = sizeOf(part, least, mostH, mostV);
    const [acrossBy, downBy] = [(mostH * least) / (part.h * size), (mostV * least) / (part.v * size)];
    if (downBy !== 1 || (acrossBy !== 1 && acrossBy !== 2)) return null; // 4:4:0, 4:1:1 and other rare ones
    const plane = transform(part, size);
    const columns = Math.ceil((jpeg.width * part.h * size) / (mostH * 8));
    planes.push(acrossBy === 1 ? plane : widen(plane, columns, height, least > 1 && columns > 2));
  }
  return { rgba: colours(planes, width, height, isYcc(jpeg)), width, height };
}

/** What a block of a component becomes: what is sampled less is reduced less. @param {Component} part @param {number} least @param {number} mostH @param {number} mostV */
function sizeOf({ h, v }, least, mostH, mostV) {
  let size = least;
  while (size < 8 && (mostH * least) % (h * size * 2) === 0 && (mostV * least) % (v * size * 2) === 0) size *= 2;
  return size;
}

/** @typedef {{samples: Uint8ClampedArray, stride: number}} Plane */

/** @param {Component} part @param {number} size @returns {Plane} */
function transform({ blocks, kept, quantization, across, down, stride: blocksInRow }, size) {
  const stride = across * size;
  const samples = new Uint8ClampedArray(stride * down * size);
  const scaled = new Int32Array(64);
  const factors = new Int32Array(64);
  ZIGZAG.forEach((place, i) => (factors[place] = quantization[i]));
  const run = TRANSFORMS[size];
  const used = size === 2 ? FEW : PLACES;
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      const from = (y * blocksInRow + x) * kept;
      if (size === 1) { // its mean is all that counts
        samples[y * stride + x] = descale(Math.imul(blocks[from], factors[0]), 3) + 128;
        continue;
      }
      for (let i = 0; i < used.length; i++) scaled[used[i]] = Math.imul(blocks[from + used[i]], factors[used[i]]);
      run(scaled, samples, y * size * stride + x * size, stride);
    }
  }
  return { samples, stride };
}

/** Twice as wide: weighed 3 to 1 with the neighbour, or doubled. @param {Plane} plane @param {number} columns @param {number} rows @param {boolean} weighed @returns {Plane} */
function widen({ samples, stride }, columns, rows, weighed) {
  const wide = new Uint8ClampedArray(columns * 2 * rows);
  for (let y = 0; y < rows; y++) {
    const from = y * stride;
    let to = y * columns * 2;
    for (let x = 0; x < columns; x++) {
      const own = samples[from + x];
      const left = weighed && x ? samples[from + x - 1] : own;
      const right = weighed && x + 1 < columns ? samples[from + x + 1] : own;
      wide[to++] = (3 * own + left + 1) >> 2;
      wide[to++] = (3 * own + right + 2) >> 2;
    }
  }
  return { samples: wide, stride: columns * 2 };
}

/** Whether three components are YCbCr. @param {import("./jpeg_scan.js").Jpeg} jpeg */
function isYcc({ components, adobe, jfif }) {
  if (jfif || components.length < 3) return true;
  if (adobe !== null) return adobe !== 0;
  return String.fromCharCode(...components.map(({ id }) => id)) !== "RGB";
}

/** @param {Plane[]} planes @param {number} width @param {number} height @param {boolean} ycc */
function colours(planes, width, height, ycc) {
  const rgba = new Uint8ClampedArray(width * height * 4);
  const [first, second, third] = planes.length === 3 ? planes : [planes[0], planes[0], planes[0]];
  const grey = planes.length < 3;
  let to = 0;
  for (let y = 0; y < height; y++) {
    let [a, b, c] = [y * first.stride, y * second.stride, y * third.stride];
    for (let x = 0; x < width; x++, a++, b++, c++, to += 4) {
      const light = first.samples[a];
      if (grey || !ycc) {
        rgba[to] = light;
        rgba[to + 1] = second.samples[b];
        rgba[to + 2] = third.samples[c];
      } else {
        const blue = second.samples[b] - 128;
        const red = third.samples[c] - 128;
        rgba[to] = light + ((91881 * red + 32768) >> 16);
        rgba[to + 1] = light + ((-22554 * blue - 46802 * red + 32768) >> 16);
        rgba[to + 2] = light + ((116130 * blue + 32768) >> 16);
      }
      rgba[to + 3] = 255;
    }
  }
  return rgba;
}
