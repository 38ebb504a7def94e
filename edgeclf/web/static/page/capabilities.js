// What this browser lacks, and what that costs.

/**
 * @typedef {object} Capability
 * @property {string} name
 * @property {boolean | null} has Null while it is not known.
 * @property {string} text What it means, here.
 */

/** A function of one relaxed instruction. */
const RELAXED = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11,
];

/** Why nothing can run in this browser, as a code; null where it can. */
export function obstacle() {
  if (!isSecureContext) return "insecure";
  return typeof WebAssembly === "object" ? null : "no_wasm";
}

/**
 * @param {import("../core/certificate.js").Replay | null} replay What was found out by the model that is loaded.
 * @returns {Capability[]}
 */
export function capabilities(replay) {
  const relaxed = typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(RELAXED));
  const proven = replay !== null && replay.verdict !== "none";
  return [
    {
      name: "Secure context", has: isSecureContext,
      text: isSecureContext ? "Seals and hashes can be checked here." : "Without it there are no hashes: nothing runs in this browser.",
    },
    {
      name: "WebAssembly", has: typeof WebAssembly === "object",
      text: typeof WebAssembly === "object" ? "The engines can run." : "Nothing runs in this browser.",
    },
    {
      name: "Relaxed SIMD", has: relaxed,
      text: relaxed ? "LiteRT.js uses its usual build." : "LiteRT.js takes its build for browsers without it.",
    },
    {
      name: "Pillow's pixels of JPEGs", has: proven ? replay.sameDecoded : null,
      text: !proven ? "Known once a model was loaded here: its certificate tells."
        : replay.sameDecoded ? "The certificate's photo is decoded to the bit."
          : `The certificate's photo is decoded otherwise, by up to ${replay.levels.toFixed(2)} of 255 levels: answers are equivalent, not identical.`,
    },
    {
      name: "Cache Storage", has: typeof caches === "object",
      text: typeof caches === "object" ? "A model is fetched once." : "A model is fetched on each visit.",
    },
    {
      name: "Cross-origin isolation", has: crossOriginIsolated,
      text: crossOriginIsolated ? "Threads are possible; the engines use one." : "No threads; the engines use one anyway.",
    },
    {
      name: "WebGPU", has: "gpu" in navigator,
      text: "Not used: it computes in floats what int8 files compute in integers, and the certificate is about that.",
    },
  ];
}
