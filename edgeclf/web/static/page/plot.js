// Line plots as SVG in the page's own colours, as wide as there is room, with words for who does not see them.

import { element } from "./dom.js";
import { short } from "./scales.js";

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {string} kind One of the classes of the style sheet: "a", "b", "c", with "dots" for no line.
 * @property {([number, number | null])[]} points Null where there is no value: the line has a gap.
 */
/**
 * @typedef {object} Plot
 * @property {string} title
 * @property {string} summary What it shows, in a sentence.
 * @property {import("./scales.js").Scale} x
 * @property {import("./scales.js").Scale} y
 * @property {(value: number) => string} [xName]
 * @property {string} xTitle
 * @property {Series[]} series
 * @property {{from: number, to: number, name: string}[]} [bands] Parts of the x axis.
 * @property {{y: number, name: string}} [limit]
 */

const SVG = document.querySelector("svg")?.namespaceURI ?? null; // the page has a drawing of its own
const HEIGHT = 210;
const [LEFT, RIGHT, TOP, BOTTOM] = [46, 10, 22, 34];

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {string} [text]
 */
function svg(tag, attributes, text = "") {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.textContent = text;
  return made;
}

/** @param {HTMLElement} place Is filled anew. @param {Plot} plot */
export function drawPlot(place, plot) {
  place.replaceChildren(captionOf(plot)); // an empty place takes no room, and so has no width
  const width = Math.max(place.clientWidth, 260);
  const inner = { width: width - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM };
  const at = (/** @type {number} */ x, /** @type {number} */ y) => [
    LEFT + inner.width * clamped(plot.x.at(x)), TOP + inner.height * (1 - clamped(plot.y.at(y))),
  ];
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${plot.title}. ${plot.summary}` });
  for (const [index, { from, to, name }] of (plot.bands ?? []).entries()) {
    const [x0, x1] = [at(from, 0)[0], at(to, 0)[0]];
    picture.append(svg("rect", { class: `band ${index % 2 ? "odd" : "even"}`, x: x0, y: TOP, width: Math.max(x1 - x0, 0), height: inner.height }));
    if (x1 - x0 > 7 * name.length) picture.append(svg("text", { class: "name", x: x0 + 4, y: TOP - 7 }, name));
  }
  for (const tick of plot.y.ticks) {
    const [, y] = at(0, tick);
    picture.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }));
    picture.append(svg("text", { class: "tick end", x: LEFT - 6, y: y + 4 }, short(tick)));
  }
  drawX(picture, plot, width, at);
  if (plot.limit) {
    const [, y] = at(0, plot.limit.y);
    picture.append(svg("line", { class: "limit", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }));
    picture.append(svg("text", { class: "name end", x: width - RIGHT - 2, y: y - 4 }, plot.limit.name));
  }
  for (const { kind, points } of plot.series) {
    if (!kind.includes("dots")) picture.append(svg("path", { class: `line ${kind}`, d: path(points, at) }));
    if (kind.includes("dots") || points.length < 30) {
      for (const [x, y] of points) {
        if (y === null) continue;
        const [cx, cy] = at(x, y);
        picture.append(svg("circle", { class: `dot ${kind}`, cx, cy, r: kind.includes("dots") ? 4 : 2.5 }));
      }
    }
  }
  place.append(picture);
}

/** @param {Plot} plot */
function captionOf(plot) {
  const caption = element("figcaption", plot.title, "small");
  for (const { name, kind } of plot.series) {
    const key = element("span", "", "key");
    const sample = svg("svg", { viewBox: "0 0 26 10", width: 26, height: 10, "aria-hidden": "true" });
    if (kind.includes("dots")) sample.append(svg("circle", { class: `dot ${kind}`, cx: 13, cy: 5, r: 4 }));
    else sample.append(svg("path", { class: `line ${kind}`, d: "M1 5H25" }));
    key.append(sample, name);
    caption.append(key);
  }
  return caption;
}

/**
 * @param {Element} picture
 * @param {Plot} plot
 * @param {number} width
 * @param {(x: number, y: number) => number[]} at
 */
function drawX(picture, plot, width, at) {
  const foot = HEIGHT - BOTTOM;
  let free = -Infinity; // where the last name ends
  for (const tick of plot.x.ticks) {
    const [x] = at(tick, 0);
    const name = (plot.xName ?? short)(tick);
    const half = 3.5 * name.length;
    picture.append(svg("line", { class: "grid", x1: x, x2: x, y1: foot, y2: foot + 4 }));
    if (x - half < free || x + half > width) continue;
    picture.append(svg("text", { class: "tick middle", x, y: foot + 16 }, name));
    free = x + half + 6;
  }
  picture.append(svg("text", { class: "tick end", x: width - RIGHT, y: HEIGHT - 4 }, plot.xTitle));
}

/** @param {([number, number | null])[]} points @param {(x: number, y: number) => number[]} at */
function path(points, at) {
  let pen = "M";
  let made = "";
  for (const [x, y] of points) {
    if (y === null) {
      pen = "M";
      continue;
    }
    made += `${pen}${at(x, y).map((each) => each.toFixed(1)).join(" ")}`;
    pen = "L";
  }
  return made;
}

/** Within the picture, whatever the value. @param {number} share */
const clamped = (share) => Math.min(Math.max(Number.isFinite(share) ? share : 0, 0), 1);
