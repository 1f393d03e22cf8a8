// Finding a class by any part of one of its names, or by the beginnings of its words.

import { folded, wordsOf } from "./text.js";

/** What stands between the names of one class: "Athene cunicularia (Burrowing Owl)", "tench, Tinca tinca". */
const BETWEEN_NAMES = /[()[\],;/|]/;
const QUOTES = /['’`´]/g;
/** How well a name fits in which all words occur, but in several of its names. */
const LOOSE = 6;
const MOST_WORDS = 20;
const NO_WORD = /[^\p{L}\p{N}]+/gu;

/** @typedef {{ name: string, note: string }} Offer a name and what is said beside it, such as its score. */
/**
 * The words of its single names, and of all of it; whether it comes before others that fit as well.
 * @typedef {Offer & { parts: string[][], text: string, before: boolean }} Searched
 */

/**
 * Words in small letters without accents.
 * @param {string} text
 */
function words(text) {
  return wordsOf(folded(text).replace(QUOTES, "").replace(NO_WORD, " "));
}

/**
 * @param {Offer} offer
 * @param {boolean} [before]
 * @returns {Searched}
 */
export function searched({ name, note }, before = false) {
  const parts = name
    .split(BETWEEN_NAMES)
    .map(words)
    .filter((part) => part.length);
  return { name, note, parts, text: words(name).join(" "), before };
}

/**
 * How many words are left when a text is used up as the beginnings of words, one after the other; -1 if it is not.
 * "buow" is Burrowing Owl, "gbhe" Great Blue Heron.
 * @param {string[]} part
 * @param {string} text
 * @returns {number}
 */
function leftOver(part, text) {
  if (!text) return part.length;
  if (!part.length) return -1;
  for (let length = Math.min(part[0].length, text.length); length > 0; length--) {
    const left = part[0].startsWith(text.slice(0, length)) ? leftOver(part.slice(1), text.slice(length)) : -1;
    if (left >= 0) return left;
  }
  return -1;
}

/**
 * How well one of several names fits, from 0 for the whole of it; more than `LOOSE` if it does not.
 * @param {string[]} part
 * @param {string[]} typed
 */
function fitOf(part, typed) {
  const [whole, text] = [part.join(" "), typed.join(" ")];
  if (whole === text) return 0;
  if (whole.startsWith(text)) return 1;
  const left = typed.length === 1 ? leftOver(part, text) : -1;
  if (left === 0) return 2;
  if (typed.every((word) => part.some((own) => own.startsWith(word)))) return 3;
  if (left > 0) return 4;
  return typed.every((word) => whole.includes(word)) ? 5 : LOOSE + 1;
}

/**
 * Offers that fit what was typed, the best first; of those that fit alike, the ones of few words, in their order.
 * @param {Searched[]} offers
 * @param {string} typed
 * @returns {Searched[]}
 */
export function fitting(offers, typed) {
  const asked = words(typed);
  if (!asked.length) return offers;
  /** @type {{ offer: Searched, rank: number }[]} */
  const found = [];
  for (const offer of offers) {
    const ranks = offer.parts.map((part) => MOST_WORDS * fitOf(part, asked) + Math.min(part.length, MOST_WORDS - 1));
    if (asked.every((word) => offer.text.includes(word))) ranks.push(MOST_WORDS * LOOSE);
    const rank = Math.min(...ranks, Number.POSITIVE_INFINITY);
    const fit = Math.floor(rank / MOST_WORDS);
    if (fit <= LOOSE) found.push({ offer, rank: offer.before ? fit * MOST_WORDS : rank });
  }
  return found.sort((a, b) => a.rank - b.rank).map(({ offer }) => offer);
}
