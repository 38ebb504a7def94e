// LiteRT.js, for .tflite files. To be imported by a classic worker: it loads its WebAssembly by importScripts.

import { Problem } from "../core/problem.js";
import { OUTPUT_NAME } from "../core/tap.js";

/** @typedef {import("./adapters.js").Adapter} Adapter */

/** What it printed while it loaded, for a message if it fails. @type {string[]} */
let printed = [];

/** @type {Adapter["load"]} */
export async function load(bytes, home) {
  const engine = await import(`${home}litert.js`);
  const note = (/** @type {unknown[]} */ ...words) => void printed.push(words.join(" "));
  let loaded = false;
  const spoken = { log: console.log, warn: console.warn };
  // It looks for a GPU that it is not to use, and complains where there is none.
  Object.defineProperty(navigator, "gpu", { value: undefined, configurable: true });
  Object.assign(console, { log: note, warn: note });
  try {
    // In a worker it would look for its files beside the worker's own.
    Object.assign(self, { Module: { locateFile: (/** @type {string} */ name) => home + name, print: note, printErr: note } });
    await engine.loadLiteRt(home);
    loaded = true;
    const model = await engine.loadAndCompile(bytes, { accelerator: "wasm" });
    const relaxed = (await engine.supportsFeature("relaxedSimd")) === true;
    // It hands outputs out in an order of its own.
    const names = model.getOutputDetails().map((/** @type {{name: string}} */ each) => each.name);
    return { engine, model, relaxed, features: names.length > 1 ? names.lastIndexOf(OUTPUT_NAME) : -1 };
  } catch (error) {
    if (loaded) engine.unloadLiteRt(); // so that another file can be tried
    const reason = error instanceof Error ? error.message : String(error);
    throw new Problem("engine_refuses", { engine: "LiteRT.js", reason: reason || printed.at(-1) || "it gave no reason" });
  } finally {
    Object.assign(console, spoken);
    printed = [];
  }
}

/** @type {Adapter["input"]} */
export const input = ({ engine }, tensor, shape) => new engine.Tensor(tensor, shape);

/** @type {Adapter["run"]} */
export async function run({ model, features }, tensor) {
  /** @type {any[]} */
  let outputs = [];
  try {
    outputs = await model.run([tensor]);
    const values = outputs.map((each) => Float32Array.from(each.toTypedArray()));
    return { probabilities: values[features === 0 ? 1 : 0], features: values[features] ?? null };
  } finally {
    for (const each of [tensor, ...outputs]) each.delete(); // nothing else frees them
  }
}

/** @type {Adapter["dispose"]} */
export async function dispose({ engine, model }) {
  model.delete();
  engine.unloadLiteRt();
}

/** @type {Adapter["describe"]} */
export const describe = ({ relaxed }) => ({
  engine: "LiteRT.js",
  runsOn: `WebAssembly, one thread, ${relaxed ? "relaxed SIMD" : "SIMD"}`,
});
