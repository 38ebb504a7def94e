// One model in one worker: read and proven, then asked. Imported by the worker, which carries messages.

import { readArtifact } from "../core/artifact.js";
import { replay } from "../core/certificate.js";
import { judge } from "../core/confidence.js";
import { decode } from "../core/decode.js";
import { hexSha256 } from "../core/hash.js";
import { Problem } from "../core/problem.js";
import { fit } from "../core/resample.js";
import { ENGINES } from "./adapters.js";
import { checkAllowed } from "./allowed.js";

/** @typedef {import("./adapters.js").Adapter} Adapter */
/** @typedef {import("../core/artifact.js").Artifact} Artifact */

/**
 * @typedef {object} Loaded What the page is told of a model.
 * @property {import("../core/artifact.js").Metadata} metadata
 * @property {string} sha256
 * @property {string} format
 * @property {import("../core/certificate.js").Replay} replay
 * @property {import("./adapters.js").Described & {version: string}} described
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

export class Session {
  /**
   * @param {Artifact} artifact
   * @param {Adapter} adapter
   * @param {any} model
   */
  constructor(artifact, adapter, model) {
    this.artifact = artifact;
    this.scaled = false;
    this.adapter = adapter;
    this.model = model;
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
    const session = new Session(artifact, adapter, await adapter.load(bytes, place.home));
    const engine = lap();
    const found = await replay(artifact.metadata, (tensor) => session.run(tensor));
    session.scaled = found.scaled;
    const { metadata, sha256, format } = artifact;
    const ms = { seal, engine, replay: lap() };
    const described = { ...adapter.describe(session.model), version: place.version };
    return [session, { metadata, sha256, format, replay: found, described, ms }];
  }

  /** @param {Uint8Array} tensor uint8 [H, W, 3]. */
  async run(tensor) {
    const { height, width } = this.artifact.metadata.image;
    try {
      return await this.adapter.run(this.model, this.adapter.input(this.model, tensor, [1, height, width, 3]));
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
    const probabilities = await this.run(tensor);
    const ms = { decode: decoded - start, resize: fitted - decoded, inference: performance.now() - fitted };
    const judged = metadata.trust ? judge(probabilities, metadata.trust) : { confidence: null, novelty: null };
    return { probabilities, tensorSha256: await hexSha256(tensor), ...judged, way, factor, format, ms };
  }

  async dispose() {
    await this.adapter.dispose(this.model);
  }
}
