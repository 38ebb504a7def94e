// The page's modules without a browser: `node --test tests/web`. What Python answers is in the folder
// that EDGECLF_REFERENCES names, which tests/web/test_modules.py writes; without it those are skipped.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { formatOf, readArtifact } from "../../edgeclf/web/static/core/artifact.js";
import { fingerprint } from "../../edgeclf/web/static/core/certificate.js";
import { judge, needsFeatures, predictionSet, ranked } from "../../edgeclf/web/static/core/confidence.js";
import { scaleOf, turn } from "../../edgeclf/web/static/core/decode.js";
import { halfFloat, inCells, pooled, readFeatures } from "../../edgeclf/web/static/core/features.js";
import { decodeJpeg } from "../../edgeclf/web/static/core/jpeg.js";
import { classActivation, correlation, inPicture, summary } from "../../edgeclf/web/static/core/maps.js";
import { defaultRng } from "../../edgeclf/web/static/core/numpy_random.js";
import { examine, exifOrientation } from "../../edgeclf/web/static/core/picture.js";
import { fit, reduce, roundHalfEven } from "../../edgeclf/web/static/core/resample.js";
import { hiddenColour, randomMask, rise } from "../../edgeclf/web/static/core/rise.js";
import { withFeatures } from "../../edgeclf/web/static/core/tap.js";
import { compare } from "../../edgeclf/web/static/page/answers.js";
import { difference, families, median } from "../../edgeclf/web/static/page/comparing.js";
import { colour, inWords } from "../../edgeclf/web/static/page/heat.js";
import { CODES, textOf } from "../../edgeclf/web/static/page/texts.js";

const folder = process.env.EDGECLF_REFERENCES;
const bytes = (name) => new Uint8Array(readFileSync(join(folder, name)));
const cases = (name) => JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"));
const against = (name, check) => test(name, { skip: folder ? false : "needs the references of test_modules.py" }, check);
const refused = (code) => (error) => error.code === code;

against("pictures become the tensors that Pillow makes of them", () => {
  const all = cases("resizing");
  for (const { file, width, height, spec, expected } of all) {
    const made = fit(bytes(file), width, height, spec);
    assert.ok(Buffer.from(made).equals(Buffer.from(bytes(expected))), `${file} ${JSON.stringify(spec)}`);
  }
  assert.ok(all.length >= 200);
});

against("JPEGs are decoded at a reduced scale as libjpeg does it", () => {
  const all = cases("reduced");
  for (const { file, factor, options, size, expected } of all) {
    const made = decodeJpeg(bytes(file), factor);
    assert.deepEqual([made.width, made.height], size);
    assert.ok(Buffer.from(made.rgba).equals(Buffer.from(bytes(expected))), `${factor} ${options}`);
    const cut = bytes(file).subarray(0, 700);
    assert.throws(() => decodeJpeg(cut, factor), refused("damaged_picture"));
  }
  assert.ok(all.length >= 100);
});

against("orientations are those of Pillow", () => {
  for (const { file, orientation, width, height, expected } of cases("turned")) {
    const made = turn({ rgba: new Uint8ClampedArray(bytes(file)), width: 7, height: 4 }, orientation);
    assert.deepEqual([made.width, made.height], [width, height]);
    assert.ok(Buffer.from(made.rgba).equals(Buffer.from(bytes(expected))), `orientation ${orientation}`);
  }
});

against("fingerprints are those of the certificate", async () => {
  for (const { file, fingerprint: expected } of cases("fingerprints")) {
    const [height, width] = expected.shape;
    const made = await fingerprint(bytes(file), height, width);
    assert.equal(made.sha256, expected.sha256);
    assert.equal(made.means.length, expected.means.length);
    made.means.forEach((mean, i) => assert.ok(Math.abs(mean - expected.means[i]) < 0.0101));
  }
});

against("confidence, novelty and sets are those of Python", () => {
  for (const { trust, probabilities, confidence, novelty, sets } of cases("trust")) {
    const found = judge(probabilities, trust);
    assert.ok(Math.abs(found.confidence - confidence) < 1e-6);
    assert.ok(Math.abs(found.novelty - novelty) < 1e-5);
    for (const [coverage, members] of Object.entries(sets)) {
      assert.deepEqual(predictionSet(probabilities, trust, Number(coverage)), members);
    }
  }
});

const furthest = (a, b) => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), a.length === b.length ? 0 : Infinity);

against("novelty by features is that of Python", () => {
  const all = cases("novelty");
  for (const { trust, probabilities, features, channels, novelty } of all) {
    assert.ok(needsFeatures(trust));
    assert.equal(judge(probabilities, trust).novelty, null);
    const found = judge(probabilities, trust, pooled(Float32Array.from(features), channels));
    assert.ok(Math.abs(found.novelty - novelty) < 1e-5 * novelty, `${trust.novelty.score} ${found.novelty} ${novelty}`);
  }
  assert.equal(all.length, 18);
});

against("heads of every kind are read as by Python", () => {
  for (const { features, labels, file, weights } of cases("heads")) {
    const read = (record, content = bytes(file)) => readFeatures({ features: record, labels }, content);
    const found = read(features);
    assert.deepEqual(found.shape, features.shape);
    weights.forEach((row, target) => assert.ok(furthest(row, found.weights(target)) < 1e-7, `${features.head.kind} ${features.head.type}`));
    assert.throws(() => read({ ...features, pooling: "max" }), refused("no_metadata"));
    assert.throws(() => read({ ...features, head: { ...features.head, kind: "other" } }), refused("no_metadata"));
    if (features.head.kind === "stored") assert.throws(() => read(features, bytes(file).subarray(9)), refused("no_metadata"));
  }
});

against("maps are those of Python, over pictures of every policy", () => {
  const all = cases("maps");
  for (const { cells, shape, weights, grid, spec, width, height, size, map } of all) {
    const found = classActivation(Float32Array.from(cells), shape, Float32Array.from(weights));
    assert.ok(furthest(grid, found.values) < 1e-6);
    const placed = inPicture(found, width, height, spec, 64);
    assert.deepEqual([placed.columns, placed.rows], size);
    // The service averages what it drew at the picture's size; here it is drawn small at once.
    assert.ok(correlation(placed.values, Float32Array.from(map)) > 0.99, spec.resize);
    if (spec.resize !== "crop") assert.ok(furthest(map, placed.values) < 0.02, spec.resize); // whose edge is a step
  }
  assert.equal(all.length, 6);
});

against("random numbers, masks and RISE are those of numpy", async () => {
  const { numbers, size: [height, width], passes, hidden, masks, map } = cases("rise");
  for (const [seed, expected] of Object.entries(numbers)) {
    const next = defaultRng(Number(seed));
    assert.deepEqual(expected.map(() => next()), expected);
  }
  const next = defaultRng(0);
  for (const mask of masks) assert.ok(furthest(mask, randomMask(next, height, width)) < 1e-6);
  const score = async (shown) => {
    let sum = 0;
    for (let y = 0; y < 8; y++) for (let x = 0; x < 30; x++) sum += shown[y * width * 3 + x];
    return sum / (8 * 30 * 255);
  };
  const ticks = [];
  const found = await rise(score, bytes("rise.rgb"), { height, width }, hidden, passes, async (done) => void ticks.push(done));
  assert.ok(furthest(map, found.values) < 1e-3, String(furthest(map, found.values)));
  assert.equal(ticks.at(-1), passes);
  await assert.rejects(rise(score, bytes("rise.rgb"), { height, width }, hidden, 5, () => Promise.reject(new Error("stop"))), /stop/);
  const same = await rise(async () => 0.5, bytes("rise.rgb"), { height, width }, hidden, 5, async () => {});
  assert.equal(Math.max(...same.values), 0);
});

test("features come in either layout, and must be all there", () => {
  const shape = [1, 2, 3];
  assert.deepEqual([...inCells(Float32Array.of(1, 2, 3, 4, 5, 6), { layout: "nchw", shape })], [1, 3, 5, 2, 4, 6]);
  assert.throws(() => inCells(Float32Array.of(1, 2), { layout: "nhwc", shape }), refused("engine_failed"));
  assert.throws(() => inCells(Float32Array.of(1, 2, 3, NaN, 5, 6), { layout: "nhwc", shape }), refused("engine_failed"));
});

test("half floats are read", () => {
  assert.deepEqual([0x3c00, 0xc000, 0x3555, 0x0001, 0x8000, 0x7c00].map(halfFloat), [1, -2, 0.333251953125, 2 ** -24, -0, Infinity]);
  assert.ok(Number.isNaN(halfFloat(0x7e00)));
});

test("a tap that finds no tensor says so", () => {
  for (const format of ["tflite", "onnx"]) assert.throws(() => withFeatures(format, new Uint8Array(64), "x"), refused("no_tap"));
});

test("files of one model are compared with the most exact one", () => {
  const file = (model, precision, format, more = {}) => ({ model, precision, format, name: "mugs", classes: 2, labels: ["a", "b"], state: "ready", ...more });
  const [a, b, c] = [file("1", "int8", "onnx"), file("2", "fp32", "onnx"), file("3", "fp32", "tflite")];
  const others = [file("4", "fp32", "tflite", { labels: ["a", "c"] }), file("5", "fp16", "tflite", { state: "loading" })];
  assert.deepEqual(families([a, ...others, b, c]).map((members) => members.map(({ model }) => model)), [["3", "2", "1"], ["4"]]);
  assert.deepEqual([median([3, 1, 2]), median([4, 1, 2, 3])], [2, 2.5]);
  const map = (values) => ({ map: { values: Float32Array.from(values), rows: 1, columns: 3 } });
  const exact = { label: "a", probabilities: new Map([["a", 0.75], ["b", 0.25]]), explained: map([0, 0.5, 1]) };
  const said = { label: "b", probabilities: new Map([["a", 0.25], ["b", 0.75]]), explained: map([1, 0.5, 0]) };
  assert.deepEqual(difference(said, exact), { change: 0.5, sameLabel: false, correlation: -1 });
  assert.equal(difference({ ...said, explained: null }, exact).correlation, null);
});

test("colours go from viridis' one end to the other", () => {
  assert.deepEqual([colour(0), colour(1), colour(-1), colour(2)].map((rgb) => rgb.join()), ["68,1,84", "253,231,37", "68,1,84", "253,231,37"]);
  assert.equal(inWords(null), "No place speaks for this class.");
  assert.match(inWords({ peak: "top left", share: 0.25 }), /at the top left; .* covers 25.0 % of the picture/);
});

test("a map is told in words", () => {
  const grid = (values) => ({ values: Float32Array.from(values), rows: 3, columns: 3 });
  assert.deepEqual(summary(grid([0, 0, 1, 0, 0, 0.6, 0, 0, 0])), { peak: "top right", share: 2 / 9 });
  assert.equal(summary(grid([0, 0, 0, 0, 1, 0, 0, 0, 0])).peak, "centre");
  assert.equal(summary(grid([0, 0, 0, 0, 0, 0, 0, 0, 0])), null);
  assert.equal(correlation(Float32Array.of(1, 2, 3), Float32Array.of(2, 4, 6)), 1);
  assert.equal(correlation(Float32Array.of(1, 1), Float32Array.of(2, 4)), null);
  assert.deepEqual(hiddenColour(127.5), [127.5, 127.5, 127.5]);
  assert.deepEqual(hiddenColour([300, -2, 5]), [255, 0, 5]);
});

against("a sealed file is read, and told from a damaged one before it is parsed", async () => {
  for (const { file, format, sha256, labels, image } of cases("artifacts")) {
    const whole = bytes(file);
    const found = await readArtifact(whole);
    assert.deepEqual([found.format, found.sha256, found.metadata.labels], [format, sha256, labels]);
    assert.deepEqual(found.metadata.image, image);
    for (const place of [30, whole.length >> 1, whole.length - 1]) {
      const changed = whole.slice();
      changed[place] ^= 1;
      await assert.rejects(readArtifact(changed), refused("damaged_artifact"));
    }
    await assert.rejects(readArtifact(whole.subarray(0, whole.length - 1)), refused("damaged_artifact"));
  }
  await assert.rejects(readArtifact(new TextEncoder().encode("a text")), refused("no_artifact"));
  await assert.rejects(readArtifact(new Uint8Array()), refused("no_artifact"));
});

against("pictures say their size and how they are turned", async () => {
  for (const { file, format, width, height, orientation } of cases("pictures")) {
    const found = await examine(bytes(file));
    assert.deepEqual([found.format, found.width, found.height, found.orientation], [format, width, height, orientation], file);
  }
  for (const { file, code } of cases("refused")) await assert.rejects(examine(bytes(file)), refused(code), file);
});

test("numbers are rounded half to even", () => {
  assert.deepEqual([0.5, 1.5, 2.5, 2.4999, 2.51, 3].map(roundHalfEven), [0, 2, 2, 2, 3, 3]);
});

test("a JPEG is reduced as far as twice the input allows", () => {
  const spec = { width: 96, height: 48, resize: "stretch", kernel: "bilinear", scaled_decode: true };
  assert.equal(scaleOf(8 * 192, 8 * 96, spec), 8);
  assert.equal(scaleOf(8 * 192 - 1, 8 * 96, spec), 4);
  assert.equal(scaleOf(8 * 192, 95, spec), 1);
  assert.equal(scaleOf(8 * 192, 8 * 96, { ...spec, scaled_decode: false }), 1);
});

test("blocks are averaged, smaller ones at the edges too", () => {
  const rgba = new Uint8ClampedArray([0, 10, 20, 255, 100, 30, 40, 255, 7, 8, 9, 255]);
  const small = reduce(rgba, 3, 1, 2);
  assert.deepEqual([small.width, small.height], [2, 1]);
  assert.deepEqual([...small.rgba], [50, 20, 30, 255, 7, 8, 9, 255]);
});

test("an unreadable block of EXIF counts as upright", () => {
  const block = [0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0];
  assert.equal(exifOrientation(Uint8Array.from(block)), 6);
  assert.equal(exifOrientation(Uint8Array.from([...new TextEncoder().encode("Exif\0\0"), ...block])), 6);
  for (const wrong of [block.slice(0, 12), block.with(19, 9), block.with(13, 4), block.with(7, 200), []]) {
    assert.equal(exifOrientation(Uint8Array.from(wrong)), 1);
  }
});

test("of equal classes the model's first comes first", () => {
  assert.deepEqual(ranked([0.2, 0.4, 0.4]), [1, 2, 0]);
});

test("the format is told from the bytes", () => {
  assert.equal(formatOf(new TextEncoder().encode("....TFL3")), "tflite");
  assert.equal(formatOf(new TextEncoder().encode("PK..")), "keras");
  assert.equal(formatOf(new Uint8Array([8, 7])), "onnx");
});

test("two answers are compared by file, tensor and probabilities", () => {
  const scores = [{ index: 1, label: "b", probability: 0.75 }, { index: 0, label: "a", probability: 0.25 }];
  const server = { side: "server", scores, sha256: "f", tensorSha256: "t" };
  const browser = { ...server, side: "browser", scores: [{ ...scores[0], probability: 0.7 }, { ...scores[1], probability: 0.3 }] };
  const near = compare(server, browser, 0.06);
  assert.deepEqual({ ...near, change: 0 }, { sameFile: true, sameTensor: true, sameLabel: true, change: 0, within: true });
  assert.ok(Math.abs(near.change - 0.05) < 1e-9);
  assert.equal(compare(server, { ...browser, tensorSha256: null, sha256: "g" }, 0.01).within, false);
  assert.equal(compare({ ...server, tensorSha256: null }, { ...browser, tensorSha256: null }, 1).sameTensor, false);
});

test("every state has a text, and what a service says is passed on", () => {
  for (const code of CODES) {
    const text = textOf({ code, details: {} });
    assert.match(text, /([.?!]|fetch_web.py)$/, code);
  }
  assert.equal(textOf({ code: "unheard_of", details: { error: "What the service says." } }), "What the service says.");
  assert.match(textOf({ code: "deadline_exceeded", details: {} }), /busy/);
});
