// What a stress test looks like: plots of its seconds, what its record says, and the tests that were.

import { byId, element } from "./dom.js";
import { drawPlot } from "./plot.js";
import { linear, logarithmic, short, tails } from "./scales.js";
import { askedName, figure, findings, loadName } from "./stress_run.js";

/** @typedef {import("./stress_run.js").StressRun} StressRun */
/** @typedef {import("./stress_run.js").LoadRecord} LoadRecord */
/** @typedef {import("./stress_run.js").Entry} Entry */
/** @typedef {import("./plot.js").Series} Series */

const LEAST_MS = 0.1;
const SHOWN_SHARE = 0.9999;

/** @type {Record<Entry["state"], string>} */
export const STATES = {
  running: "running", done: "done", cancelled: "ended by hand", ended: "ended with the service", failed: "failed",
};

/** @param {StressRun} run @param {number} capacity Pictures that may be in the service. */
export function drawRun(run, capacity) {
  byId("stress-shown").hidden = false;
  byId("stress-name").textContent = `${run.entry.asked.model}: ${askedName(run.entry.asked)}`;
  drawSeconds(run, capacity);
  const { record } = run;
  byId("stress-findings").replaceChildren(...(record ? findings(record).map((words) => element("li", words)) : []));
  drawSteps(record);
  byId("stress-save").hidden = !run.entry.has_record;
  for (const id of ["stress-result", "stress-answered"]) byId(id).replaceChildren();
  if (record?.knee) drawSweep(record);
  else if (record) drawTails(record);
}

/** @param {StressRun} run @param {number} capacity */
function drawSeconds(run, capacity) {
  const { seconds, bands } = run;
  const places = ["stress-latency", "stress-throughput", "stress-queue"].map((id) => byId(id));
  if (!seconds.length) {
    for (const place of places) place.replaceChildren();
    return;
  }
  const last = seconds[seconds.length - 1];
  const x = linear(0, last.at);
  const shared = { x, xTitle: "seconds", bands };
  const deadline = run.entry.asked.deadline_ms;
  const times = seconds.flatMap(({ latency_ms: each }) => (each ? [each.p50, each.p99] : []));
  const latency = (/** @type {"p50" | "p95" | "p99"} */ name) => seconds.map(({ at, latency_ms: each }) => /** @type {[number, number | null]} */ ([at, each ? each[name] : null]));
  const now = last.latency_ms;
  drawPlot(places[0], {
    ...shared, title: "Latency of each second, ms", y: logarithmic(least(times), Math.max(most(times), Math.min(deadline * 1.3, 10 * most(times)))),
    summary: now ? `In the last second half were answered within ${figure(now.p50)} ms, 99 of 100 within ${figure(now.p99)} ms.` : "In the last second nothing was answered.",
    series: [{ name: "half", kind: "a", points: latency("p50") }, { name: "95 of 100", kind: "b", points: latency("p95") }, { name: "99 of 100", kind: "c", points: latency("p99") }],
    ...(most(times) * 10 > deadline ? { limit: { y: deadline, name: "deadline" } } : {}),
  });
  const rate = (/** @type {"offered" | "accepted" | "refused"} */ name) => seconds.map((each) => /** @type {[number, number]} */ ([each.at, each[name] / (each.to_s - each.from_s)]));
  const offered = rate("offered");
  drawPlot(places[1], {
    ...shared, title: "Requests a second", y: linear(0, most([...offered, ...rate("accepted"), ...rate("refused")].map(([, y]) => y)) * 1.08),
    summary: `In the last second ${last.offered} were sent, ${last.accepted} answered and ${last.refused} refused.`,
    series: [{ name: "sent", kind: "b", points: offered }, { name: "answered", kind: "a", points: rate("accepted") }, { name: "refused", kind: "c", points: rate("refused") }],
  });
  const queue = (/** @type {"mean" | "most"} */ name) => seconds.map((each) => /** @type {[number, number]} */ ([each.at, each.queue[name]]));
  const deepest = most(seconds.map((each) => each.queue.most));
  drawPlot(places[2], {
    ...shared, title: "Pictures in the service", y: linear(0, Math.max(deepest > capacity / 2 ? capacity * 1.08 : deepest, 4)),
    summary: `At most ${deepest} of ${capacity}; beyond that, the next is refused.`,
    series: [{ name: "mean", kind: "a", points: queue("mean") }, { name: "most", kind: "c", points: queue("most") }],
    ...(deepest > capacity / 2 ? { limit: { y: capacity, name: `${capacity} fit` } } : {}),
  });
}

/** How the latencies are distributed: what comes on schedule beside what waits. @param {LoadRecord} record */
function drawTails({ steps, deadline_ms: deadline }) {
  /** @type {Series[]} */
  const series = steps.filter((step) => step.cdf_ms.length).map((step) => ({
    name: step.loop === "closed" ? `closed loop: ${loadName(step)}` : `open loop: ${loadName(step)}`,
    kind: step.loop === "closed" ? "b" : "a", points: step.cdf_ms,
  }));
  for (const step of steps) {
    const sent = step.loop === "open" ? step.from_send_ms : null;
    if (sent) series.push({ name: "the same, counted from sending", kind: "c dots", points: [[0.5, sent.p50], [0.9, sent.p90], [0.99, sent.p99]] });
  }
  const values = series.flatMap(({ points }) => points.flatMap(([, y]) => (y === null ? [] : [y])));
  if (!values.length) return;
  const share = Math.min(most(series.flatMap(({ points }) => points.map(([x]) => x))), SHOWN_SHARE);
  drawPlot(byId("stress-result"), {
    title: "Latency that so many stay within, ms", x: tails(share), xTitle: "of 100 answers", y: logarithmic(least(values), most(values)),
    xName: (value) => short(100 * value), summary: "What came on schedule, beside what clients that wait would say.", series,
    ...(most(values) >= deadline ? { limit: { y: deadline, name: "deadline" } } : {}),
  });
}

/** Latency and answers against the rate that was offered. @param {LoadRecord} record */
function drawSweep({ steps, deadline_ms: deadline }) {
  const open = steps.filter(({ loop }) => loop === "open").sort((a, b) => (a.rate_per_s ?? 0) - (b.rate_per_s ?? 0));
  const closed = steps.filter(({ loop }) => loop === "closed");
  if (!open.length) return;
  /** @typedef {import("./stress_run.js").Step} Step */
  const rate = (/** @type {Step} */ step) => step.rate_per_s ?? step.accepted_per_s;
  const points = (/** @type {Step[]} */ of, /** @type {(step: Step) => number | null | undefined} */ y) => of.map((step) => /** @type {[number, number | null]} */ ([rate(step), y(step) ?? null]));
  /** @type {Series[]} */
  const series = [
    { name: "half", kind: "a", points: points(open, (step) => step.latency_ms?.p50) },
    { name: "90 of 100", kind: "b", points: points(open, (step) => step.latency_ms?.p90) },
    { name: "99 of 100", kind: "c", points: points(open, (step) => step.latency_ms?.p99) },
  ];
  for (const step of closed) {
    series.push({ name: `${loadName(step)} that wait: half, 90, 99 of 100`, kind: "b dots", points: ["p50", "p90", "p99"].flatMap((name) => points([step], ({ latency_ms: each }) => each?.[/** @type {"p50"} */ (name)])) });
  }
  const values = series.flatMap((each) => each.points.flatMap(([, y]) => (y === null ? [] : [y])));
  const rates = steps.map(rate);
  const shared = { x: logarithmic(Math.min(...rates), Math.max(...rates, Math.min(...rates) * 1.01)), xTitle: "requests a second" };
  if (values.length) {
    drawPlot(byId("stress-result"), {
      ...shared, title: "Latency by the rate that came, ms", y: logarithmic(least(values), most(values)),
      summary: `From ${figure(Math.min(...rates))} to ${figure(Math.max(...rates))} a second.`, series: series.filter((each) => each.points.some(([, y]) => y !== null)),
      ...(most(values) >= deadline ? { limit: { y: deadline, name: "deadline" } } : {}),
    });
  }
  /** @type {Series[]} */
  const came = [
    { name: "answered", kind: "a", points: points(open, (step) => step.accepted_per_s) },
    { name: "of these in time", kind: "b", points: points(open, (step) => step.accepted_per_s * (step.accepted ? step.on_time / step.accepted : 0)) },
    { name: "refused", kind: "c", points: points(open, (step) => step.offered_per_s * (step.refused / step.offered)) },
  ];
  drawPlot(byId("stress-answered"), {
    ...shared, title: "Answered by the rate that came, a second", y: linear(0, most(came.flatMap((each) => each.points.map(([, y]) => y ?? 0))) * 1.08),
    summary: `At most ${figure(most(open.map((step) => step.accepted_per_s)))} a second were answered.`, series: came,
  });
}

const COLUMNS = ["Load", "offered/s", "answered/s", "in time", "refused", "refused after, ms", "p50, ms", "p90, ms", "p99, ms", "p99 from sending"];

/** @param {LoadRecord | null} record */
function drawSteps(record) {
  const table = byId("stress-steps");
  if (!record) {
    table.replaceChildren();
    return;
  }
  const head = element("tr");
  head.append(...COLUMNS.map((name) => cell("th", name, "col")));
  const rows = record.steps.map((step) => {
    const row = element("tr");
    row.append(cell("th", loadName(step), "row"));
    const share = (/** @type {number} */ count) => `${(100 * count / step.offered).toFixed(1)} %`;
    for (const words of [
      figure(step.offered_per_s), figure(step.accepted_per_s), share(step.on_time), share(step.refused), figure(step.refusal_ms?.p50),
      figure(step.latency_ms?.p50), figure(step.latency_ms?.p90), figure(step.latency_ms?.p99), figure(step.from_send_ms?.p99),
    ]) row.append(element("td", words));
    return row;
  });
  table.replaceChildren(head, ...rows);
}

/** @param {"th"} tag @param {string} text @param {"col" | "row"} scope */
function cell(tag, text, scope) {
  const made = element(tag, text);
  made.scope = scope;
  return made;
}

/**
 * @param {Entry[]} entries
 * @param {(entry: Entry) => void} show
 */
export function drawHistory(entries, show) {
  byId("stress-history").hidden = !entries.length;
  byId("stress-runs").replaceChildren(...entries.map((entry) => {
    const line = element("li");
    const began = new Date(entry.started * 1000).toLocaleTimeString();
    const button = element("button", "Show", "button small-button");
    button.type = "button";
    button.setAttribute("aria-label", `Show the test of ${began}`);
    button.addEventListener("click", () => show(entry));
    line.append(element("span", `${began} · ${entry.asked.model} · ${askedName(entry.asked)} · ${STATES[entry.state]}`), button);
    return line;
  }));
}

/** @param {number[]} values */
const most = (values) => values.reduce((a, b) => Math.max(a, b), LEAST_MS);
/** Some room below. @param {number[]} values */
const least = (values) => Math.max(values.reduce((a, b) => Math.min(a, b), Infinity) * 0.8, LEAST_MS);
