// One model in one worker: read and proven, then asked. Imported by the worker, which carries messages.

import { readArtifact } from "../core/artifact.js";
import { argmax, replay } from "../core/certificate.js";
import { judge, needsFeatures } from "../core/confidence.js";
import { decode } from "../core/decode.js";
import { inCells, pooled, readFeatures } from "../core/features.js";
import { hexSha256 } from "../core/hash.js";
import { classActivation, inPicture } from "../core/maps.js";
import { Problem } from "../core/problem.js";
import { fit } from "../core/resample.js";
import { hiddenColour, rise } from "../core/rise.js";
import { withFeatures } from "../core/tap.js";
import { ENGINES } from "./adapters.js";
import { checkAllowed } from "./allowed.js";

/** @typedef {import("./adapters.js").Adapter} Adapter */
/** @typedef {import("../core/artifact.js").Artifact} Artifact */

const MAP_SIDE = 64; // steps of a map along the picture's longer side, as the service's have

/**
 * @typedef {object} Loaded What the page is told of a model.
 * @property {import("../core/artifact.js").Metadata} metadata
 * @property {string} sha256
 * @property {string} format
 * @property {import("../core/certificate.js").Replay} replay
 * @property {import("./adapters.js").Described & {version: string}} described
 * @property {{method: "cam" | "rise", problem: string}} maps How this browser can explain the file, and why
 *   its features are not to be had here; empty where they are, or where the file has none.
 * @property {{seal: number, engine: number, replay: number}} ms
 */

/**
 * @typedef {object} Answer What the page is told of a picture.
 * @property {Float32Array} probabilities
 * @property {string} tensorSha256 Of what the model was given.
 * @property {number | null} confidence
 * @property {number | null} novelty
 * @property {import("../core/decode.js").Way} way
 * @property {number} factor
 * @property {string} format
 * @property {{decode: number, resize: number, inference: number}} ms
 */

/**
 * @typedef {object} Explanation Where in a picture an answer came from.
 * @property {import("../core/maps.js").Grid} map Over the upright picture.
 * @property {number} index Of the class.
 * @property {number} probability
 * @property {"cam" | "rise"} method
 * @property {number} passes How many pictures the model was given for it.
 * @property {number} ms
 */

export class Session {
  /**
   * @param {Artifact} artifact
   * @param {Adapter} adapter
   * @param {any} model
   * @param {import("../core/features.js").Features | null} features Null where the model does not give them.
   */
  constructor(artifact, adapter, model, features) {
    this.artifact = artifact;
    this.scaled = false;
    this.adapter = adapter;
    this.model = model;
    this.features = features;
    this.judges = features !== null && needsFeatures(artifact.metadata.trust);
  }

  /**
   * Checks the seal, then lets the engine load the file, then replays the certificate.
   * @param {Uint8Array} bytes
   * @param {import("./adapters.js").Homes} homes
   * @returns {Promise<[Session, Loaded]>}
   */
  static async load(bytes, homes) {
    let clock = performance.now();
    const lap = () => {
      const before = clock;
      return (clock = performance.now()) - before;
    };
    const artifact = await readArtifact(bytes);
    const seal = lap();
    const entry = ENGINES[artifact.format];
    if (!entry) throw new Problem("no_engine_for", { format: artifact.format });
    const place = homes[entry.engine];
    if (!place) throw new Problem("no_engines");
    await checkAllowed();
    /** @type {Adapter} */
    const adapter = await import(entry.module);
    const { model, features, problem } = await open(artifact, bytes, adapter, place.home);
    const session = new Session(artifact, adapter, model, features);
    const engine = lap();
    // What is replayed is what will answer: with its features as an output, where it has any.
    const found = await replay(artifact.metadata, (tensor) => session.run(tensor));
    session.scaled = found.scaled;
    const { metadata, sha256, format } = artifact;
    const ms = { seal, engine, replay: lap() };
    const described = { ...adapter.describe(session.model), version: place.version };
    /** @type {Loaded["maps"]} */
    const maps = { method: features?.weights ? "cam" : "rise", problem };
    return [session, { metadata, sha256, format, replay: found, described, maps, ms }];
  }

  /**
   * @param {Uint8Array} tensor uint8 [H, W, 3].
   * @param {boolean} [explained] Whether the features are wanted.
   * @returns {Promise<{probabilities: Float32Array, cells: Float32Array | null, pooled: Float32Array | null}>} The
   *   features [h, w, c] where they are wanted or judged by, and their mean [c] where they are judged by.
   */
  async run(tensor, explained = false) {
    const { features, judges } = this;
    const { height, width } = this.artifact.metadata.image;
    try {
      const found = await this.adapter.run(this.model, this.adapter.input(this.model, tensor, [1, height, width, 3]));
      const cells = features && found.features && (judges || explained) ? inCells(found.features, features) : null;
      return { probabilities: found.probabilities, cells, pooled: features && cells && judges ? pooled(cells, features.shape[2]) : null };
    } catch (error) {
      throw Problem.of(error, "engine_failed");
    }
  }

  /** @param {Uint8Array} bytes A picture's file. @returns {Promise<Answer>} */
  async classify(bytes) {
    const start = performance.now();
    const { metadata } = this.artifact;
    const { rgba, width, height, way, factor, format } = await decode(bytes, metadata.image, this.scaled);
    const decoded = performance.now();
    const tensor = fit(rgba, width, height, metadata.image);
    const fitted = performance.now();
    const found = await this.run(tensor);
    const { probabilities } = found;
    const ms = { decode: decoded - start, resize: fitted - decoded, inference: performance.now() - fitted };
    const judged = metadata.trust ? judge(probabilities, metadata.trust, found.pooled) : { confidence: null, novelty: null };
    return { probabilities, tensorSha256: await hexSha256(tensor), ...judged, way, factor, format, ms };
  }

  /**
   * @param {Uint8Array} bytes A picture's file.
   * @param {number | null} target The class's position; null for the most probable one.
   * @param {number} passes For files that have no dense layer at their end.
   * @param {(done: number) => Promise<void>} tick Called after each pass; what it throws ends it.
   * @returns {Promise<Explanation>}
   */
  async explain(bytes, target, passes, tick) {
    const start = performance.now();
    const { image, normalization } = this.artifact.metadata;
    const { rgba, width, height } = await decode(bytes, image, this.scaled);
    const tensor = fit(rgba, width, height, image);
    const { probabilities, cells } = await this.run(tensor, true);
    const index = target ?? argmax(probabilities);
    const told = { index, probability: probabilities[index] };
    const finish = (/** @type {import("../core/maps.js").Grid} */ grid) => inPicture(grid, width, height, image, MAP_SIDE);
    if (this.features?.weights && cells) {
      const grid = classActivation(cells, this.features.shape, this.features.weights(index));
      return { ...told, map: finish(grid), method: "cam", passes: 1, ms: performance.now() - start };
    }
    const score = async (/** @type {Uint8Array} */ shown) => (await this.run(shown)).probabilities[index];
    const grid = await rise(score, tensor, image, hiddenColour(normalization.mean), passes - 1, tick);
    return { ...told, map: finish(grid), method: "rise", passes, ms: performance.now() - start };
  }

  async dispose() {
    await this.adapter.dispose(this.model);
  }
}

/**
 * Lets the engine load a file, with its features as second output where it says where they are.
 * @param {Artifact} artifact
 * @param {Uint8Array} bytes
 * @param {Adapter} adapter
 * @param {string} home
 */
async function open({ format, metadata }, bytes, adapter, home) {
  const features = readFeatures(metadata, bytes);
  let problem = "";
  if (features) {
    try {
      return { model: await adapter.load(withFeatures(format, bytes, features.tensor), home), features, problem };
    } catch (error) {
      problem = String(Problem.of(error, "no_tap").details.reason);
    }
  }
  return { model: await adapter.load(bytes, home), features: null, problem };
}
