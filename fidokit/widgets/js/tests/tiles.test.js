import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { drawTile, legendOf, MOST_PICTURES, Pictures } from "../src/tiles.js";
import { openPage, sentBytes, settled } from "./page.js";

const PHOTOGRAPH = { type: "image/jpeg", width: 30, height: 20, window: [0, 0, 1, 1] };
const LAYERS = [{ name: "SSR", height: 1, width: 2 }];

let page;
let asked;
let changed;
let pictures;

beforeEach(() => {
  page = openPage();
  [asked, changed] = [[], []];
  pictures = new Pictures(
    (keys) => asked.push(keys),
    (key) => changed.push(key),
  );
});

const take = (key, photograph = PHOTOGRAPH) =>
  pictures.take(key, { photograph, near: [], layers: LAYERS }, [
    sentBytes(photograph.width ? [1, 2] : []),
    sentBytes([0, 255]),
  ]);

describe("pictures", () => {
  test("that a page needs are asked for once, in one message", async () => {
    for (const key of ["a", "b", "a"]) assert.equal(pictures.get(key), undefined);
    await settled();
    pictures.get("b");
    await settled();
    assert.deepEqual(asked, [["a", "b"]]);
  });

  test("come with their masks", async () => {
    await take("a");
    const { photograph, layers, reason } = pictures.get("a");
    assert.deepEqual([photograph.width, photograph.bitmap, reason], [30, page.bitmaps[0], ""]);
    assert.deepEqual([...layers.get("SSR").values], [0, 255]);
    assert.deepEqual(changed, ["a"]);
  });

  test("without a photograph say why", async () => {
    await take("a", { reason: "gone" });
    assert.deepEqual([pictures.get("a").photograph, pictures.get("a").reason], [null, "gone"]);
  });

  test("that were seen longest ago make room, and may be asked for again", async () => {
    await take(0);
    await take(1);
    pictures.get(0);
    await Promise.all(Array.from({ length: MOST_PICTURES - 1 }, (_, i) => take(i + 2)));
    assert.deepEqual(page.bitmaps.map((bitmap) => bitmap.closed).indexOf(true), 1);
    assert.ok(pictures.get(0));
    assert.equal(pictures.get(1), undefined);
    await settled();
    assert.deepEqual(asked, [[1]]);
  });

  test("give their bitmaps back when they are replaced, forgotten, or too late", async () => {
    await take("a");
    await take("a");
    assert.deepEqual(
      page.bitmaps.map((bitmap) => bitmap.closed),
      [true, false],
    );
    pictures.clear();
    assert.equal(page.bitmaps[1].closed, true);
    assert.equal(pictures.get("a"), undefined);
    pictures.destroy();
    await take("b");
    assert.equal(page.bitmaps[2].closed, true);
    assert.deepEqual(changed, ["a", "a"]);
  });
});

test("a tile is as large as its photograph's shape lets it, with the mask over it", async () => {
  await take("a");
  const canvas = document.createElement("canvas");
  drawTile(canvas, pictures.get("a"), "SSR", new Uint32Array(256), 168, { opacity: 0.7 });
  assert.deepEqual([canvas.width, canvas.height], [168, 112]);
  const drawn = canvas.getContext("2d").calls.filter(([name]) => name === "drawImage");
  assert.equal(drawn.length, 2);
  assert.equal(drawn[0][1], page.bitmaps[0]);
});

test("a tile shows the part where its mask is, the whole where that is asked for, and frames the part without a mask", async () => {
  const whole = { ...PHOTOGRAPH, part: [0.1, 0.2, 0.3, 0.4], unseen: "31 %" };
  const near = { ...PHOTOGRAPH, width: 10, height: 10, window: [-1, -1, 2, 2] };
  await pictures.take(
    "a",
    { photograph: whole, near: [near], layers: [...LAYERS, { name: "elsewhere", height: 1, width: 5 }] },
    [sentBytes([1]), sentBytes([2]), sentBytes([0, 255]), sentBytes([255, 0, 9, 0, 0])],
  );
  assert.equal(pictures.get("a").unseen, "31 %");
  const ground = (name, look) => {
    const canvas = document.createElement("canvas");
    drawTile(canvas, pictures.get("a"), name, new Uint32Array(256), 168, { opacity: 1, ...look });
    const { calls } = canvas.getContext("2d");
    const framed = calls.some(([call]) => call === "stroke");
    return [calls.find(([call]) => call === "drawImage")[1], framed];
  };
  assert.deepEqual(ground("SSR", {}), [page.bitmaps[1], false]);
  assert.deepEqual(ground("SSR", { whole: true }), [page.bitmaps[0], false]);
  // A mask that lies elsewhere is seen all the same.
  assert.deepEqual(ground("elsewhere", {}), [page.bitmaps[0], false]);
  assert.deepEqual(ground(null, {}), [page.bitmaps[0], true]);
  assert.deepEqual(ground(null, { whole: true }), [page.bitmaps[0], false]);
  pictures.clear();
  assert.ok(page.bitmaps.every((bitmap) => bitmap.closed));
});

test("a tile without a photograph and without a mask stays as it is", () => {
  const canvas = document.createElement("canvas");
  drawTile(canvas, { photograph: null, layers: new Map(), reason: "" }, "SSR", new Uint32Array(256), 168, {
    opacity: 1,
  });
  assert.deepEqual(canvas.getContext("2d").calls, []);
});

test("a legend shows every value's colour between 0 and 1", () => {
  const legend = legendOf(Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3)));
  assert.equal(legend.textContent, "01");
  const [[, image]] = legend.querySelector("canvas").getContext("2d").calls;
  assert.deepEqual([image.width, image.height, ...image.data.slice(4 * 200, 4 * 201)], [256, 1, 200, 200, 200, 255]);
});
