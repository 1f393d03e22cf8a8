// A plotly figure. plotly.js comes from the kernel, once a page, whatever the number of figures and widgets.

/** Milliseconds after which plotly.js is asked for again: a server that is told too much at once drops messages. */
const PLOTLY_PATIENCE = 20_000;

/** The page's plotly.js of a version: a promise of it, and what fulfils the promise. */
function plotlyShelf(version) {
  const shelves = (globalThis.fidokitPlotly ??= new Map());
  if (!shelves.has(version)) shelves.set(version, Promise.withResolvers?.() ?? withResolvers());
  return shelves.get(version);
}

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

/** What plotly.js, gzipped, exports. It is given a module of its own, and leaves the page's names as they are. */
async function unpackedPlotly(content) {
  const stream = new Blob([bytesOf(content)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  const parts = ["const module = {exports: {}}, exports = module.exports, define = undefined;\n", text,
    "\nexport default module.exports;"];
  const address = URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));
  const before = Object.getOwnPropertyDescriptor(globalThis, "Plotly");
  try {
    return (await import(/* webpackIgnore: true */ address)).default;
  } finally {
    if (before) Object.defineProperty(globalThis, "Plotly", before);
    else delete globalThis.Plotly;
    URL.revokeObjectURL(address);
  }
}

class Plot {
  /**
   * @param send a message to the kernel.
   * @param words what the figure shows, for whoever cannot see it.
   * @param click called with the number of the trace and of the point that was clicked.
   */
  constructor(send, words, click) {
    Object.assign(this, { send, click });
    this.place = make("div", { class: "fk-plot-place", role: "img", "aria-label": words });
    this.state = make("p", { class: "fk-plot-state", role: "status" });
    this.element = make("div", { class: "fk-plot" }, this.state, this.place);
    this.resizing = new ResizeObserver(() => this.drawn && this.plotly.Plots.resize(this.place));
    this.resizing.observe(this.element);
  }

  destroy() {
    this.destroyed = true;
    this.resizing.disconnect();
    clearTimeout(this.timer);
    if (this.drawn) this.plotly.purge(this.place);
  }

  /** Draw a figure, the JSON text of it; `version` is that of its plotly.js. */
  async show(text, version) {
    if (!text) {
      this.state.textContent = "";
      if (this.drawn) this.plotly.purge(this.place);
      this.drawn = false;
      return;
    }
    const turn = (this.turn = (this.turn ?? 0) + 1);
    if (!this.plotly) this.state.textContent = "Fetching the figure";
    this.plotly ??= await this.#plotly(version);
    if (this.destroyed || turn !== this.turn) return;
    const figure = JSON.parse(text);
    await this.plotly.react(this.place, figure.data, { ...figure.layout, autosize: true },
      { displaylogo: false, responsive: false, displayModeBar: false });
    this.state.textContent = "";
    if (this.drawn) return;
    this.drawn = true;
    this.place.on("plotly_click", ({ points: [point] }) => this.click(point.curveNumber, point.pointNumber));
  }

  /** A message of the kernel; plotly.js is one. */
  async take(message, buffers) {
    if (message.kind !== "plotly") return;
    const shelf = plotlyShelf(message.version);
    if (shelf.unpacking) return;
    shelf.unpacking = true;
    try {
      shelf.resolve(await unpackedPlotly(buffers[0]));
    } catch (error) {
      shelf.unpacking = false;
      this.state.textContent = `The figure cannot be drawn: ${error.message}`;
    }
  }

  #plotly(version) {
    const shelf = plotlyShelf(version);
    const ask = () => {
      if (this.destroyed || shelf.unpacking) return;
      this.send({ do: "plotly" });
      this.timer = setTimeout(ask, PLOTLY_PATIENCE);
    };
    ask();
    return shelf.promise;
  }
}
