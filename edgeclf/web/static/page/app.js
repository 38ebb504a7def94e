// The page: what was chosen, which pictures there are, and who is asked about them.

import { Problem } from "../core/problem.js";
import { ofBrowser, ofServer } from "./answers.js";
import { Api } from "./api.js";
import { startCamera } from "./camera.js";
import { obstacle } from "./capabilities.js";
import { draw, forget, headline, isAnswer, makeJob } from "./cards.js";
import { byId, bytes } from "./dom.js";
import { Engine } from "./engine.js";
import { startGallery } from "./gallery.js";
import { modelBytes } from "./model_cache.js";
import { drawCapabilities, drawCoverages, drawModels, drawProof, verdictOf } from "./panels.js";
import { startPrecisions } from "./precisions.js";
import { startStress } from "./stress.js";
import { textOf } from "./texts.js";
import { startViews } from "./views.js";
import { attachWhy, refreshWhy } from "./why.js";

/** @typedef {import("./cards.js").Job} Job */
/** @typedef {import("./cards.js").Side} Side */
/** @typedef {import("./api.js").ModelEntry} ModelEntry */
/** @typedef {import("../engine/session.js").Loaded} Loaded */

const MOST_PICTURES = 100;
const AT_ONCE = 2;
const MOST_BYTES = 32 * 2 ** 20; // that a service takes in one request

const api = new Api();
const engine = new Engine();
const gallery = startGallery(api, add);
/**
 * @typedef {object} State
 * @property {ModelEntry[]} models
 * @property {ModelEntry | null} model The chosen one.
 * @property {number} turn How often one was chosen: what began in another turn has no say in this one.
 * @property {Promise<Loaded> | null} loading
 * @property {Loaded | null} loaded
 * @property {Job[]} jobs
 */
/** @type {State} */
const state = { models: [], model: null, turn: 0, loading: null, loaded: null, jobs: [] };

// --- what is chosen -----------------------------------------------------------------------------

/** @returns {Side[]} */
const wantedSides = () => {
  const where = document.querySelector('input[name="where"]:checked');
  const value = where instanceof HTMLInputElement ? where.value : "server";
  return value === "both" ? ["server", "browser"] : [/** @type {Side} */ (value)];
};

const coverage = () => {
  const { value } = byId("coverage", HTMLSelectElement);
  return value === "" ? null : Number(value);
};

/** @param {ModelEntry | null} model */
function choose(model) {
  state.model = model;
  state.turn += 1;
  state.loading = state.loaded = null;
  engine.end("engine_failed");
  byId("engine-state").textContent = "";
  byId("sample").hidden = !model?.example;
  drawCoverages(model);
  drawProof(model, null);
  for (const job of state.jobs) job.sides = {};
  askAll();
  camera.chosen();
}

async function refresh() {
  try {
    const before = state.model;
    state.models = await api.models();
    serverState("good", "service ready");
    byId("key-form").hidden = true;
    byId("notice").hidden = true;
    const same = state.models.find(({ model, sha256 }) => model === before?.model && sha256 === before.sha256);
    if (same) state.model = same;
    else choose(state.models.find(({ model }) => model === before?.model) ?? state.models[0] ?? null);
    drawModels(state.models, state.model, choose);
    await gallery.refresh();
  } catch (error) {
    const problem = Problem.of(error, "offline");
    serverState("bad", problem.code === "offline" ? "offline" : "not ready");
    if (problem.code === "no_key") byId("key-form").hidden = false;
    complain(problem);
  }
}

/** @param {"good" | "bad"} kind @param {string} words */
function serverState(kind, words) {
  const pill = byId("server-state");
  pill.className = `pill ${kind}`;
  pill.textContent = words;
}

/** @param {Problem} problem */
function complain(problem) {
  byId("notice").textContent = textOf(problem);
  byId("notice").hidden = false;
}

// --- the engine in this browser -------------------------------------------------------------------

/** The chosen model, loaded and proven here; once, whoever waits for it. @returns {Promise<Loaded>} */
function loadEngine() {
  const { model, turn } = state;
  if (!model) return Promise.reject(new Problem("no_model"));
  if (!engine.running && state.loaded) state.loading = state.loaded = null; // it was ended
  state.loading ??= loadModel(model, turn).catch((error) => {
    const problem = Problem.of(error, "engine_failed");
    if (state.turn === turn) {
      state.loading = null;
      engine.end("engine_failed");
      byId("engine-state").textContent = textOf(problem);
    }
    throw problem;
  });
  return state.loading;
}

/** @param {ModelEntry} model @param {number} turn */
async function loadModel(model, turn) {
  const note = byId("engine-state");
  const code = obstacle();
  if (code) throw new Problem(code);
  note.textContent = `fetching ${bytes(model.size_bytes)} and the engine …`;
  const homes = await api.engines();
  const fetched = await modelBytes(model, () => api.file(model));
  if (state.turn !== turn) throw new Problem("engine_failed", { reason: "another model was chosen" });
  note.textContent = "checking the seal, starting the engine, replaying the certificate …";
  const loaded = await engine.load(fetched.bytes, homes);
  state.loaded = loaded;
  drawProof(model, loaded);
  drawCapabilities(loaded);
  const kept = fetched.from === "cache" ? ", from this browser's cache" : fetched.kept ? "" : "; this browser could not keep it";
  note.textContent = `ready${kept}; certificate ${verdictOf(loaded).split(":")[0]}`;
  return loaded;
}

// --- asking ---------------------------------------------------------------------------------------

/** @type {(() => Promise<void>)[]} */
const queue = [];
let busy = 0;

/** @param {() => Promise<void>} work */
function enqueue(work) {
  queue.push(work);
  pump();
}

function pump() {
  while (busy < AT_ONCE && queue.length) {
    busy += 1;
    /** @type {() => Promise<void>} */ (queue.shift())().finally(() => {
      busy -= 1;
      pump();
    });
  }
}

/** Asks whoever is wanted and has not answered yet, about every picture. */
function askAll() {
  for (const job of state.jobs) {
    for (const side of wantedSides()) if (!isAnswer(job.sides[side]) && job.sides[side] !== "waiting") ask(job, side);
    show(job);
  }
}

/** @param {Job} job @param {Side} side */
function ask(job, side) {
  const { model, turn } = state;
  if (!model) return;
  job.sides[side] = "waiting";
  show(job);
  enqueue(async () => {
    if (!state.jobs.includes(job) || state.turn !== turn) return;
    let found;
    try {
      await checkReadable(job.picture);
      found = side === "server" ? await askServer(job, model) : await askBrowser(job);
      if (side === "server") serverState("good", "service ready");
    } catch (error) {
      found = Problem.of(error, "engine_failed");
      if (found.code === "offline") serverState("bad", "offline");
      if (found.code === "no_model" || found.code === "no_version" || found.code === "another_file") refresh();
    }
    if (state.turn !== turn) return;
    job.sides[side] = found;
    show(job);
    byId("live").textContent = `${job.name}: ${isAnswer(found) ? headline(found) : textOf(found)}`;
  });
}

/** A folder, or a file that was changed since it was chosen, fails in the sending as if nobody listened. @param {Blob} picture */
async function checkReadable(picture) {
  try {
    await picture.slice(0, 1).arrayBuffer();
  } catch {
    throw new Problem("unreadable_file");
  }
}

/** @param {Job} job @param {ModelEntry} model */
async function askServer(job, model) {
  if (!job.picture.size) throw new Problem("empty_file");
  if (job.picture.size > MOST_BYTES) throw new Problem("too_many_bytes", { bytes: job.picture.size, limit: MOST_BYTES });
  const start = performance.now();
  return ofServer(await api.classify(model, job.picture, coverage()), performance.now() - start);
}

/** @param {Job} job */
async function askBrowser(job) {
  const loaded = await loadEngine();
  const start = performance.now();
  return ofBrowser(await engine.classify(await job.picture.arrayBuffer()), loaded, coverage(), performance.now() - start);
}

/** @param {Job} job */
function show(job) {
  draw(job, state.loaded?.replay.tolerance ?? 0, ask);
  refreshWhy(job);
}

/** @type {import("./why.js").Shared} */
const shared = { api, engine, loadEngine, model: () => state.model, sides: wantedSides, jobs: () => state.jobs };

// --- pictures come and go -------------------------------------------------------------------------

/** @param {Iterable<File | Blob>} files */
function add(files) {
  const given = [...files];
  const room = MOST_PICTURES - state.jobs.length;
  byId("notice").hidden = true;
  if (given.length > room) complain(new Problem("too_many_pictures", { left: given.length - room, most: MOST_PICTURES }));
  for (const file of given.slice(0, room)) {
    const job = makeJob(file, file instanceof File && file.name ? file.name : "picture", remove);
    state.jobs.unshift(job);
    byId("cards").prepend(job.card);
    attachWhy(shared, job);
  }
  byId("results-head").hidden = !state.jobs.length;
  askAll();
}

/** @param {Job} job */
function remove(job) {
  const at = state.jobs.indexOf(job);
  state.jobs.splice(at, 1);
  const next = state.jobs[Math.min(at, state.jobs.length - 1)];
  forget(job);
  byId("results-head").hidden = !state.jobs.length;
  const focus = next?.card.querySelector("button") ?? byId("files");
  focus.focus();
}

function listen() {
  const files = byId("files", HTMLInputElement);
  files.addEventListener("change", () => {
    add(files.files ?? []);
    files.value = ""; // so that the same one can be chosen again
  });
  byId("clear").addEventListener("click", () => [...state.jobs].forEach(remove));
  byId("sample").addEventListener("click", async () => {
    try {
      if (state.model) add([new File([await api.example(state.model)], "the certificate's photo", { type: "image/jpeg" })]);
    } catch (error) {
      complain(Problem.of(error, "offline"));
    }
  });
  for (const input of document.querySelectorAll('input[name="where"]')) {
    input.addEventListener("change", () => {
      if (wantedSides().includes("browser")) loadEngine().catch(() => {}); // said where it is started
      askAll();
    });
  }
  byId("coverage").addEventListener("change", () => {
    for (const job of state.jobs) job.sides = {};
    askAll();
  });
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    api.key = byId("key", HTMLInputElement).value.trim();
    refresh();
  });
  document.addEventListener("paste", (event) => {
    const pasted = event.clipboardData?.files ?? [];
    if (pasted.length) add(pasted);
    else if (!(event.target instanceof HTMLInputElement)) complain(new Problem("nothing_pasted"));
  });
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    add(event.dataTransfer?.files ?? []);
  });
  addEventListener("online", refresh);
  addEventListener("offline", () => serverState("bad", "offline"));
}

const camera = startCamera({
  api, engine, loadEngine, add, coverage, serverState,
  model: () => state.model, loaded: () => state.loaded, side: () => wantedSides()[0],
});
listen();
startPrecisions(shared);
startStress({ api, model: () => state.model, refresh });
startViews();
drawCapabilities(null);
refresh();
