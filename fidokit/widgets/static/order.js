// What to explain and how: class, contrast, method and its settings; Start and Stop.

/** Class names offered at once; typing narrows them. */
const MOST_OFFERED = 100;

let orders = 0;

class Order {
  constructor(classes, methods, send) {
    this.classes = classes;
    this.methods = new Map(methods.map((method) => [method.name, method]));
    this.send = send;
    this.id = `fidokit-order-${++orders}`;
    this.inputs = new Map();
    this.element = this.#build();
  }

  /** Show what is chosen in Python. */
  setMethod(name, preset) {
    this.method.value = name;
    this.#showMethod(preset);
  }

  setClass(which, name) {
    this[which].value = name ?? "";
  }

  /** The predicted class and the runner-up, as hints. */
  setPrediction(predicted, runnerUp) {
    this.target.placeholder = predicted ? `predicted: ${predicted}` : "the predicted class";
    this.against.placeholder = runnerUp ? `any other, such as ${runnerUp}` : "any other class";
    this.first = runnerUp;
    this.#offer(this.against);
  }

  /** What went wrong, and what to do. */
  setMessage(words) {
    this.message.textContent = words;
    this.message.hidden = !words;
  }

  setState(state) {
    const busy = ["preparing", "running", "stopping"].includes(state);
    for (const element of this.form.querySelectorAll("input, select")) element.disabled = busy;
    const focused = [this.startButton, this.stopButton].includes(document.activeElement);
    this.startButton.disabled = busy;
    this.stopButton.disabled = !busy || state === "stopping";
    // A button that is switched off loses the focus; it goes to the other one.
    if (focused) (busy ? this.stopButton : this.startButton).focus();
  }

  #build() {
    const id = (name) => `${this.id}-${name}`;
    const field = (name, words, element, ...more) => {
      element.id = id(name);
      return make("div", { class: "fk-field" }, make("label", { for: id(name), textContent: words }), element, ...more);
    };
    const classField = (name, words, placeholder) => {
      const offers = make("datalist", { id: id(`${name}-offers`) });
      this[name] = make("input", { type: "text", list: offers.id, placeholder, autocomplete: "off", spellcheck: false });
      this[name].offers = offers;
      this[name].addEventListener("input", () => this.#offer(this[name]));
      return field(name, words, this[name], offers);
    };
    const target = classField("target", "Class to explain", "the predicted class");
    const against = classField("against", "Rather than", "any other class");
    this.method = make("select");
    this.method.append(...[...this.methods.keys()].map((name) => make("option", { value: name, textContent: name })));
    this.method.addEventListener("change", () => this.#showMethod());
    this.summary = make("p", { class: "fk-summary" });
    this.preset = make("select");
    this.preset.addEventListener("change", () => this.#fill());
    this.presetField = field("preset", "Settings", this.preset);
    this.fields = make("div", { class: "fk-fields" });
    this.details = make("details", { class: "fk-settings" }, make("summary", { textContent: "Single settings" }), this.fields);
    this.startButton = make("button", { type: "submit", class: "fk-start", textContent: "Start" });
    this.stopButton = make("button", { type: "button", textContent: "Stop", disabled: true });
    this.stopButton.addEventListener("click", () => this.send({ do: "stop" }));
    this.message = make("p", { class: "fk-message", role: "alert", hidden: true });
    this.form = make("form", { class: "fk-order", "aria-label": "What to explain" }, target, against,
      field("method", "Method", this.method, this.summary), this.presetField,
      make("div", { class: "fk-buttons" }, this.startButton, this.stopButton), this.message, this.details);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    for (const name of ["target", "against"]) this.#offer(this[name]);
    return this.form;
  }

  /** Class names that fit what is typed: those that begin with it first. */
  #offer(input) {
    const typed = input.value.trim().toLocaleLowerCase();
    const fits = this.classes.filter((name) => name.toLocaleLowerCase().includes(typed));
    const begin = fits.filter((name) => name.toLocaleLowerCase().startsWith(typed));
    const hinted = input === this.against && !typed && this.first ? [this.first] : [];
    const offered = [...new Set([...hinted, ...begin, ...fits])].slice(0, MOST_OFFERED);
    input.offers.replaceChildren(...offered.map((value) => make("option", { value })));
  }

  #showMethod(preset = null) {
    const method = this.methods.get(this.method.value);
    this.summary.textContent = method.summary;
    const names = Object.keys(method.presets);
    this.preset.replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })));
    this.preset.value = names.includes(preset) ? preset : names[0];
    this.presetField.hidden = names.length < 2;
    this.details.hidden = method.fields.length === 0;
    this.inputs = new Map(method.fields.map((field) => [field.name, this.#input(field)]));
    this.fields.replaceChildren(...method.fields.map((field) => {
      const id = `${this.id}-field-${field.name}`;
      const input = this.inputs.get(field.name);
      input.id = id;
      input.title = field.help;
      const help = make("span", { class: "fk-unseen", id: `${id}-help`, textContent: field.help });
      input.setAttribute("aria-describedby", help.id);
      return make("div", { class: field.kind === "check" ? "fk-field fk-check" : "fk-field" },
        ...(field.kind === "check" ? [input] : []),
        make("label", { for: id, textContent: field.name.replaceAll("_", " "), title: field.help }),
        ...(field.kind === "check" ? [] : [input]), help);
    }));
    this.#fill();
  }

  #input(field) {
    if (field.kind === "check") return make("input", { type: "checkbox" });
    if (field.kind === "choice") {
      const select = make("select");
      select.append(...field.choices.map((value) => make("option", { value, textContent: value })));
      return select;
    }
    return make("input", { type: "text", inputMode: { whole: "numeric", number: "decimal" }[field.kind] ?? "text",
                           autocomplete: "off", spellcheck: false });
  }

  #fill() {
    const values = this.methods.get(this.method.value).presets[this.preset.value];
    for (const [name, input] of this.inputs) {
      if (input.type === "checkbox") input.checked = values[name];
      else input.value = values[name];
    }
  }

  #start() {
    const fields = Object.fromEntries([...this.inputs].map(([name, input]) =>
      [name, input.type === "checkbox" ? input.checked : input.value]));
    const name = (input) => input.value.trim() || null;
    this.send({ do: "start", method: this.method.value, preset: this.preset.value, fields, target: name(this.target),
                against: name(this.against) });
  }
}
