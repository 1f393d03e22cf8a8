// A photograph with masks over it, on a canvas. All of it happens here: no control sends anything to the kernel.

/** @import { Part, Point } from "./geometry.js" */
/** @import { Settings } from "./overlay_controls.js" */
/** @import { Bytes, Layer, SentLayer, SentPhotograph, VersionedPhotograph, View } from "./types.d.ts" */

import { bytesOf } from "./bytes.js";
import { button, hatchedSwatch, make, uniqueName } from "./dom.js";
import {
  ARROWS,
  centredOn,
  centreOf,
  clamp,
  leavesOut,
  panned,
  pointIn,
  seenPart,
  stepped,
  valueAt,
  WHOLE,
  wheelFactor,
  zoomed,
} from "./geometry.js";
import { OverlayControls, THUMBNAIL } from "./overlay_controls.js";
import { drawSmall, forget, Painter } from "./painter.js";
import { paint, upsampled, wordsOf } from "./picture.js";
import { figure } from "./text.js";

/**
 * A drag: of the divider or of the picture, from where on the page, and what was seen then.
 * @typedef {{ what: "divider" | "picture", x: number, y: number, from: Part }} Held
 */

/** Pixels of a mask's longer side that its colours are computed at; drawn larger, they are interpolated. */
const FINE = 512;
const MOST_ZOOM = 32;
/** Pixels of the longer side of the whole picture in the corner, while a part is seen. */
const INSET = 96;
const BUTTON_ZOOM = 1.5;
/** Canvas pixels a side at most: what a screen of high density shows beyond that costs time and is not seen. */
const MOST_PIXELS = 1400;
/** Pixels that the panel and its gap take beside the picture, as in the style sheet. */
const PANEL = 234;
/** Pixels of the page around the divider in which the pointer has hold of it. */
const GRIP = 14;
const NO_PHOTOGRAPH = "No photograph yet";
/** Keys that choose a mask. */
const DIGIT = /^[1-9]$/;
/** Milliseconds in which changes of thumbnails are gathered: a live mask changes often. */
const PATIENCE = 120;

export class Overlay {
  id = uniqueName("overlay");
  canvas = make("canvas", {
    class: "fk-canvas",
    tabIndex: 0,
    role: "application",
    "aria-describedby": `${this.id}-help`,
    "aria-roledescription": "zoomable picture",
  });
  empty = make("p", { class: "fk-empty", textContent: NO_PHOTOGRAPH });
  inset = make("canvas", { "aria-hidden": "true" });
  here = make("span", { class: "fk-here" });
  insetButton = button("", () => this.#reset(), {
    class: "fk-inset",
    hidden: true,
    title: "See all of it",
    "aria-label": "Where this part lies; see all of it",
  });
  stage = make(
    "div",
    { class: "fk-stage" },
    make("div", { class: "fk-picture" }, this.canvas, this.insetButton),
    this.empty,
  );
  unseenWords = make("span");
  /** What the classifier does not see. */
  unseen = make("div", { class: "fk-cut", hidden: true }, hatchedSwatch(), this.unseenWords);
  readout = make("output", { class: "fk-readout" });
  spoken = make("span", { class: "fk-unseen", role: "status" });
  toRegion = button("Region", () => this.#look(this.#region()), {
    title: "Show the mask's region",
    "aria-label": "Show the mask's region",
    hidden: true,
  });
  under = make("div", { class: "fk-under" }, this.readout, this.#zoomButtons());
  view = make("div", { class: "fk-view" }, this.stage, this.under, this.unseen, this.spoken);
  painter = new Painter(this.canvas);
  /** @type {Layer[]} */
  #layers = [];
  /** @type {VersionedPhotograph | null} */
  #photograph = null;
  /** Of the photographs that were to be shown, the last one's number. */
  #turn = 0;
  /** Whether somebody has chosen what is seen of the photograph. */
  #moved = false;
  /** The point whose values are read. @type {Point | null} */
  #point = null;
  /** Whether the pointer chose it. */
  #pointing = false;
  /** @type {Held | null} */
  #held = null;
  /** Layers whose thumbnails are to be drawn again. @type {Set<Layer>} */
  #stale = new Set();
  /** @type {ReturnType<typeof setTimeout> | null} */
  #waiting = null;
  /** @type {number | null} */
  #drawing = null;
  #destroyed = false;

  /** @param {Record<string, Bytes>} tables colour map name -> 768 bytes. */
  constructor(tables) {
    this.tables = Object.fromEntries(Object.entries(tables).map(([name, data]) => [name, bytesOf(data)]));
    /** @type {Settings & View} */
    this.state = {
      opacity: 0.75,
      threshold: 0,
      outline: false,
      drawn_as: "colours",
      colours: Object.keys(tables)[0],
      layer: 0,
      compare: -1,
      swipe: 0.5,
      hidden: false,
      ...WHOLE,
    };
    this.controls = new OverlayControls(this.id, this.tables, (changes) => this.set(changes));
    this.insetButton.append(this.inset, this.here);
    this.element = make("div", { class: "fk-overlay" }, this.view, this.controls.element);
    this.#listen();
    this.resizing = new ResizeObserver(() => this.#resize());
    this.resizing.observe(this.element);
    this.#show();
  }

  /** Let go of what outlives the elements. */
  destroy() {
    this.resizing.disconnect();
    this.#photograph?.bitmap.close();
    this.#destroyed = true;
  }

  /**
   * Show a photograph; `null`, or one without data, for none.
   * @param {SentPhotograph | null} photograph
   */
  async setPhotograph(photograph) {
    this.#turn += 1;
    const version = this.#turn;
    const bitmap = photograph?.data?.byteLength
      ? await createImageBitmap(new Blob([bytesOf(photograph.data)], { type: photograph.type }))
      : null;
    if (version !== this.#turn || this.#destroyed) {
      bitmap?.close();
      return;
    }
    this.#photograph?.bitmap.close();
    const { width = 1, height = 1, window = [0, 0, 1, 1] } = photograph ?? {};
    this.#photograph = bitmap && { bitmap, width, height, window, version };
    this.#moved = false;
    this.#point = null;
    const cut = bitmap !== null && leavesOut(window, width);
    this.empty.textContent = photograph?.reason || NO_PHOTOGRAPH;
    this.unseen.hidden = !cut;
    this.unseenWords.textContent = `Hatched: ${photograph?.unseen || "not seen by the classifier"}`;
    drawSmall(this.inset, this.#photograph, null, new Uint32Array(256), INSET);
    this.#open();
    for (const layer of this.#layers) forget(layer).fine = null;
    this.#resize();
    this.#drawThumbnails(this.#layers);
  }

  /**
   * Show these masks; the chosen one stays chosen where its name is still there.
   * @param {SentLayer[]} layers
   */
  setLayers(layers) {
    const [chosen, other] = [this.#layers[this.state.layer]?.name, this.#layers[this.state.compare]?.name];
    const names = layers.map((layer) => layer.name);
    this.#layers = layers.map(emptyLayer);
    if (chosen !== undefined) this.state.layer = Math.max(0, names.indexOf(chosen));
    if (other !== undefined) this.state.compare = names.indexOf(other);
    this.controls.offerLayers(this.#layers);
    this.#drawThumbnails(this.#layers);
    this.#open();
  }

  /** See the region of the chosen mask, unless somebody has looked elsewhere. */
  #open() {
    if (!this.#moved) Object.assign(this.state, this.#region());
    this.#show();
  }

  /** @returns {View} */
  #region() {
    const [x, y, zoom] = this.#layers[this.state.layer]?.view ?? [WHOLE.x, WHOLE.y, WHOLE.zoom];
    return { x, y, zoom };
  }

  /**
   * Show other values of the mask at a position.
   * @param {number} position
   * @param {{ height: number, width: number, view?: [number, number, number] }} about
   * @param {Bytes} data
   */
  updateLayer(position, about, data) {
    const layer = this.#layers[position];
    if (!layer) return;
    Object.assign(forget(layer), about, { values: bytesOf(data), fine: null });
    this.#drawThumbnails([layer]);
    if (position === this.state.layer || position === this.state.compare) this.#schedule();
    this.#read();
  }

  /**
   * Show the mask of this name, if there is one.
   * @param {string} name
   */
  show(name) {
    const position = this.#layers.findIndex((layer) => layer.name === name);
    if (position < 0) return;
    this.set({ layer: position });
    this.#open();
  }

  /**
   * Change settings, as the controls do.
   * @param {Partial<Settings & View>} changes
   */
  set(changes) {
    const { state } = this;
    Object.assign(state, changes);
    state.layer = clamp(state.layer, 0, Math.max(0, this.#layers.length - 1));
    if (state.compare >= this.#layers.length) state.compare = -1;
    const recoloured = "colours" in changes || "threshold" in changes || "drawn_as" in changes;
    if (recoloured || "outline" in changes) for (const layer of this.#layers) forget(layer);
    if (recoloured) this.#drawThumbnails(this.#layers);
    this.#show();
  }

  #zoomButtons() {
    /** @type {(words: string, label: string, act: () => void) => HTMLElement} */
    const titled = (words, label, act) => button(words, act, { title: label, "aria-label": label });
    return make(
      "div",
      { class: "fk-zoom", role: "group", "aria-label": "Zoom" },
      titled("−", "Zoom out", () => this.#zoomBy(1 / BUTTON_ZOOM)),
      titled("+", "Zoom in", () => this.#zoomBy(BUTTON_ZOOM)),
      this.toRegion,
      titled("Whole picture", "Show the whole picture", () => this.#reset()),
    );
  }

  /** Put the state into the controls, and draw. */
  #show() {
    this.controls.show(this.state, this.#layers);
    const shown = this.#layers[this.state.layer]?.name;
    this.canvas.setAttribute("aria-label", shown ? `Photograph with the mask ${shown}` : "Photograph");
    this.canvas.classList.toggle("fk-movable", this.state.zoom > 1);
    this.toRegion.hidden = this.#region().zoom <= 1;
    this.insetButton.hidden = this.state.zoom <= 1;
    const [left, top, share] = seenPart(this.state);
    const edges = { left, top, width: share, height: share };
    for (const [name, value] of Object.entries(edges)) this.here.style.setProperty(name, `${100 * value}%`);
    this.#schedule();
    this.#read();
  }

  /**
   * The mask at the resolution that its colours are computed at.
   * @param {Layer} layer
   */
  #fine(layer) {
    layer.fine ??= upsampled(layer, ...fineSize(this.#photograph));
    return layer.fine;
  }

  #colours() {
    return wordsOf(this.state.drawn_as, this.tables[this.state.colours], this.state.threshold);
  }

  /**
   * Draw thumbnails, at most a few times a second.
   * @param {Layer[]} layers
   */
  #drawThumbnails(layers) {
    for (const layer of layers) this.#stale.add(layer);
    this.#waiting ??= setTimeout(() => {
      this.#waiting = null;
      if (this.#destroyed) return;
      for (const layer of this.#layers) {
        if (this.#stale.has(layer)) drawSmall(layer.thumbnail, this.#photograph, layer, this.#colours(), THUMBNAIL);
      }
      this.#stale.clear();
    }, PATIENCE);
  }

  #resize() {
    const photograph = this.#photograph;
    this.stage.classList.toggle("fk-bare", !photograph);
    if (!photograph || !this.element.clientWidth) return;
    // What the panel leaves, not what the picture takes: it must be able to grow again.
    const beside = getComputedStyle(this.element).gridTemplateColumns.includes(" ");
    const wide = this.element.clientWidth - (beside ? PANEL : 0);
    const most = Number.parseFloat(getComputedStyle(this.stage).getPropertyValue("--fk-height")) || 480;
    const aspect = photograph.width / photograph.height;
    const width = Math.min(wide, most * aspect);
    const density = Math.min(window.devicePixelRatio || 1, MOST_PIXELS / Math.max(width, width / aspect));
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${width / aspect}px`;
    this.under.style.maxWidth = `${Math.max(width, 320)}px`;
    const size = { width: Math.round(width * density), height: Math.round((width / aspect) * density) };
    if (this.canvas.width !== size.width || this.canvas.height !== size.height) Object.assign(this.canvas, size);
    // At once: a canvas that is given a size is empty, and would be seen so until the next frame.
    this.#draw();
  }

  #schedule() {
    this.#drawing ??= requestAnimationFrame(() => {
      this.#drawing = null;
      if (!this.#destroyed) this.#draw();
    });
  }

  #draw() {
    const photograph = this.#photograph;
    const { state } = this;
    if (!photograph) return;
    const read = document.activeElement === this.canvas && !this.#pointing ? this.#point : null;
    const chosen = state.hidden ? [] : [this.#layers[state.layer], this.#layers[state.compare]];
    const shown = chosen.filter((layer) => layer !== undefined);
    for (const layer of shown) {
      if (!layer.painted) paint(layer.surface, this.#fine(layer), this.#colours());
      layer.painted = layer.surface;
    }
    const outline = state.outline || state.drawn_as === "outline";
    this.painter.draw(photograph, shown, seenPart(state), { ...state, outline }, read);
  }

  /** Say the masks' values at the point, if there is one. */
  #read(aloud = false) {
    const photograph = this.#photograph;
    if (!this.#point || !photograph) {
      this.readout.textContent = "";
      return;
    }
    const [x, y] = this.#point;
    const [x0, y0, x1, y1] = photograph.window;
    /** @type {Point} */
    const inside = [(x - x0) / (x1 - x0), (y - y0) / (y1 - y0)];
    const place = `x ${Math.floor(x * photograph.width)}, y ${Math.floor(y * photograph.height)}`;
    const values = this.#layers.map((layer) => ({ name: layer.name, value: valueAt(this.#fine(layer), inside) }));
    const known = values.flatMap(({ name, value }) => (value === null ? [] : [{ name, text: figure(value) }]));
    const words = known.map(({ name, text }) => make("span", {}, make("bdi", { textContent: name }), ` ${text}`));
    if (values.length && !known.length) words.push(make("span", { textContent: "outside the classifier's input" }));
    this.readout.replaceChildren(make("span", { textContent: place }), ...words);
    if (aloud) this.spoken.textContent = [place, ...known.map(({ name, text }) => `${name} ${text}`)].join(", ");
  }

  /**
   * @param {number} factor
   * @param {Point | null} anchor
   */
  #zoomBy(factor, anchor = null) {
    this.#look(zoomed(this.state, factor, MOST_ZOOM, anchor));
  }

  #reset() {
    this.#look(WHOLE);
  }

  /**
   * See what somebody has asked for.
   * @param {Partial<View>} view
   */
  #look(view) {
    this.#moved = true;
    this.set(view);
  }

  // --- pointer and keys -------------------------------------------------------------------------------------------

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.#grab(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => {
        this.#held = null;
      });
    }
    canvas.addEventListener("pointerleave", () => {
      if (this.#held || document.activeElement === canvas) return;
      this.#point = null;
      this.#read();
    });
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => this.#zoomBy(2, this.#placeOf(event)));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.#schedule());
  }

  /**
   * The pointer's place, in shares of the picture.
   * @param {MouseEvent} event
   */
  #placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = /** @type {Point} */ ([
      (event.clientX - box.left) / box.width,
      (event.clientY - box.top) / box.height,
    ]);
    return pointIn(seenPart(this.state), place);
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    // A page that is scrolled past the picture must not zoom it.
    if (document.activeElement !== this.canvas && !event.ctrlKey) return;
    event.preventDefault();
    this.#zoomBy(wheelFactor(event), this.#placeOf(event));
  }

  /** @param {PointerEvent} event */
  #nearDivider(event) {
    const box = this.canvas.getBoundingClientRect();
    const far = Math.abs(event.clientX - box.left - this.state.swipe * box.width);
    return this.state.compare >= 0 && far < GRIP;
  }

  /** @param {PointerEvent} event */
  #grab(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    const what = this.#nearDivider(event) ? "divider" : "picture";
    this.#held = { what, x: event.clientX, y: event.clientY, from: seenPart(this.state) };
    this.#move(event);
  }

  /** @param {PointerEvent} event */
  #move(event) {
    this.#pointing = true;
    const box = this.canvas.getBoundingClientRect();
    const held = this.#held;
    if (held?.what === "divider") {
      this.set({ swipe: clamp((event.clientX - box.left) / box.width, 0, 1) });
    } else if (held && this.state.zoom > 1) {
      this.#look(panned(held.from, [(event.clientX - held.x) / box.width, (event.clientY - held.y) / box.height]));
    }
    this.canvas.classList.toggle("fk-dividing", held ? held.what === "divider" : this.#nearDivider(event));
    this.#point = this.#placeOf(event);
    this.#read();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
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
    if (direction) this.#step(direction, shift ? 5 : 1);
    else if (key === "+" || key === "=") this.#zoomBy(BUTTON_ZOOM, this.#point);
    else if (key === "-") this.#zoomBy(1 / BUTTON_ZOOM, this.#point);
    else if (key === "0") this.#reset();
    else if (key === "r") this.#look(this.#region());
    else if (key === " ") this.set({ hidden: !this.state.hidden });
    else if (DIGIT.test(key) && Number(key) <= this.#layers.length) this.#choose(Number(key) - 1);
    else return false;
    return true;
  }

  /** @param {number} position of a layer. */
  #choose(position) {
    this.set({ layer: position, hidden: false });
    this.spoken.textContent = this.#layers[position].name;
  }

  /**
   * @param {Point} direction
   * @param {number} steps
   */
  #step(direction, steps) {
    this.#pointing = false;
    const part = seenPart(this.state);
    this.#point = stepped(this.#point ?? centreOf(part), direction, part[2], steps);
    this.#look(centredOn(this.#point, part[2]));
    this.#read(true);
  }
}

/**
 * A layer of which nothing has been drawn.
 * @param {SentLayer} sent
 * @returns {Layer}
 */
function emptyLayer({ name, height, width, data, view, verdict = "" }) {
  return forget({
    name,
    view,
    verdict,
    height,
    width,
    values: bytesOf(data),
    version: 0,
    fine: null,
    surface: make("canvas"),
    painted: null,
    line: null,
    input: make("input"),
    thumbnail: make("canvas"),
  });
}

/**
 * Rows and columns that a mask's colours are computed at: about as many as the photograph's part under it is drawn with.
 * @param {VersionedPhotograph | null} photograph
 * @returns {[number, number]}
 */
export function fineSize(photograph) {
  const { window: [x0, y0, x1, y1] = [0, 0, 1, 1], width = 1, height = 1 } = photograph ?? {};
  const [across, down] = [(x1 - x0) * width, (y1 - y0) * height];
  const { bitmap = { width: 0, height: 0 } } = photograph ?? {};
  const scale = Math.min(FINE, Math.max(bitmap.width, bitmap.height, 64)) / Math.max(across, down);
  return [Math.max(1, Math.round(down * scale)), Math.max(1, Math.round(across * scale))];
}
