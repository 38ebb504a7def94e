// The view "Camera": what a camera sees is answered on the way, over a link that may be bad or gone.

import { Problem } from "../core/problem.js";
import { Link } from "../stream/link.js";
import { PostSocket } from "../stream/post_socket.js";
import { sizeOf } from "../stream/pacing.js";
import { ofBrowser, ofServer } from "./answers.js";
import { Camera } from "./camera_device.js";
import { AgePlot } from "./camera_plot.js";
import { Run } from "./camera_run.js";
import { drawAnswer, headline } from "./cards.js";
import { byId, element } from "./dom.js";
import { textOf } from "./texts.js";
import { onView } from "./views.js";

/** @typedef {import("./answers.js").Answer} Answer */
/**
 * @typedef {object} Shared What the page hands over.
 * @property {import("./api.js").Api} api
 * @property {import("./engine.js").Engine} engine
 * @property {() => Promise<import("../engine/session.js").Loaded>} loadEngine
 * @property {() => import("../engine/session.js").Loaded | null} loaded
 * @property {() => import("./api.js").ModelEntry | null} model
 * @property {() => number | null} coverage
 * @property {() => import("./cards.js").Side} side
 * @property {(files: File[]) => void} add Puts pictures among the others.
 * @property {(kind: "good" | "bad", words: string) => void} serverState
 */

const DEADLINE_MS = 1_000;
const SHOWN = 5;
const SPOKEN_MS = 2_000;
const DRAWN_MS = 250;
const PHOTO_QUALITY = 0.95;
const COUNTS = /** @type {[string, string][]} */ ([
  ["sent", "sent"], ["answered", "answered"], ["here", "answered by this browser"], ["dropped", "dropped"], ["late", "late"],
  ["replaced", "replaced"], ["resent", "resent"], ["duplicate", "duplicate"], ["refused", "refused"], ["lost", "lost"],
]);
const STATES = /** @type {Record<string, string>} */ ({
  stopped: "stopped", connecting: "connecting …", open: "connected", waiting: "the link is gone, trying again …", ended: "ended by the service",
});

/** @param {Shared} shared @returns {{chosen: () => void}} */
export function startCamera(shared) {
  const view = new View(shared);
  onView("camera", (shown) => {
    if (!shown) view.stop();
  });
  return { chosen: () => view.restart() };
}

class View {
  /** @type {Run | null} */
  #run = null;
  /** @type {Link | null} */
  #link = null;
  #plot = new AgePlot(byId("camera-plot"));
  #spoken = { label: "", at: -Infinity };
  #drawn = -Infinity;
  #session = 0;

  /** @param {Shared} shared */
  constructor(shared) {
    this.shared = shared;
    this.camera = new Camera(byId("camera-video", HTMLVideoElement), (problem) => {
      this.stop();
      this.#complain(problem);
    });
    byId("camera-start").addEventListener("click", () => this.start());
    byId("camera-stop").addEventListener("click", () => this.stop());
    byId("camera-photo").addEventListener("click", () => this.#photo());
    byId("camera-device").addEventListener("change", () => this.start());
    byId("camera-failover").addEventListener("change", () => this.#prepare());
    for (const input of document.querySelectorAll('input[name="camera-mode"], #camera-rate, input[name="where"], #coverage')) {
      input.addEventListener("change", () => this.restart());
    }
    document.addEventListener("visibilitychange", () => this.#see(!document.hidden));
    addEventListener("online", () => this.#link?.hurry());
  }

  // --- begin and end ----------------------------------------------------------------------------

  async start() {
    this.stop();
    const session = ++this.#session;
    byId("camera-state").textContent = "asking for the camera …";
    try {
      await this.camera.open(byId("camera-device", HTMLSelectElement).value);
      if (session !== this.#session) return this.camera.close();
      await this.#list();
    } catch (error) {
      if (session === this.#session) this.#complain(Problem.of(error, "camera_failed"));
      return;
    }
    byId("camera-stage").hidden = byId("camera-counts").hidden = false;
    if (!byId("camera-failover").dataset.touched) byId("camera-failover", HTMLInputElement).checked = this.shared.engine.running;
    this.#begin();
    this.camera.frames((takenMs) => {
      this.#run?.come(takenMs);
      this.#draw();
    });
  }

  stop() {
    this.#session += 1;
    this.camera.close();
    this.#end();
    byId("camera-stage").hidden = true;
    this.#state("");
  }

  /** The model or a choice is another one: what was for the old one is of no use. */
  restart() {
    if (!this.camera.on) return;
    this.#end();
    this.#begin();
  }

  #begin() {
    const { model, side, engine, loaded } = this.shared;
    const entry = model();
    for (const [id, off] of Object.entries({ "camera-start": true, "camera-stop": false, "camera-photo": false })) byId(id, HTMLButtonElement).disabled = off;
    byId("camera-problem").hidden = true;
    if (!entry) return this.#complain(new Problem("no_model"));
    const budgetMs = 1000 / Number(byId("camera-rate", HTMLSelectElement).value);
    const local = side() === "browser";
    this.#link = local ? null : this.#makeLink(entry, budgetMs);
    if (local) this.#prepare();
    /** @type {Run} */
    const run = new Run({
      camera: this.camera, link: this.#link, input: entry.input, budgetMs,
      failOver: () => byId("camera-failover", HTMLInputElement).checked,
      local: { get ready() { return engine.running && loaded() !== null; }, ask: (picture) => engine.classify(/** @type {ArrayBuffer} */ (picture.buffer)) },
      answered: (found, sequence, ageMs) => this.#run === run && this.#answered(ofBrowser(found, /** @type {any} */ (loaded()), this.shared.coverage(), ageMs), sequence, ageMs),
      failed: (error) => this.#run === run && this.#complain(Problem.of(error, "engine_failed")), // else it was ended
    });
    this.#run = run;
    this.#plot.clear();
    byId("camera-answer").replaceChildren();
    this.#see(!document.hidden);
  }

  #end() {
    this.#link?.stop();
    this.#link = this.#run = null;
    for (const [id, off] of Object.entries({ "camera-start": false, "camera-stop": true, "camera-photo": true })) byId(id, HTMLButtonElement).disabled = off;
  }

  /** No work for nobody. @param {boolean} seen */
  #see(seen) {
    if (!this.#run) return;
    this.#run.paused = !seen;
    if (seen) this.#link?.start();
    else this.#link?.stop();
    this.#drawn = -Infinity;
    this.#draw();
  }

  /** Loads the engine where this browser may have to answer. */
  #prepare() {
    const box = byId("camera-failover", HTMLInputElement);
    box.dataset.touched = "yes";
    if (box.checked || this.shared.side() === "browser") this.shared.loadEngine().catch((error) => this.#complain(Problem.of(error, "engine_failed")));
  }

  // --- the link ---------------------------------------------------------------------------------

  /** @param {import("./api.js").ModelEntry} entry @param {number} budgetMs */
  #makeLink(entry, budgetMs) {
    const { api, coverage } = this.shared;
    const chosen = document.querySelector('input[name="camera-mode"]:checked');
    const mode = chosen instanceof HTMLInputElement && chosen.value === "block" ? "block" : "drop";
    return new Link({
      mode, budgetMs, deadlineMs: DEADLINE_MS, session: name(),
      open: () => api.stream(entry, SHOWN, coverage()),
      instead: () => new PostSocket({
        probe: () => api.models(),
        ask: (picture, timeoutMs, signal) => api.frame(entry, picture, SHOWN, coverage(), timeoutMs, signal),
      }),
      answered: (said, ageMs) => {
        if (said.outcome === "answered") this.#answered(ofServer(/** @type {any} */ (said), ageMs), said.sequence, ageMs);
        else if (said.outcome === "late") this.#plot.add({ ageMs, kind: "late" }, DEADLINE_MS);
        else this.#complain(new Problem(said.code, { error: said.error }));
      },
      changed: (state, code) => {
        if (state === "open") this.shared.serverState("good", "service ready");
        if (state === "waiting") this.shared.serverState("bad", "no link");
        if (state === "ended") this.#complain(new Problem(code || "offline"));
        this.#drawn = -Infinity;
        this.#draw();
      },
    });
  }

  // --- what is shown ----------------------------------------------------------------------------

  /** @param {Answer} answer @param {number} sequence @param {number} ageMs */
  #answered(answer, sequence, ageMs) {
    if (!this.#run) return;
    byId("camera-problem").hidden = true;
    const place = byId("camera-answer");
    place.dataset.sequence = String(sequence);
    const who = answer.side === "server" ? "Server" : "This browser";
    place.replaceChildren(element("h3", headline(answer)), element("p", `${who}, frame ${sequence}`, "small faint"), ...drawAnswer(answer));
    this.#plot.add({ ageMs, kind: answer.side }, DEADLINE_MS);
    const now = performance.now();
    if (headline(answer) !== this.#spoken.label && now - this.#spoken.at > SPOKEN_MS) {
      this.#spoken = { label: headline(answer), at: now };
      byId("live").textContent = `Camera: ${this.#spoken.label}`;
    }
  }

  #draw() {
    const now = performance.now();
    if (!this.#run || now - this.#drawn < DRAWN_MS) return;
    this.#drawn = now;
    const [run, link] = [this.#run, this.#link];
    const said = [run.paused ? "paused while nobody looks" : link ? (link.fallback && link.state === "open" ? "connected by single requests, as WebSockets are refused" : STATES[link.state]) : "answered by this browser"];
    if (link && !run.paused && link.state === "open" && !link.well) said[0] = "the link stalls …";
    if (link && run.side === "browser") said.push("this browser answers meanwhile");
    if (link) {
      const { scale, quality } = link.pacing.step;
      const model = this.shared.model();
      if (model) said.push(`frames of ${sizeOf(this.camera.size, model.input, scale).join(" × ")}, quality ${Math.round(100 * quality)}`);
      if (link.unanswered > 2) said.push(`${link.unanswered} wait for their answer`);
    }
    this.#state(said.join("; "));
    const counts = /** @type {Record<string, number>} */ (link?.counts ?? run.counts);
    byId("camera-counts").replaceChildren(...COUNTS.filter(([key]) => key in counts).map(([key, words]) => {
      const item = element("div");
      item.dataset.count = key;
      item.append(element("dt", words), element("dd", String(counts[key])));
      return item;
    }));
  }

  /** @param {string} words */
  #state(words) {
    if (byId("camera-state").textContent !== words) byId("camera-state").textContent = words;
  }

  /** @param {Problem} problem */
  #complain(problem) {
    byId("camera-problem").textContent = textOf(problem);
    byId("camera-problem").hidden = false;
    if (!this.camera.on) this.#state("");
  }

  async #list() {
    const chosen = byId("camera-device", HTMLSelectElement);
    const { value } = chosen;
    const choices = await this.camera.choices();
    chosen.replaceChildren(...choices.map(({ deviceId, label }, i) => {
      const option = element("option", label || `Camera ${i + 1}`);
      option.value = deviceId;
      return option;
    }));
    chosen.value = choices.some(({ deviceId }) => deviceId === value) ? value : choices[0]?.deviceId ?? "";
    byId("camera-device-line").hidden = choices.length < 2;
  }

  async #photo() {
    const blob = await this.camera.grab(this.camera.size, PHOTO_QUALITY);
    if (!blob) return this.#complain(new Problem("no_canvas"));
    const time = new Date().toLocaleTimeString();
    this.shared.add([new File([blob], `camera ${time}`, { type: "image/jpeg" })]);
    byId("camera-taken").hidden = false;
    byId("live").textContent = "The photo is among the pictures.";
  }
}

/** A name that nobody guesses, for what outlives a connection. */
const name = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
