// A page for modules that need one: jsdom, and stand-ins for what it lacks. The stand-ins draw nothing; a canvas's context
// notes what it is told.

import { JSDOM } from "jsdom";

/**
 * A context that notes the names and arguments of its calls.
 * @param {HTMLCanvasElement} canvas
 */
function notingContext(canvas) {
  const context = { canvas, calls: [] };
  const note =
    (name) =>
    (...args) => {
      context.calls.push([name, ...args]);
    };
  return new Proxy(context, { get: (target, name) => Reflect.get(target, name) ?? note(name) });
}

/** An observer; the last one of a kind can be told what it sees. */
class Observer {
  observed = [];

  constructor(act) {
    this.act = act;
    Reflect.set(this.constructor, "last", this);
  }

  observe(element) {
    this.observed.push(element);
  }

  disconnect() {
    this.observed = [];
  }
}

class Path {
  points = [];

  moveTo(...point) {
    this.points.push(point);
  }

  lineTo(...point) {
    this.points.push(point);
  }

  addPath() {
    this.points.push([]);
  }
}

class Matrix {
  static fromMatrix() {
    return new Matrix();
  }

  multiply() {
    return this;
  }
}

/**
 * Open a page with this body; what the modules use of a browser is global.
 * @param {string} body
 */
export function openPage(body = "") {
  const { window: page } = new JSDOM(`<!DOCTYPE html><body>${body}</body>`, { pretendToBeVisual: true });
  const contexts = new WeakMap();
  page.HTMLCanvasElement.prototype.getContext = function getContext() {
    if (!contexts.has(this)) contexts.set(this, notingContext(this));
    return contexts.get(this);
  };
  page.HTMLElement.prototype.setPointerCapture = () => undefined;
  const bitmaps = [];
  const made = {
    window: page,
    document: page.document,
    getComputedStyle: page.getComputedStyle,
    requestAnimationFrame: (act) => setTimeout(act, 0),
    ResizeObserver: class extends Observer {},
    MutationObserver: page.MutationObserver,
    matchMedia: () => new page.EventTarget(),
    IntersectionObserver: class extends Observer {},
    Path2D: Path,
    DOMMatrix: Matrix,
    ImageData: class {
      constructor(data, width, height) {
        Object.assign(this, { data, width, height });
      }
    },
    CSS: { escape: (text) => text },
    createImageBitmap: (blob) => {
      const bitmap = {
        width: 30,
        height: 20,
        size: blob.size,
        closed: false,
        close: () => Object.assign(bitmap, { closed: true }),
      };
      bitmaps.push(bitmap);
      return Promise.resolve(bitmap);
    },
  };
  Object.assign(globalThis, made);
  return { bitmaps };
}

/** Let all that waits for the next turn of the loop happen. */
export function settled() {
  return new Promise((done) => {
    setTimeout(done, 5);
  });
}

/**
 * Let an element hear of an event, as if somebody caused it.
 * @param {Element} element
 * @param {string} type
 * @param {Record<string, unknown>} [properties]
 */
export function fire(element, type, properties = {}) {
  const event = new globalThis.window.Event(type, { bubbles: true, cancelable: true });
  for (const [key, value] of Object.entries(properties)) Reflect.defineProperty(event, key, { value });
  element.dispatchEvent(event);
  return event;
}

/**
 * Type into a field.
 * @param {HTMLInputElement} input
 * @param {string} text
 */
export function enter(input, text) {
  input.value = text;
  fire(input, "input");
}

/**
 * Choose a value of a list or check an input.
 * @param {HTMLInputElement | HTMLSelectElement} input
 * @param {string | boolean} value
 */
export function choose(input, value) {
  if (typeof value === "boolean") input.checked = value;
  else input.value = value;
  fire(input, "change");
}

/** A widget's model, as anywidget gives it to a view; `sent` are the messages to the kernel. */
export class FakeModel {
  sent = [];
  #listeners = new Map();

  constructor(traits) {
    this.traits = traits;
  }

  get(name) {
    return this.traits[name];
  }

  /** A trait's new value, as if it came from the kernel; `silent` is how a view notes what it knows itself. */
  set(name, value, { silent = false } = {}) {
    this.traits[name] = value;
    if (!silent) this.hear(`change:${name}`);
  }

  send(content, _callbacks, buffers) {
    this.sent.push(buffers ? { ...content, buffers } : content);
  }

  on(event, act) {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), act]);
  }

  off(event, act) {
    this.#listeners.set(
      event,
      (this.#listeners.get(event) ?? []).filter((each) => each !== act),
    );
  }

  /** What a view hears when an event happens. */
  hear(event, ...details) {
    for (const act of this.#listeners.get(event) ?? []) act(...details);
  }

  /** How many listen. */
  get listeners() {
    return [...this.#listeners.values()].flat().length;
  }
}

/** Bytes as the kernel sends them: a view into a longer buffer. */
export function sentBytes(values) {
  const bytes = values instanceof Uint8Array ? values : new Uint8Array(values.buffer ?? values);
  const buffer = new Uint8Array(bytes.length + 7);
  buffer.set(bytes, 3);
  return new DataView(buffer.buffer, 3, bytes.length);
}

/** Colour maps: grey values, and the same upside down. */
export function sentTables() {
  const grey = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
  return { grey: sentBytes(grey), inverse: sentBytes(grey.map((value) => 255 - value)) };
}
