// The selected photographs, a page at a time, each with its mask, what it is and what it was called.

const PER_PAGE = 24;
const GALLERY_TILE = 116;

class Gallery {
  /**
   * @param pictures where pictures are kept, by row.
   * @param words colours of a mask's values.
   * @param act {open(row), hover(row)}.
   * @param about {name, label, predicted, score, state} of a row.
   */
  constructor(pictures, words, act, about) {
    Object.assign(this, { pictures, words, act, about });
    this.rows = [];
    this.page = 0;
    this.masks = make("input", { type: "checkbox", checked: true });
    this.masks.addEventListener("change", () => this.#drawAll());
    this.count = make("p", { class: "fk-count", role: "status" });
    const turn = (words, step) => {
      const button = make("button", { type: "button", textContent: words });
      button.addEventListener("click", () => { this.page += step; this.#list(); });
      return button;
    };
    [this.before, this.after] = [turn("Previous photographs", -1), turn("Next photographs", 1)];
    this.list = make("ul", { class: "fk-gallery" });
    this.tiles = new Map();
    this.element = make("section", { class: "fk-gallery-box", "aria-label": "Photographs" },
      make("div", { class: "fk-line" }, this.count, this.before, this.after,
        labelled(`fidokit-gallery-${maps}-masks`, "Masks", this.masks, true)), this.list);
  }

  show(rows) {
    this.rows = rows;
    this.page = 0;
    this.#list();
  }

  draw(row) {
    const tile = this.tiles.get(row);
    const picture = tile && this.pictures.get(row);
    if (!picture) return;
    drawTile(tile.canvas, picture, this.masks.checked ? "mask" : null, this.words, GALLERY_TILE, 0.7);
    tile.reason.textContent = picture.reason;
  }

  /** Frame the photograph of a row, as while its point is pointed at. */
  mark(row) {
    for (const [other, tile] of this.tiles) tile.element.classList.toggle("fk-pointed", other === row);
  }

  #drawAll() {
    for (const row of this.tiles.keys()) this.draw(row);
  }

  #list() {
    const pages = Math.max(1, Math.ceil(this.rows.length / PER_PAGE));
    this.page = Math.min(Math.max(this.page, 0), pages - 1);
    const shown = [...this.rows.slice(this.page * PER_PAGE, (this.page + 1) * PER_PAGE)];
    this.tiles = new Map();
    this.list.replaceChildren(...shown.map((row) => this.#tile(row)));
    this.before.disabled = this.page === 0;
    this.after.disabled = this.page + 1 >= pages;
    const number = (value) => value.toLocaleString("en");
    this.count.textContent = !this.rows.length ? "No image is selected"
      : `${number(this.rows.length)} selected; ${number(this.page * PER_PAGE + 1)} to ${number(this.page * PER_PAGE + shown.length)} shown`;
    this.#drawAll();
  }

  #tile(row) {
    const about = this.about(row);
    const canvas = make("canvas", { class: "fk-tile", width: 1, height: 1, "aria-hidden": "true" });
    const reason = make("span", { class: "fk-reason" });
    const button = make("button", { type: "button", class: "fk-open" }, make("span", { class: "fk-frame" }, canvas, reason));
    button.setAttribute("aria-label", `Show ${about.name} large; label ${about.label}, called ${about.predicted}, ${about.state}`);
    button.addEventListener("click", () => this.act.open(row));
    const element = make("li", { title: about.name, dataset: { row } }, button, verdict(about.state),
      make("span", {}, make("bdi", { textContent: about.label })), make("span", {}, "called ", make("bdi", { textContent: about.predicted })));
    for (const [name, to] of [["pointerenter", row], ["focusin", row], ["pointerleave", -1], ["focusout", -1]]) {
      element.addEventListener(name, () => this.act.hover(to));
    }
    this.tiles.set(row, { canvas, reason, element });
    return element;
  }
}
