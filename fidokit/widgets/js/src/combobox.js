// A field for one of many names: what is typed narrows a list, by mouse and keyboard (the combobox of the ARIA practices,
// with a list that completes).

/** @import { Offer, Searched } from "./names.js" */

import { labelled, make } from "./dom.js";
import { fitting, searched } from "./names.js";
import { counted } from "./text.js";

/** Names in the list at once; typing brings the others. */
export const MOST_LISTED = 100;
const PAGE = 8;

/** @typedef {{ title: string, offers: Offer[] }} Group of names, under a title while nothing is typed. */

export class Combobox {
  /** @type {{ title: string, offers: Searched[] }[]} */
  #groups = [];
  /** The rows of the list. @type {HTMLElement[]} */
  #rows = [];
  #active = -1;
  #open = false;

  /**
   * @param {string} id
   * @param {string} words of its label.
   * @param {string} what the names are, in the plural.
   * @param {() => void} [opened] called when the list opens.
   */
  constructor(id, words, what, opened) {
    this.id = id;
    this.what = what;
    this.opened = opened;
    this.input = make("input", {
      type: "text",
      role: "combobox",
      autocomplete: "off",
      spellcheck: false,
      "aria-autocomplete": "list",
      "aria-expanded": "false",
      "aria-controls": `${id}-list`,
    });
    this.count = make("p", { class: "fk-count", role: "status" });
    this.list = make("div", {
      role: "listbox",
      id: `${id}-list`,
      class: "fk-options",
      hidden: true,
      "aria-label": what,
    });
    this.about = make("p", { class: "fk-about", hidden: true });
    this.popup = make("div", { class: "fk-popup" }, this.count, this.list);
    const box = make("div", { class: "fk-combobox" }, this.input, this.popup);
    this.element = labelled(id, words, this.input, this.about);
    this.input.replaceWith(box);
    box.prepend(this.input);
    this.input.addEventListener("input", () => this.#show(this.input.value.trim() ? 0 : -1));
    this.input.addEventListener("click", () => this.#open || this.#show(-1));
    this.input.addEventListener("keydown", (event) => this.#key(event));
    this.input.addEventListener("blur", () => this.#leave());
    // Before the blur: the field keeps the focus while a name is clicked.
    this.list.addEventListener("pointerdown", (event) => event.preventDefault());
    this.list.addEventListener("click", (event) => {
      const row = /** @type {Element} */ (event.target).closest("[role=option]");
      if (row) this.#choose(/** @type {HTMLElement} */ (row));
    });
  }

  /** What is typed or chosen; null for nothing. */
  get name() {
    return this.input.value.trim() || null;
  }

  set name(name) {
    this.input.value = name ?? "";
    this.input.title = this.input.value;
  }

  /**
   * Where a name stands in several groups, the first counts. The names of the first group come before others that fit
   * as well.
   * @param {Group[]} groups
   */
  setGroups(groups) {
    const seen = new Set();
    this.#groups = groups.map(({ title, offers }, group) => {
      const own = offers.filter(({ name }) => !seen.has(name));
      for (const { name } of own) seen.add(name);
      return { title, offers: own.map((offer) => searched(offer, group === 0)) };
    });
    if (this.#open) this.#show(this.#active);
  }

  /**
   * Say something beneath the field.
   * @param {string} words
   */
  describe(words) {
    this.about.replaceChildren(make("bdi", { textContent: words }));
    this.about.hidden = !words;
  }

  /** @param {number} active row that Enter takes; -1 for none. */
  #show(active) {
    const typed = this.input.value.trim();
    if (!this.#open) this.opened?.();
    this.#open = true;
    const every = this.#groups.flatMap(({ offers }) => offers);
    const groups = typed ? [{ title: "", offers: fitting(every, typed) }] : this.#groups;
    const number = groups.reduce((sum, { offers }) => sum + offers.length, 0);
    let room = MOST_LISTED;
    const shown = groups.map(({ title, offers }) => {
      const own = offers.slice(0, room);
      room -= own.length;
      return this.#group(title, own);
    });
    this.#rows = shown.flatMap(({ rows }) => rows);
    this.list.replaceChildren(...shown.filter(({ rows }) => rows.length).map(({ element }) => element));
    for (const [i, row] of this.#rows.entries()) row.id = `${this.id}-option-${i}`;
    this.list.hidden = !this.#rows.length;
    this.input.setAttribute("aria-expanded", String(this.#rows.length > 0));
    this.count.textContent = this.#told(typed, number);
    this.#place();
    this.#activate(Math.min(active, this.#rows.length - 1));
  }

  /** Where there is no room to its right, the list grows to the left. */
  #place() {
    this.popup.classList.remove("fk-leftwards");
    const edge = this.element.closest(".fidokit")?.getBoundingClientRect().right ?? Number.POSITIVE_INFINITY;
    this.popup.classList.toggle("fk-leftwards", this.popup.getBoundingClientRect().right > edge);
  }

  /**
   * @param {string} typed
   * @param {number} number
   */
  #told(typed, number) {
    const rest = number > this.#rows.length ? `; the first ${this.#rows.length} are listed, type for the others` : "";
    if (!typed) return `${counted(number)} ${this.what}${rest}`;
    if (!number) return `None of the ${this.what} has this in its name`;
    return `${counted(number)} ${number === 1 ? "match" : "matches"}${rest}`;
  }

  /**
   * @param {string} title
   * @param {Searched[]} offers
   */
  #group(title, offers) {
    const rows = offers.map(({ name, note }) => {
      const beside = note ? make("span", { class: "fk-note", textContent: note }) : null;
      const chosen = name === this.name;
      return make(
        "div",
        { role: "option", class: "fk-option", "aria-selected": String(chosen), dataset: { name } },
        make("bdi", { textContent: name }),
        beside,
      );
    });
    const head = title ? make("div", { class: "fk-group", "aria-hidden": "true", textContent: title }) : null;
    return { rows, element: make("div", { role: "group", "aria-label": title || this.what }, head, ...rows) };
  }

  /** @param {number} active */
  #activate(active) {
    this.#rows[this.#active]?.classList.remove("fk-active");
    for (const row of this.#rows) row.setAttribute("aria-selected", String(row.dataset.name === this.name));
    this.#active = active;
    const row = this.#rows[active];
    if (!row) {
      this.input.removeAttribute("aria-activedescendant");
      return;
    }
    row.classList.add("fk-active");
    row.setAttribute("aria-selected", "true");
    this.input.setAttribute("aria-activedescendant", row.id);
    // The list alone is scrolled, not the notebook.
    const [top, bottom] = [row.offsetTop, row.offsetTop + row.offsetHeight];
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    else if (bottom > this.list.scrollTop + this.list.clientHeight) {
      this.list.scrollTop = bottom - this.list.clientHeight;
    }
  }

  #close() {
    this.#open = false;
    this.#rows = [];
    this.#active = -1;
    this.list.hidden = true;
    this.list.replaceChildren();
    this.count.textContent = "";
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  /** @param {HTMLElement} row */
  #choose(row) {
    this.name = row.dataset.name ?? "";
    this.#close();
    this.count.textContent = `${this.name} is chosen`;
  }

  /** A part of a name is enough where there is only one. */
  #leave() {
    if (this.#open && this.name !== null && this.#rows.length === 1) this.name = this.#rows[0].dataset.name ?? "";
    this.#close();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const steps = new Map([
      ["ArrowDown", 1],
      ["ArrowUp", -1],
      ["PageDown", PAGE],
      ["PageUp", -PAGE],
    ]);
    const step = steps.get(event.key);
    if (step !== undefined) this.#step(step);
    else if (event.key === "Enter" && this.#rows[this.#active]) this.#choose(this.#rows[this.#active]);
    else if (event.key === "Escape" && this.#open) this.#close();
    else if (event.key === "Escape" && this.name !== null) this.name = null;
    else return;
    event.preventDefault();
    // JupyterLab's shortcuts are not meant.
    event.stopPropagation();
  }

  /** @param {number} step */
  #step(step) {
    if (!this.#open) {
      this.#show(step > 0 ? 0 : -1);
      return;
    }
    const last = this.#rows.length - 1;
    let to = this.#active + step;
    // One step beyond an end comes out at the other.
    if (step === 1 && to > last) to = 0;
    else if (step === -1 && to < 0) to = last;
    this.#activate(Math.max(0, Math.min(last, to)));
  }
}
