// Whether WebAssembly may run here: a policy, of the page or of its reader, may forbid what the browser could do.

import { Problem } from "../core/problem.js";

const EMPTY = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0); // the smallest module

export async function checkAllowed() {
  try {
    await WebAssembly.compile(EMPTY);
  } catch {
    throw new Problem("engine_blocked");
  }
}
