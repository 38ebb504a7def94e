// A model's bytes, kept by the browser under their own hash, so that another visit fetches nothing.

import { hexSha256 } from "../core/hash.js";
import { Problem } from "../core/problem.js";

const NAME = "edgeclf-models";

/** @typedef {import("./api.js").ModelEntry} ModelEntry */
/** @typedef {{bytes: ArrayBuffer, from: "cache" | "service", kept: boolean}} Fetched */

/**
 * @param {ModelEntry} model
 * @param {() => Promise<ArrayBuffer>} fetchFile
 * @returns {Promise<Fetched>}
 */
export async function modelBytes(model, fetchFile) {
  const cache = await open();
  const place = `/ui/models/${model.sha256}`;
  const found = await cache?.match(place);
  if (found) {
    const bytes = await found.arrayBuffer();
    if ((await hexSha256(bytes)) === model.sha256) return { bytes, from: "cache", kept: true };
    await cache?.delete(place); // what a disk has damaged
  }
  const bytes = await fetchFile();
  if ((await hexSha256(bytes)) !== model.sha256) throw new Problem("another_file");
  return { bytes, from: "service", kept: await keep(cache, place, bytes) };
}

async function open() {
  try {
    return await caches.open(NAME);
  } catch {
    return null; // not on insecure pages, nor where a user forbids it
  }
}

/** @param {Cache | null} cache @param {string} place @param {ArrayBuffer} bytes */
async function keep(cache, place, bytes) {
  try {
    await cache?.put(place, new Response(bytes, { headers: { "Content-Type": "application/octet-stream" } }));
    return cache !== null;
  } catch {
    return false; // no room: the next visit fetches it again
  }
}
