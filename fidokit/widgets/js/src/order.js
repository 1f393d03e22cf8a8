// What to explain and how: class, contrast, method and its settings; Start and Stop.

/** @import { FormField, MethodForm, Send } from "./types.d.ts" */
/** @import { Offer } from "./names.js" */

/**
 * What can be asked for: classes; taxa with a note on each; ranks of the taxonomy, if there is one.
 * @typedef {{ classes: string[], taxa: string[][], ranks: string[] }} Askable
 */

import { Combobox } from "./combobox.js";
import { button, labelled, labelledCheck, make, offer, say, select, uniqueName } from "./dom.js";
import { figure } from "./text.js";

/** States in which nothing else can be asked for. */
export const BUSY = ["preparing", "running", "stopping"];

/**
 * The input of a setting.
 * @param {FormField} field
 * @returns {HTMLInputElement | HTMLSelectElement}
 */
export function settingInput({ kind, choices }) {
  if (kind === "check") return make("input", { type: "checkbox" });
  if (kind === "choice") return select(choices.map((value) => [value, value]));
  const modes = { whole: "numeric", number: "decimal", text: "text" };
  return make("input", { type: "text", inputMode: modes[kind], autocomplete: "off", spellcheck: false });
}

/**
 * @param {HTMLInputElement | HTMLSelectElement} input
 * @returns {input is HTMLInputElement}
 */
function isCheck(input) {
  return input.type === "checkbox";
}

export class Order {
  id = uniqueName("order");
  summary = make("p", { class: "fk-summary" });
  preset = select();
  presetField = labelled(`${this.id}-preset`, "Settings", this.preset);
  fields = make("div", { class: "fk-fields" });
  details = make("details", { class: "fk-settings" }, make("summary", { textContent: "Single settings" }), this.fields);
  startButton = make("button", { type: "submit", class: "fk-start", textContent: "Start" });
  stopButton = button("Stop", () => this.send({ do: "stop" }), { disabled: true });
  message = make("p", { class: "fk-message", role: "alert", hidden: true });
  /** @type {Map<string, HTMLInputElement | HTMLSelectElement>} */
  #inputs = new Map();
  /** Whether the likeliest classes of the photograph are known. */
  #asked = false;

  /**
   * @param {Askable} askable
   * @param {MethodForm[]} methods
   * @param {Send} send
   */
  constructor({ classes, taxa, ranks }, methods, send) {
    this.classes = classes.map((name) => ({ name, note: "" }));
    this.taxa = taxa.map(([name, note]) => ({ name, note }));
    this.methods = new Map(methods.map((method) => [method.name, method]));
    this.send = send;
    const what = taxa.length ? "classes and taxa" : "classes";
    const ask = () => this.#asked || this.send({ do: "likely" });
    this.target = new Combobox(`${this.id}-target`, "Class to explain", what, ask);
    this.against = new Combobox(`${this.id}-against`, "Rather than", what, ask);
    this.rank = select([["", "itself"], ...ranks.map((rank) => [rank, `its ${rank}`])]);
    this.rankField = labelled(`${this.id}-rank`, "Explain", this.rank);
    this.rankField.hidden = !ranks.length;
    this.method = select(methods.map(({ name }) => [name, name]));
    this.method.addEventListener("change", () => this.#showMethod());
    this.preset.addEventListener("change", () => this.#fill());
    this.element = make(
      "form",
      { class: "fk-order", "aria-label": "What to explain" },
      this.target.element,
      this.rankField,
      this.against.element,
      labelled(`${this.id}-method`, "Method", this.method, this.summary),
      this.presetField,
      make("div", { class: "fk-buttons" }, this.startButton, this.stopButton),
      this.message,
      this.details,
    );
    this.setLikely([]);
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
  }

  /**
   * Show what is chosen in Python.
   * @param {string} name
   * @param {string} preset
   */
  setMethod(name, preset) {
    this.method.value = name;
    this.#showMethod(preset);
  }

  /**
   * @param {"target" | "against"} which
   * @param {string | null} name
   */
  setClass(which, name) {
    this[which].name = name;
  }

  /** @param {string | null} rank */
  setRank(rank) {
    this.rank.value = rank ?? "";
  }

  /**
   * The likeliest classes of the photograph and their scores, the predicted one first; none while they are not known.
   * @param {[string, number][]} likely
   */
  setLikely(likely) {
    this.#asked = likely.length > 0;
    const [predicted, runnerUp] = likely;
    this.target.input.placeholder = predicted ? `predicted: ${predicted[0]}` : "the predicted class";
    this.against.input.placeholder = "any other class";
    this.target.describe(predicted ? `Predicted: ${predicted[0]}, ${figure(predicted[1])}` : "");
    this.against.describe(runnerUp ? `Next: ${runnerUp[0]}, ${figure(runnerUp[1])}` : "");
    const offers = likely.map(([name, score]) => ({ name, note: figure(score) }));
    this.target.setGroups(this.#groups(offers));
    this.against.setGroups(this.#groups(offers.slice(1)));
  }

  /** @param {Offer[]} likely */
  #groups(likely) {
    return [
      { title: "Likeliest for this photograph", offers: likely },
      { title: "Taxa", offers: this.taxa },
      { title: "All classes", offers: this.classes },
    ];
  }

  /**
   * What went wrong, and what to do.
   * @param {string} words
   */
  setMessage(words) {
    say(this.message, words);
  }

  /** @param {string} state */
  setState(state) {
    const busy = BUSY.includes(state);
    for (const input of this.element.querySelectorAll("input")) input.disabled = busy;
    for (const input of this.element.querySelectorAll("select")) input.disabled = busy;
    const focused = [this.startButton, this.stopButton].some((each) => each === document.activeElement);
    this.startButton.disabled = busy;
    this.stopButton.disabled = !busy || state === "stopping";
    // A button that is switched off loses the focus; it goes to the other one.
    if (focused) (busy ? this.stopButton : this.startButton).focus();
  }

  /** @param {string | null} preset */
  #showMethod(preset = null) {
    const method = this.#chosen();
    this.summary.textContent = method.summary;
    const names = Object.keys(method.presets);
    offer(
      this.preset,
      names.map((name) => [name, name]),
    );
    this.preset.value = preset !== null && names.includes(preset) ? preset : names[0];
    this.presetField.hidden = names.length < 2;
    this.details.hidden = method.fields.length === 0;
    this.#inputs = new Map(method.fields.map((field) => [field.name, settingInput(field)]));
    this.fields.replaceChildren(...method.fields.map((field) => this.#field(field)));
    this.#fill();
  }

  #chosen() {
    return /** @type {MethodForm} */ (this.methods.get(this.method.value));
  }

  /** @param {FormField} field */
  #field({ name, kind, help }) {
    const id = `${this.id}-field-${name}`;
    const input = /** @type {HTMLInputElement | HTMLSelectElement} */ (this.#inputs.get(name));
    input.title = help;
    input.setAttribute("aria-describedby", `${id}-help`);
    const words = name.replaceAll("_", " ");
    const element = kind === "check" ? labelledCheck(id, words, input) : labelled(id, words, input);
    element.querySelector("label")?.setAttribute("title", help);
    element.append(make("span", { class: "fk-unseen", id: `${id}-help`, textContent: help }));
    return element;
  }

  #fill() {
    const values = this.#chosen().presets[this.preset.value];
    for (const [name, input] of this.#inputs) {
      if (isCheck(input)) input.checked = Boolean(values[name]);
      else input.value = String(values[name]);
    }
  }

  #start() {
    const fields = Object.fromEntries(
      [...this.#inputs].map(([name, input]) => [name, isCheck(input) ? input.checked : input.value]),
    );
    this.send({
      do: "start",
      method: this.method.value,
      preset: this.preset.value,
      fields,
      target: this.target.name,
      against: this.against.name,
      rank: this.rank.value || null,
    });
  }
}
