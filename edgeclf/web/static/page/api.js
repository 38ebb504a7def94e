// What the page asks of its service. Every refusal becomes a Problem with the service's own code.

import { Problem } from "../core/problem.js";

/**
 * @typedef {object} ModelEntry What the service says of a model's version.
 * @property {string} model
 * @property {string} version
 * @property {string} sha256
 * @property {string} state
 * @property {boolean} current
 * @property {string} format
 * @property {string} precision
 * @property {number} size_bytes
 * @property {[number, number]} input Width and height.
 * @property {number} classes
 * @property {string[]} labels The first of them.
 * @property {string} name What its file calls itself.
 * @property {boolean} explains Whether a map takes the server one more pass.
 * @property {number[]} coverages
 * @property {boolean} calibrated
 * @property {boolean} example
 * @property {string | null} certificate
 * @property {string | null} runtime
 * @property {number | null} top1
 * @property {string | null} description
 */

/**
 * @typedef {object} ServerAnswer
 * @property {string} label
 * @property {string} sha256
 * @property {{index: number, label: string, probability: number}[]} top
 * @property {number | null} confidence
 * @property {boolean | null} unknown
 * @property {number | null} novelty
 * @property {string[]} [set]
 * @property {string} [tensor_sha256]
 * @property {{label: string, probability: number, method: "cam" | "rise", passes: number, map: string}} [explanation] Its map a PNG in base64.
 * @property {Record<string, number>} timing
 */

const TIMEOUT_MS = 60_000;
const PATIENCE_S = 5; // up to which the page asks once more by itself
const COMPARED = 50; // classes whose probabilities are fetched, to be compared

/**
 * An address of a model's version.
 * @param {ModelEntry} model
 * @param {string} what
 * @param {Record<string, string | number | boolean | null>} [query] What is null is left out.
 */
function placeOf(model, what, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null).map(([key, value]) => [key, String(value)]);
  const words = String(new URLSearchParams(given));
  return `/v1/models/${encodeURIComponent(model.model)}/versions/${encodeURIComponent(model.version)}/${what}${words && "?"}${words}`;
}

export class Api {
  key = "";

  /**
   * @param {string} path
   * @param {RequestInit} [options] Its signal ends it before its time.
   * @param {number | null} [patienceMs] After which it is given up; null for never.
   * @returns {Promise<Response>}
   */
  async ask(path, options = {}, patienceMs = TIMEOUT_MS) {
    const headers = { ...(this.key ? { Authorization: `Bearer ${this.key}` } : {}), ...options.headers };
    const signals = [...(options.signal ? [options.signal] : []), ...(patienceMs === null ? [] : [AbortSignal.timeout(patienceMs)])];
    let response;
    try {
      response = await fetch(path, { ...options, headers, signal: signals.length ? AbortSignal.any(signals) : null });
    } catch (error) {
      if (options.signal?.aborted) throw new Problem("cancelled");
      throw new Problem(error instanceof DOMException && error.name === "TimeoutError" ? "timeout" : "offline");
    }
    if (response.ok) return response;
    let said = { code: "", error: `${response.status} ${response.statusText}` };
    try {
      said = await response.json();
    } catch {
      // a proxy's page: its status has to do
    }
    const seconds = Number(response.headers.get("retry-after")) || 0;
    throw new Problem(said.code || `http_${response.status}`, { error: said.error, status: response.status, seconds });
  }

  /** @returns {Promise<ModelEntry[]>} Those that answer for their name. */
  async models() {
    return (await this.versions()).filter((each) => each.current);
  }

  /** @returns {Promise<ModelEntry[]>} All that there are, older ones too. */
  async versions() {
    return (await (await this.ask("/v1/models", { cache: "no-store" })).json()).models;
  }

  /** Where each engine's files are, in this page's own words. @returns {Promise<import("../engine/adapters.js").Homes>} */
  async engines() {
    /** @type {import("../engine/adapters.js").Homes} */
    const homes = {};
    try {
      const listed = await (await this.ask("/ui/engines/engines.json")).json();
      for (const [name, entry] of Object.entries(listed)) {
        if (typeof entry === "object") homes[name] = { home: `${location.origin}/ui/engines/${entry.folder}/`, version: entry.version };
      }
    } catch (error) {
      if (Problem.of(error, "").code !== "no_page") throw error;
    }
    return homes;
  }

  /** @param {ModelEntry} model */
  async file(model) {
    return (await this.ask(placeOf(model, "file"))).arrayBuffer();
  }

  /** @param {ModelEntry} model */
  async example(model) {
    return (await this.ask(`/v1/models/${encodeURIComponent(model.model)}/example`)).blob();
  }

  /**
   * A stream of frames, docs/serving.md; whoever asks for it says hello.
   * @param {ModelEntry} model
   * @param {number} top
   * @param {number | null} coverage
   */
  stream(model, top, coverage) {
    const address = location.origin.replace(/^http/, "ws") + placeOf(model, "stream", { top: Math.min(model.classes, top), set: coverage });
    const key = btoa(String.fromCharCode(...new TextEncoder().encode(this.key))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    return new WebSocket(address, ["edgeclf.stream.1", ...(key ? [`edgeclf.key.${key}`] : [])]);
  }

  /**
   * One frame, where there can be no stream; asked once.
   * @param {ModelEntry} model
   * @param {Uint8Array} picture
   * @param {number} top
   * @param {number | null} coverage
   * @param {number | null} timeoutMs
   * @param {AbortSignal} signal
   * @returns {Promise<ServerAnswer>}
   */
  async frame(model, picture, top, coverage, timeoutMs, signal) {
    const query = { top: Math.min(model.classes, top), set: coverage, timeout_ms: timeoutMs && Math.ceil(timeoutMs) };
    return this.#send(model, picture, query, signal);
  }

  /**
   * @param {ModelEntry} model
   * @param {Blob} picture
   * @param {number | null} coverage
   * @param {number} [most] Classes whose probabilities are wanted.
   * @returns {Promise<ServerAnswer>}
   */
  async classify(model, picture, coverage, most = COMPARED) {
    const query = { top: Math.min(model.classes, most), tensor: true, set: coverage };
    try {
      return await this.#send(model, picture, query);
    } catch (error) {
      const problem = Problem.of(error, "offline");
      const seconds = Number(problem.details.seconds);
      if (problem.details.status !== 503 || !seconds || seconds > PATIENCE_S) throw problem;
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      return this.#send(model, picture, query);
    }
  }

  /**
   * An answer with its map.
   * @param {ModelEntry} model
   * @param {Blob} picture
   * @param {string | null} label The class; null for the most probable one.
   * @param {number} passes Allowed where one is not enough.
   * @param {AbortSignal} signal
   */
  async explain(model, picture, label, passes, signal) {
    return this.#send(model, picture, { explain: true, explain_passes: passes, explain_label: label }, signal);
  }

  /**
   * @param {ModelEntry} model
   * @param {Blob | Uint8Array} picture
   * @param {Record<string, string | number | boolean | null>} query
   * @param {AbortSignal} [signal]
   * @returns {Promise<ServerAnswer>}
   */
  async #send(model, picture, query, signal) {
    const headers = { "Content-Type": "application/octet-stream" };
    const body = /** @type {BodyInit} */ (picture);
    return (await this.ask(placeOf(model, "classify", query), { method: "POST", body, headers, ...(signal && { signal }) })).json();
  }
}
