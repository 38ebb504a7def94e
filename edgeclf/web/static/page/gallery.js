// Sample pictures that the service offers: fetched when the panel is opened, added by a click.

import { Problem } from "../core/problem.js";
import { byId, element } from "./dom.js";
import { textOf } from "./texts.js";

/**
 * @param {import("./api.js").Api} api
 * @param {(pictures: File[]) => void} add
 */
export function startGallery(api, add) {
  /** @type {Map<string, File>} */
  const fetched = new Map();
  /** @type {string[]} */
  let listed = [];
  const list = byId("gallery-list");
  const all = byId("gallery-all", HTMLButtonElement);

  /** @param {string} name */
  async function picture(name) {
    const known = fetched.get(name);
    if (known) return known;
    const content = await (await api.ask(`/v1/gallery/${encodeURIComponent(name)}`)).blob();
    const file = new File([content], name, { type: content.type });
    fetched.set(name, file);
    return file;
  }

  /** @param {string} name */
  function draw(name) {
    const button = element("button", "", "sample");
    button.type = "button";
    button.append(element("span", name));
    button.addEventListener("click", () => take([name]));
    const item = element("li");
    item.append(button);
    picture(name).then((file) => {
      const image = element("img");
      image.alt = "";
      image.addEventListener("load", () => URL.revokeObjectURL(image.src));
      image.src = URL.createObjectURL(file);
      button.prepend(image);
    }, say);
    return item;
  }

  /** @param {string[]} names */
  async function take(names) {
    try {
      add(await Promise.all(names.map(picture)));
    } catch (error) {
      say(error);
    }
  }

  /** @param {unknown} error */
  function say(error) {
    byId("gallery-note").textContent = textOf(Problem.of(error, "offline"));
  }

  const panel = byId("gallery", HTMLDetailsElement);

  /** Draws the pictures once the panel is open and the list is there, whichever comes first. */
  function fill() {
    if (panel.open && !list.childElementCount) list.replaceChildren(...listed.map(draw));
  }

  panel.addEventListener("toggle", fill);
  all.addEventListener("click", () => take(listed));
  return {
    /** Asks which there are; again where nobody was let in before. */
    async refresh() {
      if (listed.length) return;
      listed = (await (await api.ask("/v1/gallery")).json()).pictures;
      panel.hidden = !listed.length;
      fill();
    },
  };
}
