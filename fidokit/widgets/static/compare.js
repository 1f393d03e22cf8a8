// CompareWidget: a page of images, a column a mask, figures beneath; the summary above, one image large below.

/** Milliseconds without a key until what is typed is searched for. */
const TYPING = 250;
const TILE = 168;

let comparisons = 0;

/** Checkboxes for names of which some are chosen. */
class Choices {
  constructor(words, change) {
    this.change = change;
    this.list = make("div", { class: "fk-choices" });
    this.element = make("details", { class: "fk-chosen" }, make("summary", { textContent: words }),
      make("fieldset", { class: "fk-field" }, make("legend", { class: "fk-unseen", textContent: words }), this.list));
  }

  /** @param offered [name, words] of each. */
  show(offered, chosen) {
    const key = JSON.stringify(offered);
    if (key !== this.key) {
      this.key = key;
      this.list.replaceChildren(...offered.map(([name, words]) => {
        const input = make("input", { type: "checkbox", value: name });
        input.addEventListener("change", () => this.change(
          [...this.list.querySelectorAll("input")].filter((each) => each.checked).map((each) => each.value)));
        return make("label", { class: "fk-choice" }, input, make("bdi", { textContent: words }));
      }));
    }
    for (const input of this.list.querySelectorAll("input")) input.checked = chosen.includes(input.value);
  }
}

/** What to look at, and in which order. */
class CompareTools {
  constructor(look) {
    this.look = look;
    const id = `fidokit-compare-${++comparisons}`;
    const select = (name) => {
      this[name] = make("select");
      this[name].addEventListener("change", () => look({ [name]: this[name].value }));
      return this[name];
    };
    this.descending = make("select");
    this.descending.append(make("option", { value: "", textContent: "lowest first" }),
      make("option", { value: "1", textContent: "highest first" }));
    this.descending.addEventListener("change", () => look({ descending: this.descending.value !== "" }));
    this.search = make("input", { type: "search", autocomplete: "off", spellcheck: false });
    this.search.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => look({ search: this.search.value }), TYPING);
    });
    this.panels = new Choices("Masks shown", (panels) => look({ panels }));
    this.metrics = new Choices("Figures shown", (metrics) => look({ metrics }));
    this.element = make("form", { class: "fk-tools", "aria-label": "What to compare" },
      labelled(`${id}-sort`, "Order by", select("sort")), labelled(`${id}-of`, "of", select("of")),
      labelled(`${id}-way`, "Direction", this.descending), labelled(`${id}-state`, "Answers", select("state")),
      labelled(`${id}-search`, "Search file, label or class", this.search), this.panels.element, this.metrics.element);
    this.element.addEventListener("submit", (event) => event.preventDefault());
    for (const state of ["all", "wrong", "right", "not judged"]) {
      this.state.append(make("option", { value: state, textContent: state }));
    }
  }

  show(model) {
    const offer = (element, options, value) => {
      element.replaceChildren(...options.map(([name, words]) => make("option", { value: name, textContent: words })));
      element.value = value;
    };
    const names = model.get("_names");
    offer(this.sort, model.get("_orders"), model.get("sort"));
    offer(this.of, [["mean", "all masks, mean"], ...names.map((name) => [name, name])], model.get("of"));
    this.of.disabled = ["dataset", "score", "margin"].includes(model.get("sort"));
    this.descending.value = model.get("descending") ? "1" : "";
    this.state.value = model.get("state");
    if (document.activeElement !== this.search) this.search.value = model.get("search");
    this.panels.show(names.map((name) => [name, name]), model.get("panels"));
    this.metrics.show(model.get("_figures"), model.get("metrics"));
  }
}

/** The page: a table with a row an image and a column a mask. */
class ComparePage {
  constructor(tables, pictures, look) {
    this.words = lookup(bytesOf(tables[Object.keys(tables)[0]]), 0);
    Object.assign(this, { pictures, look, opacity: 0.75 });
    this.head = make("thead");
    this.body = make("tbody");
    this.table = make("table", { class: "fk-page" }, make("caption", { class: "fk-unseen", textContent: "Masks by image and method" }),
      this.head, this.body);
    this.element = make("div", { class: "fk-scroll", tabIndex: 0, role: "region", "aria-label": "Masks by image and method" },
      this.table);
    this.tiles = new Map();
  }

  show(rows, panels, metrics) {
    this.panels = panels;
    this.head.replaceChildren(make("tr", {}, make("th", { scope: "col", textContent: "Photograph" }),
      ...panels.map((name) => make("th", { scope: "col" }, make("bdi", { textContent: name })))));
    this.tiles = new Map();
    this.body.replaceChildren(...rows.map((row) => this.#row(row, panels, metrics)));
    if (!rows.length) {
      this.body.append(make("tr", {}, make("td", { colSpan: panels.length + 1, textContent: "No image fits. Change the search or the choice." })));
    }
    this.drawAll();
  }

  /** Draw the tiles of an image, once its picture is there. */
  draw(key) {
    const tiles = this.tiles.get(key);
    const picture = tiles && this.pictures.get(key);
    if (!picture) return;
    tiles.reason.textContent = picture.reason;
    for (const [name, canvas] of tiles.canvases) drawTile(canvas, picture, name, this.words, TILE, this.opacity);
  }

  drawAll() {
    for (const key of this.tiles.keys()) this.draw(key);
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    this.drawAll();
  }

  #row(row, panels, metrics) {
    const canvases = [];
    const canvas = (name) => {
      const made = make("canvas", { class: "fk-tile", width: 1, height: 1, role: "img" });
      made.setAttribute("aria-label", name === null ? `Photograph ${row.image}` : `Mask ${name} of ${row.image}`);
      canvases.push([name, made]);
      return made;
    };
    const open = make("button", { type: "button", class: "fk-open", title: "Show it large" }, canvas(null));
    open.setAttribute("aria-label", `Show ${row.image} large`);
    open.addEventListener("click", () => this.look({ image_id: row.image }));
    const reason = make("p", { class: "fk-reason" });
    this.tiles.set(row.image, { canvases, reason });
    const about = make("th", { scope: "row" }, open, reason, make("p", { class: "fk-file" }, make("bdi", { textContent: row.image })),
      make("p", {}, verdict(row.state)), make("p", {}, "label ", make("bdi", { textContent: row.label || "none" })),
      make("p", {}, "called ", make("bdi", { textContent: row.predicted || "nothing" }), row.score && ` ${row.score}`),
      row.reason ? make("p", { textContent: row.reason }) : null, row.value ? make("p", { class: "fk-value", textContent: row.value }) : null);
    const cells = row.cells.map((cell, i) => make("td", {},
      cell.there ? canvas(panels[i]) : make("p", { class: "fk-none", textContent: "No mask" }),
      make("dl", { class: "fk-values" }, ...metrics.map(([words, better], k) =>
        make("div", { title: better }, make("dt", { textContent: words }), make("dd", { textContent: cell.values[k] }))))));
    return make("tr", { dataset: { image: row.image } }, about, ...cells);
  }
}

/** One image large: all its masks on the overlay, and every figure of each. */
class CompareDetail {
  constructor(tables, look) {
    this.overlay = new Overlay(tables);
    this.title = make("h3", { tabIndex: -1 });
    this.figures = make("div", { class: "fk-scroll", tabIndex: 0, role: "region", "aria-label": "All figures of this image" });
    this.reasons = make("div", { class: "fk-reasons" });
    const close = make("button", { type: "button", textContent: "Close" });
    close.addEventListener("click", () => look({ image_id: "" }));
    this.element = make("section", { class: "fk-detail", "aria-label": "One image", hidden: true },
      make("div", { class: "fk-line" }, this.title, close), this.overlay.element, this.figures, this.reasons);
  }

  show(detail) {
    const opened = this.element.hidden && detail.about;
    this.element.hidden = !detail.about;
    if (!detail.about) return;
    const { about, names, lines, reasons } = detail;
    this.title.replaceChildren(make("bdi", { textContent: about.image }), " ", verdict(about.state), `, called `,
      make("bdi", { textContent: about.predicted || "nothing" }));
    const head = make("tr", {}, make("th", { scope: "col", textContent: "Figure" }),
      ...names.map((name) => make("th", { scope: "col" }, make("bdi", { textContent: name }))));
    const rows = lines.map(([words, better, ...values]) => make("tr", {},
      make("th", { scope: "row" }, words, better ? make("small", { textContent: ` ${better}` }) : null),
      ...values.map((value) => make("td", { textContent: value }))));
    this.figures.replaceChildren(make("table", { class: "fk-table" }, make("thead", {}, head), make("tbody", {}, ...rows)));
    this.reasons.replaceChildren(...reasons.map((text) => make("p", {}, make("bdi", { textContent: text }))));
    if (opened) this.title.focus();
  }
}

function render({ model, el }) {
  const send = (message, buffers) => model.send(message, undefined, buffers);
  const look = (changes) => send({ do: "look", ...changes });
  const tables = model.get("_tables");
  const pictures = new Pictures((images) => send({ do: "pictures", images }), (key) => page.draw(key));
  const page = new ComparePage(tables, pictures, look);
  const tools = new CompareTools(look);
  const detail = new CompareDetail(tables, look);
  const plot = new Plot(send, "Means of the figures shown, with 95 % intervals; the same figures stand in study.summary()",
    (trace, point) => send({ do: "clicked", trace, point }));
  const message = make("p", { class: "fk-message", role: "alert", hidden: true });
  const remark = make("p", { class: "fk-remark", hidden: true });
  const count = make("p", { class: "fk-count", role: "status" });
  const turn = (words, step) => {
    const button = make("button", { type: "button", textContent: words });
    button.addEventListener("click", () => look({ page: model.get("page") + step }));
    return button;
  };
  const [before, after] = [turn("Previous page", -1), turn("Next page", 1)];
  const opacity = make("input", { type: "range", min: 0, max: 100, step: 5, value: 75 });
  opacity.addEventListener("input", () => page.setOpacity(opacity.valueAsNumber / 100));
  const legend = legendOf(bytesOf(tables[Object.keys(tables)[0]]));
  const summary = make("details", { class: "fk-summary-figure", open: true },
    make("summary", { textContent: "Means over all images" }),
    make("p", { textContent: "A click on a mean shows the images behind it, the worst first." }), plot.element);
  const root = make("div", { class: "fidokit", dataset: { lmSuppressShortcuts: "true" } },
    staticRule(model.get("_static_class")),
    make("div", { class: "fk-compare" }, remark, message, summary, tools.element,
      make("div", { class: "fk-line" }, before, after, count,
        labelled(`fidokit-compare-${comparisons}-opacity`, "Opacity", opacity), legend),
      page.element, detail.element));
  el.append(root);

  const rows = () => {
    const figures = new Map(model.get("_figures").map(([name, words, better]) => [name, [words, better]]));
    page.show(model.get("_rows"), model.get("panels"), model.get("metrics").map((name) => figures.get(name)));
  };
  const counted = () => {
    const [fit, all, pages] = model.get("_count");
    const number = model.get("page");
    count.textContent = `Page ${number + 1} of ${pages.toLocaleString("en")}; ${fit.toLocaleString("en")} of ${all.toLocaleString("en")} images`;
    before.disabled = number <= 0;
    after.disabled = number + 1 >= pages;
  };
  const text = (element, words) => {
    element.textContent = words;
    element.hidden = !words;
  };
  const asked = () => {
    const [figure, version] = model.get("_plot");
    if (version === undefined) return send({ do: "plot" });
    plot.show(figure, version);
  };
  const show = {
    _rows: rows,
    _count: counted,
    page: counted,
    _plot: asked,
    _photograph: () => detail.overlay.setPhotograph(model.get("_photograph")),
    _layers: () => detail.overlay.setLayers(model.get("_layers")),
    _detail: () => detail.show(model.get("_detail")),
    _message: () => text(message, model.get("_message")),
    _remark: () => text(remark, model.get("_remark")),
  };
  const events = Object.entries(show).map(([trait, act]) => [`change:${trait}`, act]);
  events.push(["change:panels", () => {
    pictures.clear();
    page.drawAll();
  }]);
  for (const name of ["_orders", "_figures", "panels", "metrics", "sort", "of", "descending", "state", "search"]) {
    events.push([`change:${name}`, () => tools.show(model)]);
  }
  events.push(["msg:custom", (content, buffers) => {
    if (content.kind === "picture") pictures.take(content.image, content.photograph, content.layers, buffers);
    plot.take(content, buffers);
  }]);
  for (const [event, act] of events) model.on(event, act);
  tools.show(model);
  for (const act of Object.values(show)) act();
  return () => {
    for (const [event, act] of events) model.off(event, act);
    pictures.destroy();
    plot.destroy();
    detail.overlay.destroy();
  };
}

export default { render };
