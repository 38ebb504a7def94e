// Which of the page's views is shown: the one that the address names behind its #, or the first.

import { byId } from "./dom.js";

/** @type {Map<string, (shown: boolean) => void>} */
const listeners = new Map();
let current = "";

const links = () => /** @type {HTMLAnchorElement[]} */ ([...document.querySelectorAll("#views a")]);

/** @param {HTMLAnchorElement} link */
const named = (link) => link.hash.slice(1);

/**
 * Tells a view when it comes and when it goes.
 * @param {string} name
 * @param {(shown: boolean) => void} told
 */
export function onView(name, told) {
  listeners.set(name, told);
  if (name === current) told(true);
}

function show() {
  const all = links();
  const chosen = all.find((link) => link.hash === location.hash) ?? all[0];
  for (const link of all) {
    byId(named(link)).hidden = link !== chosen;
    if (link === chosen) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (named(chosen) === current) return;
  listeners.get(current)?.(false);
  current = named(chosen);
  listeners.get(current)?.(true);
}

export function startViews() {
  addEventListener("hashchange", show);
  show();
}
