// A stress test as the service tells it, line by line, and what can be said of it. Pure.

/**
 * @typedef {object} Asked
 * @property {string} model
 * @property {number | null} rate
 * @property {[number, number] | null} ramp
 * @property {number | null} clients
 * @property {number} seconds
 * @property {number} deadline_ms
 */
/**
 * @typedef {object} Entry What the service says of a test.
 * @property {string} id
 * @property {"running" | "done" | "cancelled" | "ended" | "failed"} state
 * @property {string | null} reason
 * @property {number} started Seconds since 1970.
 * @property {Asked} asked
 * @property {boolean} has_record
 */
/**
 * @typedef {object} Second What came of one; the times are those of its step.
 * @property {number} step
 * @property {"open" | "closed"} loop
 * @property {number | null} rate_per_s
 * @property {number | null} clients
 * @property {number} from_s
 * @property {number} to_s
 * @property {number} offered
 * @property {number} accepted
 * @property {number} refused
 * @property {number} failed
 * @property {{p50: number, p95: number, p99: number} | null} latency_ms
 * @property {{p50: number, p95: number, p99: number} | null} refusal_ms
 * @property {{mean: number, most: number}} queue
 */
/** @typedef {{n: number, p50: number, p90: number | null, p99: number | null}} Percentiles */
/**
 * @typedef {object} Step Of the record; see docs/serving.md.
 * @property {"open" | "closed"} loop
 * @property {number | null} rate_per_s
 * @property {number | null} clients
 * @property {number} offered
 * @property {number} accepted
 * @property {number} on_time
 * @property {number} refused
 * @property {number} failed
 * @property {number} offered_per_s
 * @property {number} accepted_per_s
 * @property {Percentiles | null} latency_ms
 * @property {Percentiles | null} from_send_ms
 * @property {Percentiles | null} refusal_ms
 * @property {[number, number][]} cdf_ms
 * @property {{saturated: boolean}} generator
 */
/** @typedef {{steps: Step[], knee: {rate_per_s: number | null, beyond_per_s: number | null, why: string | null} | null, deadline_ms: number}} LoadRecord */

export class StressRun {
  /** @param {Entry} entry */
  constructor(entry) {
    this.entry = entry;
    /** @type {(Second & {at: number})[]} With when it ended, in seconds since the first step began. */
    this.seconds = [];
    /** @type {{from: number, to: number, name: string}[]} */
    this.bands = [];
    /** @type {LoadRecord | null} */
    this.record = null;
  }

  /** @param {{run?: Entry, second?: Second, end?: Entry, record?: LoadRecord}} line */
  take(line) {
    if (line.run) this.entry = line.run;
    if (line.second) this.#second(line.second);
    if (line.end) {
      this.entry = line.end;
      this.record = line.record ?? null;
    }
  }

  /** @param {Second} second */
  #second(second) {
    let band = this.bands[second.step];
    if (!band) {
      const from = this.bands.at(-1)?.to ?? 0;
      band = { from, to: from, name: loadName(second) };
      this.bands.push(band);
    }
    band.to = band.from + second.to_s;
    this.seconds.push({ ...second, at: band.to });
  }
}

/** @param {{loop: string, rate_per_s: number | null, clients: number | null}} step */
export const loadName = ({ loop, rate_per_s: rate, clients }) =>
  loop === "open" ? `${Number((rate ?? 0).toPrecision(4))}/s` : `${clients} ${clients === 1 ? "client" : "clients"}`;

/** @param {Asked} asked */
export function askedName({ rate, ramp, clients, seconds }) {
  const parts = [];
  if (clients !== null) parts.push(clients === 1 ? "1 client" : `${clients} clients`);
  if (rate !== null) parts.push(`${rate}/s`);
  if (ramp !== null) parts.push(`${ramp[0]} to ${ramp[1]}/s`);
  return `${parts.join(", then ")}; ${seconds} s each`;
}

/** @param {number | null | undefined} value */
export const figure = (value) => (value === null || value === undefined ? "–" : value < 99.95 ? String(Number(value.toPrecision(3))) : Math.round(value).toLocaleString("en"));

/** What came of it, in sentences; of a sweep, the knee says most. @param {LoadRecord} record @returns {string[]} */
export function findings({ steps, knee, deadline_ms: deadline }) {
  const told = knee ? steps.filter(({ loop }) => loop === "closed") : steps;
  const said = told.map((step) => finding(step, deadline));
  if (knee?.rate_per_s === null) said.push(`Even the lowest rate is too much: of ${figure(knee.beyond_per_s)} a second, ${knee.why}.`);
  else if (knee?.beyond_per_s === null) said.push(`The knee was not reached: ${figure(knee.rate_per_s)} a second were answered in time.`);
  else if (knee) said.push(`The knee: ${figure(knee.rate_per_s)} a second are answered in time; of ${figure(knee.beyond_per_s)}, ${knee.why}.`);
  const failed = steps.reduce((sum, step) => sum + step.failed, 0);
  if (failed) said.push(`${failed.toLocaleString("en")} got no answer, or another one.`);
  const behind = steps.filter(({ generator }) => generator.saturated).map(loadName);
  if (behind.length) said.push(`The load test itself did not keep up (${behind.join(", ")}), so the latencies there are partly its own.`);
  return said;
}

/** @param {Step} step @param {number} deadline */
function finding(step, deadline) {
  const latency = step.latency_ms;
  const name = step.loop === "closed" ? `${loadName(step)} that wait` : `${loadName(step)} on schedule`;
  if (!latency) return `${name}: nothing was answered.`;
  const [percent, tail] = latency.p99 !== null ? [99, latency.p99] : latency.p90 !== null ? [90, latency.p90] : [50, latency.p50];
  const refused = step.refused ? `; ${((100 * step.refused) / step.offered).toFixed(0)} % were refused, after ${figure(step.refusal_ms?.p50)} ms at the median` : "";
  return `${name}: ${figure(step.accepted_per_s)} a second were answered, ${percent} of 100 within ${figure(tail)} ms (the deadline is ${figure(deadline)})${refused}.`;
}
