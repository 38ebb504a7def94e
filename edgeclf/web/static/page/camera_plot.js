// The age of each of the last answers, drawn: how old what is shown was when it came.

import { ms } from "./dom.js";

const SHOWN = 120;
const [HEIGHT, LEFT] = [120, 56];

/** @typedef {{ageMs: number, kind: "server" | "browser" | "late"}} Point */

/** @param {number[]} sorted @param {number} share */
export const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];

export class AgePlot {
  /** @type {Point[]} */
  #points = [];

  /** @param {HTMLElement} figure With an empty plot and a caption. */
  constructor(figure) {
    this.figure = figure;
    this.plot = /** @type {SVGSVGElement} */ (figure.querySelector("svg"));
    this.caption = /** @type {HTMLElement} */ (figure.querySelector("figcaption"));
  }

  /** @param {string} tag @param {Record<string, string | number>} attributes */
  #shape(tag, attributes) {
    const made = document.createElementNS(this.plot.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
    this.plot.append(made);
    return made;
  }

  /** @param {Point} point @param {number} deadlineMs */
  add(point, deadlineMs) {
    this.#points.push(point);
    if (this.#points.length > SHOWN) this.#points.shift();
    this.draw(deadlineMs);
  }

  clear() {
    this.#points = [];
    this.figure.hidden = true;
  }

  /** @param {number} deadlineMs */
  draw(deadlineMs) {
    this.figure.hidden = false;
    const width = Math.max(200, this.caption.clientWidth); // a unit is a pixel
    const ages = this.#points.map(({ ageMs }) => ageMs).sort((a, b) => a - b);
    const most = Math.max(deadlineMs, ages[ages.length - 1]) * 1.08;
    const words = `Age of the last ${ages.length} answers: half below ${ms(quantile(ages, 0.5))}, 95 of 100 below ${ms(quantile(ages, 0.95))}`;
    this.caption.textContent = `${words}. The line is the deadline.`;
    this.plot.replaceChildren();
    this.plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.plot.setAttribute("aria-label", words);
    const [step, bottom] = [(width - LEFT - 4) / SHOWN, HEIGHT - 6];
    const y = (/** @type {number} */ age) => bottom - (age / most) * (bottom - 8);
    const limit = y(deadlineMs);
    this.#shape("line", { x1: LEFT, x2: width, y1: bottom, y2: bottom, class: "axis" });
    this.#shape("line", { x1: LEFT, x2: width, y1: limit, y2: limit, class: "limit" });
    for (const [at, text] of /** @type {[number, string][]} */ ([[bottom, "0"], [limit, ms(deadlineMs)]])) {
      this.#shape("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }).textContent = text;
    }
    this.#points.forEach(({ ageMs, kind }, i) => {
      const top = y(ageMs);
      this.#shape("rect", { x: LEFT + i * step, y: top, width: Math.max(1, step - 1), height: Math.max(1, bottom - top), class: kind });
    });
  }
}
