// The gallery's pages, the table of clusters, and the list of photographs.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { Chooser, listed, MOST_SHOWN, PIECE, restInWords, upload } from "../src/chooser.js";
import {
  ClusterTable,
  Evidence,
  effectOf,
  factsOf,
  linesOf,
  placesThatFit,
  rowOf,
  sortedPlaces,
  titleOf,
} from "../src/clusters.js";
import { Gallery, PER_PAGE, pageOf } from "../src/gallery.js";
import { choose, enter, fire, openPage, sentBytes, settled } from "./page.js";

const CLUSTER = {
  cluster: 4,
  name: "roe deer taken for red deer",
  systematic: true,
  verdict: "",
  words: "dark; at night",
  properties: "at night; small",
  sentence: "Small animals at night",
  pairs: "",
  proof: "",
  true_class: "roe deer",
  predicted_class: "red deer",
  n_errors: 9,
  size: 12,
  expected_rate: 0.2,
  p_value: 0.0004,
  q_value: 0.02,
  holdout_n_errors: 5,
  holdout_size: 8,
  holdout_error_rate: 0.625,
  holdout_p: 0.03,
  stability: 0.81,
  effect: null,
  effect_low: null,
  effect_high: null,
  effect_p: null,
};
const OTHER = {
  ...CLUSTER,
  cluster: 7,
  systematic: false,
  name: "Élan",
  words: "Élan",
  true_class: "",
  n_errors: 30,
  q_value: null,
};

beforeEach(() => openPage());

describe("a page of the gallery", () => {
  const rows = Uint32Array.from({ length: 50 }, (_, i) => 2 * i);

  test("holds its part of the rows, and says which", () => {
    const { shown, words, isFirst, isLast } = pageOf(rows, 2, PER_PAGE);
    assert.deepEqual([shown, words, isFirst, isLast], [[96, 98], "50 selected; 49 to 50 shown", false, true]);
  });

  test("is one that there is", () => {
    assert.equal(pageOf(rows, 9, PER_PAGE).number, 2);
    assert.equal(pageOf(rows, -1, PER_PAGE).number, 0);
  });

  test("of nothing is the only one", () => {
    const { words, isFirst, isLast } = pageOf(new Uint32Array(0), 0, PER_PAGE);
    assert.deepEqual([words, isFirst, isLast], ["No image is selected", true, true]);
  });
});

test("the gallery turns its pages, marks and opens photographs", () => {
  const acts = [];
  const about = (row) => ({ name: `${row}.png`, label: "robin", predicted: "wren", score: 0.5, state: "wrong" });
  const act = { open: (row) => acts.push(["open", row]), hover: (row) => acts.push(["hover", row]) };
  const gallery = new Gallery({ get: () => undefined }, new Uint32Array(256), act, about);
  gallery.show(Uint32Array.from({ length: 30 }, (_, i) => i));
  const tiles = () => [...gallery.list.children];
  assert.deepEqual([tiles().length, gallery.before.disabled, gallery.after.disabled], [PER_PAGE, true, false]);
  gallery.after.click();
  assert.deepEqual(
    tiles()
      .map((tile) => tile.title)
      .slice(0, 2),
    ["24.png", "25.png"],
  );
  tiles()[0].querySelector("button").click();
  fire(tiles()[1], "pointerenter");
  fire(tiles()[1], "pointerleave");
  assert.deepEqual(acts, [
    ["open", 24],
    ["hover", 25],
    ["hover", -1],
  ]);
  gallery.mark(25);
  assert.deepEqual(
    tiles()
      .map((tile) => tile.classList.contains("fk-pointed"))
      .indexOf(true),
    1,
  );
});

describe("clusters", () => {
  const rows = [CLUSTER, OTHER].map(rowOf);

  test("have a number, a name and images in both halves", () => {
    assert.equal(rows[0].images, 20);
    assert.equal(titleOf({ cluster: 1, name: "robin taken for wren" }), "1 · robin taken for wren");
    assert.equal(titleOf({ cluster: 2, name: "" }), "2");
  });

  test("are found by all words, in any case", () => {
    assert.deepEqual(placesThatFit(rows, "NIGHT deer", false), [0]);
    assert.deepEqual(placesThatFit(rows, "night élan", true), [1]);
    assert.deepEqual(placesThatFit(rows, "", false), [0]);
    assert.deepEqual(placesThatFit(rows, "zebra", true), []);
  });

  test("are sorted by any column; what is missing counts as the greatest", () => {
    const sorted = (by, down = false, counts = []) => sortedPlaces(rows, [0, 1], by, down, counts);
    assert.deepEqual(sorted("n_errors", true), [1, 0]);
    assert.deepEqual(sorted("q_value"), [0, 1]);
    assert.deepEqual(sorted("q_value", true), [1, 0]);
    assert.deepEqual(sorted("name"), [1, 0]);
    assert.deepEqual(sorted("inside", true, [0, 3]), [1, 0]);
    assert.deepEqual(sorted("effect"), [0, 1]);
  });

  test("are told in lines and numbers", () => {
    assert.deepEqual(linesOf({ ...CLUSTER, pairs: "a for b" }), [
      "Small animals at night",
      "Most often: a for b",
      "Its errors: at night; small",
    ]);
    assert.deepEqual(
      factsOf(CLUSTER).map(([, text]) => text),
      [
        "20: 12 in the half where it was found, 8 held out",
        "9 of 12 wrong, 20 % expected from the classes; p < 0.001, corrected q = 0.02",
        "5 of 8 wrong; corrected p = 0.03",
        "0.81; below 0.5 it dissolves when images are drawn anew",
        "not verified",
      ],
    );
    assert.equal(factsOf({ ...CLUSTER, holdout_p: null })[2][1], "not asked");
    assert.equal(effectOf({ effect: 0.254, effect_low: 0.1, effect_high: 0.4 }), "0.25 [0.10, 0.40]");
    assert.equal(effectOf(CLUSTER), "–");
  });
});

describe("the table of clusters", () => {
  const table = () => {
    const chosen = [];
    const made = new ClusterTable((cluster) => chosen.push(cluster));
    made.setClusters([CLUSTER, OTHER]);
    const numbers = () => [...made.body.rows].map((row) => row.cells[0].textContent);
    return { made, chosen, numbers };
  };

  test("lists the systematic ones first of all, and the others when asked", () => {
    const { made, numbers } = table();
    assert.deepEqual([numbers(), made.count.textContent], [["4"], "1 listed"]);
    made.kind.value = "all";
    fire(made.kind, "input");
    assert.deepEqual(numbers(), ["4", "7"]);
    enter(made.search, "zebra");
    assert.equal(made.count.textContent, "No cluster fits");
  });

  test("lists all where none is systematic", () => {
    const made = new ClusterTable(() => undefined);
    made.setClusters([OTHER]);
    assert.equal(made.kind.value, "all");
  });

  test("is sorted one way, then the other, and says which", () => {
    const { made, numbers } = table();
    made.kind.value = "all";
    fire(made.kind, "input");
    const head = made.heads.find((each) => each.dataset.name === "n_errors");
    head.firstChild.click();
    assert.deepEqual([numbers(), head.getAttribute("aria-sort")], [["4", "7"], "ascending"]);
    head.firstChild.click();
    assert.deepEqual([numbers(), head.getAttribute("aria-sort")], [["7", "4"], "descending"]);
  });

  test("chooses, and shows what is chosen and how much of it is selected", () => {
    const { made, chosen } = table();
    fire(made.body.querySelector("input"), "change");
    assert.deepEqual(chosen, [4]);
    made.setSelection([5, 0], 4);
    const [line] = made.body.rows;
    assert.ok(line.classList.contains("fk-chosen-row") && line.querySelector("input").checked);
    assert.equal(line.lastElementChild.textContent, "5");
    made.setSelection([0, 0], null);
    assert.equal(line.lastElementChild.textContent, "–");
  });
});

describe("the evidence", () => {
  test("is asked for the cluster that is shown", () => {
    const asked = [];
    const evidence = new Evidence({ verify: (cluster) => asked.push(cluster), stop: () => asked.push("stop") });
    assert.equal(evidence.one.disabled, true);
    evidence.show(CLUSTER);
    evidence.one.click();
    evidence.all.click();
    evidence.setState("running");
    evidence.one.click();
    evidence.halt.click();
    assert.deepEqual(asked, [4, null, "stop"]);
  });

  test("hands the focus on between its buttons", () => {
    const evidence = new Evidence({ verify: () => undefined, stop: () => undefined });
    document.body.append(evidence.element);
    evidence.show(CLUSTER);
    evidence.one.focus();
    evidence.setState("running");
    assert.equal(document.activeElement, evidence.halt);
    evidence.show(null);
    evidence.setState("ready");
    assert.equal(document.activeElement, evidence.all);
  });

  test("says how far it is, only while it is at it", () => {
    const evidence = new Evidence({ verify: () => undefined, stop: () => undefined });
    evidence.setProgress(1, 4);
    assert.equal(evidence.state.textContent, "");
    evidence.setState("running");
    evidence.setProgress(1, 4);
    assert.deepEqual([evidence.bar.value, evidence.state.textContent], [0.25, "Changing pixels: 1 of 4 images so far"]);
    evidence.setProgress(0, 0);
    assert.equal(evidence.bar.hasAttribute("value"), false);
  });
});

describe("the photographs to choose from", () => {
  const many = Array.from({ length: 100 }, (_, i) => [`${i}.png`, i % 2 ? "Robin" : "Wren"]);

  test("are found by file and label, so many at most", () => {
    assert.deepEqual(listed(many, "robin 99", "").shown, [["99.png", "Robin"]]);
    const { found, shown } = listed(many, "robin", "");
    assert.deepEqual([found.length, shown.length], [50, 50]);
    assert.equal(listed(many, "", "").shown.length, MOST_SHOWN);
  });

  test("have the chosen one among them, unless something is searched for", () => {
    assert.deepEqual(listed(many, "", "80.png").shown[0], ["80.png", "Wren"]);
    assert.equal(listed(many, "", "3.png").shown.length, MOST_SHOWN);
    assert.deepEqual(listed(many, "robin", "80.png").shown[0], ["1.png", "Robin"]);
  });

  test("that are not shown are counted", () => {
    assert.equal(restInWords(0, 0, 0), "");
    assert.equal(restInWords(100, 0, 0), "No photograph fits");
    assert.equal(restInWords(100, 100, 100), "");
    assert.equal(restInWords(5000, 5000, 60), "60 of 5,000 shown; search for the others");
  });
});

describe("the chooser", () => {
  let sent;
  let chooser;
  beforeEach(() => {
    sent = [];
    globalThis.URL.createObjectURL = () => "blob:made";
    chooser = new Chooser((message, buffers) =>
      sent.push(buffers ? { ...message, bytes: buffers[0].byteLength } : message),
    );
    chooser.setPhotographs([
      ["a.png", "robin"],
      ["b.png", ""],
    ]);
  });
  const rows = () => [...chooser.list.children];

  test("asks for thumbnails once, when rows come into sight", () => {
    const seen = rows().map((target) => ({ target, isIntersecting: true }));
    chooser.sight.act([{ ...seen[0], isIntersecting: false }, seen[1]]);
    chooser.sight.act(seen);
    assert.deepEqual(sent, [
      { do: "thumbnails", images: ["b.png"] },
      { do: "thumbnails", images: ["a.png"] },
    ]);
  });

  test("shows thumbnails, also in a list that is made later, and a sign where there is none", () => {
    chooser.setThumbnail("a.png", sentBytes([1]));
    chooser.setThumbnail("b.png", sentBytes([]));
    enter(chooser.search, ".png");
    assert.equal(rows()[0].querySelector("img").getAttribute("src"), "blob:made");
    assert.equal(rows()[1].querySelector(".fk-thumbnail").textContent, "?");
  });

  test("chooses, unless it is switched off", () => {
    choose(rows()[1].querySelector("input"), true);
    assert.deepEqual(sent, [{ do: "choose", image: "b.png" }]);
    chooser.enable(false);
    enter(chooser.search, "a");
    assert.equal(rows()[0].querySelector("input").disabled, true);
  });

  test("takes a file that is dropped, unless it is switched off", async () => {
    const drop = () =>
      fire(chooser.element, "drop", { dataTransfer: { types: ["Files"], files: [new File(["abc"], "c.png")] } });
    assert.equal(drop().defaultPrevented, true);
    await settled();
    assert.deepEqual(sent, [{ do: "upload", name: "c.png", part: 0, parts: 1, bytes: 3 }]);
    chooser.enable(false);
    drop();
    await settled();
    assert.equal(sent.length, 1);
  });

  test("says what became of an upload", async () => {
    fire(chooser.element, "drop", { dataTransfer: { types: ["Files"], files: [new File(["abc"], "c.png")] } });
    assert.equal(chooser.found.textContent, "Uploading c.png");
    await settled();
    chooser.setUploaded("c.png is no photograph");
    assert.equal(chooser.found.textContent, "c.png is no photograph");
    chooser.setUploaded("");
    assert.equal(chooser.found.textContent, "");
  });

  test("names the file before its folder, and says what the classifier makes of it", () => {
    chooser.setPhotographs([
      ["site 3/night/a.png", "robin"],
      ["b.png", "robin"],
    ]);
    const words = () => rows().map((row) => [...row.querySelectorAll(".fk-names > *")].map((each) => each.textContent));
    assert.deepEqual(words(), [
      ["a.png", "robin", "", "site 3/night"],
      ["b.png", "robin", ""],
    ]);
    const looks = { "b.png": { predicted: "wren", state: "wrong", likely: [] } };
    chooser.setLooks(looks);
    assert.equal(words()[1][2], "✗ wrong: predicted wren");
    chooser.setLooks({ "b.png": { ...looks["b.png"], state: "right" } });
    assert.equal(words()[1][2], "✓ right");
  });

  test("leaves what is dropped and no file to the page", () => {
    const event = fire(chooser.element, "dragover", { dataTransfer: { types: ["text/plain"], files: [] } });
    assert.equal(event.defaultPrevented, false);
  });
});

test("a large file goes in pieces, in order; an empty one in one", async () => {
  const sent = [];
  const send = (message, [content]) => sent.push([message.part, message.parts, content.byteLength]);
  await upload(new File([new Uint8Array(2 * PIECE + 5)], "large.tif"), send);
  await upload(new File([], "empty.png"), send);
  assert.deepEqual(sent, [
    [0, 3, PIECE],
    [1, 3, PIECE],
    [2, 3, 5],
    [0, 1, 0],
  ]);
});
