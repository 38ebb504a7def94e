// A frame as it travels: 16 bytes of header, then an image file. As edgeclf/service/stream_messages.py.

export const HEADER_BYTES = 16;
const VERSION = 1;
const NEW = 1;
const RESENT = 2;

/**
 * @typedef {object} Header
 * @property {number} sequence
 * @property {boolean} resent
 * @property {number} takenMs When it was taken, by the client's clock.
 */

/**
 * @param {Header} header
 * @param {Uint8Array} picture
 */
export function pack({ sequence, resent, takenMs }, picture) {
  const message = new Uint8Array(HEADER_BYTES + picture.length);
  const view = new DataView(message.buffer);
  view.setUint8(0, VERSION);
  view.setUint8(1, resent ? RESENT : NEW);
  view.setUint32(4, sequence);
  view.setFloat64(8, takenMs);
  message.set(picture, HEADER_BYTES);
  return message;
}

/** @param {Uint8Array} message @returns {Header & {picture: Uint8Array}} */
export function unpack(message) {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  return { sequence: view.getUint32(4), resent: view.getUint8(1) === RESENT, takenMs: view.getFloat64(8), picture: message.subarray(HEADER_BYTES) };
}
