// The pure modules of the stress test.

import assert from "node:assert/strict";
import { test } from "node:test";

const page = new URL("../../edgeclf/web/static/page/", import.meta.url);
const [{ jsonLines }, { linear, logarithmic, tails, short }, { StressRun, findings, askedName, loadName, figure }, { toBase64, fromBase64 }] = await Promise.all([
  import(new URL("json_lines.js", page)), import(new URL("scales.js", page)), import(new URL("stress_run.js", page)), import(new URL("../core/hash.js", page)),
]);

const asked = { model: "mugs", rate: 200, ramp: null, clients: 8, seconds: 2, deadline_ms: 1000 };
const second = (more) => ({ step: 0, loop: "closed", rate_per_s: null, clients: 8, from_s: 0, to_s: 1, offered: 1, accepted: 1, refused: 0, failed: 0, latency_ms: null, refusal_ms: null, queue: { mean: 0, most: 0 }, ...more });
const step = (more) => ({
  loop: "open", rate_per_s: 200, clients: null, offered: 400, accepted: 300, on_time: 300, refused: 100, failed: 0, offered_per_s: 200, accepted_per_s: 150,
  latency_ms: { n: 300, p50: 12, p90: 40.06, p99: null }, from_send_ms: null, refusal_ms: { n: 100, p50: 1.234, p90: null, p99: null }, cdf_ms: [], generator: { saturated: false }, ...more,
});

test("lines come whole, wherever the network cuts them", async () => {
  const sent = new TextEncoder().encode('{"a":"ä"}\n{"b":2}\n\n{"c":[3]}');
  for (let size = 1; size <= sent.length; size++) {
    const body = new ReadableStream({
      start(controller) {
        for (let at = 0; at < sent.length; at += size) controller.enqueue(sent.slice(at, at + size));
        controller.close();
      },
    });
    const found = [];
    for await (const line of jsonLines(body)) found.push(line);
    assert.deepEqual(found, [{ a: "ä" }, { b: 2 }, { c: [3] }], `pieces of ${size}`);
  }
});

test("whoever stops reading lets go of the stream", async () => {
  let left = false;
  const body = new ReadableStream({
    pull: (controller) => controller.enqueue(new TextEncoder().encode("1\n")),
    cancel: () => { left = true; },
  });
  for await (const line of jsonLines(body)) if (line) break;
  assert.ok(left);
});

test("axes name round values within their ends", () => {
  assert.deepEqual(linear(0, 10).ticks, [0, 2, 4, 6, 8, 10]);
  assert.deepEqual(linear(0, 0.35).ticks, [0, 0.1, 0.2, 0.3]);
  assert.deepEqual(linear(3, 3).ticks.filter((tick) => tick < 3 || tick > 4), []);
  assert.deepEqual(logarithmic(1, 1000).ticks, [1, 10, 100, 1000]);
  assert.deepEqual(logarithmic(4, 30).ticks, [5, 10, 20]);
  for (const [scale, low, high] of [[linear(2, 8), 2, 8], [logarithmic(2, 8), 2, 8], [tails(0.99), 0, 0.99]]) {
    assert.ok(Math.abs(scale.at(low)) < 1e-9 && Math.abs(scale.at(high) - 1) < 1e-9);
  }
  assert.ok(Math.abs(tails(0.99).at(0.9) - 0.5) < 1e-9); // a nine is as long as the next
  assert.deepEqual(tails(0.991).ticks, [0, 0.5, 0.9, 0.99]);
  assert.deepEqual([0.1234, 999, 12345, 123456].map(short), ["0.123", "999", "12.3k", "123k"]);
});

test("seconds of several steps lie one behind the other", () => {
  const run = new StressRun({ id: "a", state: "running", reason: null, started: 0, asked, has_record: false });
  run.take({ second: second({ to_s: 1.1 }) });
  run.take({ second: second({ from_s: 1.1, to_s: 2 }) });
  run.take({ second: second({ step: 1, loop: "open", rate_per_s: 200, clients: null, to_s: 1 }) });
  run.take({ second: second({ step: 1, loop: "open", rate_per_s: 200, clients: null, from_s: 1, to_s: 2.5 }) });
  assert.deepEqual(run.seconds.map(({ at }) => at), [1.1, 2, 3, 4.5]);
  assert.deepEqual(run.bands, [{ from: 0, to: 2, name: "8 clients" }, { from: 2, to: 4.5, name: "200/s" }]);
  run.take({ end: { ...run.entry, state: "done" }, record: { steps: [], knee: null, deadline_ms: 1 } });
  assert.equal(run.entry.state, "done");
  assert.equal(loadName({ loop: "closed", rate_per_s: null, clients: 1 }), "1 client");
  assert.equal(askedName({ ...asked, rate: null, ramp: [10, 80] }), "8 clients, then 10 to 80/s; 2 s each");
  assert.deepEqual([null, 1.2345, 99.96, 12345].map(figure), ["–", "1.23", "100", "12,345"]);
});

test("what came of it is said with what n can carry", () => {
  const record = { steps: [step({}), step({ latency_ms: null, accepted: 0, refused: 0, failed: 400 })], knee: null, deadline_ms: 1000 };
  assert.deepEqual(findings(record), [
    "200/s on schedule: 150 a second were answered, 90 of 100 within 40.1 ms (the deadline is 1,000); 25 % were refused, after 1.23 ms at the median.",
    "200/s on schedule: nothing was answered.",
    "400 got no answer, or another one.",
  ]);
  const closed = step({ loop: "closed", clients: 8, rate_per_s: null, refused: 0, generator: { saturated: true } });
  const knee = { rate_per_s: 160, beyond_per_s: 200, why: "80.0 % of the requests were answered in time" };
  assert.deepEqual(findings({ steps: [closed, step({})], knee, deadline_ms: 1000 }).slice(1), [
    "The knee: 160 a second are answered in time; of 200, 80.0 % of the requests were answered in time.",
    "The load test itself did not keep up (8 clients), so the latencies there are partly its own.",
  ]);
  assert.match(findings({ steps: [step({})], knee: { ...knee, rate_per_s: null }, deadline_ms: 1 })[0], /^Even the lowest rate/);
  assert.match(findings({ steps: [step({})], knee: { ...knee, beyond_per_s: null }, deadline_ms: 1 })[0], /^The knee was not reached: 160/);
});

test("pictures are sent as base64, of any length", () => {
  for (const length of [0, 1, 2, 3, 100_001]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 31) & 255);
    assert.deepEqual(fromBase64(toBase64(bytes)), bytes);
  }
});
