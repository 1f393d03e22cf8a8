import assert from "node:assert/strict";
import { test } from "node:test";
import { counted, decimal, folded, lowered, offers, percent, probability, related, wordsOf } from "../src/text.js";

test("shares and numbers that are missing are dashes", () => {
  assert.deepEqual([percent(null), probability(null), decimal(null), decimal(undefined)], ["–", "–", "–", "–"]);
});

test("shares are in percent", () => {
  assert.deepEqual([0, 0.125, 1].map(percent), ["0 %", "13 %", "100 %"]);
});

test("p-values have two digits that are no zeros, or are tiny", () => {
  assert.deepEqual([0.5, 0.01, 0.0099, 1.2e-7, 0, null].map(probability), [
    "0.50",
    "0.01",
    "0.0099",
    "< 0.001",
    "< 0.001",
    "–",
  ]);
  assert.deepEqual([0.5, 1.2e-7].map(related), ["= 0.50", "< 0.001"]);
});

test("numbers have as many digits as are asked for", () => {
  assert.deepEqual([decimal(1.256), decimal(1.256, 1), decimal(0)], ["1.26", "1.3", "0.00"]);
});

test("thousands are apart", () => {
  assert.equal(counted(1_234_567), "1,234,567");
});

test("words are what stands between spaces", () => {
  assert.deepEqual(wordsOf("  Rock \t dove\n"), ["Rock", "dove"]);
  assert.deepEqual(wordsOf("   "), []);
});

test("texts are compared without case, and in the report without accents", () => {
  assert.equal(lowered("Grünspecht ÄÖ"), "grünspecht äö");
  assert.equal(folded("Grünspecht Élan Ñ"), "grunspecht elan n");
  assert.equal(folded("Gru\u0308n"), "grun");
});

test("class names that begin with what is typed come before those that contain it, hints before both", () => {
  const names = ["Great tit", "Titmouse", "Robin", "Blue tit"];
  assert.deepEqual(offers(names, "TIT", [], 10), ["Titmouse", "Great tit", "Blue tit"]);
  assert.deepEqual(offers(names, "", ["Robin"], 3), ["Robin", "Great tit", "Titmouse"]);
  assert.deepEqual(offers(names, " rob ", [], 10), ["Robin"]);
  assert.deepEqual(offers(names, "zebra", [], 10), []);
});
