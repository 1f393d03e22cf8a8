// The map's two canvases: the points, and above them what changes with the pointer.

/** @import { Point } from "./geometry.js" */
/** @import { Places } from "./scatter.js" */
/** @import { View } from "./types.d.ts" */

import { contextOf } from "./picture.js";
import { frameOf, pixelOf } from "./scatter.js";

/**
 * Images as points: the place, the cluster (an index of the colours) and the state of each.
 * @typedef {{
 *   x: Float32Array, y: Float32Array, cluster: Int32Array, state: Uint8Array, colours: string[],
 * }} Points
 */

/** Pixels of the page that the map is high. */
export const HEIGHT = 420;
/** States of points. */
export const [WRONG, RIGHT] = [0, 1];
/** From so many points on, they are drawn smaller. */
const MANY = 5000;
/** Opacity of what is not selected. */
const FADED = 0.35;
/** Cluster colours that are not seen on a dark ground, and what stands for them there. */
const ON_DARK = new Map([
  ["#000000", "#ffffff"],
  ["#0072B2", "#4db3e6"],
  ["#b5b5b5", "#8c8c8c"],
]);
/** Letters of a cluster's name on the map. */
const LONGEST_NAME = 42;
/** Pixels of the canvas beyond its edge that a point reaches over. */
const MARGIN = 9;
/** Sprites that are kept. */
const MOST_SPRITES = 400;

export class MapPainter {
  /** Pixels of the canvas a pixel of the page; 0 before there is a size. */
  density = 0;
  /** Colours of the page: of the ground, of text, of what is in focus. */
  ground = "#fff";
  ink = "#111";
  accent = "#0b6a94";
  /** Boxes on the canvas that pictures and names have taken: left, top, right, bottom. @type {number[][]} */
  #taken = [];
  /** @type {Map<string, HTMLCanvasElement>} */
  #sprites = new Map();

  /**
   * @param {HTMLCanvasElement} base
   * @param {HTMLCanvasElement} marks
   */
  constructor(base, marks) {
    this.base = base;
    this.marks = marks;
  }

  /** @param {number} wide pixels of the page. */
  resize(wide) {
    this.density = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [wide, HEIGHT].map((side) => Math.round(side * this.density));
    for (const canvas of [this.base, this.marks]) {
      Object.assign(canvas, { width, height });
      Object.assign(canvas.style, { width: `${wide}px`, height: `${HEIGHT}px` });
    }
  }

  /**
   * Draw the points; where some are selected, the others fade.
   * @param {Points} points
   * @param {Places} places
   * @param {Uint32Array} order rows in the order in which they are drawn.
   * @param {Uint8Array | null} selected 1 for what is selected; null where nothing is.
   * @param {View} view
   */
  draw(points, places, order, selected, view) {
    const context = contextOf(this.base);
    this.#readTheme();
    this.#taken = [];
    context.globalAlpha = 1;
    context.fillStyle = this.ground;
    context.fillRect(0, 0, this.base.width, this.base.height);
    if (selected) {
      context.globalAlpha = FADED;
      const rest = order.filter((row) => !selected[row]);
      this.#drawRows(context, points, places, rest, view);
      context.globalAlpha = 1;
    }
    const bright = selected ? order.filter((row) => selected[row]) : order;
    this.#drawRows(context, points, places, bright, view);
  }

  #readTheme() {
    const style = getComputedStyle(this.base);
    const read = (/** @type {string} */ name, /** @type {string} */ otherwise) =>
      style.getPropertyValue(name).trim() || otherwise;
    this.ground = read("background-color", "#fff");
    this.ink = read("color", "#111");
    this.accent = read("--fk-accent", "#0b6a94");
  }

  /** Whether the page's ground is dark. */
  get isDark() {
    const [red = 255, green = 255, blue = 255] = (this.ground.match(/[\d.]+/g) ?? []).map(Number);
    return 0.3 * red + 0.6 * green + 0.1 * blue < 128;
  }

  /**
   * A cluster's colour as it is seen on the page's ground.
   * @param {string} colour
   */
  seen(colour) {
    return (this.isDark && ON_DARK.get(colour)) || colour;
  }

  /**
   * Whether a box is free, which takes it.
   * @param {number[]} box left, top, right, bottom.
   */
  #take([left, top, right, bottom]) {
    const free = this.#taken.every(([l, t, r, b]) => right < l || left > r || bottom < t || top > b);
    if (free) this.#taken.push([left, top, right, bottom]);
    return free;
  }

  /**
   * A photograph above its point, where there is room.
   * @param {HTMLCanvasElement} picture
   * @param {Point} pixel
   * @param {string} colour of its cluster.
   */
  drawPicture(picture, [x, y], colour) {
    const scale = this.density / Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [picture.width * scale, picture.height * scale];
    const [left, top] = [x - width / 2, y - height - 8 * this.density];
    if (!this.#take([left, top, left + width, top + height])) return;
    const context = contextOf(this.base);
    context.drawImage(picture, left, top, width, height);
    Object.assign(context, { strokeStyle: this.seen(colour), lineWidth: 2 * this.density });
    context.strokeRect(left, top, width, height);
  }

  /**
   * The names of clusters in the middle of their points, where there is room.
   * @param {Points} points
   * @param {Places} places
   * @param {string[]} names by code; empty for none.
   * @param {{ scale: number, left: number, top: number }} frame
   */
  drawNames(points, places, names, frame) {
    const context = contextOf(this.base);
    const size = 12 * this.density;
    Object.assign(context, { font: `600 ${size}px system-ui, sans-serif`, textAlign: "center", lineJoin: "round" });
    for (const [code, name] of names.entries()) {
      if (!name) continue;
      const rows = [...points.cluster.keys()].filter((row) => points.cluster[row] === code);
      if (!rows.length) continue;
      // Above the points, in the middle: names hide none of them.
      const x = quantile(
        rows.map((row) => places.x[row]),
        0.5,
      );
      const y = quantile(
        rows.map((row) => places.y[row]),
        0.05,
      );
      // The legend has the whole name.
      const short = name.length > LONGEST_NAME ? name.split(" (")[0] : name;
      const words = short.length > LONGEST_NAME ? `${short.slice(0, LONGEST_NAME - 1)}…` : short;
      const wide = context.measureText(words)?.width ?? 0;
      const edge = wide / 2 + 4 * this.density;
      const across = Math.min(Math.max(frame.left + x * frame.scale, edge), this.base.width - edge);
      const down = Math.max(frame.top + y * frame.scale - size, size);
      if (!this.#take([across - wide / 2, down - size, across + wide / 2, down + size / 3])) continue;
      Object.assign(context, { strokeStyle: this.ground, fillStyle: this.ink, lineWidth: 4 * this.density });
      context.strokeText(words, across, down);
      context.fillText(words, across, down);
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Points} points
   * @param {Places} places
   * @param {Uint32Array} rows
   * @param {View} view
   */
  #drawRows(context, points, places, rows, view) {
    const { width, height } = this.base;
    const frame = frameOf(view, this.base);
    const size = (points.x.length > MANY ? 0.75 : 1) * this.density * Math.min(2, Math.sqrt(view.zoom));
    for (const row of rows) {
      const [x, y] = pixelOf(places, row, frame);
      if (x < -MARGIN || y < -MARGIN || x > width + MARGIN || y > height + MARGIN) continue;
      const sprite = this.#sprite(this.seen(points.colours[points.cluster[row]]), points.state[row], size);
      context.drawImage(sprite, x - sprite.width / 2, y - sprite.height / 2);
    }
  }

  /**
   * A small picture of a point of a colour and state, which is kept.
   * @param {string} colour
   * @param {number} state
   * @param {number} size
   */
  #sprite(colour, state, size) {
    const key = `${colour} ${state} ${size.toFixed(2)}`;
    if (this.#sprites.size > MOST_SPRITES) this.#sprites.clear();
    const sprite = this.#sprites.get(key) ?? drawnSprite(colour, state, size);
    this.#sprites.set(key, sprite);
    return sprite;
  }

  /**
   * Draw rings around pixels, and the shape of a drag, instead of those before.
   * @param {{ pixel: Point, colour: string }[]} rings
   * @param {Point[]} shape of which less than two points are no shape.
   * @param {boolean} isBox whether the shape is the box between its first and its last point.
   */
  drawMarks(rings, shape, isBox) {
    const context = contextOf(this.marks);
    context.clearRect(0, 0, this.marks.width, this.marks.height);
    for (const { pixel, colour } of rings) {
      this.#drawRing(context, pixel, this.ground, 5);
      this.#drawRing(context, pixel, colour, 2.5);
    }
    if (shape.length < 2) return;
    context.beginPath();
    if (isBox) {
      const [[x0, y0], [x1, y1]] = [shape[0], shape[shape.length - 1]];
      context.rect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    } else {
      for (const point of shape) context.lineTo(...point);
      context.closePath();
    }
    const look = { fillStyle: "rgb(11 106 148 / 0.12)", strokeStyle: this.accent, lineWidth: 1.5 * this.density };
    Object.assign(context, look);
    context.fill();
    context.stroke();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Point} pixel
   * @param {string} strokeStyle
   * @param {number} wide
   */
  #drawRing(context, [x, y], strokeStyle, wide) {
    Object.assign(context, { strokeStyle, lineWidth: wide * this.density });
    context.beginPath();
    context.arc(x, y, 8 * this.density, 0, 2 * Math.PI);
    context.stroke();
  }
}

/**
 * A small picture of a point: a cross where the answer is wrong, a disc where it is right, a ring where nobody knows.
 * @param {string} colour
 * @param {number} state
 * @param {number} size
 */
function drawnSprite(colour, state, size) {
  const side = Math.ceil(11 * size);
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const context = contextOf(canvas);
  Object.assign(context, { strokeStyle: colour, fillStyle: colour, lineWidth: 2 * size, lineCap: "round" });
  context.translate(side / 2, side / 2);
  context.beginPath();
  if (state === WRONG) {
    const arm = 3.4 * size;
    context.moveTo(-arm, -arm);
    context.lineTo(arm, arm);
    context.moveTo(-arm, arm);
    context.lineTo(arm, -arm);
    context.stroke();
  } else if (state === RIGHT) {
    context.arc(0, 0, 3 * size, 0, 2 * Math.PI);
    context.fill();
  } else {
    context.arc(0, 0, 2.6 * size, 0, 2 * Math.PI);
    context.lineWidth = size;
    context.stroke();
  }
  return canvas;
}

/**
 * @param {number[]} values at least one.
 * @param {number} share
 */
function quantile(values, share) {
  return values.sort((a, b) => a - b)[Math.floor(values.length * share)];
}
