// The stress test: what is asked of the service, and what it tells until the end.

import { toBase64 } from "../core/hash.js";
import { Problem } from "../core/problem.js";
import { byId, element } from "./dom.js";
import { jsonLines } from "./json_lines.js";
import { figure, StressRun } from "./stress_run.js";
import { drawHistory, drawRun, STATES } from "./stress_view.js";
import { textOf } from "./texts.js";
import { onView } from "./views.js";

/** @typedef {import("./stress_run.js").Entry} Entry */
/**
 * @typedef {object} Handed What the page gives.
 * @property {import("./api.js").Api} api
 * @property {() => import("./api.js").ModelEntry | null} model The chosen one.
 * @property {() => Promise<void>} refresh Reads the list of models again.
 */
/** @typedef {{rate: number, clients: number, seconds: number, pictures: number}} Limits */

/** @type {Handed} */
let page;
/** @type {Limits | null} */
let limits = null;
let capacity = 1;
/** @type {StressRun | null} The one that is shown. */
let shown = null;
/** @type {AbortController | null} Of the lines that are read. */
let reading = null;

const input = (/** @type {string} */ name) => byId(`stress-${name}`, HTMLInputElement);
const number = (/** @type {string} */ name) => Number(input(name).value);

/** @param {Handed} handed */
export function startStress(handed) {
  page = handed;
  byId("stress-form").addEventListener("submit", (event) => {
    event.preventDefault();
    begin().catch(complain);
  });
  byId("stress-key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    page.api.key = input("key").value.trim();
    page.refresh();
    look();
  });
  byId("stress-stop").addEventListener("click", () => stop().catch(complain));
  byId("stress-save").addEventListener("click", () => save().catch(complain));
  byId("stress-twice").addEventListener("click", () => {
    input("rate").value = byId("stress-twice").dataset.rate ?? "";
    input("rate").focus();
  });
  for (const mode of document.querySelectorAll('input[name="stress-mode"]')) mode.addEventListener("change", chooseMode);
  input("pictures").addEventListener("change", tellWhat);
  byId("models").addEventListener("change", tellWhat);
  new MutationObserver(tellWhat).observe(byId("models"), { childList: true });
  onView("stress", (visible) => {
    if (visible) look();
    else reading?.abort();
  });
  new ResizeObserver(() => {
    if (shown) drawRun(shown, capacity);
  }).observe(byId("stress"));
}

const sweeps = () => document.querySelector('input[name="stress-mode"][value="sweep"]:checked') !== null;

function chooseMode() {
  const mode = sweeps() ? "sweep" : "rate";
  for (const label of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#stress-form [data-mode]"))) {
    label.hidden = label.dataset.mode !== mode;
    for (const each of label.querySelectorAll("input")) each.disabled = label.hidden;
  }
}

/** Which model, and which pictures. */
function tellWhat() {
  const count = input("pictures").files?.length ?? 0;
  const what = count ? `${count} ${count === 1 ? "picture" : "pictures"} of yours` : "the photo of its certificate";
  const model = page.model();
  byId("stress-what").textContent = model ? `${model.model} is sent ${what}.` : textOf(new Problem("stress_no_model"));
}

/**
 * What there was, and what runs: looked at whenever the view is opened.
 * @param {Problem | null} [busy] Why another one was not begun.
 */
async function look(busy = null) {
  tellWhat();
  try {
    const found = await (await page.api.ask("/v1/stress", { cache: "no-store" })).json();
    limits = /** @type {Limits} */ (found.limits);
    capacity = found.capacity;
    for (const [name, most] of [["rate", limits.rate], ["from", limits.rate], ["to", limits.rate], ["clients", limits.clients], ["seconds", limits.seconds]]) {
      input(String(name)).max = String(most);
    }
    byId("stress-key-form").hidden = true;
    if (byId("stress-state").classList.contains("verdict")) say("");
    drawHistory(found.runs, (entry) => void follow(entry));
    const running = found.runs.find((/** @type {Entry} */ each) => each.id === found.running);
    if (running) follow(running, busy ? `${textOf(busy)} ` : "");
    else byId("stress-stop").hidden = true;
  } catch (error) {
    complain(error);
  }
}

async function begin() {
  const model = page.model();
  if (!model) throw new Problem("stress_no_model");
  const clients = number("clients");
  const asked = {
    model: model.model, version: model.version, seconds: number("seconds"), deadline_ms: number("deadline"),
    clients: clients > 0 ? clients : null,
    ...(sweeps() ? { ramp: [number("from"), number("to")] } : { rate: number("rate") }),
    images: await chosenPictures(),
  };
  byId("stress-start").toggleAttribute("disabled", true);
  say("It starts …");
  try {
    const options = { method: "POST", body: JSON.stringify(asked), headers: { "Content-Type": "application/json" } };
    const entry = await (await page.api.ask("/v1/stress", options)).json();
    await follow(entry);
  } catch (error) {
    const problem = Problem.of(error, "offline");
    if (problem.code !== "stress_running") throw problem;
    await look(problem);
  } finally {
    byId("stress-start").toggleAttribute("disabled", false);
  }
}

async function chosenPictures() {
  const files = [...(input("pictures").files ?? [])];
  if (limits && files.length > limits.pictures) throw new Problem("stress_too_many", { given: files.length, most: limits.pictures });
  return Promise.all(files.map(async (file) => ({ b64: toBase64(new Uint8Array(await file.arrayBuffer())) })));
}

/**
 * Shows a test, from its first second on, for as long as it goes on.
 * @param {Entry} entry
 * @param {string} [before] What is said before how far it is.
 */
async function follow(entry, before = "") {
  reading?.abort();
  const mine = (reading = new AbortController());
  const run = (shown = new StressRun(entry));
  byId("stress-stop").hidden = entry.state !== "running";
  drawRun(run, capacity);
  try {
    const response = await page.api.ask(`/v1/stress/${entry.id}`, { signal: mine.signal, cache: "no-store" }, null);
    if (!response.body) throw new Problem("stress_lost");
    for await (const line of jsonLines(response.body)) {
      run.take(line);
      if (run.entry.state === "running") {
        const last = run.bands.at(-1);
        say(last ? `${before}Running: ${last.name}, ${figure(last.to - last.from)} s of ${entry.asked.seconds}.` : "It starts …");
      }
      if (run.entry.state !== "running" || !line.run) drawRun(run, capacity);
    }
    if (run.entry.state === "running") throw new Problem("stress_lost");
    ended(run);
  } catch (error) {
    if (mine.signal.aborted) return; // another one is shown, or another view
    byId("stress-stop").hidden = true;
    const problem = Problem.of(error, "stress_lost");
    complain(run.seconds.length && problem.code === "offline" ? new Problem("stress_lost") : problem);
  }
}

/** @param {StressRun} run */
function ended(run) {
  byId("stress-stop").hidden = true;
  const { state, reason } = run.entry;
  const words = { running: "", done: "Done.", cancelled: "Ended by hand; what was measured until then is shown.", ended: "The service was stopped, and has ended the test; what was measured until then is shown.", failed: `The test failed: ${reason ?? ""}` };
  say(words[state], state === "failed" ? "bad" : "");
  byId("live").textContent = `The stress test is over: ${STATES[state]}.`;
  const closed = run.record?.steps.find(({ loop }) => loop === "closed");
  const twice = closed ? Number((2 * closed.accepted_per_s).toPrecision(2)) : 0;
  const button = byId("stress-twice");
  button.hidden = !twice || sweeps() || (limits !== null && twice > limits.rate);
  button.dataset.rate = String(twice);
  button.textContent = `Ask twice what the clients got: ${twice}/s`;
  page.api.ask("/v1/stress", { cache: "no-store" }).then((response) => response.json()).then(({ runs }) => drawHistory(runs, (entry) => void follow(entry)), () => {});
}

async function stop() {
  if (!shown) return;
  byId("stress-stop").hidden = true;
  say("It is being ended …");
  await page.api.ask(`/v1/stress/${shown.entry.id}`, { method: "DELETE" });
}

async function save() {
  if (!shown) return;
  const blob = await (await page.api.ask(`/v1/stress/${shown.entry.id}/record`)).blob();
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = `load-${shown.entry.id}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** @param {string} words @param {"" | "bad"} [kind] */
function say(words, kind = "") {
  const state = byId("stress-state");
  state.className = kind ? `verdict ${kind}` : "small";
  state.textContent = words;
}

/** @param {unknown} error */
function complain(error) {
  const problem = Problem.of(error, "offline");
  if (problem.code === "not_admin" || problem.code === "no_key") byId("stress-key-form").hidden = false;
  say(textOf(problem), "bad");
}
