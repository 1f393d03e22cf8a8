// Elements of a page, and a widget's ties to its model.

/** @import { Bytes, Listener, Model, Send, Verdict } from "./types.d.ts" */

import { bytesOf } from "./bytes.js";

/** Set as attributes: they are no properties, or are not written like them. */
const ATTRIBUTES = new Set(["role", "for", "list"]);

/**
 * An element with properties and children; text is text, never HTML.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, unknown>} [properties]
 * @param {...(Node | string | null | undefined)} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function make(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = String(value);
    else if (key === "dataset") Object.assign(made.dataset, value);
    else if (key.startsWith("aria-") || ATTRIBUTES.has(key)) made.setAttribute(key, String(value));
    else Reflect.set(made, key, value);
  }
  // Notebook 7 looks at keys before any element does, and its shortcuts are meant for whatever has the focus.
  if (made.tabIndex >= 0) made.dataset.lmSuppressShortcuts = "true";
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/**
 * A button that submits nothing.
 * @param {string} words
 * @param {() => void} press
 * @param {Record<string, unknown>} [properties]
 */
export function button(words, press, properties = {}) {
  const made = make("button", { type: "button", textContent: words, ...properties });
  made.addEventListener("click", press);
  return made;
}

/**
 * A choice of a list; its options are [value, words].
 * @param {string[][]} options
 * @param {Record<string, unknown>} [properties]
 */
export function select(options = [], properties = {}) {
  const made = make("select", properties);
  offer(made, options);
  return made;
}

/**
 * Offer these options, [value, words], instead of those before.
 * @param {HTMLElement} element
 * @param {string[][]} options
 */
export function offer(element, options) {
  element.replaceChildren(...options.map(([value, words]) => make("option", { value, textContent: words })));
}

/**
 * A field with its label.
 * @param {string} id
 * @param {string} words
 * @param {HTMLElement} input
 * @param {...HTMLElement} more
 */
export function labelled(id, words, input, ...more) {
  input.id = id;
  return make("div", { class: "fk-field" }, make("label", { for: id, textContent: words }), input, ...more);
}

/**
 * A checkbox with its label, which stands behind it.
 * @param {string} id
 * @param {string} words
 * @param {HTMLElement} input
 */
export function labelledCheck(id, words, input) {
  input.id = id;
  return make("div", { class: "fk-field fk-check" }, input, make("label", { for: id, textContent: words }));
}

/**
 * Whether an answer is right, in a sign and a word.
 * @param {Verdict} state
 */
export function verdict(state) {
  const signs = { right: "✓", wrong: "✗", "not judged": "–" };
  return make(
    "span",
    { class: "fk-verdict", dataset: { state } },
    make("span", { "aria-hidden": "true", textContent: `${signs[state]} ` }),
    state,
  );
}

/**
 * @param {string} term
 * @param {string} text
 */
export function factLine(term, text) {
  return make("div", {}, make("dt", { textContent: term }), make("dd", { textContent: text }));
}

/**
 * Text that comes from outside, in a paragraph; it is read in its own direction.
 * @param {string} text
 */
export function paragraph(text) {
  return make("p", {}, make("bdi", { textContent: text }));
}

/**
 * Show what has just opened: focus on its title, and the whole of it in sight as far as it fits.
 * @param {HTMLElement} element
 * @param {HTMLElement} title
 */
export function bringIntoView(element, title) {
  title.focus({ preventScroll: true });
  // After this turn: what is shown in it takes its size first.
  setTimeout(() => element.scrollIntoView?.({ block: "start" }), 0);
}

/** A small piece of hatching, for a legend. */
export function hatchedSwatch() {
  return make("span", { class: "fk-swatch", "aria-hidden": "true" });
}

/**
 * Say something; an element that says nothing is not there.
 * @param {HTMLElement} element
 * @param {string} words
 */
export function say(element, words) {
  element.textContent = words;
  element.hidden = !words;
}

/**
 * A name for identifiers and groups of inputs. Every widget runs a copy of its script, so counting would give the same
 * name to two widgets of one page: their labels and radio buttons would get hold of each other.
 * @param {string} kind
 */
export function uniqueName(kind) {
  const random = Array.from(crypto.getRandomValues(new Uint32Array(2)), (word) => word.toString(36));
  return `fidokit-${kind}-${random.join("")}`;
}

/**
 * What says that the kernel is gone, once it is, and the event to listen to for that: the widget manager's, of a model
 * whose connection was there and is no more. Where nobody tells, it is noticed when something is said to the kernel.
 * @returns {{ element: HTMLElement, event: [string, Listener], tell: () => void }}
 */
export function goneNotice() {
  const words = "The kernel is gone: what is shown here stays, and nothing answers. Run the cell again.";
  const element = make("p", { class: "fk-gone", role: "alert", hidden: true });
  const tell = () => say(element, words);
  return { element, event: ["comm_live_update", tell], tell };
}

/**
 * The element that a widget is in, with the rule that hides its static form while the widget is alive, and in
 * JupyterLab the whole output that the form is in.
 * @param {string} staticClass
 * @param {...HTMLElement} children
 */
export function widgetRoot(staticClass, ...children) {
  const form = `.${CSS.escape(staticClass)}`;
  const rule = make("style", { textContent: `${form}, .jp-OutputArea-child:has(${form}) { display: none; }` });
  return make("div", { class: "fidokit", dataset: { lmSuppressShortcuts: "true" } }, rule, ...children);
}

/**
 * What sends messages to the kernel.
 * @template Traits
 * @param {Model<Traits>} model
 * @param {() => void} lost called where none can be sent.
 * @returns {Send}
 */
export function sender(model, lost) {
  return (message, buffers) => {
    try {
      model.send(message, undefined, buffers);
    } catch {
      lost();
    }
  };
}

/**
 * Act when the page's colours change, until what is returned is called.
 * @param {() => void} act
 */
export function onTheme(act) {
  const watching = new MutationObserver(act);
  watching.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  const system = globalThis.matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", act);
  return () => {
    watching.disconnect();
    system.removeEventListener("change", act);
  };
}

/**
 * Listen to a model until what is returned is called.
 * @template Traits
 * @param {Model<Traits>} model
 * @param {[string, Listener][]} events
 */
export function listen(model, events) {
  for (const [event, act] of events) model.on(event, act);
  return () => {
    for (const [event, act] of events) model.off(event, act);
  };
}

/**
 * What a table of acts by trait listens to.
 * @param {Record<string, () => void>} show
 * @returns {[string, Listener][]}
 */
export function changes(show) {
  return Object.entries(show).map(([trait, act]) => [`change:${trait}`, act]);
}

/**
 * Let the browser save a file.
 * @param {string} name
 * @param {Bytes} content
 * @param {string} type
 */
export function save(name, content, type) {
  const address = URL.createObjectURL(new Blob([bytesOf(content)], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
