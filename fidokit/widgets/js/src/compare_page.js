// A page of the comparison: a table with a row an image and a column a mask.

/** @import { Look } from "./compare_tools.js" */
/** @import { Pictures } from "./tiles.js" */
/** @import { Verdict } from "./types.d.ts" */

import { hatchedSwatch, make, verdict } from "./dom.js";
import { FAILING } from "./overlay_controls.js";
import { wordsOf } from "./picture.js";
import { drawTile } from "./tiles.js";

/** @typedef {{ there: boolean, asked?: string, values: string[], words: string[] }} Cell of a mask: what it explains, its
 * figures, and verdicts in words. */
/**
 * @typedef {{
 *   image: string, state: Verdict, label: string, predicted: string, score: string, reason: string, value: string,
 *   cells: Cell[],
 * }} PageRow
 */
/** @typedef {{ words: string, better: string }} Figure and which of its values are better. */
/** @typedef {{ name: string | null, canvas: HTMLCanvasElement }} Tile of a mask, or of none. */

/** Signs of which values are better. */
const WAYS = /** @type {Record<string, string>} */ ({ "higher is better": "↑", "lower is better": "↓" });
/** Pixels of a tile's longer side. */
const TILE = 260;
const WORDS = "Masks by image and method";

export class ComparePage {
  head = make("thead");
  body = make("tbody");
  #look = { opacity: 0.75, line: false, whole: false };
  #words;
  /** Of each image that is shown. @type {Map<string, { tiles: Tile[], reason: HTMLElement, unseen: HTMLElement }>} */
  #shown = new Map();

  /**
   * @param {Uint8Array} table colours of a mask's values, 768 bytes.
   * @param {Pictures<string>} pictures by image.
   * @param {(wanted: Look) => void} look
   */
  constructor(table, pictures, look) {
    this.table = table;
    this.#words = wordsOf("colours", table, 0);
    this.pictures = pictures;
    this.look = look;
    const caption = make("caption", { class: "fk-unseen", textContent: WORDS });
    const page = make("table", { class: "fk-page" }, caption, this.head, this.body);
    this.element = make("div", { class: "fk-scroll", tabIndex: 0, role: "region", "aria-label": WORDS }, page);
  }

  /**
   * @param {PageRow[]} rows
   * @param {string[]} panels names of the masks, a column each.
   * @param {Figure[]} figures that are said of each mask.
   */
  show(rows, panels, figures) {
    const columns = panels.map((name) => make("th", { scope: "col" }, make("bdi", { textContent: name })));
    this.head.replaceChildren(make("tr", {}, make("th", { scope: "col", textContent: "Photograph" }), ...columns));
    this.element.style.setProperty("--fk-columns", String(1 + columns.length));
    this.#shown = new Map();
    this.body.replaceChildren(...rows.map((row) => this.#row(row, panels, figures)));
    if (!rows.length) {
      const words = "No image fits. Change the search or the choice.";
      this.body.append(make("tr", {}, make("td", { colSpan: panels.length + 1, textContent: words })));
    }
    this.drawAll();
  }

  /**
   * Draw the tiles of an image, once its picture is there.
   * @param {string} image
   */
  draw(image) {
    const shown = this.#shown.get(image);
    const picture = shown && this.pictures.get(image);
    if (!picture) return;
    shown.reason.textContent = picture.reason;
    shown.unseen.replaceChildren(...(picture.unseen ? [hatchedSwatch(), picture.unseen] : []));
    for (const { name, canvas } of shown.tiles) drawTile(canvas, picture, name, this.#words, TILE, this.#look);
  }

  drawAll() {
    for (const image of this.#shown.keys()) this.draw(image);
  }

  /** @param {number} opacity */
  setOpacity(opacity) {
    this.#look.opacity = opacity;
    this.drawAll();
  }

  /** @param {string} style one of `DRAWN_AS`. */
  setStyle(style) {
    this.#words = wordsOf(style, this.table, 0);
    this.#look.line = style === "outline";
    this.drawAll();
  }

  /** @param {boolean} whole whether masks are shown on the whole picture. */
  setWhole(whole) {
    this.#look.whole = whole;
    this.drawAll();
  }

  /**
   * @param {PageRow} row
   * @param {string[]} panels
   * @param {Figure[]} figures
   */
  #row(row, panels, figures) {
    const photograph = emptyTile(null, `Photograph ${row.image}`);
    const masks = row.cells.map(({ there }, i) =>
      there ? emptyTile(panels[i], `Mask ${panels[i]} of ${row.image}`) : null,
    );
    const [reason, unseen] = [make("p", { class: "fk-reason" }), make("p", { class: "fk-cut" })];
    this.#shown.set(row.image, { tiles: [photograph, ...masks.filter((tile) => tile !== null)], reason, unseen });
    const open = make(
      "button",
      { type: "button", class: "fk-open", title: "Show it large", "aria-label": `Show ${row.image} large` },
      photograph.canvas,
    );
    open.addEventListener("click", () => this.look({ image_id: row.image }));
    const about = make("th", { scope: "row" }, open, reason, ...wordsOn(row), unseen);
    const cells = row.cells.map((cell, i) => {
      if (FAILING.some((failing) => cell.words[0]?.startsWith(failing))) masks[i]?.canvas.classList.add("fk-back");
      const picture = masks[i]?.canvas ?? make("p", { class: "fk-none", textContent: "No mask" });
      const asked = cell.asked ? make("p", { class: "fk-asked" }, make("bdi", { textContent: cell.asked })) : null;
      const verdicts = cell.words.map((words) => make("p", { class: "fk-found", textContent: words }));
      return make("td", {}, picture, asked, values(cell, figures), ...verdicts);
    });
    return make("tr", { dataset: { image: row.image } }, about, ...cells);
  }
}

/**
 * @param {string | null} name of the mask.
 * @param {string} words
 * @returns {Tile}
 */
function emptyTile(name, words) {
  const canvas = make("canvas", { class: "fk-tile", width: 1, height: 1, role: "img", "aria-label": words });
  return { name, canvas };
}

/**
 * What is said of an image.
 * @param {PageRow} row
 */
function wordsOn({ image, state, label, predicted, score, reason, value }) {
  return [
    make("p", { class: "fk-file" }, make("bdi", { textContent: image })),
    make("p", {}, verdict(state)),
    make("p", {}, "label ", make("bdi", { textContent: label || "none" })),
    make("p", {}, "called ", make("bdi", { textContent: predicted || "nothing" }), score ? ` ${score}` : null),
    reason ? make("p", { textContent: reason }) : null,
    value ? make("p", { class: "fk-value", textContent: value }) : null,
  ];
}

/**
 * @param {Cell} cell
 * @param {Figure[]} figures
 */
function values(cell, figures) {
  const lines = figures.map(({ words, better }, i) => {
    const value = make("dd", { textContent: cell.values[i] });
    const way = better ? make("span", { title: better, textContent: ` ${WAYS[better] ?? ""}` }) : null;
    return make("div", { title: better }, make("dt", {}, words, way), value);
  });
  return make("dl", { class: "fk-values" }, ...lines);
}
