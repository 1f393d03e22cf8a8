// The selected photographs, a page at a time, each with its mask, what it is and what it was called.

/** @import { Pictures } from "./tiles.js" */
/** @import { Verdict } from "./types.d.ts" */

import { button, labelledCheck, make, uniqueName, verdict } from "./dom.js";
import { clamp } from "./geometry.js";
import { counted } from "./text.js";
import { drawTile } from "./tiles.js";

/** @typedef {{ name: string, label: string, predicted: string, score: number, state: Verdict }} About an image. */
/** @typedef {{ canvas: HTMLCanvasElement, reason: HTMLElement, element: HTMLElement }} Tile */
/** @typedef {{ open: (row: number) => void, hover: (row: number) => void }} Act row is -1 for none. */

export const PER_PAGE = 24;
const TILE = 116;
const OPACITY = 0.7;

/**
 * A page of rows: its number moved to where there are pages, what is on it, and whether there are others.
 * @param {Uint32Array} rows
 * @param {number} page
 * @param {number} size
 */
export function pageOf(rows, page, size) {
  const pages = Math.max(1, Math.ceil(rows.length / size));
  const number = clamp(page, 0, pages - 1);
  const first = number * size;
  const shown = [...rows.slice(first, first + size)];
  const words = rows.length
    ? `${counted(rows.length)} selected; ${counted(first + 1)} to ${counted(first + shown.length)} shown`
    : "No image is selected";
  return { number, shown, words, isFirst: number === 0, isLast: number + 1 >= pages };
}

export class Gallery {
  masks = make("input", { type: "checkbox", checked: true });
  count = make("p", { class: "fk-count", role: "status" });
  list = make("ul", { class: "fk-gallery" });
  #rows = new Uint32Array(0);
  #page = 0;
  /** @type {Map<number, Tile>} */
  #tiles = new Map();

  /**
   * @param {Pictures<number>} pictures by row.
   * @param {Uint32Array} words colours of a mask's values.
   * @param {Act} act
   * @param {(row: number) => About} about
   */
  constructor(pictures, words, act, about) {
    this.pictures = pictures;
    this.words = words;
    this.act = act;
    this.about = about;
    this.masks.addEventListener("change", () => this.#drawAll());
    this.before = button("Previous photographs", () => this.#turn(-1));
    this.after = button("Next photographs", () => this.#turn(1));
    const masks = labelledCheck(`${uniqueName("gallery")}-masks`, "Masks", this.masks);
    const line = make("div", { class: "fk-line" }, this.count, this.before, this.after, masks);
    this.element = make("section", { class: "fk-gallery-box", "aria-label": "Photographs" }, line, this.list);
  }

  /** @param {Uint32Array<ArrayBuffer>} rows */
  show(rows) {
    this.#rows = rows;
    this.#page = 0;
    this.#list();
  }

  /**
   * Draw the photograph of a row, if it is on the page and its picture is there.
   * @param {number} row
   */
  draw(row) {
    const tile = this.#tiles.get(row);
    const picture = tile && this.pictures.get(row);
    if (!picture) return;
    drawTile(tile.canvas, picture, this.masks.checked ? "mask" : null, this.words, TILE, { opacity: OPACITY });
    tile.reason.textContent = picture.reason;
  }

  /**
   * Frame the photograph of a row, as while its point is pointed at.
   * @param {number} row
   */
  mark(row) {
    for (const [other, tile] of this.#tiles) tile.element.classList.toggle("fk-pointed", other === row);
  }

  /** @param {number} step */
  #turn(step) {
    this.#page += step;
    this.#list();
  }

  #drawAll() {
    for (const row of this.#tiles.keys()) this.draw(row);
  }

  #list() {
    const { number, shown, words, isFirst, isLast } = pageOf(this.#rows, this.#page, PER_PAGE);
    this.#page = number;
    this.#tiles = new Map(shown.map((row) => [row, this.#tile(row)]));
    this.list.replaceChildren(...[...this.#tiles.values()].map((tile) => tile.element));
    this.before.disabled = isFirst;
    this.after.disabled = isLast;
    this.count.textContent = words;
    this.#drawAll();
  }

  /**
   * @param {number} row
   * @returns {Tile}
   */
  #tile(row) {
    const { name, label, predicted, state } = this.about(row);
    const canvas = make("canvas", { class: "fk-tile", width: 1, height: 1, "aria-hidden": "true" });
    const reason = make("span", { class: "fk-reason" });
    const open = make(
      "button",
      {
        type: "button",
        class: "fk-open",
        "aria-label": `Show ${name} large; label ${label}, called ${predicted}, ${state}`,
      },
      make("span", { class: "fk-frame" }, canvas, reason),
    );
    open.addEventListener("click", () => this.act.open(row));
    const element = make(
      "li",
      { title: name, dataset: { row } },
      open,
      verdict(state),
      make("span", {}, make("bdi", { textContent: label })),
      make("span", {}, "called ", make("bdi", { textContent: predicted })),
    );
    for (const event of ["pointerenter", "focusin"]) element.addEventListener(event, () => this.act.hover(row));
    for (const event of ["pointerleave", "focusout"]) element.addEventListener(event, () => this.act.hover(-1));
    return { canvas, reason, element };
  }
}
