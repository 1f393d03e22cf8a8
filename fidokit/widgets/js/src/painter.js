// A photograph with masks on a canvas. What stays as it was from one frame to the next is kept, not drawn again.

/** @import { Part, Point } from "./geometry.js" */
/** @import { Layer, Photograph, SmallLayer, VersionedPhotograph, Window } from "./types.d.ts" */

import { leavesOut } from "./geometry.js";
import { contextOf, outline, paint, upsampled } from "./picture.js";

/**
 * What is seen of a photograph: its part, and the pixels that the whole would take.
 * @typedef {{ left: number, top: number, share: number, across: number, down: number, photograph: Photograph }} Seen
 */
/** @typedef {[number, number]} Stretch of a picture, from left to right, in shares. */
/** @typedef {{ opacity: number, threshold: number, outline: boolean, swipe: number }} Look of masks. */

let versions = 0;

/**
 * A layer whose picture and outline must be made anew.
 * @param {Layer} layer
 */
export function forget(layer) {
  layer.painted = null;
  layer.line = null;
  layer.version = ++versions;
  return layer;
}

export class Painter {
  /** @type {Map<string, { key: string, surface: HTMLCanvasElement }>} */
  #kept = new Map();

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  }

  /**
   * @param {VersionedPhotograph} photograph
   * @param {Layer[]} shown no layer, one, or the two at both sides of the divider; they are painted.
   * @param {Part} seen
   * @param {Look} look
   * @param {Point | null} point where the cross is drawn, in shares of the picture.
   */
  draw(photograph, shown, seen, look, point) {
    const { canvas, context } = this;
    const [left, top, share] = seen;
    const view = { left, top, share, across: canvas.width / share, down: canvas.height / share, photograph };
    const place = [photograph.version, canvas.width, canvas.height, ...seen];
    const masks = [...place, shown.length > 1 ? look.swipe : 1, ...shown.map((layer) => layer.version)];
    const parts = shown.map((layer, i) => ({ layer, stretch: stretchOf(i, shown.length, view, look.swipe) }));
    context.globalAlpha = 1;
    const ground = this.#keep("ground", place, (to) => drawGround(to, view));
    context.drawImage(ground, 0, 0);
    if (!shown.length) return;
    context.globalAlpha = look.opacity;
    context.drawImage(
      this.#keep("masks", masks, (to) => {
        for (const { layer, stretch } of parts) drawMask(to, view, stretch, layer);
      }),
      0,
      0,
    );
    context.globalAlpha = 1;
    if (!look.outline && shown.length < 2 && !point) return;
    context.drawImage(
      this.#keep("marks", [...masks, look.threshold, look.outline, point], (to) => {
        for (const { layer, stretch } of look.outline ? parts : [])
          drawOutline(to, view, stretch, layer, look.threshold);
        if (shown.length > 1) drawDivider(to, look.swipe * canvas.width);
        if (point) drawCross(to, (point[0] - left) * view.across, (point[1] - top) * view.down);
      }),
      0,
      0,
    );
  }

  /**
   * A canvas of the picture's size with what `draw` draws; as it was, while the key is.
   * @param {string} name
   * @param {unknown[]} parts of the key.
   * @param {(context: CanvasRenderingContext2D) => void} draw
   */
  #keep(name, parts, draw) {
    const key = parts.join();
    const kept = this.#kept.get(name) ?? { key: "", surface: document.createElement("canvas") };
    this.#kept.set(name, kept);
    if (kept.key !== key) {
      kept.key = key;
      Object.assign(kept.surface, { width: this.canvas.width, height: this.canvas.height });
      draw(contextOf(kept.surface));
    }
    return kept.surface;
  }
}

/**
 * The stretch of the picture that belongs to the first or the second of so many layers.
 * @param {number} side
 * @param {number} sides
 * @param {{ left: number, share: number }} seen
 * @param {number} swipe where the divider is, in shares of what is seen.
 * @returns {Stretch}
 */
export function stretchOf(side, sides, { left, share }, swipe) {
  const divider = left + share * swipe;
  if (sides < 2) return [left, left + share];
  return side === 0 ? [left, divider] : [divider, left + share];
}

/**
 * The photograph, hatched where the classifier did not see it.
 * @param {CanvasRenderingContext2D} context
 * @param {Seen} seen
 */
function drawGround(context, seen) {
  const { left, top, share, across, photograph } = seen;
  const { width, height } = photograph.bitmap;
  // Pixels that are large enough to be told apart are shown as what they are.
  context.imageSmoothingEnabled = across < 6 * width;
  const part = /** @type {const} */ ([left * width, top * height, share * width, share * height]);
  context.drawImage(photograph.bitmap, ...part, 0, 0, context.canvas.width, context.canvas.height);
  useShares(context, seen);
  hatch(context, photograph);
}

/** @type {HTMLCanvasElement | undefined} */
let hatching;

/** A tile of hatching. */
function hatchingTile() {
  if (hatching) return hatching;
  const side = 8;
  hatching = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const context = contextOf(hatching);
  context.fillStyle = "rgb(12 14 16 / 0.55)";
  context.fillRect(0, 0, side, side);
  context.strokeStyle = "rgb(255 255 255 / 0.55)";
  context.lineWidth = 1.5;
  context.beginPath();
  for (const shift of [-side, 0, side]) {
    context.moveTo(shift, side);
    context.lineTo(shift + side, 0);
  }
  context.stroke();
  return hatching;
}

/**
 * Hatch what lies outside of the classifier's input, in a context that counts in shares of the photograph.
 * @param {CanvasRenderingContext2D} context
 * @param {Photograph} photograph
 */
function hatch(context, { window: [x0, y0, x1, y1], width }) {
  if (!leavesOut([x0, y0, x1, y1], width)) return;
  context.beginPath();
  context.rect(0, 0, 1, 1);
  context.rect(x0, y0, x1 - x0, y1 - y0);
  // The lines are as far apart on every picture: the shape is given in shares, its filling in pixels.
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = /** @type {CanvasPattern} */ (context.createPattern(hatchingTile(), "repeat"));
  context.fill("evenodd");
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Seen} seen
 * @param {Stretch} stretch
 * @param {Layer} layer
 */
function drawMask(context, seen, stretch, layer) {
  within(context, seen, stretch, ([x0, y0, x1, y1]) => {
    context.drawImage(/** @type {HTMLCanvasElement} */ (layer.painted), x0, y0, x1 - x0, y1 - y0);
  });
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Seen} seen
 * @param {Stretch} stretch
 * @param {Layer} layer
 * @param {number} threshold
 */
function drawOutline(context, seen, stretch, layer, threshold) {
  layer.line ??= outline(layer.fine ?? layer, 255 * (threshold || 0.5));
  const { line } = layer;
  within(context, seen, stretch, (window) => strokeTwice(context, line, window));
}

/**
 * Let a context count in shares of the picture.
 * @param {CanvasRenderingContext2D} context
 * @param {Seen} seen
 */
function useShares(context, { left, top, across, down }) {
  context.setTransform(across, 0, 0, down, -left * across, -top * down);
}

/**
 * Draw in shares of the picture, within a stretch of it; `draw` gets the window of the input.
 * @param {CanvasRenderingContext2D} context
 * @param {Seen} seen
 * @param {Stretch} stretch
 * @param {(window: Window) => void} draw
 */
function within(context, seen, [from, to], draw) {
  context.save();
  useShares(context, seen);
  context.beginPath();
  context.rect(from, 0, to - from, 1);
  context.clip();
  draw(seen.photograph.window);
  context.restore();
}

/** Each line dark below and light above, so that it is seen on any photograph. */
const TWO_TONES = /** @type {const} */ ([
  ["rgb(0 0 0 / 0.7)", 2],
  ["#fff", 1],
]);

/**
 * A line in shares of a window of the context's coordinates, as thick as it is on the screen.
 * @param {CanvasRenderingContext2D} context
 * @param {Path2D} line
 * @param {Window} window
 */
function strokeTwice(context, line, [x0, y0, x1, y1]) {
  const path = new Path2D();
  const inWindow = new DOMMatrix([x1 - x0, 0, 0, y1 - y0, x0, y0]);
  path.addPath(line, DOMMatrix.fromMatrix(context.getTransform()).multiply(inWindow));
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  for (const [strokeStyle, wide] of TWO_TONES) {
    Object.assign(context, { strokeStyle, lineWidth: 2 * wide * (window.devicePixelRatio || 1), lineCap: "round" });
    context.stroke(path);
  }
  context.restore();
}

/**
 * The line between two masks, with a handle, at a column of the canvas.
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 */
function drawDivider(context, x) {
  const { height } = context.canvas;
  const thick = window.devicePixelRatio || 1;
  for (const [colour, wide] of TWO_TONES) {
    Object.assign(context, { strokeStyle: colour, fillStyle: colour, lineWidth: 2 * wide * thick });
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, height);
    context.stroke();
    context.beginPath();
    context.arc(x, height / 2, (5 + 2 * wide) * thick, 0, 2 * Math.PI);
    context.fill();
  }
}

/**
 * The point that the keyboard reads.
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 */
function drawCross(context, x, y) {
  const arm = 9 * (window.devicePixelRatio || 1);
  for (const [strokeStyle, wide] of TWO_TONES) {
    Object.assign(context, { strokeStyle, lineWidth: (wide * arm) / 6 });
    context.beginPath();
    context.moveTo(x - arm, y);
    context.lineTo(x + arm, y);
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
    context.stroke();
  }
}

/** Pixels of a mask in a small picture: as many as are seen. */
const SMALL_MASK = 76;

/**
 * Width and height of a small picture in pixels of the screen.
 * @param {{ width: number, height: number }} size of what is shown.
 * @param {number} side its longer side in pixels of the page.
 * @param {number} density of the screen; beyond 2 it is not seen.
 */
export function smallSize({ width, height }, side, density) {
  const scale = (side * Math.min(2, density)) / Math.max(width, height);
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/**
 * A small picture: a photograph, or nothing, with a mask over it, or without one.
 * @param {HTMLCanvasElement} canvas
 * @param {Photograph | null} photograph
 * @param {SmallLayer | null | undefined} layer
 * @param {Uint32Array} words what its values are drawn in, as `wordsOf` gives them.
 * @param {number} side its longer side in pixels of the page.
 * @param {{ opacity?: number, line?: boolean, frame?: Window | null }} [look] `line`: around the mask; `frame`: drawn
 *   around a part, in shares of the photograph.
 */
export function drawSmall(canvas, photograph, layer, words, side, { opacity = 1, line = false, frame = null } = {}) {
  const shown = photograph ?? layer;
  if (!shown) return;
  Object.assign(canvas, smallSize(shown, side, window.devicePixelRatio || 1));
  const context = contextOf(canvas);
  if (photograph) {
    context.drawImage(photograph.bitmap, 0, 0, canvas.width, canvas.height);
    context.setTransform(canvas.width, 0, 0, canvas.height, 0, 0);
    hatch(context, photograph);
  }
  context.setTransform(canvas.width, 0, 0, canvas.height, 0, 0);
  if (frame) strokeTwice(context, rectangle(frame), [0, 0, 1, 1]);
  if (!layer) return;
  const [x0, y0, x1, y1] = photograph?.window ?? [0, 0, 1, 1];
  context.globalAlpha = opacity;
  // Not the picture that a large one is made of: of a live mask, that one is made only where it is seen.
  layer.small ??= document.createElement("canvas");
  paint(layer.small, upsampled(layer, SMALL_MASK, SMALL_MASK), words);
  context.drawImage(layer.small, x0, y0, x1 - x0, y1 - y0);
  context.globalAlpha = 1;
  if (line) strokeTwice(context, outline(upsampled(layer, SMALL_MASK, SMALL_MASK), 255 / 2), [x0, y0, x1, y1]);
}

/**
 * @param {Window} window
 */
function rectangle([x0, y0, x1, y1]) {
  const path = new Path2D();
  path.moveTo(x0, y0);
  for (const [x, y] of [
    [x1, y0],
    [x1, y1],
    [x0, y1],
    [x0, y0],
  ])
    path.lineTo(x, y);
  return path;
}
