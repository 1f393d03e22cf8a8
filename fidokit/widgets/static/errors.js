// Written by fidokit/widgets/js/build.js; change the sources there.

// src/bytes.js
function bytesOf(data) {
  if (data instanceof Uint8Array) return (
    /** @type {Uint8Array<ArrayBuffer>} */
    data
  );
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(
      /** @type {ArrayBuffer} */
      data.buffer,
      data.byteOffset,
      data.byteLength
    );
  }
  return new Uint8Array(data);
}
function numbersOf(data, kind) {
  return new kind(bytesOf(data).slice().buffer);
}

// src/dom.js
var ATTRIBUTES = /* @__PURE__ */ new Set(["role", "for", "list"]);
function make(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = String(value);
    else if (key === "dataset") Object.assign(made.dataset, value);
    else if (key.startsWith("aria-") || ATTRIBUTES.has(key)) made.setAttribute(key, String(value));
    else Reflect.set(made, key, value);
  }
  if (made.tabIndex >= 0) made.dataset.lmSuppressShortcuts = "true";
  made.append(...children.filter((child) => child !== null && child !== void 0));
  return made;
}
function button(words, press, properties = {}) {
  const made = make("button", { type: "button", textContent: words, ...properties });
  made.addEventListener("click", press);
  return made;
}
function select(options = [], properties = {}) {
  const made = make("select", properties);
  offer(made, options);
  return made;
}
function offer(element, options) {
  element.replaceChildren(...options.map(([value, words]) => make("option", { value, textContent: words })));
}
function labelled(id, words, input, ...more) {
  input.id = id;
  return make("div", { class: "fk-field" }, make("label", { for: id, textContent: words }), input, ...more);
}
function labelledCheck(id, words, input) {
  input.id = id;
  return make("div", { class: "fk-field fk-check" }, input, make("label", { for: id, textContent: words }));
}
function verdict(state) {
  const signs = { right: "✓", wrong: "✗", "not judged": "–" };
  return make(
    "span",
    { class: "fk-verdict", dataset: { state } },
    make("span", { "aria-hidden": "true", textContent: `${signs[state]} ` }),
    state
  );
}
function factLine(term, text) {
  return make("div", {}, make("dt", { textContent: term }), make("dd", { textContent: text }));
}
function paragraph(text) {
  return make("p", {}, make("bdi", { textContent: text }));
}
function bringIntoView(element, title) {
  title.focus({ preventScroll: true });
  setTimeout(() => element.scrollIntoView?.({ block: "start" }), 0);
}
function hatchedSwatch() {
  return make("span", { class: "fk-swatch", "aria-hidden": "true" });
}
function say(element, words) {
  element.textContent = words;
  element.hidden = !words;
}
function uniqueName(kind) {
  const random = Array.from(crypto.getRandomValues(new Uint32Array(2)), (word) => word.toString(36));
  return `fidokit-${kind}-${random.join("")}`;
}
function goneNotice() {
  const words = "The kernel is gone: what is shown here stays, and nothing answers. Run the cell again.";
  const element = make("p", { class: "fk-gone", role: "alert", hidden: true });
  const tell = () => say(element, words);
  return { element, event: ["comm_live_update", tell], tell };
}
function widgetRoot(staticClass, ...children) {
  const form = `.${CSS.escape(staticClass)}`;
  const rule = make("style", { textContent: `${form}, .jp-OutputArea-child:has(${form}) { display: none; }` });
  return make("div", { class: "fidokit", dataset: { lmSuppressShortcuts: "true" } }, rule, ...children);
}
function sender(model, lost) {
  return (message, buffers) => {
    try {
      model.send(message, void 0, buffers);
    } catch {
      lost();
    }
  };
}
function onTheme(act) {
  const watching = new MutationObserver(act);
  watching.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  const system = globalThis.matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", act);
  return () => {
    watching.disconnect();
    system.removeEventListener("change", act);
  };
}
function listen(model, events) {
  for (const [event, act] of events) model.on(event, act);
  return () => {
    for (const [event, act] of events) model.off(event, act);
  };
}
function changes(show) {
  return Object.entries(show).map(([trait, act]) => [`change:${trait}`, act]);
}
function save(name, content, type) {
  const address = URL.createObjectURL(new Blob([bytesOf(content)], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1e4);
}

// src/text.js
var SPACES = /\s+/;
function percent(value) {
  return value === null ? "–" : `${Math.round(100 * value)} %`;
}
function probability(value) {
  if (value === null) return "–";
  if (value < 1e-3) return "< 0.001";
  return value < 0.1 ? String(Number(value.toPrecision(2))) : value.toFixed(2);
}
function related(value) {
  const words = probability(value);
  return words.startsWith("<") ? words : `= ${words}`;
}
function figure(value) {
  if (value === null || value === void 0 || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 100) return counted(Math.round(value));
  if (size >= 0.01) return value.toFixed(2);
  if (size === 0) return "0";
  return size >= 1e-4 ? value.toPrecision(2) : value.toExponential(1);
}
function counted(value) {
  return value.toLocaleString("en");
}
function lowered(text) {
  return text.toLocaleLowerCase();
}
function wordsOf(typed) {
  return typed.split(SPACES).filter(Boolean);
}

// src/clusters.js
var COLUMNS = (
  /** @type {const} */
  [
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
    ["inside", "Selected"]
  ]
);
function rowOf(cluster) {
  return { ...cluster, images: cluster.size + (cluster.holdout_size ?? 0) };
}
function titleOf({ cluster, name }) {
  return name ? `${cluster} · ${name}` : String(cluster);
}
function placesThatFit(rows, typed, all) {
  const words = wordsOf(lowered(typed));
  return [...rows.keys()].filter((place) => {
    const { systematic, ...row } = rows[place];
    const texts = [row.name, row.sentence, row.verdict, row.words, row.properties, row.true_class, row.predicted_class];
    const text = lowered(texts.join("\n"));
    return (all || systematic) && words.every((word) => text.includes(word));
  });
}
function sortedPlaces(rows, places, by, down, counts) {
  const value = (place) => by === "inside" ? counts[place] ?? 0 : rows[place][by];
  return [...places].sort((a, b) => (down ? -1 : 1) * compareValues(value(a), value(b)));
}
function compareValues(one, other) {
  if (typeof one === "string") return one.localeCompare(String(other));
  return Number(one ?? Infinity) - Number(other ?? Infinity) || 0;
}
function linesOf({ sentence, pairs, properties, proof }) {
  return [sentence, pairs && `Most often: ${pairs}`, properties && `Its errors: ${properties}`, proof].filter(Boolean);
}
function factsOf(row) {
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
    ["Changing pixels", row.verdict ? `${row.verdict}; corrected p ${related(row.effect_p)}` : "not verified"]
  ];
}
function effectOf({ effect, effect_low: low, effect_high: high }) {
  return effect === null ? "–" : `${figure(effect)} [${figure(low)}, ${figure(high)}]`;
}
var ClusterTable = class {
  id = uniqueName("clusters");
  kind = select([
    ["systematic", "systematic"],
    ["all", "all that are listed"]
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
  #lines = /* @__PURE__ */ new Map();
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
      this.body
    );
    this.element = make(
      "section",
      { class: "fk-clusters-box", "aria-label": "Clusters" },
      make(
        "div",
        { class: "fk-tools" },
        labelled(`${this.id}-kind`, "Listed clusters", this.kind),
        labelled(`${this.id}-search`, "Search class or cause", this.search),
        this.count
      ),
      make("div", { class: "fk-scroll", tabIndex: 0, role: "region", "aria-label": "Clusters" }, table),
      make("details", { class: "fk-help" }, make("summary", { textContent: "What the columns mean" }), this.meanings)
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
      "aria-label": `Cluster ${row.cluster}: ${row.sentence}`
    });
    input.addEventListener("change", () => this.choose(row.cluster));
    const cell = (words) => make("td", { textContent: words });
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
      inside
    );
    return { line: made, input, inside };
  }
};
function changeFigure({ image_id, label, before, after, turned_right }, data) {
  const address = URL.createObjectURL(new Blob([bytesOf(data)], { type: "image/jpeg" }));
  const picture = make("img", { src: address, alt: `${image_id} before and after the change` });
  picture.addEventListener("load", () => URL.revokeObjectURL(address));
  const said = (when, name, right) => make("span", {}, when, make("bdi", { textContent: name }), " ", verdict(right ? "right" : "wrong"));
  const own = make("span", {}, "label ", make("bdi", { textContent: label }));
  const words = [own, said("before: ", before, false), said("after: ", after, turned_right)];
  return make("figure", {}, picture, make("figcaption", {}, ...words));
}
var Evidence = class {
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
  #changes = /* @__PURE__ */ new Map();
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
      make("div", { class: "fk-line" }, this.state, this.bar)
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
    this.changes.replaceChildren(...proved && this.#changes.get(row.cluster) || []);
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
    const words = /* @__PURE__ */ new Map([
      ["running", "Changing pixels"],
      ["stopping", "Stopping"]
    ]);
    this.state.textContent = words.get(state) ?? "";
    const focused = [this.one, this.all, this.halt].some((each) => each === document.activeElement);
    this.#enable();
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
};

// src/geometry.js
var WHOLE = Object.freeze({ zoom: 1, x: 0.5, y: 0.5 });
var HAIR = 1e-9;
var STEP = 0.02;
var LINES = 1;
function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
function seenPart({ zoom, x, y }) {
  const share = 1 / zoom;
  return [clamp(x - share / 2, 0, 1 - share), clamp(y - share / 2, 0, 1 - share), share];
}
function centreOf([left, top, share]) {
  return [left + share / 2, top + share / 2];
}
function leavesOut([x0, y0, x1, y1], width) {
  const edge = 0.5 / width;
  return x0 > edge || y0 > edge || x1 < 1 - edge || y1 < 1 - edge;
}
function zoomed(view, factor, most, anchor = null) {
  const [centreX, centreY] = centreOf(seenPart(view));
  const zoom = clamp(view.zoom * factor, 1, most);
  const [x, y] = anchor ?? [centreX, centreY];
  const kept = view.zoom / zoom;
  return { zoom, x: x + (centreX - x) * kept, y: y + (centreY - y) * kept };
}
function centredOn([x, y], share) {
  return { x: clamp(x, share / 2, 1 - share / 2), y: clamp(y, share / 2, 1 - share / 2) };
}
function panned(part, [across, down]) {
  const [x, y] = centreOf(part);
  return centredOn([x - across * part[2], y - down * part[2]], part[2]);
}
function pointIn([left, top, share], [across, down]) {
  return [left + clamp(across, 0, 1 - HAIR) * share, top + clamp(down, 0, 1 - HAIR) * share];
}
function stepped([x, y], [dx, dy], share, steps) {
  const far = STEP * share * steps;
  return [clamp(x + far * dx, 0, 1 - HAIR), clamp(y + far * dy, 0, 1 - HAIR)];
}
function valueAt({ height, width, values }, [across, down]) {
  if (across < 0 || down < 0 || across >= 1 || down >= 1) return null;
  return values[Math.floor(down * height) * width + Math.floor(across * width)] / 255;
}
function wheelFactor({ deltaY, deltaMode }) {
  return Math.exp(-deltaY * (deltaMode === LINES ? 0.05 : 15e-4));
}
var ARROWS = /* @__PURE__ */ new Map(
  /** @type {[string, Point][]} */
  [
    ["ArrowLeft", [-1, 0]],
    ["ArrowRight", [1, 0]],
    ["ArrowUp", [0, -1]],
    ["ArrowDown", [0, 1]]
  ]
);

// src/picture.js
function upsampled(mask, rows, columns) {
  const { height, width, values } = mask;
  if (rows <= height && columns <= width) return { height, width, values };
  const across = new Float32Array(height * columns);
  for (let x = 0; x < columns; x++) {
    const place = clamp((x + 0.5) * width / columns - 0.5, 0, width - 1);
    const left = Math.floor(place);
    const right = Math.min(left + 1, width - 1);
    const share = place - left;
    for (let y = 0; y < height; y++) {
      const row = y * width;
      across[y * columns + x] = values[row + left] * (1 - share) + values[row + right] * share;
    }
  }
  const out = new Uint8ClampedArray(rows * columns);
  for (let y = 0; y < rows; y++) {
    const place = clamp((y + 0.5) * height / rows - 0.5, 0, height - 1);
    const top = Math.floor(place) * columns;
    const bottom = Math.min(Math.floor(place) + 1, height - 1) * columns;
    const share = place - Math.floor(place);
    const row = y * columns;
    for (let x = 0; x < columns; x++) out[row + x] = across[top + x] * (1 - share) + across[bottom + x] * share;
  }
  return { height: rows, width: columns, values: out };
}
function lookup(table, threshold) {
  const words = new Uint32Array(256);
  const bytes = new Uint8Array(words.buffer);
  for (let value = 0; value < 256; value++) {
    bytes.set(table.subarray(3 * value, 3 * value + 3), 4 * value);
    bytes[4 * value + 3] = value / 255 >= threshold ? value : 0;
  }
  return words;
}
function shades(threshold) {
  const words = new Uint32Array(256);
  const bytes = new Uint8Array(words.buffer);
  for (let value = 0; value < 256; value++) bytes[4 * value + 3] = value / 255 >= threshold ? 255 - value : 255;
  return words;
}
var DRAWN_AS = (
  /** @type {const} */
  [
    ["colours", "colours"],
    ["outline", "outline"],
    ["dimmed", "dimmed surroundings"]
  ]
);
function wordsOf2(style, table, threshold) {
  if (style === "outline") return new Uint32Array(256);
  return style === "dimmed" ? shades(threshold) : lookup(table, threshold);
}
function opaqueLookup(table) {
  const words = lookup(table, 0);
  const bytes = new Uint8Array(words.buffer);
  for (let value = 0; value < 256; value++) bytes[4 * value + 3] = 255;
  return words;
}
function coloured({ values }, words) {
  const pixels = new Uint32Array(values.length);
  for (let i = 0; i < pixels.length; i++) pixels[i] = words[values[i]];
  return pixels;
}
function contextOf(canvas) {
  return (
    /** @type {CanvasRenderingContext2D} */
    canvas.getContext("2d")
  );
}
function paint(canvas, mask, words) {
  if (canvas.width !== mask.width || canvas.height !== mask.height) {
    canvas.width = mask.width;
    canvas.height = mask.height;
  }
  const data = new Uint8ClampedArray(coloured(mask, words).buffer);
  contextOf(canvas).putImageData(new ImageData(data, mask.width, mask.height), 0, 0);
}
function outlinePieces({ height, width, values }, level) {
  const pieces = [];
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height ? values[y * width + x] : 0;
  const edge = Math.max(level, 0.5);
  const cut = (a, b) => a === b ? 0.5 : (edge - a) / (b - a);
  const toShares = ([x, y]) => [clamp((x + 0.5) / width, 0, 1), clamp((y + 0.5) / height, 0, 1)];
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
      const sort = sortOf(a, b, c, d, edge);
      if (sort === 0 || sort === 15) continue;
      const found = segments(
        sort,
        [x + cut(a, b), y],
        [x + 1, y + cut(b, c)],
        [x + cut(d, c), y + 1],
        [x, y + cut(a, d)]
      );
      for (const [from, to] of found) pieces.push([toShares(from), toShares(to)]);
    }
  }
  return pieces;
}
function sortOf(a, b, c, d, edge) {
  return (a >= edge ? 8 : 0) + (b >= edge ? 4 : 0) + (c >= edge ? 2 : 0) + (d >= edge ? 1 : 0);
}
function segments(sort, top, right, bottom, left) {
  switch (sort) {
    case 1:
    case 14:
      return [[left, bottom]];
    case 2:
    case 13:
      return [[bottom, right]];
    case 3:
    case 12:
      return [[left, right]];
    case 4:
    case 11:
      return [[top, right]];
    case 6:
    case 9:
      return [[top, bottom]];
    case 7:
    case 8:
      return [[left, top]];
    case 5:
      return [
        [left, top],
        [bottom, right]
      ];
    default:
      return [
        [left, bottom],
        [top, right]
      ];
  }
}
function outline(mask, level) {
  const path = new Path2D();
  for (const [from, to] of outlinePieces(mask, level)) {
    path.moveTo(...from);
    path.lineTo(...to);
  }
  return path;
}

// src/painter.js
var versions = 0;
function forget(layer) {
  layer.painted = null;
  layer.line = null;
  layer.version = ++versions;
  return layer;
}
var Painter = class {
  /** @type {Map<string, { key: string, surface: HTMLCanvasElement }>} */
  #kept = /* @__PURE__ */ new Map();
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */
    canvas.getContext("2d", { alpha: false });
  }
  /**
   * @param {VersionedPhotograph} photograph
   * @param {Layer[]} shown no layer, one, or the two at both sides of the divider; they are painted.
   * @param {Part} seen
   * @param {Look} look
   * @param {Point | null} point where the cross is drawn, in shares of the picture.
   */
  draw(photograph, shown, seen, look, point) {
    const { canvas, context } = this;
    const [left, top, share] = seen;
    const view = { left, top, share, across: canvas.width / share, down: canvas.height / share, photograph };
    const place = [photograph.version, canvas.width, canvas.height, ...seen];
    const masks = [...place, shown.length > 1 ? look.swipe : 1, ...shown.map((layer) => layer.version)];
    const parts = shown.map((layer, i) => ({ layer, stretch: stretchOf(i, shown.length, view, look.swipe) }));
    context.globalAlpha = 1;
    const ground = this.#keep("ground", place, (to) => drawGround(to, view));
    context.drawImage(ground, 0, 0);
    if (!shown.length) return;
    context.globalAlpha = look.opacity;
    context.drawImage(
      this.#keep("masks", masks, (to) => {
        for (const { layer, stretch } of parts) drawMask(to, view, stretch, layer);
      }),
      0,
      0
    );
    context.globalAlpha = 1;
    if (!look.outline && shown.length < 2 && !point) return;
    context.drawImage(
      this.#keep("marks", [...masks, look.threshold, look.outline, point], (to) => {
        for (const { layer, stretch } of look.outline ? parts : [])
          drawOutline(to, view, stretch, layer, look.threshold);
        if (shown.length > 1) drawDivider(to, look.swipe * canvas.width);
        if (point) drawCross(to, (point[0] - left) * view.across, (point[1] - top) * view.down);
      }),
      0,
      0
    );
  }
  /**
   * A canvas of the picture's size with what `draw` draws; as it was, while the key is.
   * @param {string} name
   * @param {unknown[]} parts of the key.
   * @param {(context: CanvasRenderingContext2D) => void} draw
   */
  #keep(name, parts, draw) {
    const key = parts.join();
    const kept = this.#kept.get(name) ?? { key: "", surface: document.createElement("canvas") };
    this.#kept.set(name, kept);
    if (kept.key !== key) {
      kept.key = key;
      Object.assign(kept.surface, { width: this.canvas.width, height: this.canvas.height });
      draw(contextOf(kept.surface));
    }
    return kept.surface;
  }
};
function stretchOf(side, sides, { left, share }, swipe) {
  const divider = left + share * swipe;
  if (sides < 2) return [left, left + share];
  return side === 0 ? [left, divider] : [divider, left + share];
}
function drawGround(context, seen) {
  const { left, top, share, across, photograph } = seen;
  const { width, height } = photograph.bitmap;
  context.imageSmoothingEnabled = across < 6 * width;
  const part = (
    /** @type {const} */
    [left * width, top * height, share * width, share * height]
  );
  context.drawImage(photograph.bitmap, ...part, 0, 0, context.canvas.width, context.canvas.height);
  useShares(context, seen);
  hatch(context, photograph);
}
var hatching;
function hatchingTile() {
  if (hatching) return hatching;
  const side = 8;
  hatching = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const context = contextOf(hatching);
  context.fillStyle = "rgb(12 14 16 / 0.55)";
  context.fillRect(0, 0, side, side);
  context.strokeStyle = "rgb(255 255 255 / 0.55)";
  context.lineWidth = 1.5;
  context.beginPath();
  for (const shift of [-side, 0, side]) {
    context.moveTo(shift, side);
    context.lineTo(shift + side, 0);
  }
  context.stroke();
  return hatching;
}
function hatch(context, { window: [x0, y0, x1, y1], width }) {
  if (!leavesOut([x0, y0, x1, y1], width)) return;
  context.beginPath();
  context.rect(0, 0, 1, 1);
  context.rect(x0, y0, x1 - x0, y1 - y0);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = /** @type {CanvasPattern} */
  context.createPattern(hatchingTile(), "repeat");
  context.fill("evenodd");
}
function drawMask(context, seen, stretch, layer) {
  within(context, seen, stretch, ([x0, y0, x1, y1]) => {
    context.drawImage(
      /** @type {HTMLCanvasElement} */
      layer.painted,
      x0,
      y0,
      x1 - x0,
      y1 - y0
    );
  });
}
function drawOutline(context, seen, stretch, layer, threshold) {
  layer.line ??= outline(layer.fine ?? layer, 255 * (threshold || 0.5));
  const { line } = layer;
  within(context, seen, stretch, (window2) => strokeTwice(context, line, window2));
}
function useShares(context, { left, top, across, down }) {
  context.setTransform(across, 0, 0, down, -left * across, -top * down);
}
function within(context, seen, [from, to], draw) {
  context.save();
  useShares(context, seen);
  context.beginPath();
  context.rect(from, 0, to - from, 1);
  context.clip();
  draw(seen.photograph.window);
  context.restore();
}
var TWO_TONES = (
  /** @type {const} */
  [
    ["rgb(0 0 0 / 0.7)", 2],
    ["#fff", 1]
  ]
);
function strokeTwice(context, line, [x0, y0, x1, y1]) {
  const path = new Path2D();
  const inWindow = new DOMMatrix([x1 - x0, 0, 0, y1 - y0, x0, y0]);
  path.addPath(line, DOMMatrix.fromMatrix(context.getTransform()).multiply(inWindow));
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  for (const [strokeStyle, wide] of TWO_TONES) {
    Object.assign(context, { strokeStyle, lineWidth: 2 * wide * (window.devicePixelRatio || 1), lineCap: "round" });
    context.stroke(path);
  }
  context.restore();
}
function drawDivider(context, x) {
  const { height } = context.canvas;
  const thick = window.devicePixelRatio || 1;
  for (const [colour, wide] of TWO_TONES) {
    Object.assign(context, { strokeStyle: colour, fillStyle: colour, lineWidth: 2 * wide * thick });
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, height);
    context.stroke();
    context.beginPath();
    context.arc(x, height / 2, (5 + 2 * wide) * thick, 0, 2 * Math.PI);
    context.fill();
  }
}
function drawCross(context, x, y) {
  const arm = 9 * (window.devicePixelRatio || 1);
  for (const [strokeStyle, wide] of TWO_TONES) {
    Object.assign(context, { strokeStyle, lineWidth: wide * arm / 6 });
    context.beginPath();
    context.moveTo(x - arm, y);
    context.lineTo(x + arm, y);
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
    context.stroke();
  }
}
var SMALL_MASK = 76;
function smallSize({ width, height }, side, density) {
  const scale = side * Math.min(2, density) / Math.max(width, height);
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}
function drawSmall(canvas, photograph, layer, words, side, { opacity = 1, line = false, frame = null } = {}) {
  const shown = photograph ?? layer;
  if (!shown) return;
  Object.assign(canvas, smallSize(shown, side, window.devicePixelRatio || 1));
  const context = contextOf(canvas);
  if (photograph) {
    context.drawImage(photograph.bitmap, 0, 0, canvas.width, canvas.height);
    context.setTransform(canvas.width, 0, 0, canvas.height, 0, 0);
    hatch(context, photograph);
  }
  context.setTransform(canvas.width, 0, 0, canvas.height, 0, 0);
  if (frame) strokeTwice(context, rectangle(frame), [0, 0, 1, 1]);
  if (!layer) return;
  const [x0, y0, x1, y1] = photograph?.window ?? [0, 0, 1, 1];
  context.globalAlpha = opacity;
  layer.small ??= document.createElement("canvas");
  paint(layer.small, upsampled(layer, SMALL_MASK, SMALL_MASK), words);
  context.drawImage(layer.small, x0, y0, x1 - x0, y1 - y0);
  context.globalAlpha = 1;
  if (line) strokeTwice(context, outline(upsampled(layer, SMALL_MASK, SMALL_MASK), 255 / 2), [x0, y0, x1, y1]);
}
function rectangle([x0, y0, x1, y1]) {
  const path = new Path2D();
  path.moveTo(x0, y0);
  for (const [x, y] of [
    [x1, y0],
    [x1, y1],
    [x0, y1],
    [x0, y0]
  ])
    path.lineTo(x, y);
  return path;
}

// src/tiles.js
var MOST_PICTURES = 300;
var Pictures = class {
  /** @type {Map<Key, Picture>} */
  #kept = /* @__PURE__ */ new Map();
  /** @type {Set<Key>} */
  #asked = /* @__PURE__ */ new Set();
  /** @type {Key[]} */
  #fresh = [];
  #destroyed = false;
  /**
   * @param {(keys: Key[]) => void} ask called with keys whose pictures are needed; they arrive by `take`.
   * @param {(key: Key) => void} changed called with the key of a picture that has come.
   */
  constructor(ask, changed) {
    this.ask = ask;
    this.changed = changed;
  }
  destroy() {
    this.#giveBack();
    this.#destroyed = true;
  }
  /**
   * The picture of a key; undefined while it is not there, which asks for it.
   * @param {Key} key
   */
  get(key) {
    const picture = this.#kept.get(key);
    if (picture) {
      this.#kept.delete(key);
      this.#kept.set(key, picture);
    } else if (!this.#asked.has(key)) {
      if (!this.#fresh.length) queueMicrotask(() => this.ask(this.#fresh.splice(0)));
      this.#asked.add(key);
      this.#fresh.push(key);
    }
    return picture;
  }
  /** Forget all, as when other masks are shown. */
  clear() {
    this.#giveBack();
    this.#kept.clear();
    this.#asked.clear();
  }
  /**
   * A picture that the kernel sent: photograph, its near part or none, and layers, and their data in order.
   * @param {Key} key
   * @param {{ photograph: SentPhotograph, near: SentPhotograph[], layers: SentLayer[] }} sent
   * @param {DataView[]} buffers
   */
  async take(key, { photograph, near, layers }, buffers) {
    const [whole, part = null] = await Promise.all([photograph, ...near].map((each, i) => opened(each, buffers[i])));
    if (this.#destroyed) {
      for (const each of [whole, part]) each?.bitmap.close();
      return;
    }
    this.#asked.delete(key);
    giveBack(this.#kept.get(key));
    const first = 1 + near.length;
    this.#kept.set(key, {
      photograph: whole,
      near: part,
      part: photograph.part ?? null,
      unseen: photograph.unseen ?? "",
      reason: photograph.reason ?? "",
      layers: new Map(layers.map((layer, i) => [layer.name, smallLayer(layer, buffers[first + i], part)]))
    });
    for (const [old, picture] of this.#kept) {
      if (this.#kept.size <= MOST_PICTURES) break;
      giveBack(picture);
      this.#kept.delete(old);
    }
    this.changed(key);
  }
  #giveBack() {
    for (const picture of this.#kept.values()) giveBack(picture);
  }
};
async function opened({ type, width = 0, height = 0, window: window2 }, data) {
  if (!data.byteLength) return null;
  const bitmap = await createImageBitmap(new Blob([bytesOf(data)], { type }));
  return { bitmap, width, height, window: (
    /** @type {Window} */
    window2
  ) };
}
function giveBack(picture) {
  picture?.photograph?.bitmap.close();
  picture?.near?.bitmap.close();
}
function smallLayer({ height, width }, data, part) {
  const layer = { height, width, values: bytesOf(data) };
  return { ...layer, near: part !== null && isMarkedIn(layer, part.window) };
}
function isMarkedIn({ height, width, values }, [x0, y0, x1, y1]) {
  const across = [-x0, 1 - x0].map((edge) => width * edge / (x1 - x0));
  const down = [-y0, 1 - y0].map((edge) => height * edge / (y1 - y0));
  const covers = ([from, to], cell) => cell + 1 > from && cell < to;
  let [inside, most] = [0, 0];
  for (const [i, value] of values.entries()) {
    most = Math.max(most, value);
    if (value > inside && covers(across, i % width) && covers(down, Math.floor(i / width))) inside = value;
  }
  return 2 * inside >= most;
}
function drawTile(canvas, picture, name, words, side, { opacity, line = false, whole = false }) {
  const layer = name === null ? null : picture.layers.get(name);
  const photograph = layer?.near && !whole ? picture.near : picture.photograph;
  drawSmall(canvas, photograph, layer, words, side, { opacity, line, frame: layer || whole ? null : picture.part });
}
function drawRamp(canvas, table) {
  const values = Uint8Array.from({ length: 256 }, (_, value) => value);
  paint(canvas, { height: 1, width: 256, values }, opaqueLookup(table));
}
function emptyLegend() {
  const ramp = make("canvas", { class: "fk-ramp", width: 256, height: 1, "aria-hidden": "true" });
  const ends = ["0", "1"].map((textContent) => make("span", { textContent }));
  return { ramp, legend: make("div", { class: "fk-legend" }, ends[0], ramp, ends[1]) };
}

// src/gallery.js
var PER_PAGE = 24;
var TILE = 116;
var OPACITY = 0.7;
function pageOf(rows, page, size) {
  const pages = Math.max(1, Math.ceil(rows.length / size));
  const number = clamp(page, 0, pages - 1);
  const first = number * size;
  const shown = [...rows.slice(first, first + size)];
  const words = rows.length ? `${counted(rows.length)} selected; ${counted(first + 1)} to ${counted(first + shown.length)} shown` : "No image is selected";
  return { number, shown, words, isFirst: number === 0, isLast: number + 1 >= pages };
}
var Gallery = class {
  masks = make("input", { type: "checkbox", checked: true });
  count = make("p", { class: "fk-count", role: "status" });
  list = make("ul", { class: "fk-gallery" });
  #rows = new Uint32Array(0);
  #page = 0;
  /** @type {Map<number, Tile>} */
  #tiles = /* @__PURE__ */ new Map();
  /**
   * @param {Pictures<number>} pictures by row.
   * @param {Uint32Array} words colours of a mask's values.
   * @param {Act} act
   * @param {(row: number) => About} about
   */
  constructor(pictures, words, act, about) {
    this.pictures = pictures;
    this.words = words;
    this.act = act;
    this.about = about;
    this.masks.addEventListener("change", () => this.#drawAll());
    this.before = button("Previous photographs", () => this.#turn(-1));
    this.after = button("Next photographs", () => this.#turn(1));
    const masks = labelledCheck(`${uniqueName("gallery")}-masks`, "Masks", this.masks);
    const line = make("div", { class: "fk-line" }, this.count, this.before, this.after, masks);
    this.element = make("section", { class: "fk-gallery-box", "aria-label": "Photographs" }, line, this.list);
  }
  /** @param {Uint32Array<ArrayBuffer>} rows */
  show(rows) {
    this.#rows = rows;
    this.#page = 0;
    this.#list();
  }
  /**
   * Draw the photograph of a row, if it is on the page and its picture is there.
   * @param {number} row
   */
  draw(row) {
    const tile = this.#tiles.get(row);
    const picture = tile && this.pictures.get(row);
    if (!picture) return;
    drawTile(tile.canvas, picture, this.masks.checked ? "mask" : null, this.words, TILE, { opacity: OPACITY });
    tile.reason.textContent = picture.reason;
  }
  /**
   * Frame the photograph of a row, as while its point is pointed at.
   * @param {number} row
   */
  mark(row) {
    for (const [other, tile] of this.#tiles) tile.element.classList.toggle("fk-pointed", other === row);
  }
  /** @param {number} step */
  #turn(step) {
    this.#page += step;
    this.#list();
  }
  #drawAll() {
    for (const row of this.#tiles.keys()) this.draw(row);
  }
  #list() {
    const { number, shown, words, isFirst, isLast } = pageOf(this.#rows, this.#page, PER_PAGE);
    this.#page = number;
    this.#tiles = new Map(shown.map((row) => [row, this.#tile(row)]));
    this.list.replaceChildren(...[...this.#tiles.values()].map((tile) => tile.element));
    this.before.disabled = isFirst;
    this.after.disabled = isLast;
    this.count.textContent = words;
    this.#drawAll();
  }
  /**
   * @param {number} row
   * @returns {Tile}
   */
  #tile(row) {
    const { name, label, predicted, state } = this.about(row);
    const canvas = make("canvas", { class: "fk-tile", width: 1, height: 1, "aria-hidden": "true" });
    const reason = make("span", { class: "fk-reason" });
    const open = make(
      "button",
      {
        type: "button",
        class: "fk-open",
        "aria-label": `Show ${name} large; label ${label}, called ${predicted}, ${state}`
      },
      make("span", { class: "fk-frame" }, canvas, reason)
    );
    open.addEventListener("click", () => this.act.open(row));
    const element = make(
      "li",
      { title: name, dataset: { row } },
      open,
      verdict(state),
      make("span", {}, make("bdi", { textContent: label })),
      make("span", {}, "called ", make("bdi", { textContent: predicted }))
    );
    for (const event of ["pointerenter", "focusin"]) element.addEventListener(event, () => this.act.hover(row));
    for (const event of ["pointerleave", "focusout"]) element.addEventListener(event, () => this.act.hover(-1));
    return { canvas, reason, element };
  }
};

// src/overlay_controls.js
var FAILING = ["explains little"];
var THUMBNAIL = 76;
var HELP = "With the picture in focus: arrow keys move the point that is read, and the picture when it is enlarged; plus and minus zoom, 0 shows the whole picture, r the mask's region; 1 to 9 choose a mask; the space bar hides it. The wheel zooms while the picture is in focus; a drag moves it.";
function shareInWords(name, share) {
  return name === "threshold" ? share.toFixed(2) : `${Math.round(share * 100)} %`;
}
var Slider = class {
  /**
   * @param {string} id
   * @param {SliderName} name
   * @param {string} words
   * @param {(share: number) => void} change
   */
  constructor(id, name, words, change) {
    this.name = name;
    this.input = make("input", { type: "range", min: 0, max: 100, step: 1, id });
    this.value = make("output", { class: "fk-number", for: id });
    this.input.addEventListener("input", () => change(this.input.valueAsNumber / 100));
    this.element = make(
      "div",
      { class: "fk-field" },
      make("label", { for: id, textContent: words }),
      make("div", { class: "fk-slider" }, this.input, this.value)
    );
  }
  /** @param {number} share */
  show(share) {
    this.input.value = String(Math.round(share * 100));
    this.value.textContent = shareInWords(this.name, share);
  }
};
var OverlayControls = class {
  /** The name of the colours that the legend shows. */
  #legend = "";
  /**
   * @param {string} id that the identifiers of its elements begin with; the keys are described by `${id}-help`.
   * @param {Record<string, Uint8Array>} tables colour map name -> 768 bytes.
   * @param {(changes: Partial<Settings>) => void} set
   */
  constructor(id, tables, set) {
    this.id = id;
    this.tables = tables;
    this.set = set;
    this.list = make("div", { class: "fk-layers" });
    this.chooser = make("fieldset", { class: "fk-field" }, make("legend", { textContent: "Mask" }), this.list);
    this.none = make("p", { class: "fk-no-mask", textContent: "No mask yet" });
    this.opacity = new Slider(`${id}-opacity`, "opacity", "Opacity", (opacity) => set({ opacity }));
    this.threshold = new Slider(`${id}-threshold`, "threshold", "Show values from", (threshold) => set({ threshold }));
    this.swipe = new Slider(`${id}-swipe`, "swipe", "Divider", (swipe) => set({ swipe }));
    this.drawnAs = select(DRAWN_AS.map(([value, words]) => [value, words]));
    this.drawnAs.addEventListener("change", () => set({ drawn_as: this.drawnAs.value }));
    this.outline = make("input", { type: "checkbox" });
    this.outline.addEventListener("change", () => set({ outline: this.outline.checked }));
    this.compare = select();
    this.compare.addEventListener("change", () => set({ compare: Number(this.compare.value) }));
    this.compareField = labelled(`${id}-compare`, "Compare with", this.compare);
    this.colours = select(Object.keys(tables).map((name) => [name, name]));
    this.colours.addEventListener("change", () => set({ colours: this.colours.value }));
    const { ramp, legend } = emptyLegend();
    this.ramp = ramp;
    this.outlineField = labelledCheck(`${id}-outline`, "Outline", this.outline);
    const colours = labelled(`${id}-colours`, "Colours", this.colours);
    this.coloursField = make("div", { class: "fk-field" }, colours, legend);
    this.element = make(
      "div",
      { class: "fk-panel" },
      this.chooser,
      this.none,
      labelled(`${id}-drawn-as`, "Mask drawn as", this.drawnAs),
      this.opacity.element,
      this.threshold.element,
      this.outlineField,
      this.compareField,
      this.swipe.element,
      this.coloursField,
      make(
        "details",
        { class: "fk-help" },
        make("summary", { textContent: "Keys" }),
        make("p", { id: `${id}-help`, textContent: HELP })
      )
    );
  }
  /**
   * Offer these layers; each gets its input and its thumbnail.
   * @param {Layer[]} layers
   */
  offerLayers(layers) {
    const rows = layers.map((layer, position) => {
      layer.input = make("input", { type: "radio", name: `${this.id}-layer`, value: position });
      layer.input.addEventListener("change", () => this.set({ layer: position, hidden: false }));
      layer.thumbnail = make("canvas", { width: THUMBNAIL, height: THUMBNAIL, "aria-hidden": "true" });
      const name = make("bdi", { textContent: layer.name });
      const verdict2 = layer.verdict ? make("small", { textContent: layer.verdict }) : null;
      const classes = `fk-layer${FAILING.includes(layer.verdict) ? " fk-back" : ""}`;
      return make("label", { class: classes, title: layer.name }, layer.input, layer.thumbnail, name, verdict2);
    });
    this.list.replaceChildren(...rows);
    offer(this.compare, [["-1", "nothing"], ...layers.map((layer, position) => [String(position), layer.name])]);
  }
  /**
   * Show these settings of these layers.
   * @param {Settings} settings
   * @param {Layer[]} layers
   */
  show(settings, layers) {
    this.opacity.show(settings.opacity);
    this.threshold.show(settings.threshold);
    this.swipe.show(settings.swipe);
    this.outline.checked = settings.outline;
    this.drawnAs.value = settings.drawn_as;
    this.outlineField.hidden = settings.drawn_as === "outline";
    this.opacity.element.hidden = settings.drawn_as === "outline";
    this.coloursField.hidden = settings.drawn_as !== "colours";
    this.colours.value = settings.colours;
    this.compare.value = String(settings.compare);
    for (const [position, layer] of layers.entries()) layer.input.checked = position === settings.layer;
    this.chooser.hidden = layers.length === 0;
    this.none.hidden = layers.length > 0;
    this.element.classList.toggle("fk-maskless", layers.length === 0);
    this.compareField.hidden = layers.length < 2;
    this.swipe.element.hidden = settings.compare < 0;
    if (this.#legend === settings.colours) return;
    this.#legend = settings.colours;
    drawRamp(this.ramp, this.tables[settings.colours]);
  }
};

// src/overlay.js
var FINE = 512;
var MOST_ZOOM = 32;
var INSET = 96;
var BUTTON_ZOOM = 1.5;
var MOST_PIXELS = 1400;
var PANEL = 234;
var GRIP = 14;
var NO_PHOTOGRAPH = "No photograph yet";
var DIGIT = /^[1-9]$/;
var PATIENCE = 120;
var Overlay = class {
  id = uniqueName("overlay");
  canvas = make("canvas", {
    class: "fk-canvas",
    tabIndex: 0,
    role: "application",
    "aria-describedby": `${this.id}-help`,
    "aria-roledescription": "zoomable picture"
  });
  empty = make("p", { class: "fk-empty", textContent: NO_PHOTOGRAPH });
  inset = make("canvas", { "aria-hidden": "true" });
  here = make("span", { class: "fk-here" });
  insetButton = button("", () => this.#reset(), {
    class: "fk-inset",
    hidden: true,
    title: "See all of it",
    "aria-label": "Where this part lies; see all of it"
  });
  stage = make(
    "div",
    { class: "fk-stage" },
    make("div", { class: "fk-picture" }, this.canvas, this.insetButton),
    this.empty
  );
  unseenWords = make("span");
  /** What the classifier does not see. */
  unseen = make("div", { class: "fk-cut", hidden: true }, hatchedSwatch(), this.unseenWords);
  readout = make("output", { class: "fk-readout" });
  spoken = make("span", { class: "fk-unseen", role: "status" });
  toRegion = button("Region", () => this.#look(this.#region()), {
    title: "Show the mask's region",
    "aria-label": "Show the mask's region",
    hidden: true
  });
  under = make("div", { class: "fk-under" }, this.readout, this.#zoomButtons());
  view = make("div", { class: "fk-view" }, this.stage, this.under, this.unseen, this.spoken);
  painter = new Painter(this.canvas);
  /** @type {Layer[]} */
  #layers = [];
  /** @type {VersionedPhotograph | null} */
  #photograph = null;
  /** Of the photographs that were to be shown, the last one's number. */
  #turn = 0;
  /** Whether somebody has chosen what is seen of the photograph. */
  #moved = false;
  /** The point whose values are read. @type {Point | null} */
  #point = null;
  /** Whether the pointer chose it. */
  #pointing = false;
  /** @type {Held | null} */
  #held = null;
  /** Layers whose thumbnails are to be drawn again. @type {Set<Layer>} */
  #stale = /* @__PURE__ */ new Set();
  /** @type {ReturnType<typeof setTimeout> | null} */
  #waiting = null;
  /** @type {number | null} */
  #drawing = null;
  #destroyed = false;
  /** @param {Record<string, Bytes>} tables colour map name -> 768 bytes. */
  constructor(tables) {
    this.tables = Object.fromEntries(Object.entries(tables).map(([name, data]) => [name, bytesOf(data)]));
    this.state = {
      opacity: 0.75,
      threshold: 0,
      outline: false,
      drawn_as: "colours",
      colours: Object.keys(tables)[0],
      layer: 0,
      compare: -1,
      swipe: 0.5,
      hidden: false,
      ...WHOLE
    };
    this.controls = new OverlayControls(this.id, this.tables, (changes2) => this.set(changes2));
    this.insetButton.append(this.inset, this.here);
    this.element = make("div", { class: "fk-overlay" }, this.view, this.controls.element);
    this.#listen();
    this.resizing = new ResizeObserver(() => this.#resize());
    this.resizing.observe(this.element);
    this.#show();
  }
  /** Let go of what outlives the elements. */
  destroy() {
    this.resizing.disconnect();
    this.#photograph?.bitmap.close();
    this.#destroyed = true;
  }
  /**
   * Show a photograph; `null`, or one without data, for none.
   * @param {SentPhotograph | null} photograph
   */
  async setPhotograph(photograph) {
    this.#turn += 1;
    const version = this.#turn;
    const bitmap = photograph?.data?.byteLength ? await createImageBitmap(new Blob([bytesOf(photograph.data)], { type: photograph.type })) : null;
    if (version !== this.#turn || this.#destroyed) {
      bitmap?.close();
      return;
    }
    this.#photograph?.bitmap.close();
    const { width = 1, height = 1, window: window2 = [0, 0, 1, 1] } = photograph ?? {};
    this.#photograph = bitmap && { bitmap, width, height, window: window2, version };
    this.#moved = false;
    this.#point = null;
    const cut = bitmap !== null && leavesOut(window2, width);
    this.empty.textContent = photograph?.reason || NO_PHOTOGRAPH;
    this.unseen.hidden = !cut;
    this.unseenWords.textContent = `Hatched: ${photograph?.unseen || "not seen by the classifier"}`;
    drawSmall(this.inset, this.#photograph, null, new Uint32Array(256), INSET);
    this.#open();
    for (const layer of this.#layers) forget(layer).fine = null;
    this.#resize();
    this.#drawThumbnails(this.#layers);
  }
  /**
   * Show these masks; the chosen one stays chosen where its name is still there.
   * @param {SentLayer[]} layers
   */
  setLayers(layers) {
    const [chosen, other] = [this.#layers[this.state.layer]?.name, this.#layers[this.state.compare]?.name];
    const names = layers.map((layer) => layer.name);
    this.#layers = layers.map(emptyLayer);
    if (chosen !== void 0) this.state.layer = Math.max(0, names.indexOf(chosen));
    if (other !== void 0) this.state.compare = names.indexOf(other);
    this.controls.offerLayers(this.#layers);
    this.#drawThumbnails(this.#layers);
    this.#open();
  }
  /** See the region of the chosen mask, unless somebody has looked elsewhere. */
  #open() {
    if (!this.#moved) Object.assign(this.state, this.#region());
    this.#show();
  }
  /** @returns {View} */
  #region() {
    const [x, y, zoom] = this.#layers[this.state.layer]?.view ?? [WHOLE.x, WHOLE.y, WHOLE.zoom];
    return { x, y, zoom };
  }
  /**
   * Show other values of the mask at a position.
   * @param {number} position
   * @param {{ height: number, width: number, view?: [number, number, number] }} about
   * @param {Bytes} data
   */
  updateLayer(position, about, data) {
    const layer = this.#layers[position];
    if (!layer) return;
    Object.assign(forget(layer), about, { values: bytesOf(data), fine: null });
    this.#drawThumbnails([layer]);
    if (position === this.state.layer || position === this.state.compare) this.#schedule();
    this.#read();
  }
  /**
   * Show the mask of this name, if there is one.
   * @param {string} name
   */
  show(name) {
    const position = this.#layers.findIndex((layer) => layer.name === name);
    if (position < 0) return;
    this.set({ layer: position });
    this.#open();
  }
  /**
   * Change settings, as the controls do.
   * @param {Partial<Settings & View>} changes
   */
  set(changes2) {
    const { state } = this;
    Object.assign(state, changes2);
    state.layer = clamp(state.layer, 0, Math.max(0, this.#layers.length - 1));
    if (state.compare >= this.#layers.length) state.compare = -1;
    const recoloured = "colours" in changes2 || "threshold" in changes2 || "drawn_as" in changes2;
    if (recoloured || "outline" in changes2) for (const layer of this.#layers) forget(layer);
    if (recoloured) this.#drawThumbnails(this.#layers);
    this.#show();
  }
  #zoomButtons() {
    const titled = (words, label, act) => button(words, act, { title: label, "aria-label": label });
    return make(
      "div",
      { class: "fk-zoom", role: "group", "aria-label": "Zoom" },
      titled("−", "Zoom out", () => this.#zoomBy(1 / BUTTON_ZOOM)),
      titled("+", "Zoom in", () => this.#zoomBy(BUTTON_ZOOM)),
      this.toRegion,
      titled("Whole picture", "Show the whole picture", () => this.#reset())
    );
  }
  /** Put the state into the controls, and draw. */
  #show() {
    this.controls.show(this.state, this.#layers);
    const shown = this.#layers[this.state.layer]?.name;
    this.canvas.setAttribute("aria-label", shown ? `Photograph with the mask ${shown}` : "Photograph");
    this.canvas.classList.toggle("fk-movable", this.state.zoom > 1);
    this.toRegion.hidden = this.#region().zoom <= 1;
    this.insetButton.hidden = this.state.zoom <= 1;
    const [left, top, share] = seenPart(this.state);
    const edges = { left, top, width: share, height: share };
    for (const [name, value] of Object.entries(edges)) this.here.style.setProperty(name, `${100 * value}%`);
    this.#schedule();
    this.#read();
  }
  /**
   * The mask at the resolution that its colours are computed at.
   * @param {Layer} layer
   */
  #fine(layer) {
    layer.fine ??= upsampled(layer, ...fineSize(this.#photograph));
    return layer.fine;
  }
  #colours() {
    return wordsOf2(this.state.drawn_as, this.tables[this.state.colours], this.state.threshold);
  }
  /**
   * Draw thumbnails, at most a few times a second.
   * @param {Layer[]} layers
   */
  #drawThumbnails(layers) {
    for (const layer of layers) this.#stale.add(layer);
    this.#waiting ??= setTimeout(() => {
      this.#waiting = null;
      if (this.#destroyed) return;
      for (const layer of this.#layers) {
        if (this.#stale.has(layer)) drawSmall(layer.thumbnail, this.#photograph, layer, this.#colours(), THUMBNAIL);
      }
      this.#stale.clear();
    }, PATIENCE);
  }
  #resize() {
    const photograph = this.#photograph;
    this.stage.classList.toggle("fk-bare", !photograph);
    if (!photograph || !this.element.clientWidth) return;
    const beside = getComputedStyle(this.element).gridTemplateColumns.includes(" ");
    const wide = this.element.clientWidth - (beside ? PANEL : 0);
    const most = Number.parseFloat(getComputedStyle(this.stage).getPropertyValue("--fk-height")) || 480;
    const aspect = photograph.width / photograph.height;
    const width = Math.min(wide, most * aspect);
    const density = Math.min(window.devicePixelRatio || 1, MOST_PIXELS / Math.max(width, width / aspect));
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${width / aspect}px`;
    this.under.style.maxWidth = `${Math.max(width, 320)}px`;
    const size = { width: Math.round(width * density), height: Math.round(width / aspect * density) };
    if (this.canvas.width !== size.width || this.canvas.height !== size.height) Object.assign(this.canvas, size);
    this.#draw();
  }
  #schedule() {
    this.#drawing ??= requestAnimationFrame(() => {
      this.#drawing = null;
      if (!this.#destroyed) this.#draw();
    });
  }
  #draw() {
    const photograph = this.#photograph;
    const { state } = this;
    if (!photograph) return;
    const read = document.activeElement === this.canvas && !this.#pointing ? this.#point : null;
    const chosen = state.hidden ? [] : [this.#layers[state.layer], this.#layers[state.compare]];
    const shown = chosen.filter((layer) => layer !== void 0);
    for (const layer of shown) {
      if (!layer.painted) paint(layer.surface, this.#fine(layer), this.#colours());
      layer.painted = layer.surface;
    }
    const outline2 = state.outline || state.drawn_as === "outline";
    this.painter.draw(photograph, shown, seenPart(state), { ...state, outline: outline2 }, read);
  }
  /** Say the masks' values at the point, if there is one. */
  #read(aloud = false) {
    const photograph = this.#photograph;
    if (!this.#point || !photograph) {
      this.readout.textContent = "";
      return;
    }
    const [x, y] = this.#point;
    const [x0, y0, x1, y1] = photograph.window;
    const inside = [(x - x0) / (x1 - x0), (y - y0) / (y1 - y0)];
    const place = `x ${Math.floor(x * photograph.width)}, y ${Math.floor(y * photograph.height)}`;
    const values = this.#layers.map((layer) => ({ name: layer.name, value: valueAt(this.#fine(layer), inside) }));
    const known = values.flatMap(({ name, value }) => value === null ? [] : [{ name, text: figure(value) }]);
    const words = known.map(({ name, text }) => make("span", {}, make("bdi", { textContent: name }), ` ${text}`));
    if (values.length && !known.length) words.push(make("span", { textContent: "outside the classifier's input" }));
    this.readout.replaceChildren(make("span", { textContent: place }), ...words);
    if (aloud) this.spoken.textContent = [place, ...known.map(({ name, text }) => `${name} ${text}`)].join(", ");
  }
  /**
   * @param {number} factor
   * @param {Point | null} anchor
   */
  #zoomBy(factor, anchor = null) {
    this.#look(zoomed(this.state, factor, MOST_ZOOM, anchor));
  }
  #reset() {
    this.#look(WHOLE);
  }
  /**
   * See what somebody has asked for.
   * @param {Partial<View>} view
   */
  #look(view) {
    this.#moved = true;
    this.set(view);
  }
  // --- pointer and keys -------------------------------------------------------------------------------------------
  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.#grab(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => {
        this.#held = null;
      });
    }
    canvas.addEventListener("pointerleave", () => {
      if (this.#held || document.activeElement === canvas) return;
      this.#point = null;
      this.#read();
    });
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => this.#zoomBy(2, this.#placeOf(event)));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.#schedule());
  }
  /**
   * The pointer's place, in shares of the picture.
   * @param {MouseEvent} event
   */
  #placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = (
      /** @type {Point} */
      [
        (event.clientX - box.left) / box.width,
        (event.clientY - box.top) / box.height
      ]
    );
    return pointIn(seenPart(this.state), place);
  }
  /** @param {WheelEvent} event */
  #wheel(event) {
    if (document.activeElement !== this.canvas && !event.ctrlKey) return;
    event.preventDefault();
    this.#zoomBy(wheelFactor(event), this.#placeOf(event));
  }
  /** @param {PointerEvent} event */
  #nearDivider(event) {
    const box = this.canvas.getBoundingClientRect();
    const far = Math.abs(event.clientX - box.left - this.state.swipe * box.width);
    return this.state.compare >= 0 && far < GRIP;
  }
  /** @param {PointerEvent} event */
  #grab(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    const what = this.#nearDivider(event) ? "divider" : "picture";
    this.#held = { what, x: event.clientX, y: event.clientY, from: seenPart(this.state) };
    this.#move(event);
  }
  /** @param {PointerEvent} event */
  #move(event) {
    this.#pointing = true;
    const box = this.canvas.getBoundingClientRect();
    const held = this.#held;
    if (held?.what === "divider") {
      this.set({ swipe: clamp((event.clientX - box.left) / box.width, 0, 1) });
    } else if (held && this.state.zoom > 1) {
      this.#look(panned(held.from, [(event.clientX - held.x) / box.width, (event.clientY - held.y) / box.height]));
    }
    this.canvas.classList.toggle("fk-dividing", held ? held.what === "divider" : this.#nearDivider(event));
    this.#point = this.#placeOf(event);
    this.#read();
  }
  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!this.#press(event.key, event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
  }
  /**
   * Do what a key is for; false where it is for nothing.
   * @param {string} key
   * @param {boolean} shift
   */
  #press(key, shift) {
    const direction = ARROWS.get(key);
    if (direction) this.#step(direction, shift ? 5 : 1);
    else if (key === "+" || key === "=") this.#zoomBy(BUTTON_ZOOM, this.#point);
    else if (key === "-") this.#zoomBy(1 / BUTTON_ZOOM, this.#point);
    else if (key === "0") this.#reset();
    else if (key === "r") this.#look(this.#region());
    else if (key === " ") this.set({ hidden: !this.state.hidden });
    else if (DIGIT.test(key) && Number(key) <= this.#layers.length) this.#choose(Number(key) - 1);
    else return false;
    return true;
  }
  /** @param {number} position of a layer. */
  #choose(position) {
    this.set({ layer: position, hidden: false });
    this.spoken.textContent = this.#layers[position].name;
  }
  /**
   * @param {Point} direction
   * @param {number} steps
   */
  #step(direction, steps) {
    this.#pointing = false;
    const part = seenPart(this.state);
    this.#point = stepped(this.#point ?? centreOf(part), direction, part[2], steps);
    this.#look(centredOn(this.#point, part[2]));
    this.#read(true);
  }
};
function emptyLayer({ name, height, width, data, view, verdict: verdict2 = "" }) {
  return forget({
    name,
    view,
    verdict: verdict2,
    height,
    width,
    values: bytesOf(data),
    version: 0,
    fine: null,
    surface: make("canvas"),
    painted: null,
    line: null,
    input: make("input"),
    thumbnail: make("canvas")
  });
}
function fineSize(photograph) {
  const { window: [x0, y0, x1, y1] = [0, 0, 1, 1], width = 1, height = 1 } = photograph ?? {};
  const [across, down] = [(x1 - x0) * width, (y1 - y0) * height];
  const { bitmap = { width: 0, height: 0 } } = photograph ?? {};
  const scale = Math.min(FINE, Math.max(bitmap.width, bitmap.height, 64)) / Math.max(across, down);
  return [Math.max(1, Math.round(down * scale)), Math.max(1, Math.round(across * scale))];
}

// src/image_detail.js
var ImageDetail = class {
  title = make("h3", { tabIndex: -1 });
  /** The image that was shown last. */
  #shown = "";
  /**
   * @param {Record<string, Bytes>} tables
   * @param {() => void} close
   */
  constructor(tables, close) {
    this.overlay = new Overlay(tables);
    const line = make("div", { class: "fk-line" }, this.title, button("Close", close));
    const properties = { class: "fk-detail", "aria-label": "One image", hidden: true };
    this.element = make("section", properties, line, this.overlay.element);
  }
  /** @param {Known | { image?: undefined }} known */
  show(known) {
    const wasHidden = this.element.hidden;
    this.element.hidden = !known.image;
    if (!known.image) return;
    const [image, label, predicted] = [known.image, known.label || "none", known.predicted].map(
      (text) => make("bdi", { textContent: text })
    );
    this.title.replaceChildren(image, " ", verdict(known.state), ", label ", label, ", called ", predicted);
    if (wasHidden || known.image !== this.#shown) bringIntoView(this.element, this.title);
    this.#shown = known.image;
  }
};

// src/scatter.js
var FILLED = 0.94;
function range(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
function fitted(xs, ys) {
  const [left, right] = range(xs);
  const [bottom, top] = range(ys);
  const span = Math.max(right - left, top - bottom) || 1;
  return {
    x: xs.map((x) => 0.5 + FILLED * (x - (left + right) / 2) / span),
    y: ys.map((y) => 0.5 - FILLED * (y - (bottom + top) / 2) / span)
  };
}
function frameOf(view, { width, height }) {
  const scale = Math.min(width, height) * view.zoom;
  return { scale, left: width / 2 - view.x * scale, top: height / 2 - view.y * scale };
}
function pixelOf({ x, y }, row, { scale, left, top }) {
  return [left + x[row] * scale, top + y[row] * scale];
}
function rowsWhere(places, frame, fits) {
  const rows = [];
  for (let row = 0; row < places.x.length; row++) {
    const [x, y] = pixelOf(places, row, frame);
    if (fits(x, y)) rows.push(row);
  }
  return rows;
}
function rowsInBox(places, frame, [x0, y0], [x1, y1]) {
  const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)];
  const [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)];
  return rowsWhere(places, frame, (x, y) => x >= left && x <= right && y >= top && y <= bottom);
}
function rowsInLasso(places, frame, path) {
  return rowsWhere(places, frame, (x, y) => isWithin(path, x, y));
}
function isWithin(path, x, y) {
  let within2 = false;
  let [lastX, lastY] = path[path.length - 1];
  for (const [nextX, nextY] of path) {
    if (nextY > y !== lastY > y && x < nextX + (y - nextY) * (lastX - nextX) / (lastY - nextY)) within2 = !within2;
    [lastX, lastY] = [nextX, nextY];
  }
  return within2;
}
function nearestRow(places, frame, [x, y], reach, preferred) {
  let [found, least] = [-1, reach * reach];
  for (let row = 0; row < places.x.length; row++) {
    const [px, py] = pixelOf(places, row, frame);
    const far = (px - x) ** 2 + (py - y) ** 2;
    if (far < least || far === least && preferred(row)) [found, least] = [row, far];
  }
  return found;
}
function nextRow(places, frame, from, [dx, dy]) {
  const [x, y] = pixelOf(places, from, frame);
  let [found, least] = [from, Infinity];
  for (let row = 0; row < places.x.length; row++) {
    const [px, py] = pixelOf(places, row, frame);
    const along = (px - x) * dx + (py - y) * dy;
    const far = along + 2 * (Math.abs((px - x) * dy) + Math.abs((py - y) * dx));
    if (along > 0.5 && far < least) [found, least] = [row, far];
  }
  return found;
}
function zoomedMap(view, size, factor, most, anchor = null) {
  const { width, height } = size;
  const zoom = clamp(view.zoom * factor, 1, most);
  if (zoom === 1) return { ...WHOLE };
  const [x, y] = anchor ?? [width / 2, height / 2];
  const before = frameOf(view, size);
  const scale = Math.min(width, height) * zoom;
  return {
    zoom,
    x: (x - before.left) / before.scale - (x - width / 2) / scale,
    y: (y - before.top) / before.scale - (y - height / 2) / scale
  };
}

// src/map_painter.js
var HEIGHT = 420;
var [WRONG, RIGHT] = [0, 1];
var MANY = 5e3;
var FADED = 0.35;
var ON_DARK = /* @__PURE__ */ new Map([
  ["#000000", "#ffffff"],
  ["#0072B2", "#4db3e6"],
  ["#b5b5b5", "#8c8c8c"]
]);
var LONGEST_NAME = 42;
var MARGIN = 9;
var MOST_SPRITES = 400;
var MapPainter = class {
  /** Pixels of the canvas a pixel of the page; 0 before there is a size. */
  density = 0;
  /** Colours of the page: of the ground, of text, of what is in focus. */
  ground = "#fff";
  ink = "#111";
  accent = "#0b6a94";
  /** Boxes on the canvas that pictures and names have taken: left, top, right, bottom. @type {number[][]} */
  #taken = [];
  /** @type {Map<string, HTMLCanvasElement>} */
  #sprites = /* @__PURE__ */ new Map();
  /**
   * @param {HTMLCanvasElement} base
   * @param {HTMLCanvasElement} marks
   */
  constructor(base, marks) {
    this.base = base;
    this.marks = marks;
  }
  /** @param {number} wide pixels of the page. */
  resize(wide) {
    this.density = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [wide, HEIGHT].map((side) => Math.round(side * this.density));
    for (const canvas of [this.base, this.marks]) {
      Object.assign(canvas, { width, height });
      Object.assign(canvas.style, { width: `${wide}px`, height: `${HEIGHT}px` });
    }
  }
  /**
   * Draw the points; where some are selected, the others fade.
   * @param {Points} points
   * @param {Places} places
   * @param {Uint32Array} order rows in the order in which they are drawn.
   * @param {Uint8Array | null} selected 1 for what is selected; null where nothing is.
   * @param {View} view
   */
  draw(points, places, order, selected, view) {
    const context = contextOf(this.base);
    this.#readTheme();
    this.#taken = [];
    context.globalAlpha = 1;
    context.fillStyle = this.ground;
    context.fillRect(0, 0, this.base.width, this.base.height);
    if (selected) {
      context.globalAlpha = FADED;
      const rest = order.filter((row) => !selected[row]);
      this.#drawRows(context, points, places, rest, view);
      context.globalAlpha = 1;
    }
    const bright = selected ? order.filter((row) => selected[row]) : order;
    this.#drawRows(context, points, places, bright, view);
  }
  #readTheme() {
    const style = getComputedStyle(this.base);
    const read = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
    this.ground = read("background-color", "#fff");
    this.ink = read("color", "#111");
    this.accent = read("--fk-accent", "#0b6a94");
  }
  /** Whether the page's ground is dark. */
  get isDark() {
    const [red = 255, green = 255, blue = 255] = (this.ground.match(/[\d.]+/g) ?? []).map(Number);
    return 0.3 * red + 0.6 * green + 0.1 * blue < 128;
  }
  /**
   * A cluster's colour as it is seen on the page's ground.
   * @param {string} colour
   */
  seen(colour) {
    return this.isDark && ON_DARK.get(colour) || colour;
  }
  /**
   * Whether a box is free, which takes it.
   * @param {number[]} box left, top, right, bottom.
   */
  #take([left, top, right, bottom]) {
    const free = this.#taken.every(([l, t, r, b]) => right < l || left > r || bottom < t || top > b);
    if (free) this.#taken.push([left, top, right, bottom]);
    return free;
  }
  /**
   * A photograph above its point, where there is room.
   * @param {HTMLCanvasElement} picture
   * @param {Point} pixel
   * @param {string} colour of its cluster.
   */
  drawPicture(picture, [x, y], colour) {
    const scale = this.density / Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [picture.width * scale, picture.height * scale];
    const [left, top] = [x - width / 2, y - height - 8 * this.density];
    if (!this.#take([left, top, left + width, top + height])) return;
    const context = contextOf(this.base);
    context.drawImage(picture, left, top, width, height);
    Object.assign(context, { strokeStyle: this.seen(colour), lineWidth: 2 * this.density });
    context.strokeRect(left, top, width, height);
  }
  /**
   * The names of clusters in the middle of their points, where there is room.
   * @param {Points} points
   * @param {Places} places
   * @param {string[]} names by code; empty for none.
   * @param {{ scale: number, left: number, top: number }} frame
   */
  drawNames(points, places, names, frame) {
    const context = contextOf(this.base);
    const size = 12 * this.density;
    Object.assign(context, { font: `600 ${size}px system-ui, sans-serif`, textAlign: "center", lineJoin: "round" });
    for (const [code, name] of names.entries()) {
      if (!name) continue;
      const rows = [...points.cluster.keys()].filter((row) => points.cluster[row] === code);
      if (!rows.length) continue;
      const x = quantile(
        rows.map((row) => places.x[row]),
        0.5
      );
      const y = quantile(
        rows.map((row) => places.y[row]),
        0.05
      );
      const short = name.length > LONGEST_NAME ? name.split(" (")[0] : name;
      const words = short.length > LONGEST_NAME ? `${short.slice(0, LONGEST_NAME - 1)}…` : short;
      const wide = context.measureText(words)?.width ?? 0;
      const edge = wide / 2 + 4 * this.density;
      const across = Math.min(Math.max(frame.left + x * frame.scale, edge), this.base.width - edge);
      const down = Math.max(frame.top + y * frame.scale - size, size);
      if (!this.#take([across - wide / 2, down - size, across + wide / 2, down + size / 3])) continue;
      Object.assign(context, { strokeStyle: this.ground, fillStyle: this.ink, lineWidth: 4 * this.density });
      context.strokeText(words, across, down);
      context.fillText(words, across, down);
    }
  }
  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Points} points
   * @param {Places} places
   * @param {Uint32Array} rows
   * @param {View} view
   */
  #drawRows(context, points, places, rows, view) {
    const { width, height } = this.base;
    const frame = frameOf(view, this.base);
    const size = (points.x.length > MANY ? 0.75 : 1) * this.density * Math.min(2, Math.sqrt(view.zoom));
    for (const row of rows) {
      const [x, y] = pixelOf(places, row, frame);
      if (x < -MARGIN || y < -MARGIN || x > width + MARGIN || y > height + MARGIN) continue;
      const sprite = this.#sprite(this.seen(points.colours[points.cluster[row]]), points.state[row], size);
      context.drawImage(sprite, x - sprite.width / 2, y - sprite.height / 2);
    }
  }
  /**
   * A small picture of a point of a colour and state, which is kept.
   * @param {string} colour
   * @param {number} state
   * @param {number} size
   */
  #sprite(colour, state, size) {
    const key = `${colour} ${state} ${size.toFixed(2)}`;
    if (this.#sprites.size > MOST_SPRITES) this.#sprites.clear();
    const sprite = this.#sprites.get(key) ?? drawnSprite(colour, state, size);
    this.#sprites.set(key, sprite);
    return sprite;
  }
  /**
   * Draw rings around pixels, and the shape of a drag, instead of those before.
   * @param {{ pixel: Point, colour: string }[]} rings
   * @param {Point[]} shape of which less than two points are no shape.
   * @param {boolean} isBox whether the shape is the box between its first and its last point.
   */
  drawMarks(rings, shape, isBox) {
    const context = contextOf(this.marks);
    context.clearRect(0, 0, this.marks.width, this.marks.height);
    for (const { pixel, colour } of rings) {
      this.#drawRing(context, pixel, this.ground, 5);
      this.#drawRing(context, pixel, colour, 2.5);
    }
    if (shape.length < 2) return;
    context.beginPath();
    if (isBox) {
      const [[x0, y0], [x1, y1]] = [shape[0], shape[shape.length - 1]];
      context.rect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    } else {
      for (const point of shape) context.lineTo(...point);
      context.closePath();
    }
    const look = { fillStyle: "rgb(11 106 148 / 0.12)", strokeStyle: this.accent, lineWidth: 1.5 * this.density };
    Object.assign(context, look);
    context.fill();
    context.stroke();
  }
  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Point} pixel
   * @param {string} strokeStyle
   * @param {number} wide
   */
  #drawRing(context, [x, y], strokeStyle, wide) {
    Object.assign(context, { strokeStyle, lineWidth: wide * this.density });
    context.beginPath();
    context.arc(x, y, 8 * this.density, 0, 2 * Math.PI);
    context.stroke();
  }
};
function drawnSprite(colour, state, size) {
  const side = Math.ceil(11 * size);
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const context = contextOf(canvas);
  Object.assign(context, { strokeStyle: colour, fillStyle: colour, lineWidth: 2 * size, lineCap: "round" });
  context.translate(side / 2, side / 2);
  context.beginPath();
  if (state === WRONG) {
    const arm = 3.4 * size;
    context.moveTo(-arm, -arm);
    context.lineTo(arm, arm);
    context.moveTo(-arm, arm);
    context.lineTo(arm, -arm);
    context.stroke();
  } else if (state === RIGHT) {
    context.arc(0, 0, 3 * size, 0, 2 * Math.PI);
    context.fill();
  } else {
    context.arc(0, 0, 2.6 * size, 0, 2 * Math.PI);
    context.lineWidth = size;
    context.stroke();
  }
  return canvas;
}
function quantile(values, share) {
  return values.sort((a, b) => a - b)[Math.floor(values.length * share)];
}

// src/map.js
var MOST_ZOOM2 = 60;
var REACH = 9;
var CLICK = 4;
var BUTTON_ZOOM2 = 1.5;
var [MOST_SEEN, MOST_NAMED] = [60, 12];
var TOOLS = (
  /** @type {const} */
  [
    ["box", "Box"],
    ["lasso", "Lasso"],
    ["move", "Move"]
  ]
);
var HELP2 = "With the map in focus: arrow keys go from image to image, Enter selects that one, the space bar adds it or takes it out; a selects all in view, Escape none; plus and minus zoom, 0 shows all. A drag selects with the chosen tool, with the shift key held it adds; the wheel zooms while the map is in focus.";
var ScatterMap = class {
  id = uniqueName("map");
  base = make("canvas", { class: "fk-map-base", "aria-hidden": "true" });
  marks = make("canvas", {
    class: "fk-map",
    tabIndex: 0,
    role: "application",
    "aria-label": "Map of the images",
    "aria-describedby": `${this.id}-help`
  });
  label = make("div", { class: "fk-map-label", hidden: true });
  spoken = make("span", { class: "fk-unseen", role: "status" });
  stage = make("div", { class: "fk-map-stage" }, this.base, this.marks, this.label);
  legend = make("ul", { class: "fk-map-legend", "aria-label": "What the marks and colours mean" });
  painter = new MapPainter(this.base, this.marks);
  /** @type {"box" | "lasso" | "move"} */
  #tool = "box";
  /** @type {Points | null} */
  #points = null;
  /** Names of the clusters by code; empty for none. @type {string[]} */
  #names = [];
  /** @type {Places} */
  #places = { x: new Float32Array(0), y: new Float32Array(0) };
  /** Rows in the order in which they are drawn. */
  #drawn = new Uint32Array(0);
  /** 1 for what is selected. */
  #selected = new Uint8Array(0);
  #count = 0;
  /** @type {View} */
  #view = { ...WHOLE };
  /** Row of the ring; -1 for none. */
  #at = -1;
  /** Row that the keyboard is on; -1 for none. */
  #cursor = -1;
  /** @type {Held | null} */
  #held = null;
  #destroyed = false;
  /**
   * @param {Act} act
   * @param {(row: number) => string[]} say what stands for a point, in words.
   */
  constructor(act, say2) {
    this.act = act;
    this.say = say2;
    this.element = this.#build();
    this.#listen();
    this.resizing = new ResizeObserver(() => this.#resize());
    this.resizing.observe(this.stage);
    this.stopTheme = onTheme(() => this.#draw());
  }
  destroy() {
    this.resizing.disconnect();
    this.stopTheme();
    this.#destroyed = true;
  }
  /** @param {Points} points */
  setPoints(points) {
    this.#points = points;
    this.#selected = new Uint8Array(points.x.length);
    this.#places = fitted(points.x, points.y);
    const isWrong = (row) => Number(points.state[row] === WRONG);
    this.#drawn = Uint32Array.from([...points.x.keys()].sort((a, b) => isWrong(a) - isWrong(b)));
    this.#draw();
  }
  /**
   * Name the clusters, on the map and in its legend.
   * @param {string[]} names by code; empty for no cluster.
   */
  setNames(names) {
    this.#names = names;
    this.#draw();
  }
  /**
   * A picture that was not there has come.
   * @param {number} row
   */
  pictured(row) {
    if (row === this.#at && !this.label.hidden) this.#showLabel(row);
    if (this.#inView().length <= MOST_SEEN) this.#draw();
  }
  /** What the marks mean, and the colours in the order of their clusters. */
  #listLegend() {
    const points = (
      /** @type {Points} */
      this.#points
    );
    const mark = (sign, words) => make("li", {}, make("span", { "aria-hidden": "true", textContent: `${sign} ` }), words);
    const named = [...this.#names.entries()].filter(([, name]) => name);
    const colour = (code, words) => {
      const chip = make("span", { class: "fk-chip", "aria-hidden": "true" });
      chip.style.background = this.painter.seen(points.colours[code]);
      return make("li", {}, chip, make("bdi", { textContent: words }));
    };
    const more = named.length - MOST_NAMED;
    const rest = this.#names.indexOf("");
    this.legend.replaceChildren(
      mark("✕", "wrong"),
      mark("●", "right"),
      mark("○", "not judged"),
      ...named.slice(0, MOST_NAMED).map(([code, name]) => colour(code, name)),
      ...more > 0 ? [make("li", { textContent: `and ${more} more clusters` })] : [],
      ...rest >= 0 ? [colour(rest, "in no systematic cluster")] : []
    );
  }
  /**
   * Show what is selected; the others fade.
   * @param {Uint32Array} rows
   */
  setSelected(rows) {
    this.#selected.fill(0);
    for (const row of rows) this.#selected[row] = 1;
    this.#count = rows.length;
    this.#draw();
  }
  /**
   * Ring a point, as while its photograph is pointed at; -1 for none.
   * @param {number} row
   */
  ring(row) {
    this.#at = row;
    this.#drawMarks();
  }
  #build() {
    const tools = TOOLS.map(([name, words]) => {
      const checked = name === this.#tool;
      const input = make("input", { type: "radio", name: `${this.id}-tool`, value: name, checked });
      input.addEventListener("change", () => this.#useTool(name));
      return make("label", { class: "fk-tool" }, input, make("span", { textContent: words }));
    });
    const titled = (words, title, act) => button(words, act, { title, "aria-label": title });
    const zoom = make(
      "div",
      { class: "fk-zoom", role: "group", "aria-label": "Zoom of the map" },
      titled("−", "Zoom out", () => this.#zoomBy(1 / BUTTON_ZOOM2)),
      titled("+", "Zoom in", () => this.#zoomBy(BUTTON_ZOOM2)),
      titled("All", "Show all images", () => this.#reset())
    );
    const drags = make("legend", { class: "fk-unseen", textContent: "A drag" });
    const help = make("p", { id: `${this.id}-help`, textContent: HELP2 });
    return make(
      "div",
      { class: "fk-map-box" },
      make("div", { class: "fk-line" }, make("fieldset", { class: "fk-tools-of-map" }, drags, ...tools), zoom),
      this.stage,
      this.legend,
      this.spoken,
      make("details", { class: "fk-help" }, make("summary", { textContent: "Keys" }), help)
    );
  }
  /** @param {"box" | "lasso" | "move"} name */
  #useTool(name) {
    this.#tool = name;
    this.marks.classList.toggle("fk-movable", name === "move");
  }
  #resize() {
    if (!this.stage.clientWidth) return;
    this.painter.resize(this.stage.clientWidth);
    this.#draw();
  }
  #frame() {
    return frameOf(this.#view, this.base);
  }
  #draw() {
    if (!this.#points || !this.painter.density || this.#destroyed) return;
    this.painter.draw(this.#points, this.#places, this.#drawn, this.#count ? this.#selected : null, this.#view);
    this.#drawPictures();
    this.painter.drawNames(this.#points, this.#places, this.#names, this.#frame());
    this.#listLegend();
    this.#drawMarks();
  }
  /** Photographs beside their points, where few enough are in sight. */
  #drawPictures() {
    if (this.#view.zoom <= 1) return;
    const rows = this.#inView();
    if (rows.length > MOST_SEEN) return;
    const frame = this.#frame();
    for (const row of rows) {
      const picture = this.act.picture(row);
      const colour = this.#points?.colours[this.#points.cluster[row]] ?? "";
      if (picture) this.painter.drawPicture(picture, pixelOf(this.#places, row, frame), colour);
    }
  }
  #drawMarks() {
    if (!this.#points || !this.painter.density) return;
    const cursor = document.activeElement === this.marks ? this.#cursor : -1;
    const rings = [
      { row: this.#at, colour: this.painter.ink },
      { row: cursor, colour: this.painter.accent }
    ].filter(({ row }) => row >= 0);
    const frame = this.#frame();
    this.painter.drawMarks(
      rings.map(({ row, colour }) => ({ pixel: pixelOf(this.#places, row, frame), colour })),
      this.#held?.path ?? [],
      this.#tool === "box"
    );
  }
  // --- pointer and keys -------------------------------------------------------------------------------------------
  #listen() {
    const { marks } = this;
    marks.addEventListener("pointerdown", (event) => this.#grab(event));
    marks.addEventListener("pointermove", (event) => this.#move(event));
    marks.addEventListener("pointerup", (event) => this.#release(event));
    marks.addEventListener("pointercancel", () => {
      this.#held = null;
      this.#drawMarks();
    });
    marks.addEventListener("pointerleave", () => {
      if (!this.#held) this.#hover(-1);
    });
    marks.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    marks.addEventListener("keydown", (event) => this.#key(event));
    for (const name of ["focus", "blur"]) marks.addEventListener(name, () => this.#drawMarks());
  }
  /**
   * @param {MouseEvent} event
   * @returns {Point}
   */
  #pixel(event) {
    const box = this.marks.getBoundingClientRect();
    const [across, down] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return [across * this.marks.width, down * this.marks.height];
  }
  /** @param {WheelEvent} event */
  #wheel(event) {
    if (document.activeElement !== this.marks && !event.ctrlKey) return;
    event.preventDefault();
    this.#zoomBy(wheelFactor(event), this.#pixel(event));
  }
  /** @param {PointerEvent} event */
  #grab(event) {
    if (event.button !== 0 || !this.#points) return;
    this.marks.setPointerCapture(event.pointerId);
    this.marks.focus({ preventScroll: true });
    const from = this.#pixel(event);
    this.#held = { path: this.#tool === "move" ? [] : [from], from, view: { ...this.#view } };
  }
  /** @param {PointerEvent} event */
  #move(event) {
    const [x, y] = this.#pixel(event);
    if (!this.#held) {
      this.#hover(this.#nearest([x, y], REACH * this.painter.density));
      return;
    }
    const { path, from, view } = this.#held;
    if (this.#tool === "move") {
      const { scale } = this.#frame();
      this.#look({ ...this.#view, x: view.x - (x - from[0]) / scale, y: view.y - (y - from[1]) / scale });
      return;
    }
    const [lastX, lastY] = path[path.length - 1];
    if (Math.hypot(x - lastX, y - lastY) < 2 * this.painter.density) return;
    path.push([x, y]);
    this.#drawMarks();
  }
  /** @param {PointerEvent} event */
  #release(event) {
    const held = this.#held;
    this.#held = null;
    if (!held) return;
    const [x, y] = this.#pixel(event);
    if (Math.hypot(x - held.from[0], y - held.from[1]) < CLICK * this.painter.density && held.path.length < 3) {
      const row = this.#nearest([x, y], REACH * this.painter.density);
      if (row >= 0) this.#select([row], event.shiftKey);
      else if (!event.shiftKey && this.#tool !== "move" && this.#count) this.#select([], false);
      this.#drawMarks();
      return;
    }
    if (this.#tool === "move") return;
    held.path.push([x, y]);
    this.#select(this.#inside(held.path), event.shiftKey);
  }
  /**
   * Rows within the shape of a drag.
   * @param {Point[]} path
   */
  #inside(path) {
    if (this.#tool === "lasso") return rowsInLasso(this.#places, this.#frame(), path);
    return rowsInBox(this.#places, this.#frame(), path[0], path[path.length - 1]);
  }
  /**
   * The row nearest to a pixel; of two at one place, the error.
   * @param {Point} pixel
   * @param {number} reach
   */
  #nearest(pixel, reach) {
    return nearestRow(this.#places, this.#frame(), pixel, reach, (row) => this.#points?.state[row] === WRONG);
  }
  /**
   * @param {number[]} rows
   * @param {boolean} add
   */
  #select(rows, add) {
    this.act.select(Uint32Array.from(add ? /* @__PURE__ */ new Set([...this.#current(), ...rows]) : rows));
  }
  #current() {
    return [...this.#selected.keys()].filter((row) => this.#selected[row]);
  }
  /** @param {number} row */
  #hover(row) {
    if (row === this.#at) return;
    this.ring(row);
    this.label.hidden = row < 0;
    if (row >= 0) this.#showLabel(row);
    this.act.hover(row);
  }
  /** @param {number} row */
  #showLabel(row) {
    const lines = this.say(row).map((words) => make("div", {}, make("bdi", { textContent: words })));
    const picture = this.act.picture(row);
    this.label.replaceChildren(...picture ? [copyOf(picture)] : [], ...lines);
    const [x, y] = pixelOf(this.#places, row, this.#frame()).map((pixels) => pixels / this.painter.density);
    const wide = this.stage.clientWidth;
    const onLeft = x > wide / 2;
    Object.assign(this.label.style, {
      left: onLeft ? "" : `${x + 14}px`,
      right: onLeft ? `${wide - x + 14}px` : "",
      top: `${Math.min(y, HEIGHT - 160)}px`
    });
  }
  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.#points) return;
    if (!this.#press(event.key, event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
  }
  /**
   * Do what a key is for; false where it is for nothing.
   * @param {string} key
   * @param {boolean} shift
   */
  #press(key, shift) {
    const direction = ARROWS.get(key);
    if (direction) this.#step(direction);
    else if (key === "+" || key === "=") this.#zoomBy(BUTTON_ZOOM2);
    else if (key === "-") this.#zoomBy(1 / BUTTON_ZOOM2);
    else if (key === "0") this.#reset();
    else if (key === "Escape") this.#select([], false);
    else if (key === "a") this.#select(this.#inView(), shift);
    else if (key === "Enter" && this.#cursor >= 0) this.#select([this.#cursor], false);
    else if (key === " " && this.#cursor >= 0) this.#toggle(this.#cursor);
    else return false;
    return true;
  }
  /**
   * Add a row to the selection, or take it out.
   * @param {number} row
   */
  #toggle(row) {
    const others = this.#current().filter((other) => other !== row);
    this.#select(this.#selected[row] ? others : [...others, row], false);
  }
  /**
   * To the nearest point in a direction; at first, to the one nearest to the middle.
   * @param {Point} direction
   */
  #step(direction) {
    const frame = this.#frame();
    const { width, height } = this.base;
    this.#cursor = this.#cursor < 0 ? this.#nearest([width / 2, height / 2], Infinity) : nextRow(this.#places, frame, this.#cursor, direction);
    const row = this.#cursor;
    if (row < 0) return;
    const [x, y] = pixelOf(this.#places, row, frame);
    if (x < 0 || y < 0 || x > width || y > height) {
      this.#look({ ...this.#view, x: this.#places.x[row], y: this.#places.y[row] });
    }
    this.#hover(row);
    this.#drawMarks();
    this.spoken.textContent = [...this.say(row), ...this.#selected[row] ? ["selected"] : []].join(", ");
  }
  #inView() {
    return rowsInBox(this.#places, this.#frame(), [0, 0], [this.base.width, this.base.height]);
  }
  /**
   * @param {number} factor
   * @param {Point | null} anchor
   */
  #zoomBy(factor, anchor = null) {
    this.#look(zoomedMap(this.#view, this.base, factor, MOST_ZOOM2, anchor));
  }
  #reset() {
    this.#look({ ...WHOLE });
  }
  /** @param {View} view */
  #look(view) {
    this.#view = view;
    this.#draw();
  }
};
function copyOf(picture) {
  const { width, height } = picture;
  const copy = make("canvas", { class: "fk-map-picture", width, height, "aria-hidden": "true" });
  contextOf(copy).drawImage(picture, 0, 0);
  return copy;
}

// src/queue.js
var HEARING = 4e3;
var SelectionQueue = class {
  /** Names this queue: the kernel hears several, one a view. */
  view = crypto.randomUUID?.() ?? String(Math.random());
  #number = 0;
  #asked = 0;
  /** @type {Entry[]} */
  #waiting = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /**
   * @param {Send} send
   * @param {(count: number) => void} changed called with the number of selections that are on their way.
   */
  constructor(send, changed) {
    this.send = send;
    this.changed = changed;
  }
  destroy() {
    clearTimeout(this.#timer);
  }
  /**
   * Send a selection: rows, or the number of a cluster.
   * @param {Uint32Array<ArrayBuffer>} rows
   * @param {number | null} cluster
   */
  add(rows, cluster = null) {
    const entry = { number: ++this.#number, cluster, rows };
    this.#waiting.push(entry);
    this.#send(entry);
    this.changed(this.#waiting.length);
    this.#listen();
  }
  /**
   * Whether what the kernel shows is older than what was selected here.
   * @param {string} view that made the selection that the kernel shows.
   * @param {number} number of that selection.
   */
  overtakes(view, number) {
    return view === this.view ? number < this.#number : this.#waiting.length > 0;
  }
  /**
   * The kernel's word on how far it is.
   * @param {{ kind: string, view: string, number: number, asked: boolean }} message
   */
  take(message) {
    if (message.kind !== "heard" || message.view !== this.view) return;
    this.#waiting = this.#waiting.filter((entry) => entry.number > message.number);
    this.changed(this.#waiting.length);
    const lost = message.asked ? this.#waiting.filter((entry) => entry.number <= this.#asked) : [];
    for (const entry of lost) this.#send(entry);
    this.#listen();
  }
  /** @param {Entry} entry */
  #send({ number, cluster, rows }) {
    this.send({ do: "select", view: this.view, number, cluster }, [rows.slice().buffer]);
  }
  #listen() {
    clearTimeout(this.#timer);
    if (!this.#waiting.length) return;
    this.#timer = setTimeout(() => {
      this.#asked = this.#number;
      this.send({ do: "heard", view: this.view });
      this.#listen();
    }, HEARING);
  }
};

// src/errors.js
var STATES = (
  /** @type {const} */
  ["wrong", "right", "not judged"]
);
var THUMBNAIL2 = 64;
var PATIENCE2 = 1e3;
var Images = class {
  /**
   * @param {SentPoints} sent
   * @param {string[]} ids
   */
  constructor(sent, ids) {
    this.ids = ids;
    this.names = sent.names;
    this.clusters = sent.clusters;
    this.label = numbersOf(sent.label, Int32Array);
    this.predicted = numbersOf(sent.predicted, Int32Array);
    this.score = numbersOf(sent.score, Float32Array);
    this.points = {
      x: numbersOf(sent.x, Float32Array),
      y: numbersOf(sent.y, Float32Array),
      cluster: numbersOf(sent.cluster, Int32Array),
      state: numbersOf(sent.state, Uint8Array),
      colours: sent.colours
    };
  }
  /**
   * @param {number} row
   * @returns {About}
   */
  about(row) {
    const nameOf = (code) => code < 0 ? "none" : this.names[code];
    return {
      name: this.ids[row],
      label: nameOf(this.label[row]),
      predicted: nameOf(this.predicted[row]),
      score: this.score[row],
      state: STATES[this.points.state[row]]
    };
  }
  /**
   * An image in words, a line each.
   * @param {number} row
   */
  say(row) {
    const { name, label, predicted, score, state } = this.about(row);
    const cluster = this.clusters[this.points.cluster[row]];
    const lines = [name, `label ${label}`, `called ${predicted} (${figure(score)}), ${state}`];
    return cluster >= 0 ? [...lines, `cluster ${cluster}`] : lines;
  }
};
var SelectionTools = class {
  name = make("input", { type: "text", value: "selection", autocomplete: "off", spellcheck: false, size: 12 });
  said = make("span", { role: "status" });
  /**
   * @param {Send} send
   * @param {() => void} clear
   */
  constructor(send, clear) {
    this.csv = button("Save as CSV", () => send({ do: "csv" }));
    this.put = button("Put into the notebook", () => send({ do: "put", name: this.name.value.trim() }));
    this.clear = button("Clear", clear);
    const name = labelled(`${uniqueName("selection")}-name`, "as", this.name);
    const parts = [this.csv, this.put, name, this.clear, this.said];
    this.element = make("form", { class: "fk-line", "aria-label": "The selection" }, ...parts);
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.put.click();
    });
  }
  /** @param {number} count */
  setCount(count) {
    for (const each of [this.csv, this.put, this.clear]) each.disabled = !count;
    this.said.textContent = "";
  }
};
function render({ model, el }) {
  const gone = goneNotice();
  const send = sender(model, gone.tell);
  const tables = model.get("_tables");
  const colours = lookup(bytesOf(Object.values(tables)[0]), 0);
  const images = new Images(model.get("_points"), model.get("_ids"));
  const waiting = make("p", { class: "fk-waiting", role: "status" });
  let since = 0;
  const queue = new SelectionQueue(send, (count) => {
    const long = count > 1 || count === 1 && Date.now() - since > PATIENCE2;
    waiting.textContent = long ? `${count} selections wait for the kernel` : "";
  });
  const pictures = new Pictures(
    (rows) => send({ do: "pictures", images: rows }),
    (row) => {
      gallery.draw(row);
      map.pictured(row);
    }
  );
  const thumbnails = /* @__PURE__ */ new Map();
  const thumbnail = (row) => {
    const picture = pictures.get(row);
    if (!picture?.photograph) return null;
    const kept = thumbnails.get(row) ?? make("canvas");
    if (!thumbnails.has(row)) {
      drawTile(kept, picture, "mask", colours, THUMBNAIL2, { opacity: 0.6 });
      if (thumbnails.size >= MOST_PICTURES) thumbnails.clear();
      thumbnails.set(row, kept);
    }
    return kept;
  };
  const open = (image) => send({ do: "open", image });
  const gallery = new Gallery(pictures, colours, { open, hover: (row) => map.ring(row) }, (row) => images.about(row));
  const selection = new SelectionTools(send, () => choose(new Uint32Array(0)));
  const detail = new ImageDetail(tables, () => open(null));
  const evidence = new Evidence({
    verify: (cluster) => send({ do: "verify", cluster }),
    stop: () => send({ do: "stop" }),
    changes: (cluster) => send({ do: "changes", cluster })
  });
  const show = (rows) => {
    map.setSelected(rows);
    gallery.show(rows);
    selection.setCount(rows.length);
  };
  const choose = (rows) => {
    since = Date.now();
    show(rows);
    table.setSelection([], null);
    known(null);
    queue.add(rows);
  };
  const map = new ScatterMap(
    { select: choose, hover: (row) => gallery.mark(row), picture: thumbnail },
    (row) => images.say(row)
  );
  const table = new ClusterTable((cluster) => {
    since = Date.now();
    queue.add(new Uint32Array(0), cluster);
  });
  const alert = make("p", { class: "fk-message", role: "alert", hidden: true });
  const remark = make("p", { class: "fk-remark", hidden: true });
  const summary = make("div", { class: "fk-summary-lines" });
  const pair = make("div", { class: "fk-pair" }, map.element, evidence.element);
  const parts = [remark, alert, summary, table.element, pair, selection.element, waiting, gallery.element];
  el.append(
    widgetRoot(model.get("_static_class"), gone.element, make("div", { class: "fk-errors" }, ...parts, detail.element))
  );
  map.setPoints(images.points);
  const known = (cluster) => {
    const rows = model.get("_clusters");
    const chosen = rows.find((row) => row.cluster === cluster);
    evidence.show(chosen ?? rows[0] ?? null, chosen !== void 0);
  };
  table.explain(model.get("_words") ?? {});
  const traits = {
    _clusters: () => {
      const clusters = model.get("_clusters");
      table.setClusters(clusters);
      evidence.forgetChanges();
      known(table.chosen);
      const names = new Map(clusters.map((row) => [row.cluster, titleOf(row)]));
      map.setNames(images.clusters.map((number) => names.get(number) ?? ""));
    },
    _view: () => {
      const { rows, cluster, counts, view, number } = model.get("_view");
      if (queue.overtakes(view, number)) return;
      if (view !== queue.view || cluster !== null) show(numbersOf(rows, Uint32Array));
      table.setSelection(counts, cluster);
      known(cluster);
    },
    _summary: () => {
      const lines = model.get("_summary").filter((line) => !line.startsWith("- "));
      summary.replaceChildren(...lines.map((textContent) => make("p", { textContent })));
    },
    state: () => evidence.setState(model.get("state")),
    _progress: () => {
      const [done = 0, total = 0] = model.get("_progress");
      evidence.setProgress(done, total);
    },
    _photograph: () => void detail.overlay.setPhotograph(model.get("_photograph")),
    _layers: () => detail.overlay.setLayers(model.get("_layers")),
    _about: () => detail.show(model.get("_about")),
    _message: () => say(alert, model.get("_message")),
    _remark: () => say(remark, model.get("_remark"))
  };
  const take = (content, buffers) => {
    queue.take(content);
    if (content.kind === "changes") evidence.showChanges(content.cluster, content.rows, buffers);
    if (content.kind === "picture") pictures.take(content.image, content, buffers);
    if (content.kind === "csv") save(content.name, buffers[0], "text/csv");
    if (content.kind === "put") selection.said.textContent = `The variable ${content.name} has ${content.count} rows`;
  };
  const stop = listen(model, [gone.event, ["msg:custom", take], ...changes(traits)]);
  for (const act of Object.values(traits)) act();
  return () => {
    stop();
    for (const part of [queue, pictures, map, detail.overlay]) part.destroy();
  };
}
var errors_default = { render };
export {
  Images,
  errors_default as default
};
