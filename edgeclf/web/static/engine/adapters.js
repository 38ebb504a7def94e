// The seam to the browser's engines: five functions each, chosen by a file's format.

/**
 * @typedef {object} Adapter
 * @property {(bytes: Uint8Array, home: string) => Promise<any>} load A model's bytes, unchanged or
 *   with its features as second output, to something that the other four take. `home` is where the
 *   engine's own files are.
 * @property {(model: any, tensor: Uint8Array, shape: number[]) => any} input uint8 [1, H, W, 3] to what the engine takes.
 * @property {(model: any, input: any) => Promise<Outputs>} run The input is freed.
 * @property {(model: any) => Promise<void>} dispose Frees the model.
 * @property {(model: any) => Described} describe
 */

/**
 * @typedef {object} Outputs
 * @property {Float32Array} probabilities [classes].
 * @property {Float32Array | null} features In the layout of the graph; null where the model was loaded without.
 */

/** @typedef {{engine: string, runsOn: string}} Described What really computes. */

/** @typedef {Record<string, {home: string, version: string}>} Homes Where each engine's files are, and which they are. */

/** The folder of an engine, and the module that adapts it, by format. @type {Record<string, {engine: string, module: string}>} */
export const ENGINES = {
  tflite: { engine: "litert", module: "./litert.js" },
  onnx: { engine: "onnxruntime", module: "./onnxruntime.js" },
};
