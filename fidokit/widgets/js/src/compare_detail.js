// One image of the comparison, large: all its masks on the overlay, and every figure of each.

/** @import { Look } from "./compare_tools.js" */
/** @import { Bytes, Verdict } from "./types.d.ts" */

import { bringIntoView, button, make, paragraph, verdict } from "./dom.js";
import { Overlay } from "./overlay.js";

/**
 * An image, the names of its masks, a line a figure ([words, which values are better, a value a mask]), and why there are
 * masks that it lacks.
 * @typedef {{
 *   about: { image: string, state: Verdict, predicted: string }, names: string[], lines: string[][], reasons: string[],
 * }} Detail
 */

const WORDS = "All figures of this image";

export class CompareDetail {
  title = make("h3", { tabIndex: -1 });
  figures = make("div", { class: "fk-scroll", tabIndex: 0, role: "region", "aria-label": WORDS });
  reasons = make("div", { class: "fk-reasons" });
  /** The image that was shown last. */
  #shown = "";

  /**
   * @param {Record<string, Bytes>} tables colour map name -> 768 bytes.
   * @param {(wanted: Look) => void} look
   */
  constructor(tables, look) {
    this.overlay = new Overlay(tables);
    const close = button("Close", () => look({ image_id: "" }));
    this.element = make(
      "section",
      { class: "fk-detail", "aria-label": "One image", hidden: true },
      make("div", { class: "fk-line" }, this.title, close),
      this.overlay.element,
      this.figures,
      this.reasons,
    );
  }

  /** @param {Detail | { about?: undefined }} detail of no image where it is empty. */
  show(detail) {
    const wasHidden = this.element.hidden;
    this.element.hidden = !detail.about;
    if (!detail.about) return;
    const { about, names, lines, reasons } = detail;
    const predicted = make("bdi", { textContent: about.predicted || "nothing" });
    this.title.replaceChildren(
      make("bdi", { textContent: about.image }),
      " ",
      verdict(about.state),
      ", called ",
      predicted,
    );
    this.figures.replaceChildren(figuresTable(names, lines));
    this.reasons.replaceChildren(...reasons.map(paragraph));
    if (wasHidden || about.image !== this.#shown) bringIntoView(this.element, this.title);
    this.#shown = about.image;
  }
}

/**
 * @param {string[]} names
 * @param {string[][]} lines
 */
function figuresTable(names, lines) {
  const columns = names.map((name) => make("th", { scope: "col" }, make("bdi", { textContent: name })));
  const head = make("tr", {}, make("th", { scope: "col", textContent: "Figure" }), ...columns);
  const rows = lines.map(([words, better, ...values]) => {
    const note = better ? make("small", { textContent: ` ${better}` }) : null;
    const cells = values.map((value) => make("td", { textContent: value }));
    return make("tr", {}, make("th", { scope: "row" }, words, note), ...cells);
  });
  return make("table", { class: "fk-table" }, make("thead", {}, head), make("tbody", {}, ...rows));
}
