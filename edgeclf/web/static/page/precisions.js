// The view Precisions: what fewer bits cost on one photo, file beside file.

import { Problem } from "../core/problem.js";
import { summary } from "../core/maps.js";
import { askHere, askServer, difference, families, family } from "./comparing.js";
import { apart, byId, bytes, element, ms, percent } from "./dom.js";
import { drawMap, inWords } from "./heat.js";
import { textOf } from "./texts.js";
import { onView } from "./views.js";

/** @typedef {import("./why.js").Shared} Shared */
/** @typedef {import("./api.js").ModelEntry} ModelEntry */
/** @typedef {import("./comparing.js").Said} Said */

const MAP_SIDE = 128; // pixels of a drawn map's longer side
const COLUMNS = ["File", "Answer", "Probability", "Largest change", "Map", "Correlation", "Size", "Model alone"];

/** @param {Shared} shared */
export function startPrecisions(shared) {
  /** @type {AbortController | null} */
  let running = null;
  /** @type {{picture: Blob, name: string} | null} */
  let photo = null;
  /** @type {ModelEntry[][]} */
  let groups = [];
  let preview = "";

  /** @param {{picture: Blob, name: string}} chosen */
  function choose(chosen) {
    photo = chosen;
    const image = byId("precisions-photo", HTMLImageElement);
    URL.revokeObjectURL(preview);
    preview = URL.createObjectURL(chosen.picture);
    image.hidden = false;
    image.src = preview;
    image.alt = `The picture ${chosen.name}`;
    byId("precisions-name").textContent = chosen.name;
    clear();
  }

  /** Takes away what was measured of something else, and ends what is being measured. */
  function clear() {
    running?.abort();
    running = null;
    offer(true);
    byId("precisions-table").replaceChildren();
    say("");
  }

  /** @param {boolean} go Whether to compare, or to cancel. */
  function offer(go) {
    byId("precisions-go").hidden = !go;
    byId("precisions-cancel").hidden = go;
  }

  /** @param {string} words @param {boolean} [bad] */
  function say(words, bad = false) {
    const state = byId("precisions-state");
    state.className = bad ? "verdict bad" : running && words ? "waiting" : "small";
    state.textContent = words;
  }

  const chosen = () => shared.model() ?? groups[0]?.[0] ?? null;

  /** Reads the list again; what was ticked stays so. */
  async function list() {
    try {
      groups = families(await shared.api.versions());
      drawFiles();
    } catch (error) {
      say(textOf(Problem.of(error, "offline")), true);
    }
  }

  function drawFiles() {
    const before = new Set(ticked().map(({ sha256 }) => sha256));
    const model = chosen();
    const own = groups.find((members) => model && family(members[0]) === family(model)) ?? [];
    byId("precisions-sample").hidden = !model?.example;
    byId("precisions-files").replaceChildren(...own.map((each) => {
      const made = element("label", "", "tick");
      const box = element("input");
      Object.assign(box, { type: "checkbox", value: each.sha256, checked: !before.size || before.has(each.sha256) });
      box.addEventListener("change", clear);
      made.append(box, element("span", titleOf(each)), element("small", `${each.model} ${each.version}`));
      return made;
    }));
    byId("precisions-alone").hidden = own.length > 1;
  }

  /** The ticked files, the most exact first. */
  function ticked() {
    const boxes = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("#precisions-files input"));
    const wanted = new Set([...boxes].filter(({ checked }) => checked).map(({ value }) => value));
    return groups.flat().filter(({ sha256 }, i, all) => wanted.has(sha256) && all.findIndex((other) => other.sha256 === sha256) === i);
  }

  async function compare() {
    clear();
    const files = ticked();
    const given = photo;
    if (!given) return say(textOf(new Problem("no_photo_chosen")), true);
    if (!files.length) return say(textOf(new Problem("no_file_chosen")), true);
    const here = shared.sides()[0] === "browser";
    const own = (running = new AbortController());
    offer(false);
    const table = makeTable(here);
    byId("precisions-table").replaceChildren(table);
    /** @type {Said | null} */
    let exact = null;
    let failed = 0;
    for (const [i, file] of files.entries()) {
      if (own.signal.aborted) break;
      say(`${titleOf(file)}, ${i + 1} of ${files.length}, ${here ? "in this browser" : "on the server"}`);
      try {
        const about = exact?.label ?? null;
        const said = await (here ? askHere : askServer)(shared.api, file, given.picture, about, own.signal);
        if (own.signal.aborted) break;
        exact ??= said;
        table.tBodies[0].append(makeRow(said, exact));
      } catch (error) {
        if (own.signal.aborted) break;
        failed += 1;
        table.tBodies[0].append(failedRow(file, Problem.of(error, "engine_failed")));
      }
    }
    if (running !== own) return; // it was of something else than is asked for now
    offer(true);
    const cut = own.signal.aborted;
    running = null;
    if (cut) return say("It was cancelled; what is above was measured before.");
    say(exact ? `Compared with ${titleOf(exact.model)}; the maps are of ${exact.label}.` : "No file answered.", !exact);
    byId("live").textContent = `${files.length - failed} of ${files.length} files compared on ${given.name}`;
  }

  const input = byId("precisions-choose", HTMLInputElement);
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    if (file) choose({ picture: file, name: file.name });
    input.value = "";
  });
  byId("precisions-sample").addEventListener("click", async () => {
    const model = chosen();
    try {
      if (model) choose({ picture: await shared.api.example(model), name: "the certificate's photo" });
    } catch (error) {
      say(textOf(Problem.of(error, "offline")), true);
    }
  });
  byId("precisions-go").addEventListener("click", compare);
  byId("precisions-cancel").addEventListener("click", () => running?.abort());
  onView("precisions", (shown) => {
    if (!shown) return;
    const latest = shared.jobs()[0];
    if (!photo && latest) choose(latest);
    list();
  });
  byId("models").addEventListener("change", () => {
    clear();
    drawFiles();
  });
}

/** @param {ModelEntry} model */
const titleOf = ({ precision, format }) => `${precision} ${format}`;

/** @param {boolean} here */
function makeTable(here) {
  const table = element("table", "", "files");
  table.setAttribute("role", "table");
  table.createCaption().textContent = `Times are medians of 5, ${here ? "in this browser" : "on the server"}, without decoding and the way there.`;
  const head = table.createTHead().insertRow();
  for (const name of COLUMNS) {
    const cell = element("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  table.createTBody();
  return table;
}

/** @param {Said} said @param {Said} exact */
function makeRow(said, exact) {
  const first = said === exact;
  const { change, sameLabel, correlation } = difference(said, exact);
  const answer = element("span", said.label);
  if (!sameLabel) answer.append(element("b", " another answer", "tag"));
  const own = said.probabilities.get(said.label) ?? 0;
  return rowOf(said.model, [
    answer, percent(own), first ? "what others are compared with" : apart(change), mapOf(said),
    first || correlation === null ? "–" : correlation.toFixed(4), bytes(said.model.size_bytes), ms(said.medianMs),
  ]);
}

/** @param {ModelEntry} model @param {Problem} problem */
function failedRow(model, problem) {
  const row = rowOf(model, []);
  const cell = row.insertCell();
  cell.colSpan = COLUMNS.length - 1;
  cell.className = "wrong";
  cell.textContent = textOf(problem);
  return row;
}

/** @param {ModelEntry} model @param {(string | HTMLElement)[]} contents */
function rowOf(model, contents) {
  const row = element("tr");
  const head = element("th", titleOf(model));
  row.setAttribute("role", "row"); // said here, as a narrow page lays it out otherwise
  head.setAttribute("role", "rowheader");
  row.append(head);
  contents.forEach((content, i) => {
    const cell = row.insertCell();
    cell.setAttribute("role", "cell");
    cell.dataset.label = COLUMNS[i + 1];
    cell.append(content);
  });
  return row;
}

/** @param {Said} said */
function mapOf({ explained }) {
  if (!explained) return "takes many passes: see Why? beside a picture's answers";
  const canvas = element("canvas");
  const { rows, columns } = explained.map;
  const scale = MAP_SIDE / Math.max(rows, columns);
  [canvas.width, canvas.height] = [columns, rows].map((size) => Math.max(1, Math.round(size * scale)));
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Map of ${explained.label}. ${inWords(summary(explained.map))}`);
  drawMap(canvas, explained.map);
  return canvas;
}
