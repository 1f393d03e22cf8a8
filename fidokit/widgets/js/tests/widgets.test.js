// The widgets as a whole: what a view shows of its model, what it says to the kernel, and that nothing of it stays.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import compare, { pageInWords } from "../src/compare.js";
import { TYPING } from "../src/compare_tools.js";
import errors, { Images } from "../src/errors.js";
import explain from "../src/explain.js";
import maskOverlay from "../src/mask_overlay.js";
import { choose, enter, FakeModel, fire, openPage, sentBytes, sentTables, settled } from "./page.js";

const PHOTOGRAPH = { data: sentBytes([1]), type: "image/png", width: 30, height: 20, window: [0, 0, 1, 1] };
const layer = (name, value) => ({ name, height: 1, width: 1, data: sentBytes([value]) });
const SHARED = {
  _static_class: "form",
  _message: "",
  _remark: "",
  _photograph: {},
  _layers: [],
};

let model;
let el;
let end;

function open(widget, traits) {
  model = new FakeModel({ ...SHARED, _tables: sentTables(), ...traits });
  el = document.createElement("div");
  document.body.append(el);
  widget.initialize?.({ model });
  end = widget.render({ model, el });
}

const text = (selector) => el.querySelector(selector).textContent;
const button = (words) => [...el.querySelectorAll("button")].find((each) => each.textContent === words);
const field = (words) => [...el.querySelectorAll("label")].find((each) => each.textContent === words).control;

beforeEach(() => openPage());
afterEach(() => {
  end();
  // What `initialize` listens to lives as long as the model.
  assert.ok(model.listeners <= 1);
});

describe("MaskOverlay", () => {
  const OPTIONS = {
    opacity: 0.5,
    threshold: 0.25,
    outline: false,
    colours: "grey",
    layer: "SDR",
    compare: null,
    swipe: 0.5,
  };
  beforeEach(() =>
    open(maskOverlay, { ...OPTIONS, _photograph: PHOTOGRAPH, _layers: [layer("SSR", 0), layer("SDR", 255)] }),
  );

  test("shows its traits, and their changes", () => {
    const checked = () => [...el.querySelectorAll(".fk-layer input")].map((input) => input.checked);
    assert.deepEqual([field("Opacity").value, field("Show values from").value, checked()], ["50", "25", [false, true]]);
    model.set("layer", "SSR");
    model.set("compare", "SDR");
    assert.deepEqual([checked(), field("Compare with").value], [[true, false], "1"]);
  });

  test("takes new values of a mask, also for a view that opens later", () => {
    model.hear("msg:custom", { kind: "mask", layer: 1, size: { height: 1, width: 1 } }, [sentBytes([51])]);
    assert.equal(new Uint8Array(model.get("_layers")[1].data.buffer)[3], 51);
  });

  test("says nothing to the kernel", () => {
    enter(field("Opacity"), "10");
    assert.deepEqual(model.sent, []);
  });
});

describe("ExplainWidget", () => {
  const METHOD = { name: "fido", summary: "", fields: [], presets: { default: {} } };
  beforeEach(() =>
    open(explain, {
      _photographs: [["a.png", "robin"]],
      _classes: ["robin", "wren"],
      _taxa: [],
      _ranks: [],
      _methods: [METHOD],
      _layers: [layer("SSR", 0)],
      _shown: "SSR",
      _preset: "default",
      _progress: {},
      _looked: {
        "a.png": {
          predicted: "wren",
          state: "wrong",
          likely: [
            ["wren", 0.7],
            ["robin", 0.2],
          ],
        },
      },
      _facts: [["Explained", "wren"]],
      image_id: "a.png",
      method: "fido",
      target: null,
      against: null,
      rank: null,
      state: "ready",
    }),
  );

  test("asks the kernel to start and to stop", () => {
    fire(el.querySelector("form"), "submit");
    model.set("state", "running");
    button("Stop").click();
    assert.deepEqual(
      model.sent.map((message) => message.do),
      ["start", "stop"],
    );
  });

  test("takes live masks, and what went wrong", () => {
    model.hear("msg:custom", { kind: "masks", masks: [{ layer: 0, height: 1, width: 1 }] }, [sentBytes([255])]);
    assert.equal(new Uint8Array(model.get("_layers")[0].data.buffer)[3], 255);
    model.set("_message", "There is no class zebra");
    assert.equal(text(".fk-message"), "There is no class zebra");
  });

  test("lets nothing else be asked for while it computes", () => {
    model.set("state", "running");
    assert.ok(el.querySelector(".fk-list input").disabled);
    model.set("state", "done");
    assert.equal(el.querySelector(".fk-list input").disabled, false);
  });
});

describe("CompareWidget", () => {
  const row = (image, there) => ({
    image,
    state: "wrong",
    label: "robin",
    predicted: "",
    score: "0.31",
    reason: "",
    value: "",
    cells: there.map((each) => ({ there: each, values: ["0.5"], words: each ? ["explains little"] : [] })),
  });
  beforeEach(() =>
    open(compare, {
      _names: ["fido: SSR", "grad-cam"],
      _orders: [
        ["dataset", "the data set"],
        ["margin", "margin"],
        ["deletion", "deletion"],
      ],
      _figures: [["deletion", "Deletion", "lower is better"]],
      _rows: [row("a.png", [true, false]), row("b.png", [true, true])],
      _count: [7, 1200, 2],
      _plot: [],
      _detail: {},
      panels: ["fido: SSR", "grad-cam"],
      metrics: ["deletion"],
      sort: "margin",
      of: "mean",
      descending: false,
      state: "all",
      search: "",
      page: 0,
    }),
  );
  const asked = () => model.sent.filter((message) => message.do === "look").map(({ do: _, ...rest }) => rest);

  test("has a row an image and a column a mask", () => {
    const cells = [...el.querySelectorAll(".fk-page tbody tr")].map((line) =>
      [...line.cells].map((cell) => cell.textContent),
    );
    assert.deepEqual(cells[0], [
      "a.png✗ wronglabel robincalled nothing 0.31",
      "Deletion ↓0.5explains little",
      "No maskDeletion ↓0.5",
    ]);
    assert.equal(el.querySelectorAll(".fk-page canvas").length, 5);
    assert.equal(text(".fk-count"), "Page 1 of 2; 7 of 1,200 images");
  });

  test("asks for the pictures of its page in one message, and draws them", async () => {
    await settled();
    assert.deepEqual(
      model.sent.filter((each) => each.do === "pictures"),
      [{ do: "pictures", images: ["a.png", "b.png"] }],
    );
    const { data: _, ...photograph } = PHOTOGRAPH;
    const message = { kind: "picture", image: "a.png", photograph, near: [], layers: [layer("fido: SSR", 9)] };
    model.hear("msg:custom", message, [PHOTOGRAPH.data, sentBytes([9])]);
    await settled();
    assert.equal(el.querySelector(".fk-page canvas").width, 260);
  });

  test("turns its pages", () => {
    assert.deepEqual([button("Previous page").disabled, button("Next page").disabled], [true, false]);
    button("Next page").click();
    model.set("page", 1);
    assert.deepEqual([asked(), button("Next page").disabled], [[{ page: 1 }], true]);
  });

  test("asks for another order and choice", () => {
    choose(field("Order by"), "deletion");
    choose(field("Direction"), "1");
    choose(field("grad-cam"), false);
    assert.deepEqual(asked(), [{ sort: "deletion" }, { descending: true }, { panels: ["fido: SSR"] }]);
    assert.equal(field("of").disabled, true);
    model.set("sort", "deletion");
    assert.equal(field("of").disabled, false);
  });

  test("searches once nothing is typed any more", () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    for (const typed of ["r", "ro", "rob"]) enter(field("Search file, label or class"), typed);
    mock.timers.tick(TYPING);
    mock.timers.reset();
    assert.deepEqual(asked(), [{ search: "rob" }]);
  });

  test("leaves alone what is being typed", () => {
    const search = field("Search file, label or class");
    search.focus();
    search.value = "rob";
    model.set("search", "ro");
    assert.equal(search.value, "rob");
  });

  test("shows an image large, with the focus on its name", () => {
    el.querySelector(".fk-open").click();
    assert.deepEqual(asked(), [{ image_id: "a.png" }]);
    model.set("_detail", {
      about: { image: "a.png", state: "wrong", predicted: "wren" },
      names: ["grad-cam"],
      lines: [["Deletion", "lower is better", "0.2"]],
      reasons: ["fido failed"],
    });
    assert.equal(text(".fk-detail h3"), "a.png ✗ wrong, called wren");
    assert.equal(document.activeElement, el.querySelector(".fk-detail h3"));
    assert.equal(text(".fk-table tbody"), "Deletion lower is better0.2");
    button("Close").click();
    assert.deepEqual(asked().at(-1), { image_id: "" });
  });

  test("says so where no image fits", () => {
    model.set("_rows", []);
    assert.match(text(".fk-page tbody"), /^No image fits/);
    assert.equal(pageInWords([0, 1200, 1], 0), "Page 1 of 1; 0 of 1,200 images");
  });

  test("asks for the summary's figure, which it does not have at first", () => {
    assert.deepEqual(model.sent[0], { do: "plot" });
  });
});

describe("ErrorWidget", () => {
  const CLUSTER = {
    cluster: 3,
    name: "dark",
    systematic: true,
    verdict: "",
    words: "dark",
    properties: "",
    sentence: "",
    pairs: "",
    proof: "",
    true_class: "",
    predicted_class: "",
    n_errors: 2,
    size: 2,
    expected_rate: 0.1,
    p_value: 0.01,
    q_value: 0.01,
    holdout_n_errors: null,
    holdout_size: null,
    holdout_error_rate: null,
    holdout_p: null,
    stability: 0.9,
    effect: null,
    effect_low: null,
    effect_high: null,
    effect_p: null,
  };
  const POINTS = {
    names: ["robin", "wren"],
    colours: ["#111", "#222"],
    clusters: [3, -1],
    x: sentBytes(Float32Array.of(0, 1)),
    y: sentBytes(Float32Array.of(0, 1)),
    score: sentBytes(Float32Array.of(0.5, 0.25)),
    state: sentBytes(Uint8Array.of(0, 2)),
    cluster: sentBytes(Int32Array.of(0, 1)),
    label: sentBytes(Int32Array.of(0, -1)),
    predicted: sentBytes(Int32Array.of(1, 1)),
  };
  const selection = (rows, more) => ({
    rows: sentBytes(Uint32Array.from(rows)),
    cluster: null,
    counts: [0],
    view: "",
    number: 0,
    ...more,
  });
  beforeEach(() =>
    open(errors, {
      _points: POINTS,
      _ids: ["a.png", "b.png"],
      _clusters: [CLUSTER],
      _summary: ["One cluster", "- of details"],
      _view: selection([]),
      _progress: [],
      _about: {},
      state: "ready",
    }),
  );
  const selects = () => model.sent.filter((message) => message.do === "select");

  test("says of images what they are", () => {
    const images = new Images(POINTS, ["a.png", "b.png"]);
    assert.deepEqual(images.say(0), ["a.png", "label robin", "called wren (0.50), wrong", "cluster 3"]);
    assert.deepEqual(images.say(1), ["b.png", "label none", "called wren (0.25), not judged"]);
  });

  test("sums up without details", () => {
    assert.equal(text(".fk-summary-lines"), "One cluster");
  });

  test("sends the choice of a cluster, and shows what the kernel answers", () => {
    fire(el.querySelector(".fk-clusters tbody input"), "change");
    const [{ view, number, cluster }] = selects();
    assert.deepEqual([number, cluster], [1, 3]);
    model.set("_view", selection([1, 0], { cluster: 3, counts: [2], view, number }));
    assert.equal(text(".fk-gallery-box .fk-count"), "2 selected; 1 to 2 shown");
    assert.equal(text(".fk-evidence h3"), "Cluster 3 · dark");
    assert.ok(el.querySelector(".fk-chosen-row"));
  });

  test("shows no older selection than the one that is on its way", () => {
    fire(el.querySelector(".fk-clusters tbody input"), "change");
    model.set("_view", selection([0], { view: "another", number: 1 }));
    assert.equal(text(".fk-gallery-box .fk-count"), "No image is selected");
  });

  test("clears and hands on what is selected", () => {
    assert.equal(button("Save as CSV").disabled, true);
    model.set("_view", selection([0]));
    button("Save as CSV").click();
    enter(field("as"), " dark_ones ");
    fire(button("Put into the notebook").form, "submit");
    button("Clear").click();
    assert.deepEqual(
      model.sent.filter((message) => message.do !== "pictures").map(({ do: what, name }) => [what, name]),
      [
        ["csv", undefined],
        ["put", "dark_ones"],
        ["select", undefined],
      ],
    );
    assert.equal(text(".fk-gallery-box .fk-count"), "No image is selected");
  });

  test("shows an image large", () => {
    model.set("_view", selection([0]));
    el.querySelector(".fk-gallery .fk-open").click();
    assert.deepEqual(model.sent.at(-1), { do: "open", image: 0 });
    model.set("_about", { image: "a.png", state: "wrong", label: "", predicted: "wren" });
    assert.equal(text(".fk-detail h3"), "a.png ✗ wrong, label none, called wren");
    model.set("_about", {});
    assert.equal(el.querySelector(".fk-detail").hidden, true);
  });
});
