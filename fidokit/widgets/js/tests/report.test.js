import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { compareValues, hasWords, startClusters, startImages } from "../src/report_page.js";
import { folded } from "../src/text.js";
import { choose, enter, openPage } from "./page.js";

const article = (name, state, margin, label) =>
  `<article class="image" data-text="${name} ${label}" data-state="${state}" data-margin="${margin}" data-label="${label}">
   <figure data-mask="ssr">${name}</figure></article>`;
const IMAGES = `
  <div id="tools" hidden>
    <input id="search"><select id="sort"><option>page</option><option>margin</option><option>label</option></select>
    <input type="radio" name="state" value="all" checked><input type="radio" name="state" value="wrong">
    <input type="range" id="opacity" min="0" max="100" value="75"><output id="opacity-value"></output>
    <input type="checkbox" name="mask" value="ssr" checked>
  </div>
  <p id="shown"></p>
  <div id="images">${article("a.png", "right", 0.9, "Taxon 10")}${article("b.png", "wrong", -0.2, "Élan")}
  ${article("c.png", "wrong", 0.1, "taxon 9")}<p id="nothing" hidden></p></div>`;
const row = (kind, name, value) =>
  `<tr data-kind="${kind}" data-text="${name}"><td data-value="${name}">${name}</td><td ${value === null ? "" : `data-value="${value}"`}></td></tr>`;
const CLUSTERS = `
  <div id="cluster-tools" hidden><input id="cluster-search">
    <input type="radio" name="cluster-kind" value="all"><input type="radio" name="cluster-kind" value="systematic" checked></div>
  <p id="clusters-shown"></p><p id="no-cluster" hidden></p>
  <table id="clusters"><thead><tr><th data-sort="text">Name</th><th data-sort="number">Errors</th><th>More</th></tr></thead>
  <tbody>${row("systematic", "b", 9)}${row("other", "c", 10)}${row("systematic", "a", null)}</tbody></table>`;

const byId = (id) => document.getElementById(id);
const visible = (selector) =>
  [...document.querySelectorAll(selector)].filter((each) => !each.hidden).map((each) => each.textContent.trim());
const radio = (name, value) => choose(document.querySelector(`input[name=${name}][value=${value}]`), true);

describe("the photographs of a report", () => {
  beforeEach(() => {
    openPage(IMAGES);
    startImages();
  });

  test("have their controls, and are all shown at first", () => {
    assert.equal(byId("tools").hidden, false);
    assert.equal(byId("shown").textContent, "3 of 3 photographs");
  });

  test("are filtered by state and by words, without case and accents", () => {
    radio("state", "wrong");
    assert.deepEqual(visible("article"), ["b.png", "c.png"]);
    enter(byId("search"), "ELAN png");
    assert.deepEqual([visible("article"), byId("shown").textContent], [["b.png"], "1 of 3 photographs"]);
    enter(byId("search"), "zebra");
    assert.equal(byId("nothing").hidden, false);
  });

  test("are put into order, and back", () => {
    choose(byId("sort"), "margin");
    assert.deepEqual(visible("article"), ["b.png", "c.png", "a.png"]);
    choose(byId("sort"), "label");
    assert.deepEqual(visible("article"), ["b.png", "c.png", "a.png"]);
    choose(byId("sort"), "page");
    assert.deepEqual(visible("article"), ["a.png", "b.png", "c.png"]);
    assert.equal(byId("images").lastElementChild, byId("nothing"));
  });

  test("have masks that fade and go", () => {
    enter(byId("opacity"), "20");
    assert.equal(document.documentElement.style.getPropertyValue("--opacity"), "0.2");
    assert.equal(byId("opacity-value").textContent, "20 %");
    choose(document.querySelector("input[name=mask]"), false);
    assert.deepEqual(visible("figure"), []);
  });
});

describe("the clusters of a report", () => {
  beforeEach(() => {
    openPage(CLUSTERS);
    startClusters();
  });
  const press = (words) =>
    [...document.querySelectorAll("th button")].find((each) => each.textContent === words).click();

  test("are filtered by what is checked", () => {
    assert.deepEqual([visible("tbody tr"), byId("clusters-shown").textContent], [["b", "a"], "2 of 3 clusters"]);
    radio("cluster-kind", "all");
    assert.deepEqual(visible("tbody tr"), ["b", "c", "a"]);
    enter(byId("cluster-search"), "x");
    assert.equal(byId("no-cluster").hidden, false);
  });

  test("are sorted by columns that can be sorted, texts upwards and numbers downwards first", () => {
    assert.equal(document.querySelectorAll("th button").length, 2);
    radio("cluster-kind", "all");
    press("Name");
    assert.deepEqual(visible("tbody tr"), ["a", "b", "c"]);
    press("Errors");
    assert.deepEqual(visible("tbody tr"), ["c", "b", "a"]);
    press("Errors");
    assert.deepEqual(visible("tbody tr"), ["b", "c", "a"]);
    assert.deepEqual(
      [...document.querySelectorAll("th")].map((head) => head.getAttribute("aria-sort")),
      [null, "ascending", null],
    );
  });
});

test("a report without a part needs nothing of it", () => {
  openPage();
  startImages();
  startClusters();
});

test("what has no value comes last either way", () => {
  for (const ascending of [true, false]) {
    assert.equal(compareValues(undefined, "1", ascending, false), 1);
    assert.equal(compareValues("1", undefined, ascending, true), -1);
  }
  assert.equal(compareValues(undefined, undefined, true, true), 0);
});

test("numbers in texts count as numbers, and numbers as what they are", () => {
  assert.ok(compareValues("taxon 9", "Taxon 10", true, true) < 0);
  assert.ok(compareValues("9", "10", true, false) < 0);
  assert.ok(compareValues("-1e-3", "-1e-4", false, false) > 0);
});

test("all words must be there", () => {
  assert.equal(hasWords(folded("Grünspecht wood.png"), "PNG grun"), true);
  assert.equal(hasWords(folded("Grünspecht wood.png"), "png zebra"), false);
  assert.equal(hasWords("", ""), true);
});
