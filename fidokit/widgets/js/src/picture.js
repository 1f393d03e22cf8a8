// From bytes to pictures: masks upsampled, coloured, outlined. No state.

/** @import { Mask } from "./types.d.ts" */

import { clamp } from "./geometry.js";

/** @typedef {[number, number]} Corner x and y, in pixels of the mask. */

/**
 * A mask of (height, width) bytes, bilinearly at (rows, columns), cell centres aligned to pixel areas; as it is if it is
 * not coarser.
 * @param {Mask} mask
 * @param {number} rows
 * @param {number} columns
 * @returns {Mask}
 */
export function upsampled(mask, rows, columns) {
  const { height, width, values } = mask;
  if (rows <= height && columns <= width) return { height, width, values };
  const across = new Float32Array(height * columns);
  for (let x = 0; x < columns; x++) {
    const place = clamp(((x + 0.5) * width) / columns - 0.5, 0, width - 1);
    const left = Math.floor(place);
    const right = Math.min(left + 1, width - 1);
    const share = place - left;
    for (let y = 0; y < height; y++) {
      const row = y * width;
      across[y * columns + x] = values[row + left] * (1 - share) + values[row + right] * share;
    }
  }
  const out = new Uint8ClampedArray(rows * columns);
  for (let y = 0; y < rows; y++) {
    const place = clamp(((y + 0.5) * height) / rows - 0.5, 0, height - 1);
    const top = Math.floor(place) * columns;
    const bottom = Math.min(Math.floor(place) + 1, height - 1) * columns;
    const share = place - Math.floor(place);
    const row = y * columns;
    for (let x = 0; x < columns; x++) out[row + x] = across[top + x] * (1 - share) + across[bottom + x] * share;
  }
  return { height: rows, width: columns, values: out };
}

/**
 * The 256 colours of a table of 768 bytes as RGBA words; opaque as the value is high, and clear below the threshold.
 * @param {Uint8Array} table
 * @param {number} threshold from 0 to 1.
 */
export function lookup(table, threshold) {
  const words = new Uint32Array(256);
  const bytes = new Uint8Array(words.buffer);
  for (let value = 0; value < 256; value++) {
    bytes.set(table.subarray(3 * value, 3 * value + 3), 4 * value);
    bytes[4 * value + 3] = value / 255 >= threshold ? value : 0;
  }
  return words;
}

/**
 * Shades of the surroundings of a mask: the darker, the lower the value, and darkest below the threshold.
 * @param {number} threshold from 0 to 1.
 */
export function shades(threshold) {
  const words = new Uint32Array(256);
  const bytes = new Uint8Array(words.buffer);
  for (let value = 0; value < 256; value++) bytes[4 * value + 3] = value / 255 >= threshold ? 255 - value : 255;
  return words;
}

/** How masks are drawn, and in words. */
export const DRAWN_AS = /** @type {const} */ ([
  ["colours", "colours"],
  ["outline", "outline"],
  ["dimmed", "dimmed surroundings"],
]);

/**
 * What the 256 values of a mask are drawn in.
 * @param {string} style one of `DRAWN_AS`.
 * @param {Uint8Array} table colours, 768 bytes.
 * @param {number} threshold from 0 to 1.
 */
export function wordsOf(style, table, threshold) {
  if (style === "outline") return new Uint32Array(256);
  return style === "dimmed" ? shades(threshold) : lookup(table, threshold);
}

/**
 * The 256 colours of a table of 768 bytes, all opaque.
 * @param {Uint8Array} table
 */
export function opaqueLookup(table) {
  const words = lookup(table, 0);
  const bytes = new Uint8Array(words.buffer);
  for (let value = 0; value < 256; value++) bytes[4 * value + 3] = 255;
  return words;
}

/**
 * A mask's values as RGBA words.
 * @param {Mask} mask
 * @param {Uint32Array} words of the 256 values.
 */
export function coloured({ values }, words) {
  const pixels = new Uint32Array(values.length);
  for (let i = 0; i < pixels.length; i++) pixels[i] = words[values[i]];
  return pixels;
}

/**
 * The context of a canvas.
 * @param {HTMLCanvasElement} canvas
 */
export function contextOf(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/**
 * A mask drawn onto a canvas of its size.
 * @param {HTMLCanvasElement} canvas
 * @param {Mask} mask
 * @param {Uint32Array} words
 */
export function paint(canvas, mask, words) {
  if (canvas.width !== mask.width || canvas.height !== mask.height) {
    canvas.width = mask.width;
    canvas.height = mask.height;
  }
  const data = new Uint8ClampedArray(coloured(mask, words).buffer);
  contextOf(canvas).putImageData(new ImageData(data, mask.width, mask.height), 0, 0);
}

/**
 * The line around what is at least `level` (0 to 255), by marching squares on the pixel centres, as pieces from one
 * point to another; the picture's edge counts as outside, so that every region is closed. Coordinates are shares of the
 * picture.
 * @param {Mask} mask
 * @param {number} level
 * @returns {[Corner, Corner][]}
 */
export function outlinePieces({ height, width, values }, level) {
  /** @type {[Corner, Corner][]} */
  const pieces = [];
  /** @type {(x: number, y: number) => number} */
  const at = (x, y) => (x >= 0 && y >= 0 && x < width && y < height ? values[y * width + x] : 0);
  const edge = Math.max(level, 0.5);
  /** @type {(a: number, b: number) => number} */
  const cut = (a, b) => (a === b ? 0.5 : (edge - a) / (b - a));
  /** @type {(corner: Corner) => Corner} */
  const toShares = ([x, y]) => [clamp((x + 0.5) / width, 0, 1), clamp((y + 0.5) / height, 0, 1)];
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
      const sort = sortOf(a, b, c, d, edge);
      if (sort === 0 || sort === 15) continue;
      const found = segments(
        sort,
        [x + cut(a, b), y],
        [x + 1, y + cut(b, c)],
        [x + cut(d, c), y + 1],
        [x, y + cut(a, d)],
      );
      for (const [from, to] of found) pieces.push([toShares(from), toShares(to)]);
    }
  }
  return pieces;
}

/**
 * Which corners of a square are at least an edge, a bit each, the first the highest.
 * @param {number} a
 * @param {number} b
 * @param {number} c
 * @param {number} d
 * @param {number} edge
 */
function sortOf(a, b, c, d, edge) {
  return (a >= edge ? 8 : 0) + (b >= edge ? 4 : 0) + (c >= edge ? 2 : 0) + (d >= edge ? 1 : 0);
}

/**
 * The pieces of line through one square, by which of its corners (8, 4, 2, 1 clockwise from the top left) are in.
 * @param {number} sort
 * @param {Corner} top
 * @param {Corner} right
 * @param {Corner} bottom
 * @param {Corner} left
 * @returns {[Corner, Corner][]}
 */
function segments(sort, top, right, bottom, left) {
  switch (sort) {
    case 1:
    case 14:
      return [[left, bottom]];
    case 2:
    case 13:
      return [[bottom, right]];
    case 3:
    case 12:
      return [[left, right]];
    case 4:
    case 11:
      return [[top, right]];
    case 6:
    case 9:
      return [[top, bottom]];
    case 7:
    case 8:
      return [[left, top]];
    case 5:
      return [
        [left, top],
        [bottom, right],
      ];
    default:
      return [
        [left, bottom],
        [top, right],
      ];
  }
}

/**
 * That line as a path.
 * @param {Mask} mask
 * @param {number} level
 */
export function outline(mask, level) {
  const path = new Path2D();
  for (const [from, to] of outlinePieces(mask, level)) {
    path.moveTo(...from);
    path.lineTo(...to);
  }
  return path;
}
