import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { fineSize, Overlay } from "../src/overlay.js";
import { shareInWords } from "../src/overlay_controls.js";
import { smallSize, stretchOf } from "../src/painter.js";
import { choose, enter, fire, openPage, sentBytes, sentTables, settled } from "./page.js";

const LAYERS = [
  { name: "SSR", height: 2, width: 2, data: sentBytes([0, 51, 102, 255]) },
  { name: "SDR", height: 2, width: 2, data: sentBytes([255, 255, 255, 255]) },
];
const PHOTOGRAPH = { data: sentBytes([1, 2, 3]), type: "image/png", width: 300, height: 200, window: [0, 0, 1, 1] };

let page;
let overlay;

beforeEach(async () => {
  page = openPage();
  overlay = new Overlay(sentTables());
  document.body.append(overlay.element);
  overlay.canvas.getBoundingClientRect = () => ({ left: 10, top: 20, width: 300, height: 200 });
  overlay.setLayers(LAYERS);
  await overlay.setPhotograph(PHOTOGRAPH);
});

const field = (words) => {
  const label = [...overlay.element.querySelectorAll("label")].find((each) => each.textContent === words);
  return document.getElementById(label.htmlFor);
};
const layers = () => [...overlay.element.querySelectorAll(".fk-layer input")];
const press = (key, more = {}) => fire(overlay.canvas, "keydown", { key, ...more });

describe("the controls", () => {
  test("set what is shown", () => {
    enter(field("Opacity"), "40");
    enter(field("Show values from"), "25");
    choose(field("Outline"), true);
    choose(field("Colours"), "inverse");
    const { opacity, threshold, outline, colours } = overlay.state;
    assert.deepEqual(
      { opacity, threshold, outline, colours },
      { opacity: 0.4, threshold: 0.25, outline: true, colours: "inverse" },
    );
    assert.equal(overlay.element.querySelector("output.fk-number").textContent, "40 %");
  });

  test("choose the mask and the other one", () => {
    fire(layers()[1], "change");
    assert.deepEqual([overlay.state.layer, layers().map((input) => input.checked)], [1, [false, true]]);
    choose(field("Compare with"), "0");
    assert.equal(overlay.state.compare, 0);
    assert.equal(field("Divider").closest(".fk-field").hidden, false);
  });

  test("show what Python sets", () => {
    overlay.set({ swipe: 0.25, compare: 1, threshold: 0.5 });
    assert.equal(field("Divider").value, "25");
    assert.equal(field("Compare with").value, "1");
    assert.equal(field("Show values from").value, "50");
  });

  test("that need two masks are not there for one", () => {
    overlay.set({ compare: 1 });
    overlay.setLayers(LAYERS.slice(0, 1));
    assert.equal(overlay.state.compare, -1);
    assert.equal(field("Compare with").parentElement.hidden, true);
  });
});

test("the chosen mask stays chosen by its name", () => {
  overlay.show("SDR");
  overlay.setLayers([...LAYERS].reverse());
  assert.equal(overlay.state.layer, 0);
  overlay.show("no such mask");
  assert.equal(overlay.state.layer, 0);
});

describe("the point that is read", () => {
  test("follows the pointer", () => {
    fire(overlay.canvas, "pointermove", { clientX: 10 + 299, clientY: 20 + 199 });
    assert.equal(overlay.readout.textContent, "x 299, y 199SSR 1.00SDR 1.00");
    fire(overlay.canvas, "pointerleave");
    assert.equal(overlay.readout.textContent, "");
  });

  test("is outside where the classifier saw nothing", async () => {
    await overlay.setPhotograph({ ...PHOTOGRAPH, window: [0.5, 0, 1, 1] });
    fire(overlay.canvas, "pointermove", { clientX: 11, clientY: 21 });
    assert.match(overlay.readout.textContent, /outside the classifier's input$/);
  });

  test("is read aloud by key", () => {
    press("ArrowRight");
    assert.match(overlay.spoken.textContent, /^x 156, y 100, SSR 0\.\d\d, SDR 1\.00$/);
  });

  test("is read again when its mask changes", () => {
    fire(overlay.canvas, "pointermove", { clientX: 10, clientY: 20 });
    overlay.updateLayer(0, { height: 2, width: 2 }, sentBytes([255, 0, 0, 0]));
    assert.match(overlay.readout.textContent, /SSR 1\.00/);
  });
});

describe("the view", () => {
  const near = { ...LAYERS[0], view: [0.3, 0.6, 4] };

  test("opens on the mask's region, in the corner where that lies, and the whole picture is one click away", () => {
    overlay.setLayers([near, LAYERS[1]]);
    assert.deepEqual([overlay.state.x, overlay.state.y, overlay.state.zoom], [0.3, 0.6, 4]);
    assert.equal(overlay.insetButton.hidden, false);
    assert.deepEqual([overlay.here.style.left, overlay.here.style.width], ["17.5%", "25%"]);
    overlay.insetButton.click();
    assert.equal(overlay.state.zoom, 1);
    assert.equal(overlay.insetButton.hidden, true);
    press("r");
    assert.equal(overlay.state.zoom, 4);
  });

  test("stays where somebody looks, until there is another photograph", async () => {
    press("+");
    overlay.setLayers([near]);
    assert.equal(overlay.state.zoom, 1.5);
    await overlay.setPhotograph(PHOTOGRAPH);
    assert.equal(overlay.state.zoom, 4);
  });

  test("of a mask without a region is the whole picture", () => {
    overlay.setLayers([{ ...LAYERS[0], view: [0.5, 0.5, 1] }]);
    assert.deepEqual([overlay.state.zoom, overlay.toRegion.hidden], [1, true]);
  });

  test("says what the classifier did not see", async () => {
    assert.equal(overlay.unseen.hidden, true);
    await overlay.setPhotograph({ ...PHOTOGRAPH, window: [0.2, 0, 0.8, 1], unseen: "40 % is not seen." });
    assert.equal(overlay.unseen.hidden, false);
    assert.equal(overlay.unseen.textContent, "Hatched: 40 % is not seen.");
  });
});

test("masks that explain little step back, with their verdict in words", () => {
  overlay.setLayers([
    { ...LAYERS[0], verdict: "enough only" },
    { ...LAYERS[1], verdict: "explains little" },
  ]);
  const cards = [...overlay.element.querySelectorAll(".fk-layer")];
  assert.deepEqual(
    cards.map((card) => [card.querySelector("small").textContent, card.classList.contains("fk-back")]),
    [
      ["enough only", false],
      ["explains little", true],
    ],
  );
});

test("an outline has no colours and no opacity, dimmed surroundings have an opacity", () => {
  choose(field("Mask drawn as"), "outline");
  assert.equal(overlay.state.drawn_as, "outline");
  for (const words of ["Colours", "Opacity"]) assert.equal(field(words).closest(".fk-field[hidden]") !== null, true);
  choose(field("Mask drawn as"), "dimmed");
  assert.equal(field("Opacity").closest(".fk-field[hidden]"), null);
});

describe("keys", () => {
  test("enlarge, move and show the whole picture", () => {
    press("+");
    assert.equal(overlay.state.zoom, 1.5);
    press("ArrowLeft", { shiftKey: true });
    assert.ok(overlay.state.x < 0.5);
    press("0");
    assert.deepEqual([overlay.state.zoom, overlay.state.x], [1, 0.5]);
  });

  test("choose and hide masks, and are used up", () => {
    assert.ok(press("2").defaultPrevented);
    assert.equal(overlay.state.layer, 1);
    press(" ");
    assert.equal(overlay.state.hidden, true);
  });

  test("that are for nothing go on to the page", () => {
    for (const event of [press("3"), press("x"), press("+", { ctrlKey: true })])
      assert.equal(event.defaultPrevented, false);
  });
});

describe("the pointer", () => {
  test("drags the picture once it is enlarged", () => {
    overlay.set({ zoom: 2 });
    fire(overlay.canvas, "pointerdown", { button: 0, clientX: 160, clientY: 120 });
    fire(overlay.canvas, "pointermove", { clientX: 130, clientY: 120 });
    assert.equal(overlay.state.x, 0.55);
    fire(overlay.canvas, "pointerup");
    fire(overlay.canvas, "pointermove", { clientX: 10, clientY: 120 });
    assert.equal(overlay.state.x, 0.55);
  });

  test("drags the divider where it has hold of it", () => {
    overlay.set({ compare: 1 });
    fire(overlay.canvas, "pointerdown", { button: 0, clientX: 165, clientY: 120 });
    fire(overlay.canvas, "pointermove", { clientX: 235, clientY: 120 });
    assert.equal(overlay.state.swipe, 0.75);
  });

  test("enlarges with the wheel only while the picture has the focus", () => {
    const turn = () => fire(overlay.canvas, "wheel", { deltaY: -100, deltaMode: 0, clientX: 20, clientY: 30 });
    assert.equal(turn().defaultPrevented, false);
    overlay.canvas.focus();
    assert.equal(turn().defaultPrevented, true);
    assert.ok(overlay.state.zoom > 1);
  });
});

describe("photographs", () => {
  test("that are overtaken are given back and not shown", async () => {
    const decode = globalThis.createImageBitmap;
    let finish;
    globalThis.createImageBitmap = (blob) =>
      new Promise((resolve) => {
        finish = async () => resolve(await decode(blob));
      });
    const slow = overlay.setPhotograph(PHOTOGRAPH);
    globalThis.createImageBitmap = decode;
    await overlay.setPhotograph({ ...PHOTOGRAPH, width: 600 });
    await finish();
    await slow;
    assert.deepEqual(
      page.bitmaps.map((bitmap) => bitmap.closed),
      [true, false, true],
    );
    fire(overlay.canvas, "pointermove", { clientX: 10 + 299, clientY: 20 });
    assert.match(overlay.readout.textContent, /^x 598, /);
  });

  test("are given back with the widget", async () => {
    const late = overlay.setPhotograph(PHOTOGRAPH);
    overlay.destroy();
    await late;
    assert.ok(page.bitmaps.every((bitmap) => bitmap.closed));
  });

  test("that there are not leave the stage bare", async () => {
    await overlay.setPhotograph({});
    assert.ok(overlay.stage.classList.contains("fk-bare"));
  });
});

test("radio buttons of two overlays are no group", async () => {
  const { Overlay: Copy } = await import("../src/overlay.js?copy");
  const other = new Copy(sentTables());
  other.setLayers(LAYERS);
  document.body.append(other.element);
  const name = (each) => each.element.querySelector(".fk-layer input").name;
  assert.notEqual(name(other), name(overlay));
  await settled();
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  assert.equal(new Set(ids).size, ids.length);
});

test("each side of the divider belongs to a mask", () => {
  const seen = { left: 0.2, share: 0.5 };
  assert.deepEqual(stretchOf(0, 1, seen, 0.5), [0.2, 0.7]);
  assert.deepEqual(
    [stretchOf(0, 2, seen, 0.5), stretchOf(1, 2, seen, 0.5)],
    [
      [0.2, 0.45],
      [0.45, 0.7],
    ],
  );
});

test("shares are in percent, thresholds in hundredths", () => {
  assert.deepEqual([shareInWords("opacity", 0.756), shareInWords("threshold", 0.3)], ["76 %", "0.30"]);
});

test("small pictures keep the shape of what they show", () => {
  assert.deepEqual(smallSize({ width: 300, height: 200 }, 76, 1), { width: 76, height: 51 });
  assert.deepEqual(smallSize({ width: 10, height: 4000 }, 76, 3), { width: 1, height: 152 });
});

test("colours are computed as finely as the photograph is drawn, at 512 pixels at most", () => {
  const at = (width, height, window) => fineSize({ bitmap: { width, height }, width, height, window, version: 1 });
  assert.deepEqual(at(1000, 500, [0, 0, 1, 1]), [256, 512]);
  assert.deepEqual(at(1000, 500, [0.25, 0, 0.75, 1]), [512, 512]);
  assert.deepEqual(at(200, 100, [0, 0, 1, 1]), [100, 200]);
  assert.deepEqual(fineSize(null), [64, 64]);
});
