// What is seen of a picture that can be enlarged, in shares of its sides.

/** @import { Mask, View, Window } from "./types.d.ts" */

/** @typedef {[number, number]} Point */
/** @typedef {[number, number, number]} Part left, top, and width; the height is the same share. */

/** @type {View} */
export const WHOLE = Object.freeze({ zoom: 1, x: 0.5, y: 0.5 });

/** What a point on the right or lower edge lies inside of the edge. */
const HAIR = 1e-9;
/** Of what is seen, what one press of an arrow key moves the point by. */
const STEP = 0.02;
/** What `deltaMode` of a wheel that counts in lines is. */
const LINES = 1;

/**
 * A number, moved into a range.
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/**
 * The part of the picture that is seen; it never leaves the picture.
 * @param {View} view
 * @returns {Part}
 */
export function seenPart({ zoom, x, y }) {
  const share = 1 / zoom;
  return [clamp(x - share / 2, 0, 1 - share), clamp(y - share / 2, 0, 1 - share), share];
}

/**
 * The centre of a part.
 * @param {Part} part
 * @returns {Point}
 */
export function centreOf([left, top, share]) {
  return [left + share / 2, top + share / 2];
}

/**
 * Whether a window leaves out some of a photograph so wide.
 * @param {Window} window
 * @param {number} width in pixels.
 */
export function leavesOut([x0, y0, x1, y1], width) {
  const edge = 0.5 / width;
  return x0 > edge || y0 > edge || x1 < 1 - edge || y1 < 1 - edge;
}

/**
 * The view enlarged by a factor, `most` times at most; the anchor stays where it is seen.
 * @param {View} view
 * @param {number} factor
 * @param {number} most
 * @param {Point | null} anchor
 * @returns {View}
 */
export function zoomed(view, factor, most, anchor = null) {
  const [centreX, centreY] = centreOf(seenPart(view));
  const zoom = clamp(view.zoom * factor, 1, most);
  const [x, y] = anchor ?? [centreX, centreY];
  const kept = view.zoom / zoom;
  return { zoom, x: x + (centreX - x) * kept, y: y + (centreY - y) * kept };
}

/**
 * The centre of a part of this size that shows a point, in its middle unless the picture's edge is nearer.
 * @param {Point} point
 * @param {number} share
 */
export function centredOn([x, y], share) {
  return { x: clamp(x, share / 2, 1 - share / 2), y: clamp(y, share / 2, 1 - share / 2) };
}

/**
 * The centre after a drag by shares of what is seen.
 * @param {Part} part where the drag began.
 * @param {Point} drag
 */
export function panned(part, [across, down]) {
  const [x, y] = centreOf(part);
  return centredOn([x - across * part[2], y - down * part[2]], part[2]);
}

/**
 * A point given in shares of what is seen, in shares of the picture, on which it lies.
 * @param {Part} part
 * @param {Point} point
 * @returns {Point}
 */
export function pointIn([left, top, share], [across, down]) {
  return [left + clamp(across, 0, 1 - HAIR) * share, top + clamp(down, 0, 1 - HAIR) * share];
}

/**
 * The point so many steps further in a direction.
 * @param {Point} point
 * @param {Point} direction
 * @param {number} share what is seen of the picture.
 * @param {number} steps
 * @returns {Point}
 */
export function stepped([x, y], [dx, dy], share, steps) {
  const far = STEP * share * steps;
  return [clamp(x + far * dx, 0, 1 - HAIR), clamp(y + far * dy, 0, 1 - HAIR)];
}

/**
 * A mask's value, from 0 to 1, at shares of its sides; null outside of it.
 * @param {Mask} mask
 * @param {Point} place
 */
export function valueAt({ height, width, values }, [across, down]) {
  if (across < 0 || down < 0 || across >= 1 || down >= 1) return null;
  return values[Math.floor(down * height) * width + Math.floor(across * width)] / 255;
}

/**
 * By how much one turn of the wheel enlarges; lines and pixels are what it counts in.
 * @param {{ deltaY: number, deltaMode: number }} event
 */
export function wheelFactor({ deltaY, deltaMode }) {
  return Math.exp(-deltaY * (deltaMode === LINES ? 0.05 : 0.0015));
}

/** The arrow keys' directions. */
export const ARROWS = new Map(
  /** @type {[string, Point][]} */ ([
    ["ArrowLeft", [-1, 0]],
    ["ArrowRight", [1, 0]],
    ["ArrowUp", [0, -1]],
    ["ArrowDown", [0, 1]],
  ]),
);
