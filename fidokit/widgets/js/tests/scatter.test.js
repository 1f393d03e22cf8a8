import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  fitted,
  frameOf,
  isWithin,
  nearestRow,
  nextRow,
  pixelOf,
  rowsInBox,
  rowsInLasso,
  zoomedMap,
} from "../src/scatter.js";

const SIZE = { width: 200, height: 100 };
const WHOLE = { zoom: 1, x: 0.5, y: 0.5 };
const FRAME = frameOf(WHOLE, SIZE);
const never = () => false;

/** Points at these pixels of the whole map. */
function at(...pixels) {
  return {
    x: Float32Array.from(pixels, ([x]) => (x - FRAME.left) / FRAME.scale),
    y: Float32Array.from(pixels, ([, y]) => (y - FRAME.top) / FRAME.scale),
  };
}

describe("points fitted into the square", () => {
  test("keep their proportions, with the greatest y on top", () => {
    const { x, y } = fitted(Float32Array.from([0, 10, 5]), Float32Array.from([0, 5, 2.5]));
    assert.deepEqual(
      [...x].map((value) => value.toFixed(3)),
      ["0.030", "0.970", "0.500"],
    );
    assert.deepEqual(
      [...y].map((value) => value.toFixed(3)),
      ["0.735", "0.265", "0.500"],
    );
  });

  test("are in its middle where all lie at one place", () => {
    const { x, y } = fitted(Float32Array.from([3, 3]), Float32Array.from([4, 4]));
    assert.deepEqual([...x, ...y], [0.5, 0.5, 0.5, 0.5]);
  });
});

test("the square is in the middle of a canvas that is not square", () => {
  assert.deepEqual(FRAME, { scale: 100, left: 50, top: 0 });
  assert.deepEqual(pixelOf({ x: [0.25], y: [0.75] }, 0, FRAME), [75, 75]);
});

test("a box has its corners in any order, and holds what is on its edges", () => {
  const places = at([60, 50], [80, 60], [100, 70], [120, 50]);
  for (const [from, to] of [
    [
      [60, 50],
      [100, 70],
    ],
    [
      [100, 50],
      [60, 70],
    ],
    [
      [100, 70],
      [60, 50],
    ],
  ]) {
    assert.deepEqual(rowsInBox(places, FRAME, from, to), [0, 1, 2]);
  }
  assert.deepEqual(rowsInBox(places, FRAME, [0, 0], [10, 10]), []);
});

describe("a lasso", () => {
  const notched = [
    [0, 0],
    [100, 0],
    [100, 100],
    [50, 20],
    [0, 100],
  ];

  test("holds what it surrounds, not what is in its notch", () => {
    const places = at([20, 30], [80, 30], [50, 60], [50, 10], [130, 50]);
    assert.deepEqual(rowsInLasso(places, FRAME, notched), [0, 1, 3]);
  });

  test("is the same whichever way round it was drawn", () => {
    const places = at([20, 30], [80, 30], [50, 60], [50, 10], [130, 50]);
    assert.deepEqual(rowsInLasso(places, FRAME, [...notched].reverse()), [0, 1, 3]);
  });

  test("leaves out what it surrounds twice", () => {
    const turn = [
      [0, 0],
      [90, 0],
      [90, 90],
      [0, 90],
    ];
    const inner = [
      [30, 30],
      [60, 30],
      [60, 60],
      [30, 60],
    ];
    const twice = [...turn, [0, 0], ...inner, [30, 30]];
    assert.equal(isWithin(twice, 45, 45), false);
    assert.equal(isWithin(twice, 10, 45), true);
  });

  test("of two points holds nothing", () => {
    assert.equal(
      isWithin(
        [
          [0, 0],
          [100, 100],
        ],
        50,
        49,
      ),
      false,
    );
  });

  test("counts a corner at the height of a point once", () => {
    const diamond = [
      [50, 0],
      [100, 50],
      [50, 100],
      [0, 50],
    ];
    assert.equal(isWithin(diamond, 20, 50), true);
    assert.equal(isWithin(diamond, -20, 50), false);
    assert.equal(isWithin(diamond, 120, 50), false);
  });
});

describe("the nearest point", () => {
  const places = at([60, 50], [64, 50], [64, 50]);

  test("is found within reach only", () => {
    assert.equal(nearestRow(places, FRAME, [61, 50], 9, never), 0);
    assert.equal(nearestRow(places, FRAME, [61, 90], 9, never), -1);
    assert.equal(nearestRow(places, FRAME, [199, 99], Number.POSITIVE_INFINITY, never), 1);
  });

  test("of two at one place is the preferred one", () => {
    assert.equal(nearestRow(places, FRAME, [65, 50], 9, never), 1);
    assert.equal(
      nearestRow(places, FRAME, [65, 50], 9, (row) => row === 2),
      2,
    );
  });
});

describe("the next point in a direction", () => {
  const places = at([100, 50], [120, 52], [108, 70], [60, 50]);

  test("is near and not far aside", () => {
    assert.equal(nextRow(places, FRAME, 0, [1, 0]), 1);
    assert.equal(nextRow(places, FRAME, 0, [-1, 0]), 3);
    assert.equal(nextRow(places, FRAME, 0, [0, 1]), 2);
  });

  test("is the same where there is none", () => {
    assert.equal(nextRow(places, FRAME, 0, [0, -1]), 0);
  });
});

describe("enlarging the map", () => {
  const share = (view, pixel) => {
    const { scale, left, top } = frameOf(view, SIZE);
    return [(pixel[0] - left) / scale, (pixel[1] - top) / scale].map((value) => value.toFixed(9));
  };

  test("leaves what is under the pointer there", () => {
    const before = { zoom: 2, x: 0.4, y: 0.5 };
    const after = zoomedMap(before, SIZE, 1.5, 60, [30, 80]);
    assert.equal(after.zoom, 3);
    assert.deepEqual(share(after, [30, 80]), share(before, [30, 80]));
  });

  test("ends at 60 times, and all is shown at 1", () => {
    assert.equal(zoomedMap({ zoom: 50, x: 0.1, y: 0.1 }, SIZE, 2, 60).zoom, 60);
    assert.deepEqual(zoomedMap({ zoom: 1.2, x: 0.1, y: 0.1 }, SIZE, 0.5, 60, [0, 0]), WHOLE);
  });
});
