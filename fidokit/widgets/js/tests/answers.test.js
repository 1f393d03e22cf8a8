// AnswerWidget: the table to sort and search, what it says to the kernel, and the photographs of the chosen row.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import answers, { rowsByColumn, rowsThatFit } from "../src/answers.js";
import { enter, FakeModel, openPage, sentBytes, sentTables, settled } from "./page.js";

const HEADS = [
  ["site", "Site", "", true],
  ["n", "N", "photographs", false],
  ["share", "Share", "", false],
];
const row = (site, n, share) => [
  [site, "", site],
  [String(n), "", n],
  [share === null ? "–" : String(share), share === null ? "" : "0 – 1", share],
];
const ROWS = [row("<b>Ridge</b>", 10, 0.5), row("pond", 9, null), row("Élan 2", 100, 0.1)];
const shown = (key, caption) => ({ key, image: `${key}.png`, group: "pond", caption });

describe("rows", () => {
  test("are found by all that is typed, without case and accents", () => {
    assert.deepEqual(rowsThatFit(ROWS, "ELAN 2"), [2]);
    assert.deepEqual(rowsThatFit(ROWS, ""), [0, 1, 2]);
    assert.deepEqual(rowsThatFit(ROWS, "ridge pond"), []);
  });

  test("are sorted as numbers or as texts; what has no value comes last either way", () => {
    assert.deepEqual(rowsByColumn(ROWS, [0, 1, 2], 1, false), [1, 0, 2]);
    assert.deepEqual(rowsByColumn(ROWS, [0, 1, 2], 2, false), [2, 0, 1]);
    assert.deepEqual(rowsByColumn(ROWS, [0, 1, 2], 2, true), [0, 2, 1]);
    assert.deepEqual(rowsByColumn(ROWS, [0, 1, 2], 0, false), [0, 2, 1]);
  });
});

describe("AnswerWidget", () => {
  let model;
  let el;
  let end;

  beforeEach(() => {
    openPage();
    model = new FakeModel({
      _tables: sentTables(),
      _static_class: "form",
      _answer: { question: "Which?", headline: "One.", notes: ["A note."], heads: HEADS, rows: ROWS, total: 5 },
      _shown: [shown(":0", "reeds")],
      _photograph: {},
      _layers: [],
      _about: {},
      _message: "",
      _remark: "",
      row: null,
    });
    el = document.createElement("div");
    document.body.append(el);
    end = answers.render({ model, el });
  });
  afterEach(() => {
    end();
    assert.equal(model.listeners, 0);
  });

  const names = () => [...el.querySelectorAll("tbody th")].map((cell) => cell.textContent);
  const button = (words) => [...el.querySelectorAll("button")].find((each) => each.textContent === words);

  test("says what the answer is, in text", () => {
    assert.equal(el.querySelector("h3").textContent, "Which?");
    assert.ok(el.textContent.includes("A note."));
    assert.equal(el.querySelector(".fk-help .fk-facts").textContent, "Nphotographs");
    assert.deepEqual(names(), ["<b>Ridge</b>", "pond", "Élan 2"]);
    assert.equal(el.querySelector("tbody b"), null);
    assert.equal(el.querySelector(".fk-count").textContent, "3 of 5 rows (the first 3 are listed)");
  });

  test("sorts by a column, the greatest figure and the first text first", () => {
    button("N").click();
    assert.deepEqual(names(), ["Élan 2", "<b>Ridge</b>", "pond"]);
    button("N").click();
    assert.deepEqual(names(), ["pond", "<b>Ridge</b>", "Élan 2"]);
    assert.equal(el.querySelectorAll("th[aria-sort=ascending]").length, 1);
    button("Site").click();
    assert.deepEqual(names(), ["<b>Ridge</b>", "Élan 2", "pond"]);
  });

  test("searches", () => {
    enter(el.querySelector("input[type=search]"), "no such");
    assert.deepEqual([names(), el.querySelector(".fk-count").textContent], [[], "No row fits"]);
  });

  test("asks for the row that is chosen, wherever it is pressed, and shows the one that the kernel says", () => {
    model.sent.length = 0;
    el.querySelectorAll("tbody tr")[1].querySelector("td").click();
    el.querySelectorAll("tbody tr")[2].querySelector("input").click();
    assert.deepEqual(JSON.stringify(model.sent).match(/"row":\d/g), ['"row":1', '"row":2']);
    model.set("row", 1);
    assert.equal(el.querySelector(".fk-chosen-row th").textContent, "pond");
    button("Show all examples").click();
    assert.ok(JSON.stringify(model.sent.at(-1)).includes('"row":null'));
  });

  test("shows the photographs with their captions, or why there are none", async () => {
    await settled();
    assert.ok(JSON.stringify(model.sent).includes('"images":[":0"]'));
    assert.deepEqual(
      [...el.querySelectorAll(".fk-gallery li > span")].map((each) => each.textContent),
      ["pond", "reeds", ":0.png"],
    );
    model.hear(
      "msg:custom",
      { kind: "picture", image: ":0", photograph: { reason: "It is gone" }, near: [], layers: [] },
      [sentBytes([])],
    );
    await settled();
    assert.equal(el.querySelector(".fk-reason").textContent, "It is gone");
    el.querySelector(".fk-open").click();
    assert.ok(JSON.stringify(model.sent.at(-1)).includes('"image":":0"'));
    model.set("_shown", []);
    assert.ok(el.textContent.includes("This row has no photographs to show"));
  });
});
