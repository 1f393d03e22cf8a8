// Where the points of a map lie on its canvas, and which of them a shape, a place or a direction means.

/** @import { Point } from "./geometry.js" */
/** @import { View } from "./types.d.ts" */

import { clamp, WHOLE } from "./geometry.js";

/** @typedef {{ x: Float32Array, y: Float32Array }} Places of points, in shares of a square; y points down. */
/** @typedef {{ scale: number, left: number, top: number }} Frame pixels that a share takes, and where share 0 lies. */
/** @typedef {{ width: number, height: number }} Size of a canvas, in pixels. */

/** Of the square, what the points take; the rest is margin. */
const FILLED = 0.94;

/**
 * The least and the greatest of many values.
 * @param {Float32Array} values
 */
function range(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/**
 * Coordinates fitted into a square, in equal proportion; the greatest y is on top.
 * @param {Float32Array} xs
 * @param {Float32Array} ys
 * @returns {Places}
 */
export function fitted(xs, ys) {
  const [left, right] = range(xs);
  const [bottom, top] = range(ys);
  const span = Math.max(right - left, top - bottom) || 1;
  return {
    x: xs.map((x) => 0.5 + (FILLED * (x - (left + right) / 2)) / span),
    y: ys.map((y) => 0.5 - (FILLED * (y - (bottom + top) / 2)) / span),
  };
}

/**
 * Where the square lies on a canvas.
 * @param {View} view
 * @param {Size} size
 * @returns {Frame}
 */
export function frameOf(view, { width, height }) {
  const scale = Math.min(width, height) * view.zoom;
  return { scale, left: width / 2 - view.x * scale, top: height / 2 - view.y * scale };
}

/**
 * A point's pixel.
 * @param {Places} places
 * @param {number} row
 * @param {Frame} frame
 * @returns {Point}
 */
export function pixelOf({ x, y }, row, { scale, left, top }) {
  return [left + x[row] * scale, top + y[row] * scale];
}

/**
 * Rows whose pixels fit.
 * @param {Places} places
 * @param {Frame} frame
 * @param {(x: number, y: number) => boolean} fits
 */
function rowsWhere(places, frame, fits) {
  const rows = [];
  for (let row = 0; row < places.x.length; row++) {
    const [x, y] = pixelOf(places, row, frame);
    if (fits(x, y)) rows.push(row);
  }
  return rows;
}

/**
 * Rows in a rectangle with these opposite corners, its edges included.
 * @param {Places} places
 * @param {Frame} frame
 * @param {Point} from
 * @param {Point} to
 */
export function rowsInBox(places, frame, [x0, y0], [x1, y1]) {
  const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)];
  const [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)];
  return rowsWhere(places, frame, (x, y) => x >= left && x <= right && y >= top && y <= bottom);
}

/**
 * Rows within a closed line. Where it crosses itself, what is surrounded an even number of times is outside.
 * @param {Places} places
 * @param {Frame} frame
 * @param {Point[]} path
 */
export function rowsInLasso(places, frame, path) {
  return rowsWhere(places, frame, (x, y) => isWithin(path, x, y));
}

/**
 * Whether a ray from a pixel to the right crosses a closed line an odd number of times.
 * @param {Point[]} path
 * @param {number} x
 * @param {number} y
 */
export function isWithin(path, x, y) {
  let within = false;
  let [lastX, lastY] = path[path.length - 1];
  for (const [nextX, nextY] of path) {
    if (nextY > y !== lastY > y && x < nextX + ((y - nextY) * (lastX - nextX)) / (lastY - nextY)) within = !within;
    [lastX, lastY] = [nextX, nextY];
  }
  return within;
}

/**
 * The row nearest to a pixel, within so many of them; -1 if there is none. Of two at one place, the preferred one.
 * @param {Places} places
 * @param {Frame} frame
 * @param {Point} pixel
 * @param {number} reach
 * @param {(row: number) => boolean} preferred
 */
export function nearestRow(places, frame, [x, y], reach, preferred) {
  let [found, least] = [-1, reach * reach];
  for (let row = 0; row < places.x.length; row++) {
    const [px, py] = pixelOf(places, row, frame);
    const far = (px - x) ** 2 + (py - y) ** 2;
    if (far < least || (far === least && preferred(row))) [found, least] = [row, far];
  }
  return found;
}

/**
 * The nearest row in a direction, or the same one if there is none; one further aside counts as further away.
 * @param {Places} places
 * @param {Frame} frame
 * @param {number} from
 * @param {Point} direction
 */
export function nextRow(places, frame, from, [dx, dy]) {
  const [x, y] = pixelOf(places, from, frame);
  let [found, least] = [from, Infinity];
  for (let row = 0; row < places.x.length; row++) {
    const [px, py] = pixelOf(places, row, frame);
    const along = (px - x) * dx + (py - y) * dy;
    const far = along + 2 * (Math.abs((px - x) * dy) + Math.abs((py - y) * dx));
    if (along > 0.5 && far < least) [found, least] = [row, far];
  }
  return found;
}

/**
 * The view enlarged by a factor, `most` times at most; the anchor, a pixel, stays where it is. At 1 all is shown.
 * @param {View} view
 * @param {Size} size
 * @param {number} factor
 * @param {number} most
 * @param {Point | null} anchor
 * @returns {View}
 */
export function zoomedMap(view, size, factor, most, anchor = null) {
  const { width, height } = size;
  const zoom = clamp(view.zoom * factor, 1, most);
  if (zoom === 1) return { ...WHOLE };
  const [x, y] = anchor ?? [width / 2, height / 2];
  const before = frameOf(view, size);
  const scale = Math.min(width, height) * zoom;
  return {
    zoom,
    x: (x - before.left) / before.scale - (x - width / 2) / scale,
    y: (y - before.top) / before.scale - (y - height / 2) / scale,
  };
}
