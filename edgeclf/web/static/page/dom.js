// Small helpers: elements, and numbers as people read them.

/** @template {HTMLElement} T @param {string} id @param {new () => T} [kind] @returns {T} */
export const byId = (id, kind) => {
  const found = document.getElementById(id);
  if (!found || (kind && !(found instanceof kind))) throw new Error(`no element #${id}`);
  return /** @type {T} */ (found);
};

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} [text]
 * @param {string} [className]
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Never rounded up to a certainty. @param {number} share */
export const percent = (share) => (share > 0.999 && share < 1 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`);

/** @param {number} count */
export const bytes = (count) => (count < 1e6 ? `${Math.round(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`);

/** @param {number} value */
export const ms = (value) => (value < 1e4 ? `${value < 10 ? value.toFixed(1) : Math.round(value)} ms` : `${(value / 1e3).toFixed(1)} s`);

/** How far two answers are apart, without more digits than mean something. @param {number} change */
export const apart = (change) => (change < 1e-6 ? "less than 0.000001" : change.toPrecision(2).replace(/\.?0+$/, ""));
