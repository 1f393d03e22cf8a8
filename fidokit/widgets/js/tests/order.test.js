// What to explain, and how far it is.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { courseOf, figuresOf, Meter } from "../src/meter.js";
import { Order } from "../src/order.js";
import { choose, enter, fire, openPage } from "./page.js";

const FIELDS = [
  { name: "steps", kind: "whole", choices: [], help: "Steps of it." },
  { name: "tv_weight", kind: "number", choices: [], help: "" },
  { name: "infill", kind: "choice", choices: ["blur", "zeros"], help: "" },
  { name: "ramp", kind: "check", choices: [], help: "" },
];
const METHODS = [
  {
    name: "fido",
    summary: "Masks by optimisation",
    fields: FIELDS,
    presets: {
      default: { steps: "10", tv_weight: "0.1", infill: "blur", ramp: false },
      quality: { steps: "50", tv_weight: "0.2", infill: "zeros", ramp: true },
    },
  },
  { name: "grad-cam", summary: "Gradients", fields: [], presets: { default: {} } },
];

describe("the order", () => {
  let sent;
  let order;
  beforeEach(() => {
    openPage();
    sent = [];
    order = new Order({ classes: ["Robin", "Great tit", "Titmouse"], taxa: [], ranks: [] }, METHODS, (message) =>
      sent.push(message),
    );
    document.body.append(order.element);
    order.setMethod("fido", "default");
  });
  const field = (words) =>
    [...order.element.querySelectorAll("label")].find((label) => label.textContent === words).control;

  test("has a labelled field a setting, filled in from the named set", () => {
    assert.deepEqual([field("steps").value, field("infill").value, field("ramp").checked], ["10", "blur", false]);
    choose(order.preset, "quality");
    assert.deepEqual([field("steps").value, field("infill").value, field("ramp").checked], ["50", "zeros", true]);
    assert.deepEqual([field("steps").inputMode, field("tv weight").inputMode], ["numeric", "decimal"]);
    assert.equal(document.getElementById(field("steps").getAttribute("aria-describedby")).textContent, "Steps of it.");
  });

  test("shows what a method has, and no more", () => {
    choose(order.method, "grad-cam");
    assert.deepEqual(
      [order.presetField.hidden, order.details.hidden, order.summary.textContent],
      [true, true, "Gradients"],
    );
    order.setMethod("fido", "no such set");
    assert.equal(order.preset.value, "default");
  });

  test("sends what is filled in, names without spaces around them, and nothing for the default", () => {
    enter(field("Class to explain"), " Robin ");
    enter(field("steps"), "20");
    const event = fire(order.element, "submit");
    assert.ok(event.defaultPrevented);
    const fields = { steps: "20", tv_weight: "0.1", infill: "blur", ramp: false };
    const asked = { target: "Robin", against: null, rank: null };
    assert.deepEqual(sent.at(-1), { do: "start", method: "fido", preset: "default", fields, ...asked });
  });

  test("offers class names that fit, and the likeliest first, with their scores", () => {
    const offered = () => [...order.against.list.querySelectorAll("[role=option]")].map((row) => row.textContent);
    order.setLikely([
      ["Robin", 0.8],
      ["Titmouse", 0.0042],
    ]);
    field("Rather than").click();
    assert.deepEqual(offered(), ["Titmouse0.0042", "Robin", "Great tit"]);
    assert.deepEqual(
      [order.target.about.textContent, order.against.about.textContent],
      ["Predicted: Robin, 0.80", "Next: Titmouse, 0.0042"],
    );
    enter(field("Rather than"), "tit");
    assert.deepEqual(offered(), ["Titmouse0.0042", "Great tit"]);
    order.setLikely([]);
    assert.deepEqual([order.against.about.hidden, order.target.input.placeholder], [true, "the predicted class"]);
  });

  test("asks what is likely once a list is opened, until it is known", () => {
    field("Class to explain").click();
    assert.deepEqual(sent, [{ do: "likely" }]);
    order.setLikely([["Robin", 0.8]]);
    field("Rather than").click();
    assert.equal(sent.length, 1);
  });

  test("has ranks where there is a taxonomy", () => {
    assert.ok(order.rankField.hidden);
    const ranked = new Order(
      { classes: [], taxa: [["Paridae", "family, 2 classes"]], ranks: ["family"] },
      METHODS,
      order.send,
    );
    document.body.append(ranked.element);
    ranked.setMethod("fido", "default");
    choose(ranked.rank, "family");
    fire(ranked.element, "submit");
    assert.deepEqual([ranked.rankField.hidden, sent[0].rank], [false, "family"]);
  });

  test("cannot be changed while it is carried out, and hands the focus to Stop and back", () => {
    order.startButton.focus();
    order.setState("running");
    assert.deepEqual([field("steps").disabled, order.method.disabled, order.startButton.disabled], [true, true, true]);
    assert.equal(document.activeElement, order.stopButton);
    order.stopButton.click();
    assert.deepEqual(sent, [{ do: "stop" }]);
    order.setState("done");
    assert.equal(document.activeElement, order.startButton);
    assert.equal(field("steps").disabled, false);
  });
});

describe("progress", () => {
  const PROGRESS = { evaluations: 30, total: 120, rate: 12.34, left: 7.2, kept: 0.91, dropped: null, loss: -1.5 };
  beforeEach(() => openPage());

  test("is told in words", () => {
    assert.deepEqual(figuresOf(PROGRESS), ["30 of 120", "12.34 a second", "8 s", "0.91", "–", "-1.50"]);
    assert.deepEqual(figuresOf({ ...PROGRESS, rate: null, left: null }).slice(1, 3), ["– a second", "–"]);
  });

  test("has the loss's course over all evaluations, the lowest at the bottom", () => {
    const size = { width: 104, height: 58 };
    assert.deepEqual(
      courseOf(
        [
          [0, 3],
          [50, 1],
          [100, 2],
        ],
        100,
        size,
      ),
      [
        [2, 4],
        [52, 54],
        [102, 29],
      ],
    );
    assert.deepEqual(
      courseOf(
        [
          [10, 2],
          [20, 2],
        ],
        100,
        size,
      ).map(([, y]) => y),
      [54, 54],
    );
  });

  test("is a bar and a course from the second loss on", () => {
    const meter = new Meter();
    meter.show({});
    assert.equal(meter.list.hidden, true);
    meter.show(PROGRESS);
    assert.deepEqual([meter.list.hidden, meter.bar.value, meter.curve.hidden], [false, 0.25, true]);
    meter.show({ ...PROGRESS, evaluations: 240 });
    assert.deepEqual([meter.bar.value, meter.curve.hidden], [1, false]);
  });

  test("begins anew with the next mask", () => {
    const meter = new Meter();
    meter.show(PROGRESS);
    meter.show({});
    meter.show(PROGRESS);
    assert.equal(meter.curve.hidden, true);
  });

  test("has a state in words, and no time left at its end", () => {
    const meter = new Meter();
    meter.setState("ready");
    assert.equal(meter.element.hidden, true);
    meter.setState("running");
    meter.show(PROGRESS);
    assert.equal(meter.figures[2].textContent, "8 s");
    meter.setState("stopped", true);
    assert.deepEqual(
      [meter.figures[2].textContent, meter.state.textContent],
      ["–", "Stopped; the mask is as far as it had come"],
    );
    meter.setState("stopped", false);
    assert.equal(meter.state.textContent, "Stopped before there was a mask");
  });
});
