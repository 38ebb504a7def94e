// A card for each picture: its preview, an answer for each side that was asked, and how they compare.

import { compare } from "./answers.js";
import { apart, element, ms, percent } from "./dom.js";
import { textOf } from "./texts.js";

/** @typedef {import("./answers.js").Answer} Answer */
/** @typedef {import("../core/problem.js").Problem} Problem */

/**
 * @typedef {object} Job A picture on the page.
 * @property {Blob} picture
 * @property {string} name
 * @property {Partial<Record<Side, Answer | Problem | "waiting">>} sides
 * @property {HTMLLIElement} card
 * @property {string} preview Address of its object URL.
 */
/** @typedef {"server" | "browser"} Side */

/** @type {Record<Side, string>} */
export const NAMES = { server: "Server", browser: "This browser" };
const SHOWN = 5;

/**
 * @param {Blob} picture
 * @param {string} name
 * @param {(job: Job) => void} remove
 * @returns {Job}
 */
export function makeJob(picture, name, remove) {
  const preview = URL.createObjectURL(picture);
  /** @type {Job} */
  const job = { picture, name, sides: {}, card: element("li", "", "panel card"), preview };
  const figure = element("figure");
  const image = element("img");
  image.alt = `The picture ${name}`;
  image.addEventListener("error", () => {
    image.remove();
    figure.classList.add("blank");
  });
  image.src = preview;
  const close = element("button", "Remove", "button small-button");
  close.type = "button";
  close.setAttribute("aria-label", `Remove ${name}`);
  close.addEventListener("click", () => remove(job));
  figure.append(image, element("figcaption", name));
  const head = element("div", "", "card-head");
  head.append(element("h3"), close);
  const words = element("div", "", "words");
  words.append(head, element("div", "", "sides"), element("p", "", "verdict"));
  job.card.append(figure, words);
  return job;
}

/** @param {Job} job */
export function forget(job) {
  URL.revokeObjectURL(job.preview);
  job.card.remove();
}

/** @param {Answer | Problem | "waiting" | undefined} side @returns {side is Answer} */
export const isAnswer = (side) => typeof side === "object" && "scores" in side;

/**
 * Draws a card anew.
 * @param {Job} job
 * @param {number} tolerance Of the certificate, for the comparison.
 * @param {(job: Job, side: Side) => void} again Asks a side, perhaps another one.
 */
export function draw(job, tolerance, again) {
  const { server, browser } = job.sides;
  const answers = [server, browser].filter(isAnswer);
  const title = job.card.querySelector("h3");
  const sides = job.card.querySelector(".sides");
  const verdict = job.card.querySelector(".words > .verdict"); // a refused side has one of its own
  if (!title || !sides || !verdict) return;
  title.textContent = answers.length ? headline(answers[0]) : "";
  const shown = /** @type {Side[]} */ (["server", "browser"]).filter((side) => job.sides[side] !== undefined);
  sides.className = shown.length > 1 ? "sides two" : "sides";
  sides.replaceChildren(...shown.map((side) => drawSide(job, side, again)));
  const both = isAnswer(server) && isAnswer(browser);
  verdict.className = "verdict";
  verdict.toggleAttribute("hidden", !both);
  if (both) {
    const [kind, words] = judged(server, browser, tolerance);
    verdict.classList.add(kind);
    verdict.textContent = words;
  }
}

/** @param {Answer} answer */
export const headline = (answer) => (answer.unknown ? `Unknown; nearest is ${answer.scores[0].label}` : answer.scores[0].label);

/** @param {Job} job @param {Side} side @param {(job: Job, side: Side) => void} again */
function drawSide(job, side, again) {
  const made = element("section", "", "side");
  made.append(element("h4", NAMES[side]));
  const found = job.sides[side];
  if (found === "waiting" || found === undefined) made.append(element("p", "answers", "waiting"));
  else if (isAnswer(found)) made.append(...drawAnswer(found));
  else made.append(drawProblem(job, side, found, again));
  return made;
}

/** @param {Answer} answer */
export function drawAnswer(answer) {
  const bars = element("ol", "", "bars");
  const inSet = new Set(answer.set ?? []);
  for (const { label, probability } of answer.scores.slice(0, SHOWN)) {
    const line = element("li");
    line.append(element("span", label), element("span", percent(probability)));
    line.classList.toggle("in-set", inSet.has(label));
    line.style.backgroundSize = `${100 * probability}% 100%`;
    bars.append(line);
  }
  const notes = [];
  if (answer.unknown) notes.push("The model has never seen anything like this picture.");
  if (answer.confidence !== null) notes.push(`Right with ${percent(answer.confidence)} by its calibration.`);
  if (answer.set) notes.push(`Set: ${answer.set.join(", ")}.`);
  if (answer.cannotTellUnknown) notes.push("Whether it is unknown, the server alone can tell for this file.");
  /** @type {HTMLElement[]} */
  const made = [bars];
  if (notes.length) made.push(element("p", notes.join(" "), "small"));
  const time = element("p", `${ms(answer.totalMs)} in all`, "small faint");
  time.title = `${answer.detail} ms`;
  return [...made, time];
}

/** @param {Job} job @param {Side} side @param {Problem} problem @param {(job: Job, side: Side) => void} again */
function drawProblem(job, side, problem, again) {
  const made = element("div", textOf(problem), "verdict bad");
  made.setAttribute("role", "alert");
  const other = side === "browser" && job.sides.server === undefined;
  const button = element("button", other ? "Send it to the server" : "Try again", "button small-button");
  button.type = "button";
  button.addEventListener("click", () => again(job, other ? "server" : side));
  made.append(element("br"), button);
  return made;
}

/** @param {Answer} server @param {Answer} browser @param {number} tolerance @returns {["good" | "warn" | "bad", string]} */
function judged(server, browser, tolerance) {
  const found = compare(server, browser, tolerance);
  if (!found.sameFile) return ["bad", "Two files answered: the server's model has been replaced. Choose it again to compare."];
  const change = `probabilities differ by ${apart(found.change)}`;
  if (found.sameTensor && found.within) return ["good", `Proven the same: one file, one tensor to the bit (SHA-256 ${server.tensorSha256?.slice(0, 12)}…); ${change}.`];
  if (found.within && found.sameLabel) return ["warn", `Equivalent: one file; the decoders round otherwise, so the tensors differ; ${change}, of ${tolerance} that are allowed.`];
  return ["bad", `Not the same: ${change}, and ${tolerance} are allowed. ${found.sameTensor ? "The tensor is the same, so it is the engine." : "The tensors differ, so it is the decoder."}`];
}
