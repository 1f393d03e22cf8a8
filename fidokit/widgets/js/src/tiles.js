// Small pictures of photographs with masks over them: fetched when they come into sight, kept for as long as a view is.

/** @import { Photograph, Picture, SentLayer, SentPhotograph, SmallLayer, Window } from "./types.d.ts" */

import { bytesOf } from "./bytes.js";
import { make } from "./dom.js";
import { drawSmall } from "./painter.js";
import { opaqueLookup, paint } from "./picture.js";

/** Pictures that are kept; of those that were seen longest ago, the bitmaps are given back. */
export const MOST_PICTURES = 300;

/**
 * Pictures by key.
 * @template Key
 */
export class Pictures {
  /** @type {Map<Key, Picture>} */
  #kept = new Map();
  /** @type {Set<Key>} */
  #asked = new Set();
  /** @type {Key[]} */
  #fresh = [];
  #destroyed = false;

  /**
   * @param {(keys: Key[]) => void} ask called with keys whose pictures are needed; they arrive by `take`.
   * @param {(key: Key) => void} changed called with the key of a picture that has come.
   */
  constructor(ask, changed) {
    this.ask = ask;
    this.changed = changed;
  }

  destroy() {
    this.#giveBack();
    this.#destroyed = true;
  }

  /**
   * The picture of a key; undefined while it is not there, which asks for it.
   * @param {Key} key
   */
  get(key) {
    const picture = this.#kept.get(key);
    if (picture) {
      this.#kept.delete(key);
      this.#kept.set(key, picture);
    } else if (!this.#asked.has(key)) {
      // All that one page needs, in one message.
      if (!this.#fresh.length) queueMicrotask(() => this.ask(this.#fresh.splice(0)));
      this.#asked.add(key);
      this.#fresh.push(key);
    }
    return picture;
  }

  /** Forget all, as when other masks are shown. */
  clear() {
    this.#giveBack();
    this.#kept.clear();
    this.#asked.clear();
  }

  /**
   * A picture that the kernel sent: photograph, its near part or none, and layers, and their data in order.
   * @param {Key} key
   * @param {{ photograph: SentPhotograph, near: SentPhotograph[], layers: SentLayer[] }} sent
   * @param {DataView[]} buffers
   */
  async take(key, { photograph, near, layers }, buffers) {
    const [whole, part = null] = await Promise.all([photograph, ...near].map((each, i) => opened(each, buffers[i])));
    if (this.#destroyed) {
      for (const each of [whole, part]) each?.bitmap.close();
      return;
    }
    this.#asked.delete(key);
    giveBack(this.#kept.get(key));
    const first = 1 + near.length;
    this.#kept.set(key, {
      photograph: whole,
      near: part,
      part: photograph.part ?? null,
      unseen: photograph.unseen ?? "",
      reason: photograph.reason ?? "",
      layers: new Map(layers.map((layer, i) => [layer.name, smallLayer(layer, buffers[first + i], part)])),
    });
    for (const [old, picture] of this.#kept) {
      if (this.#kept.size <= MOST_PICTURES) break;
      giveBack(picture);
      this.#kept.delete(old);
    }
    this.changed(key);
  }

  #giveBack() {
    for (const picture of this.#kept.values()) giveBack(picture);
  }
}

/**
 * @param {SentPhotograph} sent
 * @param {DataView} data
 * @returns {Promise<Photograph | null>}
 */
async function opened({ type, width = 0, height = 0, window }, data) {
  if (!data.byteLength) return null;
  const bitmap = await createImageBitmap(new Blob([bytesOf(data)], { type }));
  return { bitmap, width, height, window: /** @type {Window} */ (window) };
}

/** @param {Picture | undefined} picture */
function giveBack(picture) {
  picture?.photograph?.bitmap.close();
  picture?.near?.bitmap.close();
}

/**
 * @param {SentLayer} layer
 * @param {DataView} data
 * @param {Photograph | null} part
 * @returns {SmallLayer & { near: boolean }}
 */
function smallLayer({ height, width }, data, part) {
  const layer = { height, width, values: bytesOf(data) };
  return { ...layer, near: part !== null && isMarkedIn(layer, part.window) };
}

/**
 * Whether a part of a photograph shows something of what a mask marks most: the part may be another mask's.
 * @param {SmallLayer} layer
 * @param {Window} window where the classifier's input lies in the part.
 */
function isMarkedIn({ height, width, values }, [x0, y0, x1, y1]) {
  const across = [-x0, 1 - x0].map((edge) => (width * edge) / (x1 - x0));
  const down = [-y0, 1 - y0].map((edge) => (height * edge) / (y1 - y0));
  const covers = (/** @type {number[]} */ [from, to], /** @type {number} */ cell) => cell + 1 > from && cell < to;
  let [inside, most] = [0, 0];
  for (const [i, value] of values.entries()) {
    most = Math.max(most, value);
    if (value > inside && covers(across, i % width) && covers(down, Math.floor(i / width))) inside = value;
  }
  return 2 * inside >= most;
}

/**
 * A canvas with a photograph and one of its masks, on the part where the first of them is, unless the whole picture is
 * asked for or the mask is elsewhere; or the whole photograph, with that part framed. What is missing is said in words beside it.
 * @param {HTMLCanvasElement} canvas
 * @param {Picture} picture
 * @param {string | null} name of the mask.
 * @param {Uint32Array} words what masks are drawn in, as `wordsOf` gives them.
 * @param {number} side
 * @param {{ opacity: number, line?: boolean, whole?: boolean }} look
 */
export function drawTile(canvas, picture, name, words, side, { opacity, line = false, whole = false }) {
  const layer = name === null ? null : picture.layers.get(name);
  const photograph = layer?.near && !whole ? picture.near : picture.photograph;
  drawSmall(canvas, photograph, layer, words, side, { opacity, line, frame: layer || whole ? null : picture.part });
}

/**
 * Draw the 256 colours of a mask's values onto a canvas.
 * @param {HTMLCanvasElement} canvas
 * @param {Uint8Array} table
 */
export function drawRamp(canvas, table) {
  const values = Uint8Array.from({ length: 256 }, (_, value) => value);
  paint(canvas, { height: 1, width: 256, values }, opaqueLookup(table));
}

/** A canvas for the colours of a mask's values, with 0 and 1 at the ends. */
export function emptyLegend() {
  const ramp = make("canvas", { class: "fk-ramp", width: 256, height: 1, "aria-hidden": "true" });
  const ends = ["0", "1"].map((textContent) => make("span", { textContent }));
  return { ramp, legend: make("div", { class: "fk-legend" }, ends[0], ramp, ends[1]) };
}

/**
 * The colours of a mask's values, with 0 and 1 at the ends.
 * @param {Uint8Array} table
 */
export function legendOf(table) {
  const { ramp, legend } = emptyLegend();
  drawRamp(ramp, table);
  return legend;
}
