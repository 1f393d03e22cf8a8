import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  centredOn,
  clamp,
  panned,
  pointIn,
  seenPart,
  stepped,
  valueAt,
  WHOLE,
  wheelFactor,
  zoomed,
} from "../src/geometry.js";

function assertClose(actual, expected) {
  assert.equal(actual.length, expected.length);
  for (const [i, value] of expected.entries())
    assert.ok(Math.abs(actual[i] - value) < 1e-6, `${actual} is not ${expected}`);
}

test("a number is moved into a range, and stays where it is in it", () => {
  assert.deepEqual(
    [-1, 0, 0.4, 1, 7].map((value) => clamp(value, 0, 1)),
    [0, 0, 0.4, 1, 1],
  );
});

describe("what is seen", () => {
  test("is all of the picture at first", () => {
    assert.deepEqual(seenPart(WHOLE), [0, 0, 1]);
  });

  test("never leaves the picture", () => {
    assertClose(seenPart({ zoom: 4, x: 0, y: 1 }), [0, 0.75, 0.25]);
    assertClose(seenPart({ zoom: 4, x: 0.5, y: 0.5 }), [0.375, 0.375, 0.25]);
  });
});

describe("enlarging", () => {
  for (const anchor of [
    [0.5, 0.5],
    [0.3, 0.6],
    [0.45, 0.7],
  ]) {
    test(`leaves the anchor ${anchor} where it was seen`, () => {
      const before = { zoom: 2, x: 0.4, y: 0.6 };
      const seen = ([left, top, share]) => [(anchor[0] - left) / share, (anchor[1] - top) / share];
      const after = zoomed(before, 1.5, 32, anchor);
      assert.equal(after.zoom, 3);
      assertClose(seen(seenPart(after)), seen(seenPart(before)));
    });
  }

  test("is about the middle of what is seen, without an anchor", () => {
    assertClose(Object.values(zoomed({ zoom: 2, x: 0.3, y: 0.4 }, 2, 32)), [4, 0.3, 0.4]);
  });

  test("has a limit on both sides", () => {
    assert.equal(zoomed({ zoom: 30, x: 0.5, y: 0.5 }, 2, 32).zoom, 32);
    assert.equal(zoomed({ zoom: 1.2, x: 0.5, y: 0.5 }, 0.5, 32).zoom, 1);
  });

  test("in and out again ends where it began", () => {
    const once = zoomed({ zoom: 2, x: 0.4, y: 0.6 }, 2, 32, [0.35, 0.5]);
    assertClose(Object.values(zoomed(once, 0.5, 32, [0.35, 0.5])), [2, 0.4, 0.6]);
  });
});

test("a drag moves the picture with the pointer, and not past its edge", () => {
  assertClose(Object.values(panned([0.25, 0.25, 0.5], [0.2, -0.1])), [0.4, 0.55]);
  assertClose(Object.values(panned([0.25, 0.25, 0.5], [3, -3])), [0.25, 0.75]);
});

test("a place in what is seen is on the picture, also on and past its edge", () => {
  assertClose(pointIn([0.5, 0.25, 0.25], [0.5, 1 / 3]), [0.625, 1 / 3]);
  const [x, y] = pointIn([0, 0, 1], [1.5, -2]);
  assert.ok(x < 1 && x > 0.999);
  assert.equal(y, 0);
});

test("a step is a share of what is seen, and stays on the picture", () => {
  assertClose(stepped([0.5, 0.5], [1, 0], 0.5, 1), [0.51, 0.5]);
  assertClose(stepped([0.5, 0.5], [0, -1], 1, 5), [0.5, 0.4]);
  assert.ok(stepped([0.999, 0.5], [1, 0], 1, 5)[0] < 1);
});

test("a point is in the middle of what is seen, unless the edge is nearer", () => {
  assert.deepEqual(centredOn([0.5, 0.9], 0.5), { x: 0.5, y: 0.75 });
});

test("a mask's value is read at the cell under a place; outside there is none", () => {
  const mask = { height: 2, width: 3, values: Uint8Array.from([0, 51, 102, 153, 204, 255]) };
  assert.equal(valueAt(mask, [0, 0]), 0);
  assert.equal(valueAt(mask, [0.34, 0]), 0.2);
  assert.equal(valueAt(mask, [0.99, 0.99]), 1);
  for (const place of [
    [1, 0],
    [0, 1],
    [-0.01, 0.5],
    [0.5, -0.01],
  ])
    assert.equal(valueAt(mask, place), null);
});

test("the wheel enlarges upwards, and a line counts as many pixels", () => {
  assert.ok(wheelFactor({ deltaY: -100, deltaMode: 0 }) > 1);
  assert.ok(wheelFactor({ deltaY: 100, deltaMode: 0 }) < 1);
  const [line, pixel] = [1, 0].map((deltaMode) => Math.log(wheelFactor({ deltaY: -1, deltaMode })));
  assert.ok(line > 30 * pixel);
});
