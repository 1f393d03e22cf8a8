// A field for one of many names, and how names are found.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { Combobox, MOST_LISTED } from "../src/combobox.js";
import { fitting, searched } from "../src/names.js";
import { enter, fire, openPage } from "./page.js";

const NAMES = [
  "Athene cunicularia (Burrowing Owl)",
  "Athene noctua (Little Owl)",
  "Ardea herodias (Great Blue Heron)",
  "Regulus regulus (Goldcrest)",
  "Bucephala clangula (Common Goldeneye)",
  "Spinus tristis (American Goldfinch)",
  "Crax rubra (Hocofaisán)",
  "Cyanocitta stelleri (Steller's Jay)",
  "background",
];
const offers = (names) => names.map((name) => ({ name, note: "" }));

describe("names", () => {
  const found = (typed) =>
    fitting(
      NAMES.map((name) => searched({ name, note: "" })),
      typed,
    ).map(({ name }) => name);

  test("are found by any part of any of them", () => {
    assert.deepEqual(found("burrowing"), [NAMES[0]]);
    assert.deepEqual(found("NOCT"), [NAMES[1]]);
    assert.deepEqual(found("owl ath"), NAMES.slice(0, 2));
    assert.deepEqual(found("hocofaisan"), [NAMES[6]]);
    assert.deepEqual(found("stellers"), [NAMES[7]]);
    assert.deepEqual(found("ostrich"), []);
    assert.deepEqual(found("  "), NAMES);
  });

  test("are found by the beginnings of their words", () => {
    assert.deepEqual(found("buow"), [NAMES[0]]);
    assert.deepEqual(found("gbhe"), [NAMES[2]]);
    assert.deepEqual(found("athcun"), [NAMES[0]]);
  });

  test("that begin with what is typed come first, then the likely ones, then words, then parts of words", () => {
    assert.deepEqual(found("gold"), [NAMES[3], NAMES[4], NAMES[5]]);
    const known = [
      searched({ name: NAMES[5], note: "0.31" }, true),
      ...NAMES.slice(0, 5).map((name) => searched({ name, note: "" })),
    ];
    assert.deepEqual(
      fitting(known, "gold").map(({ name }) => name),
      [NAMES[3], NAMES[5], NAMES[4]],
    );
  });
});

describe("the field", () => {
  let field;
  beforeEach(() => {
    openPage();
    field = new Combobox("f", "Class", "classes");
    field.setGroups([
      { title: "Likely", offers: [{ name: NAMES[1], note: "0.71" }] },
      { title: "All", offers: offers(NAMES) },
    ]);
    document.body.append(field.element);
  });
  const rows = () => [...field.list.querySelectorAll("[role=option]")];
  const key = (name) => fire(field.input, "keydown", { key: name });
  const active = () => document.getElementById(field.input.getAttribute("aria-activedescendant"))?.dataset.name;

  test("is a combobox to those who do not see it", () => {
    assert.deepEqual(
      ["role", "aria-expanded", "aria-autocomplete", "aria-controls"].map((name) => field.input.getAttribute(name)),
      ["combobox", "false", "list", field.list.id],
    );
    enter(field.input, "owl");
    assert.equal(field.input.getAttribute("aria-expanded"), "true");
    assert.equal(field.count.textContent, "2 matches");
    assert.deepEqual(
      rows().map((row) => row.getAttribute("aria-selected")),
      ["true", "false"],
    );
    assert.equal(field.element.querySelector("label").control, field.input);
  });

  test("is used by keyboard alone", () => {
    enter(field.input, "gold");
    key("ArrowDown");
    assert.equal(active(), NAMES[4]);
    key("ArrowUp");
    key("ArrowUp");
    assert.equal(active(), NAMES[5]);
    assert.ok(key("Enter").defaultPrevented);
    assert.deepEqual([field.name, field.count.textContent, rows().length], [NAMES[5], `${NAMES[5]} is chosen`, 0]);
    assert.equal(key("Enter").defaultPrevented, false);
    key("Escape");
    assert.equal(field.name, null);
  });

  test("shows the likeliest under a title before anything is typed, and each name once", () => {
    key("ArrowDown");
    assert.deepEqual(
      [...field.list.querySelectorAll(".fk-group")].map((each) => each.textContent),
      ["Likely", "All"],
    );
    assert.deepEqual([rows().length, rows()[0].textContent, active()], [NAMES.length, `${NAMES[1]}0.71`, NAMES[1]]);
    key("Escape");
    assert.deepEqual([rows().length, field.input.getAttribute("aria-expanded")], [0, "false"]);
  });

  test("takes what is clicked, and the only name that fits when it is left", () => {
    enter(field.input, "owl");
    rows()[1].click();
    assert.equal(field.name, NAMES[0]);
    enter(field.input, "burr");
    fire(field.input, "blur");
    assert.equal(field.name, NAMES[0]);
    enter(field.input, "athene");
    fire(field.input, "blur");
    assert.equal(field.name, "athene");
  });

  test("lists some of very many, and says so", () => {
    field.setGroups([{ title: "", offers: offers(Array.from({ length: 1000 }, (_, i) => `bird ${i}`)) }]);
    enter(field.input, "bird");
    assert.equal(rows().length, MOST_LISTED);
    assert.equal(field.count.textContent, "1,000 matches; the first 100 are listed, type for the others");
    enter(field.input, "bird 999");
    assert.equal(field.count.textContent, "1 match");
    enter(field.input, "cat");
    assert.equal(field.count.textContent, "None of the classes has this in its name");
  });

  test("shows names as text", () => {
    field.setGroups([{ title: "", offers: offers(["<img src=x>"]) }]);
    enter(field.input, "img");
    assert.deepEqual([rows()[0].textContent, field.list.querySelector("img")], ["<img src=x>", null]);
  });
});
