// The table of clusters, to search, sort and choose from, and what is known of the chosen one.

const CLUSTER_COLUMNS = [
  ["cluster", "Cluster"], ["verdict", "Verdict"], ["what", "What its errors are"], ["pair", "Most often"], ["n_errors", "Errors"],
  ["expected_rate", "Expected"], ["holdout_error_rate", "Held out"], ["q_value", "q"], ["stability", "Stability"],
  ["effect", "Effect"], ["inside", "Selected"],
];
const PERCENT = (value) => (value === null ? "–" : `${Math.round(100 * value)} %`);
const SMALL_NUMBER = (value) => (value === null ? "–" : value < 0.01 ? value.toExponential(0) : value.toFixed(2));

let clusterTables = 0;

class ClusterTable {
  /** @param choose called with the number of a cluster. */
  constructor(choose) {
    this.choose = choose;
    this.id = `fidokit-clusters-${++clusterTables}`;
    this.rows = [];
    this.counts = [];
    this.by = null;
    this.down = false;
    this.kind = make("select");
    this.kind.append(make("option", { value: "systematic", textContent: "systematic" }), make("option", { value: "all", textContent: "all that are listed" }));
    this.search = make("input", { type: "search", autocomplete: "off", spellcheck: false });
    for (const input of [this.kind, this.search]) input.addEventListener("input", () => this.#list());
    this.heads = CLUSTER_COLUMNS.map(([name, words]) => {
      const button = make("button", { type: "button", textContent: words, title: `Sort by ${words}` });
      button.addEventListener("click", () => this.#sort(name));
      return make("th", { scope: "col", dataset: { name } }, button);
    });
    this.body = make("tbody");
    this.count = make("p", { role: "status", class: "fk-count" });
    const table = make("table", { class: "fk-clusters" }, make("caption", { class: "fk-unseen", textContent: "Clusters" }),
      make("thead", {}, make("tr", {}, ...this.heads)), this.body);
    this.element = make("section", { class: "fk-clusters-box", "aria-label": "Clusters" },
      make("div", { class: "fk-tools" }, labelled(`${this.id}-kind`, "Listed clusters", this.kind),
        labelled(`${this.id}-search`, "Search class or cause", this.search), this.count),
      make("div", { class: "fk-scroll", tabIndex: 0, role: "region", "aria-label": "Clusters" }, table));
  }

  setClusters(rows) {
    const first = !this.rows.length;
    const what = (row) => [...new Set([row.words, ...row.properties.split("; ")].filter(Boolean))].join("; ");
    this.rows = rows.map((row) => ({ ...row, what: what(row),
      pair: row.true_class ? `${row.true_class} called ${row.predicted_class}` : "" }));
    if (first) this.kind.value = rows.some((row) => row.systematic) ? "systematic" : "all";
    this.#list();
  }

  /** How many of the selected images each cluster holds, and which cluster is chosen (null for none). */
  setSelection(counts, chosen) {
    this.counts = counts;
    this.chosen = chosen;
    for (const line of this.body.children) {
      const row = this.rows[line.dataset.place];
      line.classList.toggle("fk-chosen-row", row.cluster === chosen);
      line.querySelector("input").checked = row.cluster === chosen;
      line.lastElementChild.textContent = this.#inside(Number(line.dataset.place));
    }
  }

  #inside(place) {
    return this.counts[place] ? String(this.counts[place]) : "–";
  }

  #sort(name) {
    this.down = this.by === name ? !this.down : false;
    this.by = name;
    this.#list();
  }

  #list() {
    const words = this.search.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const texts = (row) => [row.sentence, row.pair, row.verdict, row.what].join("\n").toLocaleLowerCase();
    const places = [...this.rows.keys()].filter((place) => {
      const row = this.rows[place];
      return (this.kind.value === "all" || row.systematic) && words.every((word) => texts(row).includes(word));
    });
    if (this.by) places.sort((a, b) => (this.down ? -1 : 1) * this.#compare(a, b));
    for (const head of this.heads) {
      const sorted = head.dataset.name !== this.by ? "none" : this.down ? "descending" : "ascending";
      head.setAttribute("aria-sort", sorted);
    }
    this.body.replaceChildren(...places.map((place) => this.#line(place)));
    this.count.textContent = places.length ? `${places.length} of ${this.rows.length} listed clusters` : "No cluster fits";
    this.setSelection(this.counts, this.chosen);
  }

  #compare(a, b) {
    const value = (place) => (this.by === "inside" ? this.counts[place] ?? 0 : this.rows[place][this.by]);
    const [one, other] = [value(a), value(b)];
    if (typeof one === "string") return one.localeCompare(other);
    return (one ?? Infinity) - (other ?? Infinity) || 0;
  }

  #line(place) {
    const row = this.rows[place];
    const input = make("input", { type: "radio", name: this.id, value: row.cluster });
    input.setAttribute("aria-label", `Cluster ${row.cluster}: ${row.sentence}`);
    input.addEventListener("change", () => this.choose(row.cluster));
    const cell = (words) => make("td", { textContent: words });
    const effect = row.effect === null ? "–" : `${row.effect.toFixed(2)} [${row.effect_low.toFixed(2)}, ${row.effect_high.toFixed(2)}]`;
    return make("tr", { dataset: { place } },
      make("th", { scope: "row" }, make("label", { class: "fk-choose" }, input, String(row.cluster))),
      cell(row.verdict || (row.systematic ? "not verified" : "–")),
      make("td", { class: "fk-sentence", title: row.sentence }, make("bdi", { textContent: row.what })),
      make("td", { class: "fk-pair-of-classes" }, make("bdi", { textContent: row.pair })),
      cell(`${row.n_errors} of ${row.size}`), cell(PERCENT(row.expected_rate)), cell(PERCENT(row.holdout_error_rate)),
      cell(SMALL_NUMBER(row.q_value)), cell(SMALL_NUMBER(row.stability)), cell(effect), cell(this.#inside(place)));
  }
}

/** The evidence of a cluster, and the buttons that ask for more. */
class Evidence {
  /** @param act {verify(cluster or null), stop()}. */
  constructor(act) {
    this.title = make("h3", { textContent: "Evidence" });
    this.words = make("div", { class: "fk-evidence-words" });
    this.figures = make("dl", { class: "fk-facts" });
    const button = (words, press) => {
      const made = make("button", { type: "button", textContent: words });
      made.addEventListener("click", press);
      return made;
    };
    this.one = button("Verify this cluster", () => act.verify(this.cluster));
    this.all = button("Verify all systematic ones", () => act.verify(null));
    this.halt = button("Stop", () => act.stop());
    this.state = make("span", { role: "status" });
    this.bar = make("progress", { max: 1, "aria-label": "Images changed", hidden: true });
    this.element = make("section", { class: "fk-evidence", "aria-label": "Evidence" }, this.title, this.words, this.figures,
      make("div", { class: "fk-line" }, this.one, this.all, this.halt), make("div", { class: "fk-line" }, this.state, this.bar));
    this.busy = false;
    this.show(null);
  }

  /** Show a cluster; null for none. */
  show(row) {
    this.cluster = row?.cluster ?? null;
    this.title.textContent = row ? `Cluster ${row.cluster}` : "Evidence";
    const lines = row ? [row.sentence, row.pairs && `Most often: ${row.pairs}`, row.properties && `Its errors: ${row.properties}`, row.proof]
      : ["Choose a cluster in the table, or select images on the map."];
    this.words.replaceChildren(...lines.filter(Boolean).map((text) => make("p", {}, make("bdi", { textContent: text }))));
    const facts = row ? [
      ["Found on the discovery half", `${row.n_errors} of ${row.size} wrong, ${PERCENT(row.expected_rate)} expected from the classes; p = ${SMALL_NUMBER(row.p_value)}, corrected q = ${SMALL_NUMBER(row.q_value)}`],
      ["Held-out half", row.holdout_p === null ? "not asked" : `${row.holdout_n_errors} of ${row.holdout_size} wrong; corrected p = ${SMALL_NUMBER(row.holdout_p)}`],
      ["Stability", row.stability === null ? "–" : `${row.stability.toFixed(2)}; below 0.5 it dissolves when images are drawn anew`],
      ["Changing pixels", row.verdict ? `${row.verdict}; corrected p = ${SMALL_NUMBER(row.effect_p)}` : "not verified"],
    ] : [];
    this.figures.replaceChildren(...facts.map(([term, text]) => make("div", {}, make("dt", { textContent: term }), make("dd", { textContent: text }))));
    this.#enable();
  }

  setState(state) {
    this.busy = state !== "ready";
    this.bar.hidden = !this.busy;
    this.state.textContent = { running: "Changing pixels", stopping: "Stopping" }[state] ?? "";
    const focused = [this.one, this.all, this.halt].includes(document.activeElement);
    this.#enable();
    // A button that is switched off loses the focus; it goes to the other one.
    if (focused) (this.busy ? this.halt : this.one.disabled ? this.all : this.one).focus();
  }

  setProgress(done, total) {
    if (total) this.bar.value = done / total;
    else this.bar.removeAttribute("value");
    if (this.busy && total) this.state.textContent = `Changing pixels: ${done} of ${total} images so far`;
  }

  #enable() {
    this.one.disabled = this.busy || this.cluster === null;
    this.all.disabled = this.busy;
    this.halt.disabled = !this.busy;
  }
}
