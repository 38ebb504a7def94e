// The panels beside the answers: the models to choose from, the proof, and what the browser lacks.

import { capabilities } from "./capabilities.js";
import { apart, byId, bytes, element, ms, percent } from "./dom.js";
import { STEPS } from "./texts.js";

/** @typedef {import("./api.js").ModelEntry} ModelEntry */
/** @typedef {import("../engine/session.js").Loaded} Loaded */

/**
 * @param {ModelEntry[]} models
 * @param {ModelEntry | null} chosen
 * @param {(model: ModelEntry) => void} choose
 */
export function drawModels(models, chosen, choose) {
  const cards = models.map((model) => {
    const card = element("label", "", "choice");
    const input = element("input");
    Object.assign(input, { type: "radio", name: "model", value: model.model, checked: model === chosen });
    input.addEventListener("change", () => choose(model));
    const title = element("span");
    title.append(element("b", model.model), element("span", model.precision, "tag"));
    const [width, height] = model.input;
    const facts = [`version ${model.version}`, bytes(model.size_bytes), `${width} × ${height}`, `${model.classes} classes`];
    if (model.top1 !== null) facts.push(`top-1 ${percent(model.top1)}`);
    card.append(input, title, element("small", facts.join(" · ")));
    if (model.description) card.append(element("small", model.description));
    return card;
  });
  byId("models").replaceChildren(...(cards.length ? cards : [element("p", "No model is served yet.", "faint")]));
}

/** @param {ModelEntry | null} model */
export function drawCoverages(model) {
  const levels = model?.coverages ?? [];
  byId("coverage-line").hidden = !levels.length;
  byId("coverage").replaceChildren(...levels.map((level) => {
    const option = element("option", `${Number((100 * level).toFixed(2))} of 100 times`);
    option.value = String(level);
    return option;
  }));
}

/** @param {ModelEntry | null} model @param {Loaded | null} loaded */
export function drawProof(model, loaded) {
  byId("proof").hidden = model === null;
  if (!model) return;
  const rows = [["File", `${model.sha256.slice(0, 16)}… (SHA-256)`]];
  rows.push(["On the server", `${model.certificate ?? "not proven"}${model.runtime ? `, by ${model.runtime}` : ""}`]);
  if (loaded) {
    const { described, ms: took } = loaded;
    rows.push(["In this browser", verdictOf(loaded)]);
    rows.push(["Engine", `${described.engine} ${described.version}, ${described.runsOn}`]);
    if (loaded.maps.problem) rows.push(["Features", `not to be had in this browser: ${loaded.maps.problem}`]);
    rows.push(["It took", `seal ${ms(took.seal)}, engine ${ms(took.engine)}, certificate ${ms(took.replay)}`]);
  }
  byId("proof-list").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

/** @param {Loaded} loaded */
export function verdictOf({ replay }) {
  const asked = `${replay.images} golden images and a photo`;
  switch (replay.verdict) {
    case "identical":
      return `identical: ${asked} are answered as certified, the photo to the bit; probabilities differ by ${apart(Math.max(replay.maxChange, replay.photoChange))}`;
    case "equivalent":
      return `equivalent: ${asked} are answered as certified; another decoder's rounding, ${replay.levels.toFixed(2)} of 255 levels`;
    case "differs":
      return `differs in ${STEPS[replay.step ?? "kernels"]}; probabilities by ${apart(Math.max(replay.maxChange, replay.photoChange))}, allowed are ${replay.tolerance}`;
    default:
      return "the file has no certificate, so nothing is proven";
  }
}

/** @param {Loaded | null} loaded */
export function drawCapabilities(loaded) {
  const lines = capabilities(loaded?.replay ?? null).map(({ name, has, text }) => {
    const line = element("li", "", has === null ? "open" : has ? "yes" : "no");
    line.append(element("span", has === false ? `${name} is missing` : name), element("small", text));
    return line;
  });
  byId("capabilities").replaceChildren(...lines);
}
