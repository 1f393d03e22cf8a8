import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { bytesOf, numbersOf } from "../src/bytes.js";
import { coloured, lookup, opaqueLookup, outlinePieces, upsampled } from "../src/picture.js";

const mask = (height, width, values) => ({ height, width, values: Uint8Array.from(values) });
const rgba = (word) => [...new Uint8Array(Uint32Array.of(word).buffer)];

describe("bytes", () => {
  const buffer = Uint8Array.from([9, 9, 9, 1, 2, 3, 9]).buffer;

  test("are the same ones, however they came", () => {
    assert.deepEqual([...bytesOf(new DataView(buffer, 3, 3))], [1, 2, 3]);
    assert.deepEqual([...bytesOf(new Uint8Array(buffer, 3, 3))], [1, 2, 3]);
    assert.equal(bytesOf(buffer).length, 7);
  });

  test("give numbers wherever they begin", () => {
    const floats = Float32Array.of(1.5, -2);
    const shifted = new Uint8Array(9);
    shifted.set(new Uint8Array(floats.buffer), 1);
    assert.deepEqual([...numbersOf(new DataView(shifted.buffer, 1), Float32Array)], [1.5, -2]);
  });
});

describe("upsampling", () => {
  test("interpolates between the centres of cells and keeps the edges", () => {
    assert.deepEqual([...upsampled(mask(1, 2, [0, 200]), 1, 4).values], [0, 50, 150, 200]);
    assert.deepEqual([...upsampled(mask(2, 1, [0, 200]), 4, 1).values], [0, 50, 150, 200]);
  });

  test("is symmetric, and constant where the mask is", () => {
    const { values } = upsampled(mask(2, 2, [10, 250, 10, 250]), 7, 7);
    for (let i = 0; i < 49; i++) assert.equal(values[i] + values[7 * Math.floor(i / 7) + 6 - (i % 7)], 260);
    assert.deepEqual(new Set(upsampled(mask(2, 3, new Array(6).fill(77)), 9, 8).values), new Set([77]));
  });

  test("leaves a mask that is not coarser as it is", () => {
    const fine = mask(2, 3, [1, 2, 3, 4, 5, 6]);
    assert.deepEqual(upsampled(fine, 2, 3), fine);
    assert.equal(upsampled(fine, 1, 2).values, fine.values);
  });
});

describe("colours", () => {
  const table = Uint8Array.from({ length: 768 }, (_, i) => (i % 3 === 0 ? Math.floor(i / 3) : i % 3));

  test("are opaque as the value is high", () => {
    assert.deepEqual(rgba(lookup(table, 0)[128]), [128, 1, 2, 128]);
    assert.deepEqual(rgba(lookup(table, 0)[255]), [255, 1, 2, 255]);
  });

  test("are clear below the threshold, and there at it", () => {
    const words = lookup(table, 0.2);
    assert.deepEqual(
      [50, 51, 52].map((value) => rgba(words[value])[3]),
      [0, 51, 52],
    );
  });

  test("of a legend are all opaque", () => {
    assert.deepEqual(rgba(opaqueLookup(table)[0]), [0, 1, 2, 255]);
    assert.deepEqual(rgba(opaqueLookup(table)[128]), [128, 1, 2, 255]);
  });

  test("stand at a mask's pixels", () => {
    const words = lookup(table, 0);
    assert.deepEqual([...coloured(mask(1, 3, [0, 255, 7]), words)], [words[0], words[255], words[7]]);
  });
});

describe("the outline", () => {
  /** How often each end of a piece occurs; a closed line has each an even number of times. */
  const ends = (pieces) => {
    const counts = new Map();
    for (const end of pieces.flat()) counts.set(end.join(), (counts.get(end.join()) ?? 0) + 1);
    return [...counts.values()];
  };

  test("of nothing is empty", () => {
    assert.deepEqual(outlinePieces(mask(3, 3, new Array(9).fill(10)), 128), []);
  });

  test("of one pixel is a closed diamond around its centre", () => {
    const pieces = outlinePieces(mask(3, 3, [0, 0, 0, 0, 255, 0, 0, 0, 0]), 127.5);
    assert.equal(pieces.length, 4);
    assert.deepEqual(ends(pieces), [2, 2, 2, 2]);
    const far = pieces.flat().map(([x, y]) => Math.hypot(x - 0.5, y - 0.5).toFixed(3));
    assert.deepEqual(new Set(far), new Set([(0.5 / 3).toFixed(3)]));
  });

  test("closes at the picture's edge and does not leave it", () => {
    const pieces = outlinePieces(mask(2, 2, [255, 255, 255, 255]), 128);
    assert.ok(ends(pieces).every((count) => count % 2 === 0));
    for (const value of pieces.flat(2)) assert.ok(value >= 0 && value <= 1);
  });

  test("goes where the values cross the level", () => {
    const pieces = outlinePieces(mask(1, 3, [0, 100, 200]), 150);
    const xs = pieces.flat().map(([x]) => x);
    assert.equal(Math.min(...xs), 2 / 3);
  });

  test("of two pixels that meet at a corner is closed", () => {
    for (const values of [
      [255, 0, 0, 255],
      [0, 255, 255, 0],
    ]) {
      assert.ok(ends(outlinePieces(mask(2, 2, values), 128)).every((count) => count % 2 === 0));
    }
  });
});
