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
 * A number with so many digits; a dash for none.
 * @param {number | null | undefined} value
 */
export function decimal(value, digits = 2) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
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

/**
 * Names that fit what was typed, so many at most: first `hinted`, then those that begin with it, then the others.
 * @param {string[]} names
 * @param {string} typed
 * @param {string[]} hinted
 * @param {number} most
 */
export function offers(names, typed, hinted, most) {
  const start = lowered(typed.trim());
  const fits = names.filter((name) => lowered(name).includes(start));
  const begin = fits.filter((name) => lowered(name).startsWith(start));
  return [...new Set([...hinted, ...begin, ...fits])].slice(0, most);
}
