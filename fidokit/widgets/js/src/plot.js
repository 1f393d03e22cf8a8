// A plotly figure. plotly.js comes from the kernel, once a page, whatever the number of figures and widgets.

/** @import { Plotly, Send } from "./types.d.ts" */

import { bytesOf } from "./bytes.js";
import { make, onTheme } from "./dom.js";

/**
 * The page's plotly.js of a version: a promise of it, what fulfils the promise, and whether somebody is about to.
 * @typedef {{ promise: Promise<Plotly>, resolve: (plotly: Plotly) => void, unpacking: boolean }} Shelf
 */
/** @typedef {{ points: { curveNumber: number, pointNumber: number }[] }} Click */
/** @typedef {HTMLElement & { on(event: "plotly_click", act: (click: Click) => void): void }} DrawnPlace */

/** Milliseconds after which plotly.js is asked for again: a server that is told too much at once drops messages. */
const PLOTLY_PATIENCE = 20_000;

/** Names of axes in a layout. */
const AXIS = /^[xy]axis/;
/** Where all widgets of a page find its plotly.js. */
const SHELVES = "fidokitPlotly";

/**
 * @param {string} version
 * @returns {Shelf}
 */
function plotlyShelf(version) {
  /** @type {Map<string, Shelf>} */
  const shelves = Reflect.get(globalThis, SHELVES) ?? new Map();
  Reflect.set(globalThis, SHELVES, shelves);
  const shelf = shelves.get(version) ?? emptyShelf();
  shelves.set(version, shelf);
  return shelf;
}

/** @returns {Shelf} */
function emptyShelf() {
  const shelf = /** @type {Shelf} */ ({ unpacking: false });
  shelf.promise = new Promise((resolve) => {
    shelf.resolve = resolve;
  });
  return shelf;
}

/**
 * What plotly.js, gzipped, exports. It is given a module of its own, and leaves the page's names as they are.
 * @param {DataView} content
 * @returns {Promise<Plotly>}
 */
async function unpackedPlotly(content) {
  const stream = new Blob([bytesOf(content)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  const parts = [
    "const module = {exports: {}}, exports = module.exports, define = undefined;\n",
    text,
    "\nexport default module.exports;",
  ];
  const address = URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));
  const before = Object.getOwnPropertyDescriptor(globalThis, "Plotly");
  try {
    return (await import(/* webpackIgnore: true */ address)).default;
  } finally {
    if (before) Object.defineProperty(globalThis, "Plotly", before);
    else Reflect.deleteProperty(globalThis, "Plotly");
    URL.revokeObjectURL(address);
  }
}

/**
 * A figure in the colours of the page: clear grounds, text and grid as around it, marks in the accent.
 * @param {{ data: { marker?: object }[], layout: Record<string, object> }} figure
 * @param {CSSStyleDeclaration} style of the page there.
 */
export function themed({ data, layout }, style) {
  const [ink, line, accent] = ["--fk-ink", "--fk-line", "--fk-accent"].map((name) => resolved(style, name));
  const axes = Object.entries(layout).filter(([name]) => AXIS.test(name));
  return {
    data: data.map((trace) => (trace.marker ? { ...trace, marker: { ...trace.marker, color: accent } } : trace)),
    layout: {
      ...layout,
      ...Object.fromEntries(axes.map(([name, axis]) => [name, { ...axis, gridcolor: line, linecolor: line }])),
      font: { ...layout.font, color: ink },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
    },
  };
}

/**
 * A colour that plotly can read: it knows neither variables nor mixtures.
 * @param {CSSStyleDeclaration} style
 * @param {string} name
 */
function resolved(style, name) {
  const probe = document.createElement("canvas").getContext("2d");
  const swatch = make("span");
  swatch.style.color = style.getPropertyValue(name);
  document.body.append(swatch);
  const colour = getComputedStyle(swatch).color;
  swatch.remove();
  if (!probe) return colour;
  Object.assign(probe, { fillStyle: colour });
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1)?.data ?? [0, 0, 0];
  return `rgb(${red},${green},${blue})`;
}

export class Plot {
  /** @type {Plotly | undefined} */
  #plotly;
  /** Whether there is a figure. */
  #drawn = false;
  /** Of the figures that were to be shown, the last one's number. */
  #turn = 0;
  #destroyed = false;
  #text = "";
  #version = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {Send} send
   * @param {string} words what the figure shows, for whoever cannot see it.
   * @param {(trace: number, point: number) => void} click
   */
  constructor(send, words, click) {
    this.send = send;
    this.click = click;
    this.place = make("div", { class: "fk-plot-place", role: "img", "aria-label": words });
    this.state = make("p", { class: "fk-plot-state", role: "status" });
    this.element = make("div", { class: "fk-plot" }, this.state, this.place);
    this.resizing = new ResizeObserver(() => this.#drawn && this.#plotly?.Plots.resize(this.place));
    this.resizing.observe(this.element);
    this.stopTheme = onTheme(() => this.#drawn && this.show(this.#text, this.#version));
  }

  destroy() {
    this.#destroyed = true;
    this.resizing.disconnect();
    this.stopTheme();
    clearTimeout(this.#timer);
    if (this.#drawn) this.#plotly?.purge(this.place);
  }

  /**
   * Draw a figure, or none where the text is empty.
   * @param {string} text JSON of the figure.
   * @param {string} version of its plotly.js.
   */
  async show(text, version) {
    if (!text) {
      this.state.textContent = "";
      if (this.#drawn) this.#plotly?.purge(this.place);
      this.#drawn = false;
      return;
    }
    this.#turn += 1;
    const turn = this.#turn;
    [this.#text, this.#version] = [text, version];
    if (!this.#plotly) this.state.textContent = "Fetching the figure";
    const plotly = this.#plotly ?? (await this.#fetch(version));
    this.#plotly = plotly;
    if (this.#destroyed || turn !== this.#turn) return;
    const figure = JSON.parse(text);
    const { data, layout } = themed(figure, getComputedStyle(this.element));
    await plotly.react(
      this.place,
      data,
      { ...layout, autosize: true },
      {
        displaylogo: false,
        responsive: false,
        displayModeBar: false,
      },
    );
    this.state.textContent = "";
    if (this.#drawn) return;
    this.#drawn = true;
    const place = /** @type {DrawnPlace} */ (/** @type {HTMLElement} */ (this.place));
    place.on("plotly_click", ({ points: [point] }) => this.click(point.curveNumber, point.pointNumber));
  }

  /**
   * A message of the kernel; plotly.js is one.
   * @param {{ kind: string, version: string }} message
   * @param {DataView[]} buffers
   */
  async take(message, buffers) {
    if (message.kind !== "plotly") return;
    const shelf = plotlyShelf(message.version);
    if (shelf.unpacking) return;
    shelf.unpacking = true;
    try {
      shelf.resolve(await unpackedPlotly(buffers[0]));
    } catch (error) {
      shelf.unpacking = false;
      this.state.textContent = `The figure cannot be drawn: ${error instanceof Error ? error.message : error}`;
    }
  }

  /** @param {string} version */
  #fetch(version) {
    const shelf = plotlyShelf(version);
    const ask = () => {
      if (this.#destroyed || shelf.unpacking) return;
      this.send({ do: "plotly" });
      this.#timer = setTimeout(ask, PLOTLY_PATIENCE);
    };
    ask();
    return shelf.promise;
  }
}
