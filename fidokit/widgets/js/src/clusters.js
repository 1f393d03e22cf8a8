// The table of clusters, to search, sort and choose from, and what is known of the chosen one.

/** @import { Cluster } from "./types.d.ts" */

import { button, labelled, make, paragraph, select, uniqueName } from "./dom.js";
import { figure, lowered, percent, smallNumber, wordsOf } from "./text.js";

/** @typedef {Cluster & { what: string, pair: string }} Row a cluster, what its errors are, and what is taken for what. */

const COLUMNS = /** @type {const} */ ([
  ["cluster", "Cluster"],
  ["verdict", "Verdict"],
  ["what", "What its errors are"],
  ["pair", "Most often"],
  ["n_errors", "Errors"],
  ["expected_rate", "Expected"],
  ["holdout_error_rate", "Held out"],
  ["q_value", "q"],
  ["stability", "Stability"],
  ["effect", "Effect"],
  ["inside", "Selected"],
]);

/** @typedef {typeof COLUMNS[number][0]} Column */

/**
 * A cluster with the texts that its row shows.
 * @param {Cluster} cluster
 * @returns {Row}
 */
export function rowOf(cluster) {
  const what = [...new Set([cluster.words, ...cluster.properties.split("; ")].filter(Boolean))].join("; ");
  const pair = cluster.true_class ? `${cluster.true_class} called ${cluster.predicted_class}` : "";
  return { ...cluster, what, pair };
}

/**
 * Places of the rows in which all that is typed occurs; only systematic ones, unless all are asked for.
 * @param {Row[]} rows
 * @param {string} typed
 * @param {boolean} all
 */
export function placesThatFit(rows, typed, all) {
  const words = wordsOf(lowered(typed));
  return [...rows.keys()].filter((place) => {
    const { sentence, pair, verdict, what, systematic } = rows[place];
    const text = lowered([sentence, pair, verdict, what].join("\n"));
    return (all || systematic) && words.every((word) => text.includes(word));
  });
}

/**
 * Places of rows in the order of a column; where there is no value, it counts as the greatest.
 * @param {Row[]} rows
 * @param {number[]} places
 * @param {Column} by
 * @param {boolean} down
 * @param {number[]} counts of selected images by place.
 */
export function sortedPlaces(rows, places, by, down, counts) {
  const value = (/** @type {number} */ place) => (by === "inside" ? (counts[place] ?? 0) : rows[place][by]);
  return [...places].sort((a, b) => (down ? -1 : 1) * compareValues(value(a), value(b)));
}

/**
 * @param {string | number | null} one
 * @param {string | number | null} other
 */
function compareValues(one, other) {
  if (typeof one === "string") return one.localeCompare(String(other));
  // Infinity less Infinity is no number.
  return Number(one ?? Infinity) - Number(other ?? Infinity) || 0;
}

/**
 * What is known of a cluster, a line each.
 * @param {Cluster} cluster
 */
export function linesOf({ sentence, pairs, properties, proof }) {
  return [sentence, pairs && `Most often: ${pairs}`, properties && `Its errors: ${properties}`, proof].filter(Boolean);
}

/**
 * What is known of a cluster in numbers, [term, text].
 * @param {Cluster} row
 */
export function factsOf(row) {
  const found = `${row.n_errors} of ${row.size} wrong, ${percent(row.expected_rate)} expected from the classes`;
  const held = `${row.holdout_n_errors} of ${row.holdout_size} wrong; corrected p = ${smallNumber(row.holdout_p)}`;
  const stable = `${figure(row.stability)}; below 0.5 it dissolves when images are drawn anew`;
  return [
    [
      "Found on the discovery half",
      `${found}; p = ${smallNumber(row.p_value)}, corrected q = ${smallNumber(row.q_value)}`,
    ],
    ["Held-out half", row.holdout_p === null ? "not asked" : held],
    ["Stability", row.stability === null ? "–" : stable],
    ["Changing pixels", row.verdict ? `${row.verdict}; corrected p = ${smallNumber(row.effect_p)}` : "not verified"],
  ];
}

/**
 * An effect with its interval.
 * @param {Cluster} cluster
 */
export function effectOf({ effect, effect_low: low, effect_high: high }) {
  return effect === null ? "–" : `${figure(effect)} [${figure(low)}, ${figure(high)}]`;
}

export class ClusterTable {
  id = uniqueName("clusters");
  kind = select([
    ["systematic", "systematic"],
    ["all", "all that are listed"],
  ]);
  search = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  body = make("tbody");
  count = make("p", { role: "status", class: "fk-count" });
  /** @type {number | null} */
  chosen = null;
  /** @type {Row[]} */
  #rows = [];
  /** @type {number[]} */
  #counts = [];
  /** @type {Column | null} */
  #by = null;
  #down = false;
  /** @type {Map<number, { line: HTMLElement, input: HTMLInputElement, inside: HTMLElement }>} */
  #lines = new Map();

  /** @param {(cluster: number) => void} choose */
  constructor(choose) {
    this.choose = choose;
    for (const input of [this.kind, this.search]) input.addEventListener("input", () => this.#list());
    this.heads = COLUMNS.map(([name, words]) => {
      const sort = button(words, () => this.#sort(name), { title: `Sort by ${words}` });
      return make("th", { scope: "col", dataset: { name } }, sort);
    });
    const table = make(
      "table",
      { class: "fk-clusters" },
      make("caption", { class: "fk-unseen", textContent: "Clusters" }),
      make("thead", {}, make("tr", {}, ...this.heads)),
      this.body,
    );
    this.element = make(
      "section",
      { class: "fk-clusters-box", "aria-label": "Clusters" },
      make(
        "div",
        { class: "fk-tools" },
        labelled(`${this.id}-kind`, "Listed clusters", this.kind),
        labelled(`${this.id}-search`, "Search class or cause", this.search),
        this.count,
      ),
      make("div", { class: "fk-scroll", tabIndex: 0, role: "region", "aria-label": "Clusters" }, table),
    );
  }

  /** @param {Cluster[]} clusters */
  setClusters(clusters) {
    if (!this.#rows.length) this.kind.value = clusters.some((row) => row.systematic) ? "systematic" : "all";
    this.#rows = clusters.map(rowOf);
    this.#list();
  }

  /**
   * How many of the selected images each cluster holds, and which cluster is chosen (null for none).
   * @param {number[]} counts
   * @param {number | null} chosen
   */
  setSelection(counts, chosen) {
    this.#counts = counts;
    this.chosen = chosen;
    for (const [place, { line, input, inside }] of this.#lines) {
      const isChosen = this.#rows[place].cluster === chosen;
      line.classList.toggle("fk-chosen-row", isChosen);
      input.checked = isChosen;
      inside.textContent = this.#inside(place);
    }
  }

  /** @param {number} place */
  #inside(place) {
    return this.#counts[place] ? String(this.#counts[place]) : "–";
  }

  /** @param {Column} name */
  #sort(name) {
    this.#down = this.#by === name ? !this.#down : false;
    this.#by = name;
    this.#list();
  }

  #list() {
    const fits = placesThatFit(this.#rows, this.search.value, this.kind.value === "all");
    const places = this.#by ? sortedPlaces(this.#rows, fits, this.#by, this.#down, this.#counts) : fits;
    for (const head of this.heads) {
      const way = this.#down ? "descending" : "ascending";
      head.setAttribute("aria-sort", head.dataset.name === this.#by ? way : "none");
    }
    this.#lines = new Map(places.map((place) => [place, this.#line(place)]));
    this.body.replaceChildren(...[...this.#lines.values()].map(({ line }) => line));
    const all = this.#rows.length;
    this.count.textContent = places.length ? `${places.length} of ${all} listed clusters` : "No cluster fits";
    this.setSelection(this.#counts, this.chosen);
  }

  /** @param {number} place */
  #line(place) {
    const row = this.#rows[place];
    const input = make("input", {
      type: "radio",
      name: this.id,
      value: row.cluster,
      "aria-label": `Cluster ${row.cluster}: ${row.sentence}`,
    });
    input.addEventListener("change", () => this.choose(row.cluster));
    const cell = (/** @type {string} */ words) => make("td", { textContent: words });
    const inside = cell(this.#inside(place));
    const line = make(
      "tr",
      { dataset: { place } },
      make("th", { scope: "row" }, make("label", { class: "fk-choose" }, input, String(row.cluster))),
      cell(row.verdict || (row.systematic ? "not verified" : "–")),
      make("td", { class: "fk-sentence", title: row.sentence }, make("bdi", { textContent: row.what })),
      make("td", { class: "fk-pair-of-classes" }, make("bdi", { textContent: row.pair })),
      cell(`${row.n_errors} of ${row.size}`),
      cell(percent(row.expected_rate)),
      cell(percent(row.holdout_error_rate)),
      cell(smallNumber(row.q_value)),
      cell(smallNumber(row.stability)),
      cell(effectOf(row)),
      inside,
    );
    return { line, input, inside };
  }
}

/** The evidence of a cluster, and the buttons that ask for more. */
export class Evidence {
  title = make("h3", { textContent: "Evidence" });
  words = make("div", { class: "fk-evidence-words" });
  figures = make("dl", { class: "fk-facts" });
  state = make("span", { role: "status" });
  bar = make("progress", { max: 1, "aria-label": "Images changed", hidden: true });
  /** @type {number | null} */
  #cluster = null;
  #busy = false;

  /** @param {{ verify: (cluster: number | null) => void, stop: () => void }} act */
  constructor(act) {
    this.one = button("Verify this cluster", () => act.verify(this.#cluster));
    this.all = button("Verify all systematic ones", () => act.verify(null));
    this.halt = button("Stop", () => act.stop());
    this.element = make(
      "section",
      { class: "fk-evidence", "aria-label": "Evidence" },
      this.title,
      this.words,
      this.figures,
      make("div", { class: "fk-line" }, this.one, this.all, this.halt),
      make("div", { class: "fk-line" }, this.state, this.bar),
    );
    this.show(null);
  }

  /**
   * Show a cluster; null for none.
   * @param {Cluster | null} row
   */
  show(row) {
    this.#cluster = row?.cluster ?? null;
    this.title.textContent = row ? `Cluster ${row.cluster}` : "Evidence";
    const lines = row ? linesOf(row) : ["Choose a cluster in the table, or select images on the map."];
    this.words.replaceChildren(...lines.map(paragraph));
    const facts = row ? factsOf(row) : [];
    this.figures.replaceChildren(
      ...facts.map(([term, text]) =>
        make("div", {}, make("dt", { textContent: term }), make("dd", { textContent: text })),
      ),
    );
    this.#enable();
  }

  /** @param {string} state */
  setState(state) {
    this.#busy = state !== "ready";
    this.bar.hidden = !this.#busy;
    const words = new Map([
      ["running", "Changing pixels"],
      ["stopping", "Stopping"],
    ]);
    this.state.textContent = words.get(state) ?? "";
    const focused = [this.one, this.all, this.halt].some((each) => each === document.activeElement);
    this.#enable();
    // A button that is switched off loses the focus; it goes to the other one.
    const start = this.one.disabled ? this.all : this.one;
    if (focused) (this.#busy ? this.halt : start).focus();
  }

  /**
   * @param {number} done
   * @param {number} total
   */
  setProgress(done, total) {
    if (total) this.bar.value = done / total;
    else this.bar.removeAttribute("value");
    if (this.#busy && total) this.state.textContent = `Changing pixels: ${done} of ${total} images so far`;
  }

  #enable() {
    this.one.disabled = this.#busy || this.#cluster === null;
    this.all.disabled = this.#busy;
    this.halt.disabled = !this.#busy;
  }
}
