// FlatBuffers, as far as adding to one takes it: its tables read, and new ones put before the old.
// The layout is that of FlatBuffers' "Internals". Offsets point forward, so that what is new and
// leads to what was there has to lie in front of it; the old bytes follow unchanged.

import { Problem } from "./problem.js";

/** @typedef {Made | number} Place Something new, or where something is in the old bytes. */
/** @typedef {{word: number} | {to: Place} | null} Field A number of 4 bytes, an offset, or left out. */

const HEAD = 8; // offset of the root, and the identifier
const ALIGNED = 16; // what weights are aligned to
const utf8 = new TextEncoder();

export class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** @param {number} at */
  number(at) {
    return this.view.getUint32(at, true);
  }

  /** Where an offset leads. @param {number} at */
  target(at) {
    return at + this.number(at);
  }

  /** Where a field of a table is; 0 for one left out. @param {number} table @param {number} number */
  field(table, number) {
    const fields = table - this.view.getInt32(table, true);
    const place = 4 + 2 * number;
    const offset = place < this.view.getUint16(fields, true) ? this.view.getUint16(fields + place, true) : 0;
    return offset ? table + offset : 0;
  }

  /** How many fields a table's layout names. @param {number} table */
  fields(table) {
    return (this.view.getUint16(table - this.view.getInt32(table, true), true) - 4) / 2;
  }

  /** The places of a vector's elements of 4 bytes each; none of a field left out. @param {number} field */
  vector(field) {
    if (!field) return [];
    const start = this.target(field);
    return Array.from({ length: this.number(start) }, (_, i) => start + 4 + 4 * i);
  }

  /** The tables that a vector leads to. @param {number} field */
  tables(field) {
    return this.vector(field).map((at) => this.target(at));
  }

  /** @param {number} field */
  text(field) {
    if (!field) return "";
    const start = this.target(field);
    return new TextDecoder().decode(this.bytes.subarray(start + 4, start + 4 + this.number(start)));
  }

  /**
   * A table's fields, to be written again.
   * @param {number} table
   * @param {number[]} numbers Which of them are numbers of 4 bytes; the others lead somewhere.
   * @param {number} known How many fields there are by the schema.
   * @returns {Field[]}
   */
  copy(table, numbers, known) {
    return Array.from({ length: Math.max(known, this.fields(table)) }, (_, i) => {
      const at = this.field(table, i);
      if (!at) return null;
      if (i >= known) throw new Problem("no_tap", { reason: "its graph is of a later schema" });
      return numbers.includes(i) ? { word: this.number(at) } : { to: this.target(at) };
    });
  }
}

/**
 * Something that will lie in front of the old bytes.
 * @typedef {object} Made
 * @property {number} at Where others find it.
 * @property {number} size
 * @property {number} before Of its bytes, how many lie before that.
 * @property {(view: DataView, start: number, offset: (from: number, to: Place) => void) => void} write
 */

/** @param {number} size @param {number} before @param {Made["write"]} write @returns {Made} */
const made = (size, before, write) => ({ at: 0, size: (size + 3) & ~3, before, write });

export class Front {
  /** In the order they will lie: each before what it leads to. @type {Made[]} */
  #parts = [];

  /** @param {Made} part */
  add(part) {
    this.#parts.push(part);
    return part;
  }

  /** @param {Field[]} fields */
  static table(fields) {
    const head = (4 + 2 * fields.length + 3) & ~3;
    const present = fields.filter((field) => field !== null).length;
    return made(head + 4 + 4 * present, head, (view, start, offset) => {
      const table = start + head;
      view.setUint16(start, 4 + 2 * fields.length, true);
      view.setUint16(start + 2, 4 + 4 * present, true);
      view.setInt32(table, head, true);
      let at = table + 4;
      fields.forEach((field, i) => {
        if (field === null) return;
        view.setUint16(start + 4 + 2 * i, at - table, true);
        if ("word" in field) view.setUint32(at, field.word, true);
        else offset(at, field.to);
        at += 4;
      });
    });
  }

  /** @param {Exclude<Field, null>[]} elements */
  static vector(elements) {
    return made(4 + 4 * elements.length, 0, (view, start, offset) => {
      view.setUint32(start, elements.length, true);
      elements.forEach((element, i) => {
        const at = start + 4 + 4 * i;
        if ("word" in element) view.setUint32(at, element.word, true);
        else offset(at, element.to);
      });
    });
  }

  /** @param {string} words */
  static text(words) {
    const content = utf8.encode(words);
    return made(4 + content.length + 1, 0, (view, start) => {
      view.setUint32(start, content.length, true);
      content.forEach((byte, i) => view.setUint8(start + 4 + i, byte));
    });
  }

  /**
   * All that was added, the first of which is the new root, and the old bytes behind.
   * @param {Uint8Array} old
   */
  before(old) {
    let size = HEAD;
    for (const part of this.#parts) {
      part.at = size + part.before;
      size += part.size;
    }
    size = Math.ceil(size / ALIGNED) * ALIGNED;
    const bytes = new Uint8Array(size + old.length);
    bytes.set(old, size);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, this.#parts[0].at, true);
    bytes.set(old.subarray(4, HEAD), 4);
    const offset = (/** @type {number} */ from, /** @type {Place} */ to) => {
      view.setUint32(from, (typeof to === "number" ? size + to : to.at) - from, true);
    };
    for (const part of this.#parts) part.write(view, part.at - part.before, offset);
    return bytes;
  }
}
