// ONNX Runtime Web in its smallest build, for .onnx files.

import { Problem } from "../core/problem.js";

/** @typedef {import("./adapters.js").Adapter} Adapter */

/** @type {Adapter["load"]} */
export async function load(bytes, home) {
  const engine = await import(`${home}ort.wasm.min.mjs`);
  const wasm = "ort-wasm-simd-threaded";
  engine.env.wasm.wasmPaths = { mjs: `${home}${wasm}.mjs`, wasm: `${home}${wasm}.wasm` };
  engine.env.wasm.numThreads = 1; // more pay on an idle machine alone, and cost a worker each
  engine.env.logLevel = "error";
  try {
    const session = await engine.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    return { engine, session };
  } catch (error) {
    throw new Problem("engine_refuses", { engine: "ONNX Runtime Web", reason: error instanceof Error ? error.message : String(error) });
  }
}

/** @type {Adapter["input"]} */
export const input = ({ engine }, tensor, shape) => new engine.Tensor("uint8", tensor, shape);

/** @type {Adapter["run"]} */
export async function run({ session }, tensor) {
  const outputs = await session.run({ [session.inputNames[0]]: tensor });
  const [probabilities, features] = session.outputNames.map((/** @type {string} */ name) => {
    const values = Float32Array.from(outputs[name].data);
    outputs[name].dispose();
    return values;
  });
  tensor.dispose();
  return { probabilities, features: features ?? null };
}

/** @type {Adapter["dispose"]} */
export const dispose = async ({ session }) => session.release();

/** @type {Adapter["describe"]} */
export const describe = () => ({ engine: "ONNX Runtime Web", runsOn: "WebAssembly, one thread, SIMD" });
