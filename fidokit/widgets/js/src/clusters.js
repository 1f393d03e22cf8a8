// The table of clusters, to search, sort and choose from, and what is known of the chosen one.

/** @import { Change, Cluster } from "./types.d.ts" */

import { bytesOf } from "./bytes.js";
import { button, factLine, labelled, make, paragraph, select, uniqueName, verdict } from "./dom.js";
import { figure, lowered, percent, probability, related, wordsOf } from "./text.js";

/** @typedef {Cluster & { images: number }} Row a cluster, and of how many images it is, in both halves. */

const COLUMNS = /** @type {const} */ ([
  ["cluster", "Cluster"],
  ["name", "Name"],
  ["verdict", "Verdict"],
  ["images", "Images"],
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
 * A cluster with what its row shows.
 * @param {Cluster} cluster
 * @returns {Row}
 */
export function rowOf(cluster) {
  return { ...cluster, images: cluster.size + (cluster.holdout_size ?? 0) };
}

/**
 * A cluster's number and name.
 * @param {{ cluster: number, name: string }} cluster
 */
export function titleOf({ cluster, name }) {
  return name ? `${cluster} · ${name}` : String(cluster);
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
    const { systematic, ...row } = rows[place];
    const texts = [row.name, row.sentence, row.verdict, row.words, row.properties, row.true_class, row.predicted_class];
    const text = lowered(texts.join("\n"));
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
  const held = `${row.holdout_n_errors} of ${row.holdout_size} wrong; corrected p ${related(row.holdout_p)}`;
  const stable = `${figure(row.stability)}; below 0.5 it dissolves when images are drawn anew`;
  const heldOut = row.holdout_size ?? 0;
  const images = `${row.size + heldOut}: ${row.size} in the half where it was found, ${heldOut} held out`;
  return [
    ["Images", images],
    ["Found on the discovery half", `${found}; p ${related(row.p_value)}, corrected q ${related(row.q_value)}`],
    ["Held-out half", row.holdout_p === null ? "not asked" : held],
    ["Stability", row.stability === null ? "–" : stable],
    ["Changing pixels", row.verdict ? `${row.verdict}; corrected p ${related(row.effect_p)}` : "not verified"],
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
    this.meanings = make("dl", { class: "fk-facts" });
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
      make("details", { class: "fk-help" }, make("summary", { textContent: "What the columns mean" }), this.meanings),
    );
  }

  /**
   * Explain columns where they stand.
   * @param {Record<string, string>} meanings by name.
   */
  explain(meanings) {
    const known = COLUMNS.filter(([name]) => meanings[name]);
    this.meanings.replaceChildren(...known.map(([name, words]) => factLine(words, meanings[name])));
    for (const head of this.heads) {
      const meaning = meanings[head.dataset.name ?? ""];
      if (meaning) head.title = meaning;
    }
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
    this.count.textContent = places.length ? `${places.length} listed` : "No cluster fits";
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
    const made = make(
      "tr",
      { dataset: { place } },
      make("th", { scope: "row" }, make("label", { class: "fk-choose" }, input, String(row.cluster))),
      make("td", { class: "fk-sentence", title: row.sentence }, make("bdi", { textContent: row.name })),
      cell(row.verdict || (row.systematic ? "not verified" : "–")),
      cell(String(row.images)),
      cell(`${row.n_errors} of ${row.size}`),
      cell(percent(row.expected_rate)),
      cell(percent(row.holdout_error_rate)),
      cell(probability(row.q_value)),
      cell(figure(row.stability)),
      cell(effectOf(row)),
      inside,
    );
    return { line: made, input, inside };
  }
}

/**
 * @param {Change} change
 * @param {DataView} data
 * @returns {HTMLElement}
 */
function changeFigure({ image_id, label, before, after, turned_right }, data) {
  const address = URL.createObjectURL(new Blob([bytesOf(data)], { type: "image/jpeg" }));
  const picture = make("img", { src: address, alt: `${image_id} before and after the change` });
  picture.addEventListener("load", () => URL.revokeObjectURL(address));
  const said = (/** @type {string} */ when, /** @type {string} */ name, /** @type {boolean} */ right) =>
    make("span", {}, when, make("bdi", { textContent: name }), " ", verdict(right ? "right" : "wrong"));
  const own = make("span", {}, "label ", make("bdi", { textContent: label }));
  const words = [own, said("before: ", before, false), said("after: ", after, turned_right)];
  return make("figure", {}, picture, make("figcaption", {}, ...words));
}

/** The evidence of a cluster, and the buttons that ask for more. */
export class Evidence {
  title = make("h3", { textContent: "Evidence" });
  hint = make("p", { class: "fk-hint" });
  changes = make("div", { class: "fk-changes" });
  words = make("div", { class: "fk-evidence-words" });
  figures = make("dl", { class: "fk-facts" });
  state = make("span", { role: "status" });
  bar = make("progress", { max: 1, "aria-label": "Images changed", hidden: true });
  /** @type {number | null} */
  #cluster = null;
  #busy = false;

  /** Clusters whose changes were asked for, or are there. @type {Map<number, HTMLElement[]>} */
  #changes = new Map();

  /** @param {{ verify: (cluster: number | null) => void, stop: () => void, changes: (cluster: number) => void }} act */
  constructor(act) {
    this.act = act;
    this.one = button("Verify this cluster", () => act.verify(this.#cluster));
    this.all = button("Verify all systematic ones", () => act.verify(null));
    this.halt = button("Stop", () => act.stop());
    this.element = make(
      "section",
      { class: "fk-evidence", "aria-label": "Evidence" },
      this.title,
      this.hint,
      this.changes,
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
   * @param {boolean} chosen whether somebody chose it; otherwise it is the clearest one.
   */
  show(row, chosen = true) {
    this.#cluster = row?.cluster ?? null;
    this.title.replaceChildren(row ? make("bdi", { textContent: `Cluster ${titleOf(row)}` }) : "Evidence");
    this.hint.textContent = chosen || !row ? "" : "The clearest one. Choose another in the table.";
    const lines = row ? linesOf(row) : ["There is no cluster."];
    this.words.replaceChildren(...lines.map(paragraph));
    this.figures.replaceChildren(...(row ? factsOf(row) : []).map(([term, text]) => factLine(term, text)));
    const proved = row !== null && row.effect !== null;
    if (proved && !this.#changes.has(row.cluster)) {
      this.#changes.set(row.cluster, []);
      this.act.changes(row.cluster);
    }
    this.changes.replaceChildren(...((proved && this.#changes.get(row.cluster)) || []));
    this.#enable();
  }

  /** Changes are asked for again: there may be others. */
  forgetChanges() {
    this.#changes.clear();
  }

  /**
   * Cause and effect on some images of a cluster.
   * @param {number} cluster
   * @param {Change[]} rows
   * @param {DataView[]} buffers a JPEG each: the photograph with the region outlined, and with it filled in.
   */
  showChanges(cluster, rows, buffers) {
    const figures = rows.map((row, i) => changeFigure(row, buffers[i]));
    if (figures.length) {
      const words = "Cause and effect: what was changed is outlined on the left and filled in on the right.";
      figures.unshift(make("p", { textContent: words }));
    }
    this.#changes.set(cluster, figures);
    if (cluster === this.#cluster) this.changes.replaceChildren(...figures);
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
