// Numbers in words, and searching in texts.

const SPACES = /\s+/;
/** Accents, where they are characters of their own. */
const MARKS = /\p{M}/gu;

/**
 * A share in percent; a dash for none.
 * @param {number | null} value
 */
export function percent(value) {
  return value === null ? "–" : `${Math.round(100 * value)} %`;
}

/**
 * A p-value: with two digits that are no zeros, or that it is tiny; a dash for none.
 * @param {number | null} value
 */
export function probability(value) {
  if (value === null) return "–";
  if (value < 0.001) return "< 0.001";
  return value < 0.1 ? String(Number(value.toPrecision(2))) : value.toFixed(2);
}

/**
 * A p-value as what follows its name: "= 0.02" or "< 0.001".
 * @param {number | null} value
 */
export function related(value) {
  const words = probability(value);
  return words.startsWith("<") ? words : `= ${words}`;
}

/**
 * A score or another figure: two decimals; its own digits, never 0.00, where it is smaller; none from 100 on; a
 * dash for none. As the function `number` in Python.
 * @param {number | null | undefined} value
 */
export function figure(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 100) return counted(Math.round(value));
  if (size >= 0.01) return value.toFixed(2);
  if (size === 0) return "0";
  return size >= 0.0001 ? value.toPrecision(2) : value.toExponential(1);
}

/**
 * A number of things, its thousands apart.
 * @param {number} value
 */
export function counted(value) {
  return value.toLocaleString("en");
}

/**
 * A text in small letters.
 * @param {string} text
 */
export function lowered(text) {
  return text.toLocaleLowerCase();
}

/**
 * A text in small letters without accents.
 * @param {string} text
 */
export function folded(text) {
  return text.normalize("NFKD").replace(MARKS, "").toLowerCase();
}

/**
 * The words of what was typed.
 * @param {string} typed
 */
export function wordsOf(typed) {
  return typed.split(SPACES).filter(Boolean);
}
