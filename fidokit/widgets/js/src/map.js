// A scatter of images on a canvas, to select from by box, lasso, click and key. Drawn by hand: plotly's traces for many
// points need a graphics card, and its other ones take a second for 20,000.

/** @import { Point } from "./geometry.js" */
/** @import { Points } from "./map_painter.js" */
/** @import { Places } from "./scatter.js" */
/** @import { View } from "./types.d.ts" */

import { button, make, onTheme, uniqueName } from "./dom.js";
import { ARROWS, WHOLE, wheelFactor } from "./geometry.js";
import { HEIGHT, MapPainter, WRONG } from "./map_painter.js";
import { contextOf } from "./picture.js";
import { fitted, frameOf, nearestRow, nextRow, pixelOf, rowsInBox, rowsInLasso, zoomedMap } from "./scatter.js";

/**
 * -1 is no row; `picture` is null while it is not there.
 * @typedef {{
 *   select: (rows: Uint32Array<ArrayBuffer>) => void, hover: (row: number) => void,
 *   picture: (row: number) => HTMLCanvasElement | null,
 * }} Act
 */
/** @typedef {{ path: Point[], from: Point, view: View }} Held what a drag has done so far. */

const MOST_ZOOM = 60;
/** Pixels of the page around a point in which the pointer counts as on it. */
const REACH = 9;
/** Pixels of the page up to which a drag is a click. */
const CLICK = 4;
const BUTTON_ZOOM = 1.5;
/** Most points in sight that photographs are shown for, and clusters that the legend names. */
const [MOST_SEEN, MOST_NAMED] = [60, 12];
const TOOLS = /** @type {const} */ ([
  ["box", "Box"],
  ["lasso", "Lasso"],
  ["move", "Move"],
]);
const HELP =
  "With the map in focus: arrow keys go from image to image, Enter selects that one, the space bar adds it or takes it " +
  "out; a selects all in view, Escape none; plus and minus zoom, 0 shows all. A drag selects with the chosen tool, with " +
  "the shift key held it adds; the wheel zooms while the map is in focus.";

export class ScatterMap {
  id = uniqueName("map");
  base = make("canvas", { class: "fk-map-base", "aria-hidden": "true" });
  marks = make("canvas", {
    class: "fk-map",
    tabIndex: 0,
    role: "application",
    "aria-label": "Map of the images",
    "aria-describedby": `${this.id}-help`,
  });
  label = make("div", { class: "fk-map-label", hidden: true });
  spoken = make("span", { class: "fk-unseen", role: "status" });
  stage = make("div", { class: "fk-map-stage" }, this.base, this.marks, this.label);
  legend = make("ul", { class: "fk-map-legend", "aria-label": "What the marks and colours mean" });
  painter = new MapPainter(this.base, this.marks);
  /** @type {"box" | "lasso" | "move"} */
  #tool = "box";
  /** @type {Points | null} */
  #points = null;
  /** Names of the clusters by code; empty for none. @type {string[]} */
  #names = [];
  /** @type {Places} */
  #places = { x: new Float32Array(0), y: new Float32Array(0) };
  /** Rows in the order in which they are drawn. */
  #drawn = new Uint32Array(0);
  /** 1 for what is selected. */
  #selected = new Uint8Array(0);
  #count = 0;
  /** @type {View} */
  #view = { ...WHOLE };
  /** Row of the ring; -1 for none. */
  #at = -1;
  /** Row that the keyboard is on; -1 for none. */
  #cursor = -1;
  /** @type {Held | null} */
  #held = null;
  #destroyed = false;

  /**
   * @param {Act} act
   * @param {(row: number) => string[]} say what stands for a point, in words.
   */
  constructor(act, say) {
    this.act = act;
    this.say = say;
    this.element = this.#build();
    this.#listen();
    this.resizing = new ResizeObserver(() => this.#resize());
    this.resizing.observe(this.stage);
    this.stopTheme = onTheme(() => this.#draw());
  }

  destroy() {
    this.resizing.disconnect();
    this.stopTheme();
    this.#destroyed = true;
  }

  /** @param {Points} points */
  setPoints(points) {
    this.#points = points;
    this.#selected = new Uint8Array(points.x.length);
    this.#places = fitted(points.x, points.y);
    // Errors are drawn last: they are what the map is for.
    const isWrong = (/** @type {number} */ row) => Number(points.state[row] === WRONG);
    this.#drawn = Uint32Array.from([...points.x.keys()].sort((a, b) => isWrong(a) - isWrong(b)));
    this.#draw();
  }

  /**
   * Name the clusters, on the map and in its legend.
   * @param {string[]} names by code; empty for no cluster.
   */
  setNames(names) {
    this.#names = names;
    this.#draw();
  }

  /**
   * A picture that was not there has come.
   * @param {number} row
   */
  pictured(row) {
    if (row === this.#at && !this.label.hidden) this.#showLabel(row);
    if (this.#inView().length <= MOST_SEEN) this.#draw();
  }

  /** What the marks mean, and the colours in the order of their clusters. */
  #listLegend() {
    const points = /** @type {Points} */ (this.#points);
    const mark = (/** @type {string} */ sign, /** @type {string} */ words) =>
      make("li", {}, make("span", { "aria-hidden": "true", textContent: `${sign} ` }), words);
    const named = [...this.#names.entries()].filter(([, name]) => name);
    const colour = (/** @type {number} */ code, /** @type {string} */ words) => {
      const chip = make("span", { class: "fk-chip", "aria-hidden": "true" });
      chip.style.background = this.painter.seen(points.colours[code]);
      return make("li", {}, chip, make("bdi", { textContent: words }));
    };
    const more = named.length - MOST_NAMED;
    const rest = this.#names.indexOf("");
    this.legend.replaceChildren(
      mark("✕", "wrong"),
      mark("●", "right"),
      mark("○", "not judged"),
      ...named.slice(0, MOST_NAMED).map(([code, name]) => colour(code, name)),
      ...(more > 0 ? [make("li", { textContent: `and ${more} more clusters` })] : []),
      ...(rest >= 0 ? [colour(rest, "in no systematic cluster")] : []),
    );
  }

  /**
   * Show what is selected; the others fade.
   * @param {Uint32Array} rows
   */
  setSelected(rows) {
    this.#selected.fill(0);
    for (const row of rows) this.#selected[row] = 1;
    this.#count = rows.length;
    this.#draw();
  }

  /**
   * Ring a point, as while its photograph is pointed at; -1 for none.
   * @param {number} row
   */
  ring(row) {
    this.#at = row;
    this.#drawMarks();
  }

  #build() {
    const tools = TOOLS.map(([name, words]) => {
      const checked = name === this.#tool;
      const input = make("input", { type: "radio", name: `${this.id}-tool`, value: name, checked });
      input.addEventListener("change", () => this.#useTool(name));
      return make("label", { class: "fk-tool" }, input, make("span", { textContent: words }));
    });
    /** @type {(words: string, title: string, act: () => void) => HTMLElement} */
    const titled = (words, title, act) => button(words, act, { title, "aria-label": title });
    const zoom = make(
      "div",
      { class: "fk-zoom", role: "group", "aria-label": "Zoom of the map" },
      titled("−", "Zoom out", () => this.#zoomBy(1 / BUTTON_ZOOM)),
      titled("+", "Zoom in", () => this.#zoomBy(BUTTON_ZOOM)),
      titled("All", "Show all images", () => this.#reset()),
    );
    const drags = make("legend", { class: "fk-unseen", textContent: "A drag" });
    const help = make("p", { id: `${this.id}-help`, textContent: HELP });
    return make(
      "div",
      { class: "fk-map-box" },
      make("div", { class: "fk-line" }, make("fieldset", { class: "fk-tools-of-map" }, drags, ...tools), zoom),
      this.stage,
      this.legend,
      this.spoken,
      make("details", { class: "fk-help" }, make("summary", { textContent: "Keys" }), help),
    );
  }

  /** @param {"box" | "lasso" | "move"} name */
  #useTool(name) {
    this.#tool = name;
    this.marks.classList.toggle("fk-movable", name === "move");
  }

  #resize() {
    if (!this.stage.clientWidth) return;
    this.painter.resize(this.stage.clientWidth);
    this.#draw();
  }

  #frame() {
    return frameOf(this.#view, this.base);
  }

  #draw() {
    if (!this.#points || !this.painter.density || this.#destroyed) return;
    this.painter.draw(this.#points, this.#places, this.#drawn, this.#count ? this.#selected : null, this.#view);
    this.#drawPictures();
    this.painter.drawNames(this.#points, this.#places, this.#names, this.#frame());
    this.#listLegend();
    this.#drawMarks();
  }

  /** Photographs beside their points, where few enough are in sight. */
  #drawPictures() {
    if (this.#view.zoom <= 1) return;
    const rows = this.#inView();
    if (rows.length > MOST_SEEN) return;
    const frame = this.#frame();
    for (const row of rows) {
      const picture = this.act.picture(row);
      const colour = this.#points?.colours[this.#points.cluster[row]] ?? "";
      if (picture) this.painter.drawPicture(picture, pixelOf(this.#places, row, frame), colour);
    }
  }

  #drawMarks() {
    if (!this.#points || !this.painter.density) return;
    const cursor = document.activeElement === this.marks ? this.#cursor : -1;
    const rings = [
      { row: this.#at, colour: this.painter.ink },
      { row: cursor, colour: this.painter.accent },
    ].filter(({ row }) => row >= 0);
    const frame = this.#frame();
    this.painter.drawMarks(
      rings.map(({ row, colour }) => ({ pixel: pixelOf(this.#places, row, frame), colour })),
      this.#held?.path ?? [],
      this.#tool === "box",
    );
  }

  // --- pointer and keys -------------------------------------------------------------------------------------------

  #listen() {
    const { marks } = this;
    marks.addEventListener("pointerdown", (event) => this.#grab(event));
    marks.addEventListener("pointermove", (event) => this.#move(event));
    marks.addEventListener("pointerup", (event) => this.#release(event));
    marks.addEventListener("pointercancel", () => {
      this.#held = null;
      this.#drawMarks();
    });
    marks.addEventListener("pointerleave", () => {
      if (!this.#held) this.#hover(-1);
    });
    marks.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    marks.addEventListener("keydown", (event) => this.#key(event));
    for (const name of ["focus", "blur"]) marks.addEventListener(name, () => this.#drawMarks());
  }

  /**
   * @param {MouseEvent} event
   * @returns {Point}
   */
  #pixel(event) {
    const box = this.marks.getBoundingClientRect();
    const [across, down] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return [across * this.marks.width, down * this.marks.height];
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    // A page that is scrolled past the map must not zoom it.
    if (document.activeElement !== this.marks && !event.ctrlKey) return;
    event.preventDefault();
    this.#zoomBy(wheelFactor(event), this.#pixel(event));
  }

  /** @param {PointerEvent} event */
  #grab(event) {
    if (event.button !== 0 || !this.#points) return;
    this.marks.setPointerCapture(event.pointerId);
    this.marks.focus({ preventScroll: true });
    const from = this.#pixel(event);
    this.#held = { path: this.#tool === "move" ? [] : [from], from, view: { ...this.#view } };
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const [x, y] = this.#pixel(event);
    if (!this.#held) {
      this.#hover(this.#nearest([x, y], REACH * this.painter.density));
      return;
    }
    const { path, from, view } = this.#held;
    if (this.#tool === "move") {
      const { scale } = this.#frame();
      this.#look({ ...this.#view, x: view.x - (x - from[0]) / scale, y: view.y - (y - from[1]) / scale });
      return;
    }
    const [lastX, lastY] = path[path.length - 1];
    if (Math.hypot(x - lastX, y - lastY) < 2 * this.painter.density) return;
    path.push([x, y]);
    this.#drawMarks();
  }

  /** @param {PointerEvent} event */
  #release(event) {
    const held = this.#held;
    this.#held = null;
    if (!held) return;
    const [x, y] = this.#pixel(event);
    if (Math.hypot(x - held.from[0], y - held.from[1]) < CLICK * this.painter.density && held.path.length < 3) {
      const row = this.#nearest([x, y], REACH * this.painter.density);
      if (row >= 0) this.#select([row], event.shiftKey);
      else if (!event.shiftKey && this.#tool !== "move" && this.#count) this.#select([], false);
      this.#drawMarks();
      return;
    }
    if (this.#tool === "move") return;
    held.path.push([x, y]);
    this.#select(this.#inside(held.path), event.shiftKey);
  }

  /**
   * Rows within the shape of a drag.
   * @param {Point[]} path
   */
  #inside(path) {
    if (this.#tool === "lasso") return rowsInLasso(this.#places, this.#frame(), path);
    return rowsInBox(this.#places, this.#frame(), path[0], path[path.length - 1]);
  }

  /**
   * The row nearest to a pixel; of two at one place, the error.
   * @param {Point} pixel
   * @param {number} reach
   */
  #nearest(pixel, reach) {
    return nearestRow(this.#places, this.#frame(), pixel, reach, (row) => this.#points?.state[row] === WRONG);
  }

  /**
   * @param {number[]} rows
   * @param {boolean} add
   */
  #select(rows, add) {
    this.act.select(Uint32Array.from(add ? new Set([...this.#current(), ...rows]) : rows));
  }

  #current() {
    return [...this.#selected.keys()].filter((row) => this.#selected[row]);
  }

  /** @param {number} row */
  #hover(row) {
    if (row === this.#at) return;
    this.ring(row);
    this.label.hidden = row < 0;
    if (row >= 0) this.#showLabel(row);
    this.act.hover(row);
  }

  /** @param {number} row */
  #showLabel(row) {
    const lines = this.say(row).map((words) => make("div", {}, make("bdi", { textContent: words })));
    const picture = this.act.picture(row);
    this.label.replaceChildren(...(picture ? [copyOf(picture)] : []), ...lines);
    const [x, y] = pixelOf(this.#places, row, this.#frame()).map((pixels) => pixels / this.painter.density);
    const wide = this.stage.clientWidth;
    const onLeft = x > wide / 2;
    Object.assign(this.label.style, {
      left: onLeft ? "" : `${x + 14}px`,
      right: onLeft ? `${wide - x + 14}px` : "",
      top: `${Math.min(y, HEIGHT - 160)}px`,
    });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.#points) return;
    if (!this.#press(event.key, event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * Do what a key is for; false where it is for nothing.
   * @param {string} key
   * @param {boolean} shift
   */
  #press(key, shift) {
    const direction = ARROWS.get(key);
    if (direction) this.#step(direction);
    else if (key === "+" || key === "=") this.#zoomBy(BUTTON_ZOOM);
    else if (key === "-") this.#zoomBy(1 / BUTTON_ZOOM);
    else if (key === "0") this.#reset();
    else if (key === "Escape") this.#select([], false);
    else if (key === "a") this.#select(this.#inView(), shift);
    else if (key === "Enter" && this.#cursor >= 0) this.#select([this.#cursor], false);
    else if (key === " " && this.#cursor >= 0) this.#toggle(this.#cursor);
    else return false;
    return true;
  }

  /**
   * Add a row to the selection, or take it out.
   * @param {number} row
   */
  #toggle(row) {
    const others = this.#current().filter((other) => other !== row);
    this.#select(this.#selected[row] ? others : [...others, row], false);
  }

  /**
   * To the nearest point in a direction; at first, to the one nearest to the middle.
   * @param {Point} direction
   */
  #step(direction) {
    const frame = this.#frame();
    const { width, height } = this.base;
    this.#cursor =
      this.#cursor < 0
        ? this.#nearest([width / 2, height / 2], Infinity)
        : nextRow(this.#places, frame, this.#cursor, direction);
    const row = this.#cursor;
    if (row < 0) return;
    const [x, y] = pixelOf(this.#places, row, frame);
    if (x < 0 || y < 0 || x > width || y > height) {
      this.#look({ ...this.#view, x: this.#places.x[row], y: this.#places.y[row] });
    }
    this.#hover(row);
    this.#drawMarks();
    this.spoken.textContent = [...this.say(row), ...(this.#selected[row] ? ["selected"] : [])].join(", ");
  }

  #inView() {
    return rowsInBox(this.#places, this.#frame(), [0, 0], [this.base.width, this.base.height]);
  }

  /**
   * @param {number} factor
   * @param {Point | null} anchor
   */
  #zoomBy(factor, anchor = null) {
    this.#look(zoomedMap(this.#view, this.base, factor, MOST_ZOOM, anchor));
  }

  #reset() {
    this.#look({ ...WHOLE });
  }

  /** @param {View} view */
  #look(view) {
    this.#view = view;
    this.#draw();
  }
}

/**
 * The same picture once more: an element is in one place only.
 * @param {HTMLCanvasElement} picture
 */
function copyOf(picture) {
  const { width, height } = picture;
  const copy = make("canvas", { class: "fk-map-picture", width, height, "aria-hidden": "true" });
  contextOf(copy).drawImage(picture, 0, 0);
  return copy;
}
