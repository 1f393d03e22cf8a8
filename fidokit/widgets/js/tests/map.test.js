import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { ScatterMap } from "../src/map.js";
import { fire, openPage } from "./page.js";

// A canvas of 420 x 420, on which the points take 94 %: corners of a square and its middle, where there are two.
const POINTS = {
  x: Float32Array.of(0, 1, 0, 1, 0.5, 0.5),
  y: Float32Array.of(1, 1, 0, 0, 0.5, 0.5),
  cluster: Int32Array.of(0, 0, 0, 0, 1, 1),
  state: Uint8Array.of(1, 1, 1, 2, 1, 0),
  colours: ["#123", "#456"],
};
const [LOW, MIDDLE, HIGH] = [12.6, 210, 407.4];

let map;
let thumbnail;
let selected;
let hovered;

beforeEach(() => {
  openPage();
  [selected, hovered, thumbnail] = [[], [], null];
  const act = {
    select: (rows) => selected.push([...rows]),
    hover: (row) => hovered.push(row),
    picture: () => thumbnail,
  };
  map = new ScatterMap(act, (row) => [`image ${row}`]);
  document.body.append(map.element);
  Reflect.defineProperty(map.stage, "clientWidth", { value: 420 });
  map.marks.getBoundingClientRect = () => ({ left: 0, top: 0, width: 420, height: 420 });
  map.resizing.act();
  map.setPoints(POINTS);
});

const at = (clientX, clientY, more = {}) => ({ button: 0, clientX, clientY, ...more });
const press = (key, more = {}) => fire(map.marks, "keydown", { key, ...more });
function drag(path, more = {}) {
  const [first, ...rest] = path;
  fire(map.marks, "pointerdown", at(...first, more));
  for (const place of rest) fire(map.marks, "pointermove", at(...place, more));
  fire(map.marks, "pointerup", at(...path.at(-1), more));
}
const use = (tool) => fire(map.element.querySelector(`input[value=${tool}]`), "change");

describe("a selection", () => {
  test("is of what is in the box", () => {
    drag([
      [0, 0],
      [100, 100],
      [419, 100],
    ]);
    assert.deepEqual(selected, [[0, 1]]);
  });

  test("is of what is in the lasso", () => {
    use("lasso");
    drag([
      [0, 0],
      [419, 0],
      [419, 100],
      [100, 100],
      [100, 419],
      [0, 419],
    ]);
    assert.deepEqual(selected, [[0, 1, 2]]);
  });

  test("is added to with the shift key", () => {
    map.setSelected(Uint32Array.of(3));
    drag(
      [
        [0, 0],
        [100, 100],
        [419, 100],
      ],
      { shiftKey: true },
    );
    assert.deepEqual(selected, [[3, 0, 1]]);
  });

  test("is of the point that is clicked; of two, the error", () => {
    drag([[MIDDLE + 3, MIDDLE]]);
    assert.deepEqual(selected, [[5]]);
  });

  test("is let go by a click beside the points", () => {
    drag([[100, 100]]);
    assert.deepEqual(selected, []);
    map.setSelected(Uint32Array.of(3));
    drag([[100, 100]]);
    assert.deepEqual(selected, [[]]);
  });

  test("is not made by moving the map, which is moved", () => {
    press("+");
    use("move");
    drag([
      [MIDDLE, MIDDLE],
      [MIDDLE + 50, MIDDLE],
    ]);
    assert.deepEqual(selected, []);
    use("box");
    drag([[MIDDLE + 50, MIDDLE]]);
    assert.deepEqual(selected, [[5]]);
  });
});

describe("keys", () => {
  test("go from point to point, and say them", () => {
    press("ArrowRight");
    assert.equal(map.spoken.textContent, "image 5");
    press("ArrowUp");
    assert.equal(hovered.at(-1), 0);
    assert.equal(map.label.textContent, "image 0");
  });

  test("select, add and take out", () => {
    press("ArrowRight");
    press("Enter");
    assert.deepEqual(selected.at(-1), [5]);
    map.setSelected(Uint32Array.of(0));
    press(" ");
    assert.deepEqual(selected.at(-1), [0, 5]);
    map.setSelected(Uint32Array.of(0, 5));
    press(" ");
    assert.deepEqual(selected.at(-1), [0]);
    press("Escape");
    assert.deepEqual(selected.at(-1), []);
  });

  test("select all in view", () => {
    press("a");
    assert.deepEqual(selected.at(-1), [0, 1, 2, 3, 4, 5]);
    for (let i = 0; i < 3; i++) press("+");
    press("a");
    assert.deepEqual(selected.at(-1), [4, 5]);
    press("0");
    press("a");
    assert.equal(selected.at(-1).length, 6);
  });

  test("of shortcuts are the notebook's", () => {
    assert.equal(press("a", { ctrlKey: true }).defaultPrevented, false);
    assert.equal(press("Enter").defaultPrevented, false);
    assert.deepEqual(selected, []);
  });

  test("do nothing on a map without points", () => {
    const none = {
      x: new Float32Array(0),
      y: new Float32Array(0),
      cluster: new Int32Array(0),
      state: new Uint8Array(0),
    };
    map.setPoints({ ...none, colours: [] });
    press("ArrowRight");
    assert.equal(map.spoken.textContent, "");
  });
});

test("the pointer names the point it is on, once", () => {
  fire(map.marks, "pointermove", at(LOW, HIGH));
  fire(map.marks, "pointermove", at(LOW + 1, HIGH));
  assert.deepEqual(hovered, [2]);
  assert.deepEqual([map.label.hidden, map.label.textContent], [false, "image 2"]);
  assert.equal(Number.parseFloat(map.label.style.left).toFixed(1), "26.6");
  fire(map.marks, "pointermove", at(HIGH, LOW));
  assert.notEqual(map.label.style.right, "");
  fire(map.marks, "pointerleave");
  assert.deepEqual([hovered, map.label.hidden], [[2, 1, -1], true]);
});

test("a photograph stands in the label, also when it comes later, and on the map where few are in sight", () => {
  fire(map.marks, "pointermove", at(LOW, HIGH));
  assert.equal(map.label.querySelector("canvas"), null);
  thumbnail = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
  map.pictured(2);
  assert.equal(map.label.querySelector("canvas").width, 64);
  const onMap = () =>
    map.base.getContext("2d").calls.filter(([name, drawn]) => name === "drawImage" && drawn === thumbnail);
  assert.equal(onMap().length, 0);
  press("+");
  assert.ok(onMap().length > 0);
});

test("clusters are named on the map, and marks and colours in its legend", () => {
  map.setNames(["1 · robin taken for wren", ""]);
  const texts = [...map.legend.children].map((item) => item.textContent.trim());
  const named = ["1 · robin taken for wren", "in no systematic cluster"];
  assert.deepEqual(texts, ["✕ wrong", "● right", "○ not judged", ...named]);
  const drawn = map.base.getContext("2d").calls.filter(([name]) => name === "fillText");
  assert.deepEqual(
    drawn.map(([, words]) => words),
    ["1 · robin taken for wren"],
  );
});

test("errors are drawn last, and what is selected after the rest", () => {
  const drawn = () => map.base.getContext("2d").calls.filter(([name]) => name === "drawImage");
  const places = (calls) => calls.map(([, sprite, x]) => Math.round(x + sprite.width / 2));
  assert.deepEqual(places(drawn()).slice(-2), [MIDDLE, MIDDLE]);
  const before = drawn().length;
  map.setSelected(Uint32Array.of(0));
  const again = places(drawn().slice(before));
  assert.equal(again.length, 6);
  assert.equal(again.at(-1), Math.round(LOW));
});
