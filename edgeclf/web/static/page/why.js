// Why: under a picture's answers, where in it they came from, laid over the picture.

import { summary } from "../core/maps.js";
import { Problem } from "../core/problem.js";
import { isAnswer, NAMES } from "./cards.js";
import { byId, element, ms, percent } from "./dom.js";
import { explainedByServer, explainedHere, PASSES } from "./explaining.js";
import { drawMap, drawScale, inWords } from "./heat.js";
import { textOf } from "./texts.js";

/** @typedef {import("./cards.js").Job} Job */
/** @typedef {import("./cards.js").Side} Side */
/** @typedef {import("./answers.js").Answer} Answer */
/** @typedef {import("./explaining.js").Explained} Explained */

/**
 * @typedef {object} Shared What the page's parts have in common.
 * @property {import("./api.js").Api} api
 * @property {import("./engine.js").Engine} engine
 * @property {() => Promise<import("../engine/session.js").Loaded>} loadEngine
 * @property {() => import("./api.js").ModelEntry | null} model The chosen one.
 * @property {() => Side[]} sides Who is to answer.
 * @property {() => Job[]} jobs The pictures, the newest first.
 */

const CLASSES = 5;
const LONGEST = 384; // pixels of a drawn map
const OPACITY = 0.6;
/** What a side says of how it explains. @type {Record<Explained["method"], string>} */
const METHODS = { cam: "class activation map", rise: "random masks (RISE)" };

/** @type {WeakMap<Job, Why>} */
const panels = new WeakMap();

/** @param {Shared} shared @param {Job} job */
export function attachWhy(shared, job) {
  panels.set(job, new Why(shared, job));
}

/** To be called where a picture's answers have changed. @param {Job} job */
export function refreshWhy(job) {
  panels.get(job)?.refresh();
}

class Why {
  /** Ends what runs. @type {AbortController | null} */
  #running = null;
  /** Which answer is explained. @type {Answer | null} */
  #of = null;
  #canvas = element("canvas");
  #panel = element("div", "", "why");
  #button = element("button", "Why?", "button small-button");
  #status = element("p", "", "small");
  #actions = element("div", "", "line");
  #legend = element("div", "", "legend");
  #label = element("select");
  #side = element("select");
  #opacity = element("input");

  /** @param {Shared} shared @param {Job} job */
  constructor(shared, job) {
    this.shared = shared;
    this.job = job;
    const image = job.card.querySelector("figure img");
    const stack = element("div", "", "stack");
    image?.replaceWith(stack);
    if (image) stack.append(image, this.#canvas);
    this.#canvas.hidden = true;
    this.#canvas.setAttribute("role", "img");
    this.#button.type = "button";
    this.#button.setAttribute("aria-expanded", "false");
    this.#button.setAttribute("aria-label", `Why? Where in ${job.name} the answer came from`);
    this.#button.addEventListener("click", () => this.#toggle());
    Object.assign(this.#opacity, { type: "range", min: "0", max: "100", value: String(100 * OPACITY) });
    this.#opacity.addEventListener("input", () => this.#fade());
    for (const select of [this.#label, this.#side]) select.addEventListener("change", () => this.#begin());
    this.#status.setAttribute("role", "status");
    const scale = element("canvas");
    Object.assign(scale, { width: 160, height: 8 });
    scale.setAttribute("aria-hidden", "true");
    drawScale(scale);
    this.#legend.append(element("span", "0"), scale, element("span", "1: the most telling place; the line encloses what is above half"));
    const controls = element("div", "", "line");
    controls.append(named("Class", this.#label), named("Made by", this.#side), named("Opacity of the map", this.#opacity));
    this.#panel.append(controls, this.#status, this.#actions, this.#legend);
    this.#panel.hidden = true;
    job.card.querySelector(".words")?.append(this.#button, this.#panel);
    this.refresh();
  }

  /** The answers of the sides that have answered. */
  #answers() {
    return /** @type {Side[]} */ (["server", "browser"]).map((side) => this.job.sides[side]).filter(isAnswer);
  }

  refresh() {
    const answers = this.#answers();
    const file = answers[0]?.sha256;
    this.#button.hidden = !answers.length;
    if (!this.#panel.hidden && file !== this.#of?.sha256) this.#close();
    if (this.#panel.hidden) return;
    this.#offer(answers);
  }

  /** @param {Answer[]} answers */
  #offer(answers) {
    const wanted = this.#side.value;
    this.#side.replaceChildren(...answers.map(({ side }) => option(side, NAMES[side])));
    if (answers.some(({ side }) => side === wanted)) this.#side.value = wanted;
  }

  #toggle() {
    if (!this.#panel.hidden) return this.#close();
    const answers = this.#answers();
    this.#of = answers[0];
    this.#panel.hidden = false;
    this.#button.setAttribute("aria-expanded", "true");
    this.job.card.classList.add("explained");
    this.#offer(answers);
    this.#label.replaceChildren(...answers[0].scores.slice(0, CLASSES).map(({ label, probability }) => option(label, `${label}, ${percent(probability)}`)));
    this.#begin();
  }

  #close() {
    this.#running?.abort();
    this.#of = null;
    this.#panel.hidden = this.#canvas.hidden = true;
    this.#button.setAttribute("aria-expanded", "false");
    this.job.card.classList.remove("explained");
  }

  #fade() {
    this.#canvas.style.opacity = String(Number(this.#opacity.value) / 100);
  }

  /** Makes the map if that takes a pass, and asks before it takes many. */
  async #begin() {
    this.#running?.abort();
    const begun = (this.#running = new AbortController());
    this.#canvas.hidden = this.#legend.hidden = true;
    const answer = this.#answers().find(({ side }) => side === this.#side.value);
    const model = this.shared.model();
    if (!answer || !model) return;
    try {
      const onePass = answer.side === "server" ? model.explains : (await this.shared.loadEngine()).maps.method === "cam";
      if (this.#running !== begun || this.#panel.hidden) return;
      if (onePass) return this.#run(answer);
      const each = answer.side === "server" ? answer.inferenceMs : (await this.shared.engine.classify(await this.job.picture.arrayBuffer())).ms.inference;
      if (this.#running !== begun || this.#panel.hidden) return;
      const cost = `${PASSES} passes of ${ms(each)} each, about ${ms(PASSES * each)}`;
      const patience = answer.side === "server" ? "; the pictures of others go first" : "";
      this.#say(`No dense layer at its end can be read, so a map takes ${cost}${patience}.`, "Make the map", () => this.#run(answer));
    } catch (error) {
      if (this.#running === begun) this.#say(textOf(Problem.of(error, "engine_failed")), "Try again", () => this.#begin());
    }
  }

  /** @param {Answer} answer */
  async #run(answer) {
    const { shared, job } = this;
    const running = (this.#running = new AbortController());
    const { signal } = running;
    const [label, model] = [this.#label.value, shared.model()];
    if (!model) return;
    const told = (/** @type {number} */ done) => void (signal.aborted || (this.#status.textContent = `looking, ${done} of ${PASSES} passes`));
    this.#say("looking", "Cancel", () => running.abort());
    try {
      const found = answer.side === "server"
        ? await explainedByServer(shared.api, model, job.picture, label, signal)
        : await explainedHere(shared.engine, await shared.loadEngine(), job.picture, label, signal, told);
      if (signal.aborted) throw new Problem("cancelled"); // too late to be of use
      if (this.#running === running) this.#show(found, answer.side);
    } catch (error) {
      if (this.#running !== running || this.#panel.hidden) return;
      this.#say(textOf(Problem.of(error, "engine_failed")), "Try again", () => this.#run(answer));
    }
  }

  /** @param {Explained} found @param {Side} side */
  #show(found, side) {
    const image = this.job.card.querySelector("figure img");
    const size = image instanceof HTMLImageElement && image.naturalWidth ? [image.naturalWidth, image.naturalHeight] : [found.map.columns, found.map.rows];
    const scale = LONGEST / Math.max(...size);
    [this.#canvas.width, this.#canvas.height] = size.map((pixels) => Math.max(1, Math.round(pixels * scale)));
    drawMap(this.#canvas, found.map);
    this.#fade();
    this.#canvas.hidden = this.#legend.hidden = false;
    const words = `${found.label}: ${inWords(summary(found.map))}`;
    this.#canvas.setAttribute("aria-label", `Map over ${this.job.name}. ${words}`);
    const passes = found.passes === 1 ? "one pass" : `${found.passes} passes`;
    this.#say(`${words} By ${METHODS[found.method]}, ${passes}, ${ms(found.ms)} in all, ${NAMES[side].toLowerCase()}.`);
    byId("live").textContent = `${this.job.name}: ${words}`;
  }

  /** @param {string} words @param {string} [action] @param {() => void} [act] */
  #say(words, action, act) {
    this.#status.textContent = words;
    this.#status.className = action === "Cancel" ? "small waiting" : "small";
    const button = element("button", action, "button small-button");
    button.type = "button";
    if (act) button.addEventListener("click", act);
    this.#actions.replaceChildren(...(action ? [button] : []));
  }
}

/** @param {string} value @param {string} text */
function option(value, text) {
  const made = element("option", text);
  made.value = value;
  return made;
}

/** @param {string} text @param {HTMLElement} control */
function named(text, control) {
  const made = element("label", "", "line small");
  made.append(element("span", text), control);
  return made;
}
