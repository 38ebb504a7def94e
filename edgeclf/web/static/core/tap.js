// A model with its features as a second output: edited in memory, while the file stays sealed.
// As edgeclf/runtimes/tap.py; here an int8 tensor becomes floats, as LiteRT.js gives no int8.

import { protobufFields } from "./artifact.js";
import { Front, Reader } from "./flatbuffer.js";
import { Problem } from "./problem.js";

export const OUTPUT_NAME = "features";

// Fields of TFLite's tables, and its codes.
const MODEL = { fields: 8, numbers: [0], codes: 1, graphs: 2, signatures: 7 };
const GRAPH = { fields: 6, numbers: [5], tensors: 0, outputs: 2, operators: 3 };
const SIGNATURE = { fields: 5, numbers: [4], outputs: 1 };
const [FLOAT32, INT8] = [0, 9];
const DEQUANTIZE = { code: 6, version: 2 };

/**
 * @param {"tflite" | "onnx" | "keras"} format
 * @param {Uint8Array} bytes A model's file.
 * @param {string} name Of the tensor in its graph.
 * @returns {Uint8Array} What to give to an engine.
 */
export function withFeatures(format, bytes, name) {
  try {
    return format === "tflite" ? tflite(bytes, name) : onnx(bytes, name);
  } catch (error) {
    throw Problem.of(error, "no_tap");
  }
}

/** @param {string} name */
const missing = (name) => new Problem("no_tap", { reason: `its graph has no tensor ${name}` });

/** @param {Uint8Array} bytes @param {string} name */
function onnx(bytes, name) {
  const text = new TextDecoder();
  const inside = (/** @type {Iterable<Uint8Array>} */ messages, /** @type {number} */ wanted) =>
    [...messages].flatMap((message) => [...protobufFields(message)].filter(([n]) => n === wanted).map(([, payload]) => payload));
  const outputs = inside(inside(inside([bytes], 7), 1), 2); // graph, nodes, outputs
  if (!outputs.some((each) => text.decode(each) === name)) throw missing(name);
  // Of a field that occurs twice, a reader merges the messages: here the lists of outputs.
  const added = field(7, field(12, field(1, new TextEncoder().encode(name))));
  const made = new Uint8Array(bytes.length + added.length);
  made.set(bytes);
  made.set(added, bytes.length);
  return made;
}

/** A field of bytes of a protobuf message. @param {number} number @param {Uint8Array} payload */
function field(number, payload) {
  const head = [(number << 3) | 2];
  let length = payload.length;
  for (; length > 127; length = Math.floor(length / 128)) head.push((length % 128) | 128);
  return Uint8Array.from([...head, length, ...payload]);
}

/** @param {Uint8Array} bytes @param {string} name */
function tflite(bytes, name) {
  const old = new Reader(bytes);
  const model = old.target(0);
  const graphs = old.vector(old.field(model, MODEL.graphs));
  const graph = old.target(graphs[0]);
  const tensors = old.tables(old.field(graph, GRAPH.tensors));
  const found = tensors.findIndex((tensor) => old.text(old.field(tensor, 3)) === name);
  if (found < 0) throw missing(name);
  const type = old.field(tensors[found], 1);
  const kind = type ? bytes[type] : FLOAT32;
  if (kind !== FLOAT32 && kind !== INT8) throw new Problem("no_tap", { reason: `its features are of type ${kind}` });

  const front = new Front();
  const [modelFields, graphFields] = [old.copy(model, MODEL.numbers, MODEL.fields), old.copy(graph, GRAPH.numbers, GRAPH.fields)];
  front.add(Front.table(modelFields)); // filled below, as are all tables: they are written in the end
  const listed = (/** @type {number[]} */ places) => places.map((to) => ({ to }));
  const newGraph = Front.table(graphFields);
  const newGraphs = Front.vector([{ to: newGraph }, ...graphs.slice(1).map((at) => ({ to: old.target(at) }))]);
  modelFields[MODEL.graphs] = { to: front.add(newGraphs) };
  front.add(newGraph);

  const index = kind === INT8 ? tensors.length : found;
  if (kind === INT8) {
    const shape = old.target(old.field(tensors[found], 0));
    const words = Front.text(OUTPUT_NAME);
    const tensor = Front.table([{ to: shape }, { word: FLOAT32 }, { word: 0 }, { to: words }]);
    graphFields[GRAPH.tensors] = { to: front.add(Front.vector([...listed(tensors), { to: tensor }])) };
    front.add(tensor);
    front.add(words);
    const codes = old.tables(old.field(model, MODEL.codes));
    const code = Front.table([{ word: DEQUANTIZE.code }, null, { word: DEQUANTIZE.version }, { word: DEQUANTIZE.code }]);
    modelFields[MODEL.codes] = { to: front.add(Front.vector([...listed(codes), { to: code }])) };
    front.add(code);
    const [given, gives] = [Front.vector([{ word: found }]), Front.vector([{ word: index }])];
    const operator = Front.table([{ word: codes.length }, { to: given }, { to: gives }]);
    const operators = old.tables(old.field(graph, GRAPH.operators));
    graphFields[GRAPH.operators] = { to: front.add(Front.vector([...listed(operators), { to: operator }])) };
    for (const part of [operator, given, gives]) front.add(part);
  }
  const outputs = old.vector(old.field(graph, GRAPH.outputs)).map((at) => ({ word: old.number(at) }));
  graphFields[GRAPH.outputs] = { to: front.add(Front.vector([...outputs, { word: index }])) };
  sign(old, front, model, modelFields, index);
  return front.before(bytes);
}

/**
 * Names the output in the signature too, where there is one.
 * @param {Reader} old
 * @param {Front} front
 * @param {number} model
 * @param {import("./flatbuffer.js").Field[]} fields Of the new model.
 * @param {number} index Of the tensor.
 */
function sign(old, front, model, fields, index) {
  const [first, ...others] = old.tables(old.field(model, MODEL.signatures));
  if (first === undefined) return;
  const signed = old.copy(first, SIGNATURE.numbers, SIGNATURE.fields);
  const signature = Front.table(signed);
  const words = Front.text(OUTPUT_NAME);
  const named = Front.table([{ to: words }, { word: index }]);
  const outputs = old.tables(old.field(first, SIGNATURE.outputs)).map((to) => ({ to }));
  fields[MODEL.signatures] = { to: front.add(Front.vector([{ to: signature }, ...others.map((to) => ({ to }))])) };
  front.add(signature);
  signed[SIGNATURE.outputs] = { to: front.add(Front.vector([...outputs, { to: named }])) };
  front.add(named);
  front.add(words);
}
