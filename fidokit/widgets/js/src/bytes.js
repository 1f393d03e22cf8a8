// Numbers from the bytes of traits and messages.

/** @import { Bytes } from "./types.d.ts" */

/**
 * The bytes of a trait or a message, however they came.
 * @param {Bytes} data
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function bytesOf(data) {
  if (data instanceof Uint8Array) return /** @type {Uint8Array<ArrayBuffer>} */ (data);
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(/** @type {ArrayBuffer} */ (data.buffer), data.byteOffset, data.byteLength);
  }
  return new Uint8Array(data);
}

/**
 * An array of numbers from bytes, wherever in their buffer they begin.
 * @template Numbers
 * @param {Bytes} data
 * @param {new (buffer: ArrayBuffer) => Numbers} kind
 * @returns {Numbers}
 */
export function numbersOf(data, kind) {
  return new kind(bytesOf(data).slice().buffer);
}
