import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import {
  changes,
  labelled,
  labelledCheck,
  listen,
  make,
  say,
  select,
  uniqueName,
  verdict,
  widgetRoot,
} from "../src/dom.js";
import { FakeModel, openPage } from "./page.js";

beforeEach(() => openPage());

describe("an element", () => {
  test("has properties, attributes, data and children", () => {
    const made = make(
      "label",
      { for: "x", class: "a b", "aria-label": "words", dataset: { row: 3 } },
      "text",
      make("b"),
    );
    assert.equal(made.outerHTML, '<label for="x" class="a b" aria-label="words" data-row="3">text<b></b></label>');
  });

  test("takes text as text", () => {
    const made = make("p", { textContent: "<i>no</i>" }, "<b>nor this</b>");
    assert.equal(made.children.length, 0);
    assert.equal(made.textContent, "<i>no</i><b>nor this</b>");
  });

  test("leaves out children that there are not, not empty texts", () => {
    assert.equal(make("p", {}, null, undefined, "", "a").childNodes.length, 2);
  });

  test("that takes keys keeps the notebook's shortcuts away", () => {
    assert.equal(make("input").dataset.lmSuppressShortcuts, "true");
    assert.equal(make("div", { tabIndex: 0 }).dataset.lmSuppressShortcuts, "true");
    assert.equal(make("div").dataset.lmSuppressShortcuts, undefined);
  });
});

test("a label belongs to its input, before it or behind it", () => {
  const [text, check] = [make("input", { type: "text" }), make("input", { type: "checkbox" })];
  document.body.append(labelled("one", "One", text), labelledCheck("two", "Two", check));
  assert.deepEqual(
    [...text.labels].map((label) => label.textContent),
    ["One"],
  );
  assert.deepEqual(
    [...check.labels].map((label) => label.textContent),
    ["Two"],
  );
  assert.equal(check.nextElementSibling, check.labels[0]);
});

test("a list offers values in words", () => {
  const options = [
    ...select([
      ["-1", "nothing"],
      ["0", "SSR"],
    ]).options,
  ];
  assert.deepEqual(
    options.map(({ value, text }) => [value, text]),
    [
      ["-1", "nothing"],
      ["0", "SSR"],
    ],
  );
});

test("a verdict is a sign and a word, and the sign is not read aloud", () => {
  assert.equal(verdict("wrong").textContent, "✗ wrong");
  assert.equal(verdict("not judged").firstChild.getAttribute("aria-hidden"), "true");
});

test("what says nothing is not there", () => {
  const element = make("p");
  say(element, "words");
  assert.deepEqual([element.textContent, element.hidden], ["words", false]);
  say(element, "");
  assert.equal(element.hidden, true);
});

test("two widgets of a page share no name, though each has a copy of the script", async () => {
  const copy = await import("../src/dom.js?copy");
  assert.notEqual(copy.uniqueName, uniqueName);
  const names = [uniqueName("map"), uniqueName("map"), copy.uniqueName("map"), copy.uniqueName("map")];
  assert.equal(new Set(names).size, 4);
  for (const name of names) assert.match(name, /^fidokit-map-\w+$/);
});

test("a widget hides its static form", () => {
  const root = widgetRoot("form-1", make("p"));
  assert.match(root.querySelector("style").textContent, /^\.form-1, .*:has\(\.form-1\) \{ display: none; \}$/);
});

test("listening ends", () => {
  const model = new FakeModel({});
  const heard = [];
  const stop = listen(model, changes({ one: () => heard.push(1), two: () => heard.push(2) }));
  model.hear("change:two");
  stop();
  model.hear("change:one");
  assert.deepEqual(heard, [2]);
  assert.equal(model.listeners, 0);
});
