// The report's controls: choose and order photographs and clusters, and say how masks are shown.

import { folded, wordsOf } from "./text.js";

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/**
 * The input with this id.
 * @param {string} id
 */
function inputOf(id) {
  return /** @type {HTMLInputElement} */ (document.getElementById(id));
}

/**
 * The element with this id.
 * @param {string} id
 */
export function elementOf(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/**
 * Call `act` when one of the inputs of this name has changed.
 * @param {string} name
 * @param {(input: HTMLInputElement) => void} act
 */
function onChange(name, act) {
  for (const input of document.querySelectorAll(`input[name=${name}]`)) {
    input.addEventListener("change", () => act(/** @type {HTMLInputElement} */ (input)));
  }
}

/**
 * The value of the input of this name that is checked.
 * @param {string} name
 */
function checkedValue(name) {
  const input = document.querySelector(`input[name=${name}]:checked`);
  return /** @type {HTMLInputElement} */ (input).value;
}

/**
 * Whether a text has all words, in any case and with any accents.
 * @param {string} text folded.
 * @param {string} typed
 */
export function hasWords(text, typed) {
  return wordsOf(folded(typed)).every((word) => text.includes(word));
}

/**
 * Let a search field and inputs of one name decide which elements are shown.
 * @param {HTMLElement[]} elements with their texts in `data-text`.
 * @param {{
 *   search: HTMLInputElement, choice: string, kindOf: (element: HTMLElement) => string | undefined, shown: HTMLElement,
 *   nothing: HTMLElement, what: string,
 * }} controls `choice` is the name of the inputs; `what` the elements are, in the plural.
 */
function filtered(elements, { search, choice, kindOf, shown, nothing, what }) {
  const texts = new Map(elements.map((element) => [element, folded(element.dataset.text ?? "")]));
  const filter = () => {
    const kind = checkedValue(choice);
    let count = 0;
    for (const [element, text] of texts) {
      const fits = (kind === "all" || kindOf(element) === kind) && hasWords(text, search.value);
      element.hidden = !fits;
      count += Number(fits);
    }
    nothing.hidden = count > 0;
    shown.textContent = `${count} of ${elements.length} ${what}`;
  };
  onChange(choice, filter);
  search.addEventListener("input", filter);
  filter();
}

/** @type {Record<string, (a: HTMLElement, b: HTMLElement) => number>} */
const ORDERS = {
  page: () => 0,
  margin: (a, b) => Number(a.dataset.margin) - Number(b.dataset.margin),
  label: (a, b) => collator.compare(a.dataset.label ?? "", b.dataset.label ?? ""),
};

/** Start the controls of the photographs, if there are any. */
export function startImages() {
  const page = document.getElementById("images");
  if (!page) return;
  /** @type {HTMLElement[]} */
  const images = Array.from(page.querySelectorAll("article.image"));
  const nothing = elementOf("nothing");
  filtered(images, {
    search: inputOf("search"),
    choice: "state",
    kindOf: (image) => image.dataset.state,
    shown: elementOf("shown"),
    nothing,
    what: "photographs",
  });
  const sort = inputOf("sort");
  sort.addEventListener("change", () => {
    // Sorting is stable, so that equal images stay in the order of the page.
    page.append(...[...images].sort(ORDERS[sort.value]), nothing);
  });
  const opacity = inputOf("opacity");
  opacity.addEventListener("input", () => {
    document.documentElement.style.setProperty("--opacity", String(opacity.valueAsNumber / 100));
    elementOf("opacity-value").textContent = `${opacity.value} %`;
  });
  onChange("mask", (input) => {
    for (const figure of /** @type {NodeListOf<HTMLElement>} */ (page.querySelectorAll("figure[data-mask]"))) {
      if (figure.dataset.mask === input.value) figure.hidden = !input.checked;
    }
  });
  elementOf("tools").hidden = false;
}

/**
 * Which of two values comes first; what has no value comes last either way.
 * @param {string | undefined} a
 * @param {string | undefined} b
 * @param {boolean} ascending
 * @param {boolean} textual
 */
export function compareValues(a, b, ascending, textual) {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  const difference = textual ? collator.compare(a, b) : Number(a) - Number(b);
  return ascending ? difference : -difference;
}

/**
 * Let the heads of a table's columns sort its rows, where they say how.
 * @param {HTMLTableElement} table
 */
function sortable(table) {
  if (!table.tHead) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  for (const [column, head] of heads.entries()) {
    const textual = head.dataset.sort === "text";
    const value = (/** @type {HTMLTableRowElement} */ row) => row.cells[column].dataset.value;
    const sort = () => {
      const before = head.getAttribute("aria-sort");
      const ascending = before ? before === "descending" : textual;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      body.append(...[...rows].sort((a, b) => compareValues(value(a), value(b), ascending, textual)));
    };
    if (head.dataset.sort) addButton(head, sort);
  }
}

/** Start the tables of the answers, if there are any. */
export function startAnswers() {
  for (const table of document.querySelectorAll(".answer table")) sortable(/** @type {HTMLTableElement} */ (table));
}

/** Start the controls of the clusters, if there are any. */
export function startClusters() {
  const table = /** @type {HTMLTableElement | null} */ (document.getElementById("clusters"));
  if (!table?.tHead) return;
  const rows = Array.from(table.tBodies[0].rows);
  filtered(rows, {
    search: inputOf("cluster-search"),
    choice: "cluster-kind",
    kindOf: (row) => row.dataset.kind,
    shown: elementOf("clusters-shown"),
    nothing: elementOf("no-cluster"),
    what: "clusters",
  });
  sortable(table);
  elementOf("cluster-tools").hidden = false;
}

/**
 * Put what is in a table's head into a button. It is made here, so that none does nothing where scripts do not run.
 * @param {HTMLElement} head
 * @param {() => void} press
 */
function addButton(head, press) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", press);
}
