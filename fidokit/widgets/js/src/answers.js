// AnswerWidget: what an answer says, its table to sort and search, and the photographs of the chosen row.

/** @import { Bytes, Listener, Rendered, SentLayer, SentPhotograph } from "./types.d.ts" */
/** @import { Known } from "./image_detail.js" */

import {
  button,
  changes,
  factLine,
  goneNotice,
  labelled,
  listen,
  make,
  paragraph,
  save,
  say,
  sender,
  uniqueName,
  widgetRoot,
} from "./dom.js";
import { ImageDetail } from "./image_detail.js";
import { counted, folded, wordsOf } from "./text.js";
import { drawTile, Pictures } from "./tiles.js";

/** @typedef {[name: string, title: string, remark: string, textual: boolean]} Head of a column. */
/** @typedef {[text: string, remark: string, value: number | string | null]} Cell what is read, and what it is sorted by. */
/** @typedef {{ question: string, headline: string, notes: string[], heads: Head[], rows: Cell[][], total: number }} Sent */
/** @typedef {{ key: string, image: string, group: string, caption: string }} Shown a photograph. */
/**
 * @typedef {{
 *   _tables: Record<string, Bytes>, _static_class: string, _answer: Sent, _shown: Shown[], _photograph: SentPhotograph,
 *   _layers: SentLayer[], _about: Known | { image?: undefined }, _message: string, _remark: string, row: number | null,
 * }} Traits
 */

const TILE = 176;
/** Characters from which on a text is broken into lines. */
const LONG = 30;
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/**
 * Places of the rows in which all that is typed occurs.
 * @param {Cell[][]} rows
 * @param {string} typed
 */
export function rowsThatFit(rows, typed) {
  const words = wordsOf(folded(typed));
  return [...rows.keys()].filter((place) => {
    const all = folded(rows[place].map(([text]) => text).join("\n"));
    return words.every((word) => all.includes(word));
  });
}

/**
 * Places of rows in the order of a column; what has no value comes last either way.
 * @param {Cell[][]} rows
 * @param {number[]} places
 * @param {number} column
 * @param {boolean} down
 */
export function rowsByColumn(rows, places, column, down) {
  return [...places].sort((one, other) => {
    const [a, b] = [rows[one][column][2], rows[other][column][2]];
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    const difference = typeof a === "string" ? collator.compare(a, String(b)) : a - Number(b);
    return down ? -difference : difference;
  });
}

/** The table: a column sorts, a row is chosen with its radio button or anywhere on it. */
class AnswerTable {
  id = uniqueName("answer");
  search = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  count = make("p", { role: "status", class: "fk-count" });
  body = make("tbody");
  /** @type {number | null} */
  #by = null;
  #down = false;
  /** @type {number | null} */
  #chosen = null;
  /** @type {Map<number, { line: HTMLElement, input: HTMLInputElement }>} */
  #lines = new Map();

  /**
   * @param {Sent} answer
   * @param {(row: number | null) => void} choose
   * @param {() => void} csv
   */
  constructor({ heads, rows, total }, choose, csv) {
    this.headings = heads;
    this.rows = rows;
    this.total = total;
    this.choose = choose;
    this.classes = heads.map(([, , , textual], column) => {
      if (!textual) return "fk-figure";
      return rows.some((row) => row[column][0].length > LONG) ? "fk-sentence" : "";
    });
    this.search.addEventListener("input", () => this.#list());
    this.heads = heads.map(([, title, remark], column) => {
      const sort = button(title, () => this.#sort(column), {
        title: remark ? `${title}: ${remark}` : `Sort by ${title}`,
      });
      return make("th", { scope: "col", class: this.classes[column] }, sort);
    });
    this.none = button("Show all examples", () => choose(null));
    const head = make("thead", {}, make("tr", {}, ...this.heads));
    const table = make("table", { class: "fk-clusters fk-answer-table" }, head, this.body);
    const find = labelled(`${this.id}-search`, "Search", this.search);
    const tools = make("div", { class: "fk-tools" }, find, this.none, button("Save as CSV", csv), this.count);
    const scroll = make("div", { class: "fk-scroll", tabIndex: 0, role: "region", "aria-label": "The table" }, table);
    const told = heads.filter(([, , remark]) => remark).map(([, title, remark]) => factLine(title, remark));
    const meanings = make(
      "details",
      { class: "fk-help", hidden: !told.length },
      make("summary", { textContent: "What the columns mean" }),
      make("dl", { class: "fk-facts" }, ...told),
    );
    this.element = make("section", { class: "fk-clusters-box", "aria-label": "The answer" }, tools, scroll, meanings);
    this.#list();
  }

  /** @param {number | null} row the chosen row, null for none. */
  setChosen(row) {
    this.#chosen = row;
    this.none.disabled = row === null;
    for (const [place, { line, input }] of this.#lines) {
      line.classList.toggle("fk-chosen-row", place === row);
      input.checked = place === row;
    }
  }

  /** @param {number} column */
  #sort(column) {
    // What is greatest is what is looked for, and texts are looked up from A on.
    this.#down = this.#by === column ? !this.#down : !this.headings[column][3];
    this.#by = column;
    this.#list();
  }

  #list() {
    const fits = rowsThatFit(this.rows, this.search.value);
    const places = this.#by === null ? fits : rowsByColumn(this.rows, fits, this.#by, this.#down);
    for (const [column, head] of this.heads.entries()) {
      const way = this.#down ? "descending" : "ascending";
      head.setAttribute("aria-sort", column === this.#by ? way : "none");
    }
    this.#lines = new Map(places.map((place) => [place, this.#line(place)]));
    this.body.replaceChildren(...[...this.#lines.values()].map(({ line }) => line));
    const rest = this.total > this.rows.length ? ` (the first ${counted(this.rows.length)} are listed)` : "";
    this.count.textContent = places.length
      ? `${counted(places.length)} of ${counted(this.total)} rows${rest}`
      : "No row fits";
    this.setChosen(this.#chosen);
  }

  /** @param {number} place */
  #line(place) {
    const [first, ...others] = this.rows[place];
    const input = make("input", { type: "radio", name: this.id, value: place, "aria-label": `Row ${first[0]}` });
    input.addEventListener("change", () => this.choose(place));
    const name = make("label", { class: "fk-choose" }, input, make("bdi", { textContent: first[0] }));
    const line = make(
      "tr",
      { dataset: { place } },
      make("th", { scope: "row" }, name),
      ...others.map(([text, remark], i) =>
        make(
          "td",
          { class: this.classes[i + 1] },
          make("bdi", { textContent: text }),
          remark ? make("span", { class: "fk-interval", textContent: remark }) : null,
        ),
      ),
    );
    line.addEventListener("click", (event) => {
      // A click on the label arrives at the radio button, which says so itself.
      if (!(/** @type {HTMLElement} */ (event.target).closest("label"))) this.choose(place);
    });
    return { line, input };
  }
}

/** The photographs that are shown, each with its caption. */
class Photographs {
  count = make("p", { class: "fk-count", role: "status" });
  list = make("ul", { class: "fk-gallery fk-answer-photographs" });
  /** @type {Map<string, { canvas: HTMLCanvasElement, reason: HTMLElement }>} */
  #tiles = new Map();

  /**
   * @param {Pictures<string>} pictures
   * @param {(key: string) => void} open
   */
  constructor(pictures, open) {
    this.pictures = pictures;
    this.open = open;
    this.element = make("section", { "aria-label": "Photographs" }, this.count, this.list);
  }

  /** @param {Shown[]} shown */
  show(shown) {
    this.#tiles.clear();
    this.list.replaceChildren(...shown.map((photograph) => this.#tile(photograph)));
    this.count.textContent = shown.length
      ? `${counted(shown.length)} photograph${shown.length === 1 ? "" : "s"}`
      : "This row has no photographs to show";
    for (const { key } of shown) this.draw(key);
  }

  /** @param {string} key */
  draw(key) {
    const tile = this.#tiles.get(key);
    const picture = tile && this.pictures.get(key);
    if (!picture) return;
    drawTile(tile.canvas, picture, null, new Uint32Array(0), TILE, { opacity: 1 });
    tile.reason.textContent = picture.reason;
  }

  /** @param {Shown} photograph */
  #tile({ key, image, group, caption }) {
    const canvas = make("canvas", { class: "fk-tile", width: 1, height: 1, "aria-hidden": "true" });
    const reason = make("span", { class: "fk-reason" });
    const frame = make("span", { class: "fk-frame" }, canvas, reason);
    const label = `Show ${image} large`;
    const open = make("button", { type: "button", class: "fk-open", "aria-label": label }, frame);
    open.addEventListener("click", () => this.open(key));
    this.#tiles.set(key, { canvas, reason });
    const words = [group, caption, image].filter(Boolean).map((textContent) => make("bdi", { textContent }));
    return make("li", { title: image }, open, ...words.map((word) => make("span", {}, word)));
  }
}

/** @param {Rendered<Traits>} view */
function render({ model, el }) {
  const gone = goneNotice();
  const send = sender(model, gone.tell);
  const answer = model.get("_answer");
  /** @type {Pictures<string>} */
  const pictures = new Pictures(
    (images) => send({ do: "pictures", images }),
    (key) => photographs.draw(key),
  );
  const photographs = new Photographs(pictures, (image) => send({ do: "open", image }));
  const table = new AnswerTable(
    answer,
    (row) => send({ do: "choose", row }),
    () => send({ do: "csv" }),
  );
  const detail = new ImageDetail(model.get("_tables"), () => send({ do: "open", image: null }));
  const alert = make("p", { class: "fk-message", role: "alert", hidden: true });
  const remark = make("p", { class: "fk-remark", hidden: true });
  const notes = make(
    "details",
    { hidden: !answer.notes.length },
    make("summary", { textContent: "What was assumed, and what could not be said" }),
    ...answer.notes.map(paragraph),
  );
  const said = make(
    "div",
    { class: "fk-summary-lines" },
    make("h3", { textContent: answer.question }),
    make("p", { textContent: answer.headline }),
    notes,
  );
  const parts = [remark, alert, said, table.element, photographs.element, detail.element];
  el.append(widgetRoot(model.get("_static_class"), gone.element, make("div", { class: "fk-errors" }, ...parts)));

  const traits = {
    row: () => table.setChosen(model.get("row")),
    _shown: () => photographs.show(model.get("_shown")),
    _photograph: () => void detail.overlay.setPhotograph(model.get("_photograph")),
    _layers: () => detail.overlay.setLayers(model.get("_layers")),
    _about: () => detail.show(model.get("_about")),
    _message: () => say(alert, model.get("_message")),
    _remark: () => say(remark, model.get("_remark")),
  };
  /** @type {Listener} */
  const take = (content, buffers) => {
    if (content.kind === "picture") pictures.take(content.image, content, buffers);
    if (content.kind === "csv") save(content.name, buffers[0], "text/csv");
  };
  const stop = listen(model, [gone.event, ["msg:custom", take], ...changes(traits)]);
  for (const act of Object.values(traits)) act();
  return () => {
    stop();
    for (const part of [pictures, detail.overlay]) part.destroy();
  };
}

export default { render };
