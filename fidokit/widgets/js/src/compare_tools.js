// What to compare, and in which order.

/** @import { Model } from "./types.d.ts" */

import { labelled, make, offer, select, uniqueName } from "./dom.js";

/** @typedef {Record<string, string | number | boolean | string[]>} Look traits that the kernel is asked to change. */
/**
 * `_orders` are [name, words]; `_figures` are [name, words, which values are better].
 * @typedef {{
 *   _names: string[], _orders: string[][], _figures: string[][], panels: string[], metrics: string[], sort: string, of: string,
 *   descending: boolean, state: string, search: string,
 * }} ToolTraits
 */

/** Milliseconds without a key until what is typed is searched for. */
export const TYPING = 250;
/** Orders that are the same for every mask. */
const OF_IMAGES = ["dataset", "score", "margin"];
const STATES = ["all", "wrong", "right", "not judged"];

/** Checkboxes for names of which some are chosen. */
export class Choices {
  #key = "";
  /** @type {HTMLInputElement[]} */
  #inputs = [];

  /**
   * @param {string} words
   * @param {(chosen: string[]) => void} change
   */
  constructor(words, change) {
    this.change = change;
    this.list = make("div", { class: "fk-choices" });
    const legend = make("legend", { class: "fk-unseen", textContent: words });
    this.element = make(
      "details",
      { class: "fk-chosen" },
      make("summary", { textContent: words }),
      make("fieldset", { class: "fk-field" }, legend, this.list),
    );
  }

  /**
   * @param {string[][]} offered name and words of each.
   * @param {string[]} chosen
   */
  show(offered, chosen) {
    const key = JSON.stringify(offered);
    if (key !== this.#key) {
      this.#key = key;
      this.#inputs = offered.map(([value]) => make("input", { type: "checkbox", value }));
      const labels = offered.map(([, words], i) =>
        make("label", { class: "fk-choice" }, this.#inputs[i], make("bdi", { textContent: words })),
      );
      this.list.replaceChildren(...labels);
      for (const input of this.#inputs) input.addEventListener("change", () => this.change(this.#chosen()));
    }
    for (const input of this.#inputs) input.checked = chosen.includes(input.value);
  }

  #chosen() {
    return this.#inputs.filter((input) => input.checked).map((input) => input.value);
  }
}

export class CompareTools {
  sort = select();
  of = select();
  descending = select([
    ["", "lowest first"],
    ["1", "highest first"],
  ]);
  state = select(STATES.map((state) => [state, state]));
  search = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;

  /** @param {(wanted: Look) => void} look */
  constructor(look) {
    this.sort.addEventListener("change", () => look({ sort: this.sort.value }));
    this.of.addEventListener("change", () => look({ of: this.of.value }));
    this.state.addEventListener("change", () => look({ state: this.state.value }));
    this.descending.addEventListener("change", () => look({ descending: this.descending.value !== "" }));
    this.search.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => look({ search: this.search.value }), TYPING);
    });
    this.panels = new Choices("Masks shown", (panels) => look({ panels }));
    this.metrics = new Choices("Figures shown", (metrics) => look({ metrics }));
    const id = uniqueName("compare-tools");
    this.element = make(
      "form",
      { class: "fk-tools", "aria-label": "What to compare" },
      labelled(`${id}-sort`, "Order by", this.sort),
      labelled(`${id}-of`, "of", this.of),
      labelled(`${id}-way`, "Direction", this.descending),
      labelled(`${id}-state`, "Answers", this.state),
      labelled(`${id}-search`, "Search file, label or class", this.search),
      this.panels.element,
      this.metrics.element,
    );
    this.element.addEventListener("submit", (event) => event.preventDefault());
  }

  /**
   * Show what the kernel has chosen; what is being typed stays.
   * @param {Pick<Model<ToolTraits>, "get">} model
   */
  show(model) {
    const names = model.get("_names").map((name) => [name, name]);
    offer(this.sort, model.get("_orders"));
    this.sort.value = model.get("sort");
    offer(this.of, [["mean", "all masks, mean"], ...names]);
    this.of.value = model.get("of");
    this.of.disabled = OF_IMAGES.includes(model.get("sort"));
    this.descending.value = model.get("descending") ? "1" : "";
    this.state.value = model.get("state");
    if (document.activeElement !== this.search) this.search.value = model.get("search");
    this.panels.show(names, model.get("panels"));
    this.metrics.show(model.get("_figures"), model.get("metrics"));
  }
}
