// A JPEG's coefficients: its headers and its Huffman-coded scans, sequential and progressive.
// After ITU-T T.81, annexes B, C, F and G.

import { Problem } from "./problem.js";

/**
 * @typedef {object} Component
 * @property {number} id
 * @property {number} h Sampling factors.
 * @property {number} v
 * @property {Uint16Array} quantization In zigzag order.
 * @property {number} across Blocks in a row that are part of the picture.
 * @property {number} down
 * @property {number} stride Blocks in a row that there are.
 * @property {number} kept Coefficients of a block that are kept: 64, or the first alone.
 * @property {Int16Array} blocks These, each block row by row.
 * @property {Huffman} dc
 * @property {Huffman} ac
 * @property {number} before The last DC coefficient.
 */

/** @typedef {{width: number, height: number, components: Component[], adobe: number | null, jfif: boolean}} Jpeg */
/** @typedef {{lookup: Uint16Array, last: Int32Array, offset: Int32Array, values: Uint8Array}} Huffman */

export const ZIGZAG = Uint8Array.of(
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
);
const QUICK = 9; // bits of a code that one look tells

/**
 * Reads a whole file of up to three components; null where it is of a kind that is not read here.
 * @param {Uint8Array} bytes
 * @param {boolean} means Whether of the most finely sampled components only each block's mean is wanted.
 * @returns {Jpeg | null}
 */
export function readJpeg(bytes, means) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** @type {Record<number, Uint16Array>} */
  const quantizations = {};
  /** @type {Record<number, Huffman>} */
  const codes = {};
  /** @type {Jpeg | null} */
  let jpeg = null;
  let [progressive, restart, adobe, jfif] = [false, 0, /** @type {number | null} */ (null), false];
  for (let at = 2; at + 2 <= bytes.length; ) {
    if (bytes[at] !== 0xff) {
      at += 1;
      continue;
    }
    const marker = bytes[at + 1];
    if (marker === 0xd9) return jpeg && { ...jpeg, adobe, jfif };
    if (marker === 0xff || marker === 0 || (marker >= 0xd0 && marker <= 0xd8)) {
      at += marker === 0xff ? 1 : 2;
      continue;
    }
    const start = at + 4;
    const end = at + 2 + view.getUint16(at + 2);
    at = end;
    if (marker === 0xdb) readQuantizations(view, start, end, quantizations);
    else if (marker === 0xc4) readCodes(bytes, start, end, codes);
    else if (marker === 0xdd) restart = view.getUint16(start);
    else if (marker === 0xe0) jfif ||= bytes[start] === 0x4a && bytes[start + 1] === 0x46;
    else if (marker === 0xee && bytes[start] === 0x41 && bytes[start + 1] === 0x64) adobe = bytes[start + 11];
    else if (marker === 0xc0 || marker === 0xc1 || marker === 0xc2) {
      progressive = marker === 0xc2;
      jpeg = readFrame(view, start, quantizations, means && !progressive);
      if (!jpeg) return null;
    } else if (marker >= 0xc3 && marker <= 0xcf) return null; // arithmetic, lossless, hierarchical
    else if (marker === 0xda && jpeg) at = readScan(bytes, start, jpeg, codes, restart, progressive);
  }
  throw new Problem("damaged_picture", { reason: "it has no end" });
}

/** @param {DataView} view @param {number} at @param {number} end @param {Record<number, Uint16Array>} found */
function readQuantizations(view, at, end, found) {
  while (at < end) {
    const head = view.getUint8(at++);
    const wide = head >> 4;
    found[head & 15] = Uint16Array.from({ length: 64 }, (_, i) => (wide ? view.getUint16(at + 2 * i) : view.getUint8(at + i)));
    at += wide ? 128 : 64;
  }
}

/** @param {Uint8Array} bytes @param {number} at @param {number} end @param {Record<number, Huffman>} found */
function readCodes(bytes, at, end, found) {
  while (at < end) {
    const head = bytes[at];
    const counts = bytes.subarray(at + 1, at + 17);
    const total = counts.reduce((sum, count) => sum + count, 0);
    found[head] = huffman(counts, bytes.subarray(at + 17, at + 17 + total));
    at += 17 + total;
  }
}

/** @param {Uint8Array} counts Codes of each length from 1. @param {Uint8Array} values @returns {Huffman} */
function huffman(counts, values) {
  const lookup = new Uint16Array(1 << QUICK);
  const last = new Int32Array(18).fill(-1);
  const offset = new Int32Array(18);
  let [code, index] = [0, 0];
  for (let length = 1; length <= 16; length++) {
    offset[length] = index - code;
    for (let i = 0; i < counts[length - 1]; i++, code++, index++) {
      if (length > QUICK) continue;
      const from = code << (QUICK - length);
      lookup.fill((length << 8) | values[index], from, from + (1 << (QUICK - length)));
    }
    if (counts[length - 1]) last[length] = code - 1;
    code <<= 1;
  }
  return { lookup, last, offset, values };
}

/** @param {DataView} view @param {number} at @param {Record<number, Uint16Array>} quantizations @param {boolean} means @returns {Jpeg | null} */
function readFrame(view, at, quantizations, means) {
  const [height, width, count] = [view.getUint16(at + 1), view.getUint16(at + 3), view.getUint8(at + 5)];
  if (view.getUint8(at) !== 8 || !height || (count !== 1 && count !== 3)) return null;
  const heads = Array.from({ length: count }, (_, i) => at + 6 + 3 * i);
  const [mostH, mostV] = [4, 0].map((shift) => Math.max(...heads.map((head) => (view.getUint8(head + 1) >> shift) & 15)));
  const components = heads.map((head) => {
    const [h, v] = [view.getUint8(head + 1) >> 4, view.getUint8(head + 1) & 15];
    const across = Math.ceil((width * h) / mostH / 8);
    const down = Math.ceil((height * v) / mostV / 8);
    const stride = Math.ceil(width / 8 / mostH) * h;
    const kept = means && h === mostH && v === mostV ? 1 : 64;
    const blocks = new Int16Array(stride * Math.ceil(height / 8 / mostV) * v * kept);
    const none = huffman(new Uint8Array(16), new Uint8Array());
    const place = view.getUint8(head + 2);
    quantizations[place] ??= new Uint16Array(64);
    return { id: view.getUint8(head), h, v, quantization: quantizations[place], across, down, stride, kept, blocks, dc: none, ac: none, before: 0 };
  });
  return { width, height, components, adobe: null, jfif: false };
}

/**
 * Reads one scan into the components' blocks.
 * @param {Uint8Array} bytes
 * @param {number} at
 * @param {Jpeg} jpeg
 * @param {Record<number, Huffman>} codes
 * @param {number} restart Units between two restarts; 0 for none.
 * @param {boolean} progressive
 * @returns {number} Where it ends.
 */
function readScan(bytes, at, jpeg, codes, restart, progressive) {
  const parts = [];
  const count = bytes[at++];
  for (let i = 0; i < count; i++, at += 2) {
    const part = jpeg.components.find(({ id }) => id === bytes[at]);
    if (!part) throw new Problem("damaged_picture", { reason: "a scan of no component" });
    Object.assign(part, { dc: codes[bytes[at + 1] >> 4] ?? part.dc, ac: codes[16 | (bytes[at + 1] & 15)] ?? part.ac });
    parts.push(part);
  }
  const reader = new Scan(bytes, at + 3, bytes[at], progressive ? bytes[at + 1] : 63, bytes[at + 2], progressive);
  const alone = parts.length === 1;
  const across = alone ? parts[0].across : parts[0].stride / parts[0].h;
  const down = alone ? parts[0].down : parts[0].blocks.length / parts[0].kept / parts[0].stride / parts[0].v;
  for (let unit = 0, left = restart; unit < across * down; unit++, left--) {
    if (unit % (restart || Infinity) === 0) {
      if (unit) reader.restart();
      for (const part of parts) part.before = 0;
    }
    const row = Math.floor(unit / across);
    const column = unit - row * across;
    if (alone) reader.block(parts[0], (row * parts[0].stride + column) * parts[0].kept);
    else {
      for (const part of parts) {
        for (let y = row * part.v; y < (row + 1) * part.v; y++) {
          for (let x = column * part.h; x < (column + 1) * part.h; x++) reader.block(part, (y * part.stride + x) * part.kept);
        }
      }
    }
  }
  return reader.at;
}

/** The bits of one scan, and what they say of a block. */
class Scan {
  /**
   * @param {Uint8Array} bytes
   * @param {number} at
   * @param {number} first Of the coefficients, in zigzag order.
   * @param {number} last
   * @param {number} bits Which of their bits it is about: `high << 4 | low`.
   * @param {boolean} progressive
   */
  constructor(bytes, at, first, last, bits, progressive) {
    this.bytes = bytes;
    this.at = at;
    this.buffer = 0;
    this.held = 0; // bits in it
    this.run = 0; // blocks to come without more coefficients
    this.missing = 0;
    this.first = first;
    this.last = last;
    this.low = progressive ? bits & 15 : 0;
    const refines = progressive && bits >> 4 > 0;
    this.block = !progressive ? this.sequential
      : first === 0 ? (refines ? this.refineDc : this.firstDc)
        : refines ? this.refineAc : this.firstAc;
  }

  fill() {
    while (this.held <= 24) {
      let byte = this.bytes[this.at];
      if (byte === 0xff) {
        if (this.bytes[this.at + 1] === 0) this.at += 2;
        else byte = this.none(); // a marker: there is no more
      } else if (byte === undefined) byte = this.none();
      else this.at += 1;
      this.buffer = (this.buffer << 8) | byte;
      this.held += 8;
    }
  }

  none() {
    if (++this.missing > 64) throw new Problem("damaged_picture", { reason: "it is cut short" });
    return 0;
  }

  /** @param {number} count */
  bits(count) {
    if (this.held < count) this.fill();
    this.held -= count;
    return (this.buffer >>> this.held) & ((1 << count) - 1);
  }

  /** A number of so many bits, of which the first is its sign. @param {number} count */
  signed(count) {
    if (!count) return 0;
    const value = this.bits(count);
    return value < 1 << (count - 1) ? value - (1 << count) + 1 : value;
  }

  /** @param {Huffman} code */
  symbol({ lookup, last, offset, values }) {
    if (this.held < 16) this.fill();
    const found = lookup[(this.buffer >>> (this.held - QUICK)) & ((1 << QUICK) - 1)];
    if (found) {
      this.held -= found >> 8;
      return found & 255;
    }
    for (let length = QUICK + 1; length <= 16; length++) {
      const code = (this.buffer >>> (this.held - length)) & ((1 << length) - 1);
      if (code <= last[length]) {
        this.held -= length;
        return values[code + offset[length]];
      }
    }
    throw new Problem("damaged_picture", { reason: "a code that is none" });
  }

  restart() {
    this.buffer = this.held = this.run = this.missing = 0;
    while (this.at + 1 < this.bytes.length && !(this.bytes[this.at] === 0xff && this.bytes[this.at + 1] >= 0xd0 && this.bytes[this.at + 1] <= 0xd7)) {
      if (this.bytes[this.at] === 0xff && this.bytes[this.at + 1] === 0xd9) return;
      this.at += 1;
    }
    this.at += 2;
  }

  /** @param {Component} part @param {number} at */
  sequential(part, at) {
    const { blocks, ac } = part;
    part.before += this.signed(this.symbol(part.dc));
    blocks[at] = part.before;
    if (part.kept === 1) {
      this.passOver(ac);
      return;
    }
    for (let k = 1; k < 64; k++) {
      const symbol = this.symbol(ac);
      const size = symbol & 15;
      if (!size) {
        if (symbol < 0xf0) return;
        k += 15;
        continue;
      }
      k += symbol >> 4;
      blocks[at + ZIGZAG[k & 63]] = this.signed(size);
    }
  }

  /** The rest of a block that nobody wants. @param {Huffman} ac */
  passOver(ac) {
    for (let k = 1; k < 64; k++) {
      const symbol = this.symbol(ac);
      const size = symbol & 15;
      if (!size && symbol < 0xf0) return;
      if (this.held < size) this.fill();
      this.held -= size;
      k += symbol >> 4;
    }
  }

  /** @param {Component} part @param {number} at */
  firstDc(part, at) {
    part.before += this.signed(this.symbol(part.dc));
    part.blocks[at] = part.before << this.low;
  }

  /** @param {Component} part @param {number} at */
  refineDc(part, at) {
    part.blocks[at] |= this.bits(1) << this.low;
  }

  /** @param {Component} part @param {number} at */
  firstAc({ blocks, ac }, at) {
    if (this.run) {
      this.run -= 1;
      return;
    }
    for (let k = this.first; k <= this.last; k++) {
      const symbol = this.symbol(ac);
      const [zeros, size] = [symbol >> 4, symbol & 15];
      if (size) {
        k += zeros;
        blocks[at + ZIGZAG[k & 63]] = this.signed(size) << this.low;
      } else if (zeros === 15) k += 15;
      else {
        this.run = (1 << zeros) - 1 + this.bits(zeros);
        return;
      }
    }
  }

  /** @param {Component} part @param {number} at */
  refineAc({ blocks, ac }, at) {
    const step = 1 << this.low;
    let k = this.first;
    for (; !this.run && k <= this.last; k++) {
      const symbol = this.symbol(ac);
      let [zeros, value] = [symbol >> 4, 0];
      if (symbol & 15) value = this.bits(1) ? step : -step;
      else if (zeros < 15) {
        this.run = (1 << zeros) + this.bits(zeros);
        break;
      }
      for (; k <= this.last; k++) {
        const place = at + ZIGZAG[k];
        if (blocks[place]) this.refine(blocks, place, step);
        else if (--zeros < 0) break;
      }
      if (value && k <= this.last) blocks[at + ZIGZAG[k]] = value;
    }
    if (!this.run) return;
    for (; k <= this.last; k++) if (blocks[at + ZIGZAG[k]]) this.refine(blocks, at + ZIGZAG[k], step);
    this.run -= 1;
  }

  /** @param {Int16Array} blocks @param {number} place @param {number} step */
  refine(blocks, place, step) {
    if (this.bits(1) && !(blocks[place] & step)) blocks[place] += blocks[place] > 0 ? step : -step;
  }
}
