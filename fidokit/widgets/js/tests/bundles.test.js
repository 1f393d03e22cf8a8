// The bundles that the Python package holds: each stands alone.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { runInThisContext } from "node:vm";
import { openPage } from "./page.js";

const STATIC = new URL("../../static/", import.meta.url);
const WIDGETS = {
  answers: ["render"],
  mask_overlay: ["initialize", "render"],
  compare: ["render"],
  errors: ["render"],
  explain: ["initialize", "render"],
};

test("there are a script and a style sheet a widget, and nothing else", async () => {
  const expected = Object.keys(WIDGETS).flatMap((name) => [`${name}.css`, `${name}.js`]);
  assert.deepEqual((await readdir(STATIC)).sort(), expected.sort());
});

for (const [name, parts] of Object.entries(WIDGETS)) {
  test(`${name} is a module that exports what a widget needs`, async () => {
    const text = await readFile(new URL(`${name}.js`, STATIC), "utf8");
    const { default: widget } = await import(`data:text/javascript;base64,${Buffer.from(text).toString("base64")}`);
    assert.deepEqual(Object.keys(widget), parts);
    for (const part of parts) assert.equal(typeof widget[part], "function");
  });

  test(`${name} has the styles of all widgets, and imports none`, async () => {
    const styles = await readFile(new URL(`${name}.css`, STATIC), "utf8");
    assert.ok(styles.includes(".fk-overlay"));
    assert.ok(!styles.includes("@import"));
  });
}

test("the report's script defines no name on the page, and ends no element of it", async () => {
  openPage("<p>A report without photographs</p>");
  const text = await readFile(new URL("../../../report/report.js", import.meta.url), "utf8");
  const before = Object.keys(globalThis);
  runInThisContext(text);
  assert.deepEqual(Object.keys(globalThis), before);
  assert.ok(!text.includes("</"));
});
