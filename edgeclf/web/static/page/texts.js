// A text for every state: what happened, and what to do.

import { bytes } from "./dom.js";

/** @typedef {Record<string, string | number>} Details */

/** By the code of a Problem. @type {Record<string, (d: Details) => string>} */
const PROBLEMS = {
  // Pictures
  empty_file: () => "The file is empty. Choose it again once it has been written.",
  unreadable_file: () => "The file cannot be read: it is a folder, or was moved or changed since it was chosen. Choose it again.",
  too_many_bytes: (d) => `The file has ${bytes(+d.bytes)}; the limit is ${bytes(+d.limit || 268435456)}. Save it smaller: a photo need not be larger than twice the model's input.`,
  too_many_pixels: (d) => `The picture has ${d.width} × ${d.height} pixels; the limit is 89 million in all and 65,535 a side. Shrink it first.`,
  too_many_scans: (d) => `This JPEG has more than ${d.scans} scans, which no camera writes and which take very long. Save it again.`,
  jpeg_bits: (d) => `This JPEG has ${d.bits} bits a channel; expected 8. Save it as PNG, or as a JPEG of 8 bits.`,
  browser_cannot_decode: (d) => `This browser cannot decode ${d.format}. The server may: send it there, or save it as JPEG.`,
  format_refused: (d) => `This is a file of type ${d.format}, which edgeclf does not take. Save it as JPEG or PNG.`,
  no_picture: () => "This is not a picture of a kind that is known here. Expected JPEG, PNG, WebP, GIF, BMP or AVIF.",
  damaged_picture: () => "The picture is damaged or cut short, and cannot be decoded. Copy it again from where it came.",
  no_canvas: () => "This browser gives no canvas to read pixels from. Let the server answer, or free some memory.",
  too_many_pictures: (d) => `${d.left} pictures were left out: ${d.most} fit on this page. Remove some.`,
  nothing_pasted: () => "There was no picture to paste.",
  no_photo_chosen: () => "No picture is chosen yet. Choose one above, or take the certificate's photo.",
  no_file_chosen: () => "No file is ticked. Tick those that are to be compared.",
  // The camera
  camera_insecure: () => "This page came over plain HTTP from another machine, where browsers give no camera. Open it at this machine, or by https; or take a photo with the phone's own camera and choose it.",
  no_camera_here: () => "This browser gives pages no camera. Use another one, or choose pictures.",
  camera_denied: () => "The camera was not allowed. Allow it at the lock or camera sign beside the address, then start again.",
  no_camera: () => "There is no camera here. Connect one, then start again; or choose pictures.",
  camera_in_use: () => "The camera is there, and another program or page uses it. End that, then start again.",
  camera_lost: () => "The camera is gone: it was disconnected, or its permission was taken back. Connect it, then start again.",
  camera_failed: (d) => `The camera could not be opened: ${d.reason}. Try another one.`,
  // The model in the browser
  no_artifact: () => "The model's file is no artifact of edgeclf: it carries no seal. It was not handed to any engine.",
  damaged_artifact: () => "The model's file has changed since it was written: its seal does not fit. It was not handed to any engine. Fetch it again; if that is no help, the server's copy is damaged.",
  no_metadata: () => "The model's file is sealed, and its metadata cannot be read. Convert it again.",
  later_format: (d) => `The model's file was written by ${d.writer}, in a later format. Update this service.`,
  another_file: () => "What came is not the file that the service lists: it was damaged on the way, or replaced just now. It was not handed to any engine, and not kept. Try again; if that is no help, choose the model again.",
  no_engine_for: (d) => `No engine runs .${d.format} files in a browser. Let the server answer, or serve a .tflite or .onnx file of this model.`,
  no_engines: () => "This service was installed without the browser's engines. Install edgeclf[web]; in a checkout run: python tools/fetch_web.py",
  engine_refuses: (d) => `${d.engine} does not take this file: ${d.reason} Let the server answer.`,
  engine_failed: (d) => `The engine failed: ${d.reason}. It was started anew; try again.`,
  engine_blocked: () => "The engine could not start: a policy of this browser, or of what lies between it and the service, forbids workers or WebAssembly. Let the server answer.",
  worker_ended: () => "The browser ended the engine, most likely for want of memory. It was started anew; try again, or let the server answer.",
  no_tap: (d) => `The model's features cannot be had in this browser: ${d.reason}. Its answers can; let the server explain them.`,
  cancelled: () => "It was cancelled.",
  insecure: () => "This page came over plain HTTP from another machine, where browsers give no hashes and no cache. Open it at this machine, or by https; until then the server answers.",
  no_wasm: () => "This browser runs no WebAssembly. Let the server answer.",
  // The service
  offline: () => "The service cannot be reached. Check that it runs; a model that is loaded in this browser goes on answering here.",
  timeout: () => "The service did not answer in time. Try again.",
  busy: (d) => `The service is busy${d.seconds ? `; it was asked again after ${d.seconds} s` : ""}. Try again in a while.`,
  explaining: () => "The service is making another map that takes many passes, and makes one at a time. Try again in a while, or let this browser make it.",
  no_model: () => "This model is not served any more. Choose another one; the list was read again.",
  not_ready: () => "This model does not answer at the moment. Try again in a while.",
  no_key: () => "This service asks for a key. Enter it above.",
  // The stress test
  not_admin: () => "A stress test takes the service's time from everybody, so it needs a key with the role admin: enter it here. Where the service has no keys, open the page on the service's own machine, not through a proxy.",
  stress_running: () => "Another stress test is running; there is one at a time. It is shown here: wait for its end, or end it.",
  stress_lost: () => "The service cannot be reached any more, so what came of the test is not known. If it was stopped, it has ended the test with it.",
  stress_no_model: () => "There is no model to be tested yet. Choose one first.",
  stress_too_many: (d) => `${d.given} pictures were chosen, and this service sends at most ${d.most} in turn. Choose fewer.`,
  stress_nothing: () => "Nothing is asked: give a rate, or clients.",
};

const SERVER_CODES = { deadline_exceeded: "busy", too_many_connections: "busy", loading: "not_ready", no_version: "no_model" };

/**
 * @param {{code: string, details: Details}} problem
 * @returns {string}
 */
export function textOf({ code, details }) {
  const known = PROBLEMS[code] ?? PROBLEMS[/** @type {Record<string, string>} */ (SERVER_CODES)[code] ?? ""];
  return known ? known(details) : String(details.error ?? details.reason ?? code); // what the service says is for people
}

/** Where a certificate does not hold. @type {Record<string, string>} */
export const STEPS = {
  kernels: "the engine's arithmetic: a golden image is answered otherwise",
  decoder: "the JPEG decoder of this browser",
  resizing: "the resizing",
  answer: "what is left of the decoder's differences, which the engine amplifies",
  trust: "the calibrated confidence",
};

/** Every code that has a text, for the tests. */
export const CODES = Object.keys(PROBLEMS);
