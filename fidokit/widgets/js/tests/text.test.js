import assert from "node:assert/strict";
import { test } from "node:test";
import { counted, figure, folded, lowered, percent, probability, related, wordsOf } from "../src/text.js";

test("shares and numbers that are missing are dashes", () => {
  assert.deepEqual([percent(null), probability(null), figure(null), figure(undefined)], ["–", "–", "–", "–"]);
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

test("figures keep their digits where they are small", () => {
  const written = [
    [1.256, "1.26"],
    [0.9996, "1.00"],
    [0.01, "0.01"],
    [0.0034, "0.0034"],
    [0.0003, "0.00030"],
  ];
  const others = [
    [-0.0021, "-0.0021"],
    [2.1e-7, "2.1e-7"],
    [0, "0"],
    [1234.5, "1,235"],
    [Number.NaN, "–"],
  ];
  for (const [value, words] of [...written, ...others]) assert.equal(figure(value), words);
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
