// A photograph with masks over it, on a canvas. All of it happens here: no control sends anything to the kernel.

/** Pixels of a mask's longer side that its colours are computed at; drawn larger, they are interpolated. */
const FINE = 512;
const THUMBNAIL = 76;
const MOST_ZOOM = 32;
/** Canvas pixels a side at most: what a screen of high density shows beyond that costs time and is not seen. */
const MOST_PIXELS = 1400;

/** Pixels that the panel and its gap take beside the picture, as in the style sheet. */
const PANEL = 234;

let overlays = 0;

class Overlay {
  /** @param tables colour map name -> 768 bytes. */
  constructor(tables, settings = {}) {
    this.tables = Object.fromEntries(Object.entries(tables).map(([name, data]) => [name, bytesOf(data)]));
    this.state = { opacity: 0.75, threshold: 0, outline: false, colours: Object.keys(tables)[0], layer: 0, compare: -1,
                   swipe: 0.5, hidden: false, zoom: 1, x: 0.5, y: 0.5, ...settings };
    this.layers = [];
    this.photograph = null;
    this.point = null;
    this.id = `fidokit-overlay-${++overlays}`;
    this.element = this.#build();
    this.resizing = new ResizeObserver(() => this.#resize());
    this.resizing.observe(this.element);
    this.#show();
  }

  /** Let go of what outlives the elements. */
  destroy() {
    this.resizing.disconnect();
    this.photograph?.bitmap?.close();
    this.destroyed = true;
  }

  /** Show a photograph; `null` for none. Its window is where the classifier's input lies, in shares of its sides. */
  async setPhotograph(photograph) {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    let bitmap = null;
    if (photograph?.data?.byteLength) {
      bitmap = await createImageBitmap(new Blob([bytesOf(photograph.data)], { type: photograph.type }));
    }
    if (turn !== this.turn || this.destroyed) return bitmap?.close();
    this.photograph?.bitmap.close();
    this.photograph = bitmap && { ...photograph, bitmap, version: turn };
    Object.assign(this.state, { zoom: 1, x: 0.5, y: 0.5 });
    this.point = null;
    for (const layer of this.layers) forget(layer).fine = null;
    this.#resize();
    this.#drawThumbnails();
  }

  /** Show these masks, [{name, height, width, data}]; the chosen one stays chosen where its name is still there. */
  setLayers(layers) {
    const [chosen, other] = [this.layers[this.state.layer]?.name, this.layers[this.state.compare]?.name];
    const names = layers.map((layer) => layer.name);
    this.layers = layers.map((layer) => forget({ ...layer, values: bytesOf(layer.data), fine: null }));
    if (chosen !== undefined) this.state.layer = Math.max(0, names.indexOf(chosen));
    if (other !== undefined) this.state.compare = names.indexOf(other);
    this.#listLayers();
    this.#show();
  }

  /** Show other values of the mask at a position. */
  updateLayer(position, height, width, data) {
    const layer = this.layers[position];
    if (!layer) return;
    Object.assign(forget(layer), { height, width, values: bytesOf(data), fine: null });
    this.#drawThumbnails(position);
    if (position === this.state.layer || position === this.state.compare) this.#schedule();
    if (this.point) this.#read();
  }

  /** Show the mask of this name, if there is one. */
  show(name) {
    const position = this.layers.findIndex((layer) => layer.name === name);
    if (position >= 0) this.set({ layer: position });
  }

  /** Change settings by name, as the controls do. */
  set(changes) {
    Object.assign(this.state, changes);
    this.state.layer = Math.min(Math.max(this.state.layer, 0), Math.max(0, this.layers.length - 1));
    if (this.state.compare >= this.layers.length) this.state.compare = -1;
    if ("colours" in changes || "threshold" in changes || "outline" in changes) {
      for (const layer of this.layers) forget(layer);
    }
    if ("colours" in changes || "threshold" in changes) this.#drawThumbnails();
    this.#show();
  }

  #build() {
    const id = (name) => `${this.id}-${name}`;
    this.canvas = make("canvas", { class: "fk-canvas", tabIndex: 0, role: "application", "aria-describedby": id("help") });
    this.canvas.setAttribute("aria-roledescription", "zoomable picture");
    this.painter = new Painter(this.canvas);
    this.empty = make("p", { class: "fk-empty", textContent: "No photograph yet" });
    this.stage = make("div", { class: "fk-stage" }, this.canvas, this.empty);
    this.readout = make("output", { class: "fk-readout" });
    this.spoken = make("span", { class: "fk-unseen", role: "status" });
    this.list = make("div", { class: "fk-layers" });
    this.chooser = make("fieldset", { class: "fk-field" }, make("legend", { textContent: "Mask" }), this.list);

    const slider = (name, words) => {
      const input = make("input", { type: "range", min: 0, max: 100, step: 1, id: id(name) });
      const value = make("output", { class: "fk-number" });
      value.setAttribute("for", id(name));
      input.addEventListener("input", () => this.set({ [name]: input.valueAsNumber / 100 }));
      this[name] = { input, value };
      return make("div", { class: "fk-field" },
        make("label", { for: id(name), textContent: words }), make("div", { class: "fk-slider" }, input, value));
    };
    const select = (name, words, change) => {
      this[name] = make("select", { id: id(name) });
      this[name].addEventListener("change", change);
      return make("div", { class: "fk-field" }, make("label", { for: id(name), textContent: words }), this[name]);
    };
    const opacity = slider("opacity", "Opacity");
    const threshold = slider("threshold", "Show values from");
    this.swipeField = slider("swipe", "Divider");
    this.compareField = select("compare", "Compare with", () => this.set({ compare: Number(this.compare.value) }));
    const colours = select("colours", "Colours", () => this.set({ colours: this.colours.value }));
    this.colours.append(...Object.keys(this.tables).map((name) => make("option", { value: name, textContent: name })));
    this.outline = make("input", { type: "checkbox", id: id("outline") });
    this.outline.addEventListener("change", () => this.set({ outline: this.outline.checked }));
    const outlineField = make("div", { class: "fk-field fk-check" }, this.outline,
      make("label", { for: id("outline"), textContent: "Outline" }));
    this.ramp = make("canvas", { class: "fk-ramp", width: 256, height: 1, "aria-hidden": "true" });
    const legend = make("div", { class: "fk-legend" }, make("span", { textContent: "0" }), this.ramp,
      make("span", { textContent: "1" }));

    const button = (words, label, act) => {
      const made = make("button", { type: "button", textContent: words, title: label, "aria-label": label });
      made.addEventListener("click", act);
      return made;
    };
    const zoom = make("div", { class: "fk-zoom", role: "group", "aria-label": "Zoom" },
      button("−", "Zoom out", () => this.#zoomBy(1 / 1.5)), button("+", "Zoom in", () => this.#zoomBy(1.5)),
      button("Whole picture", "Show the whole picture", () => this.#reset()));
    const help = make("details", { class: "fk-help" }, make("summary", { textContent: "Keys" }),
      make("p", { id: id("help"), textContent: "With the picture in focus: arrow keys move the point that is read, and "
        + "the picture when it is enlarged; plus and minus zoom, 0 shows the whole picture; 1 to 9 choose a mask; the "
        + "space bar hides it. The wheel zooms while the picture is in focus; a drag moves it." }));
    this.under = make("div", { class: "fk-under" }, this.readout, zoom);
    this.#listen();
    this.view = make("div", { class: "fk-view" }, this.stage, this.under, this.spoken);
    return make("div", { class: "fk-overlay" }, this.view,
      make("div", { class: "fk-panel" }, this.chooser, opacity, threshold, outlineField, this.compareField, this.swipeField,
        make("div", { class: "fk-field" }, colours, legend), help));
  }

  #listLayers() {
    const group = `${this.id}-layer`;
    this.list.replaceChildren(...this.layers.map((layer, position) => {
      const input = make("input", { type: "radio", name: group, value: position });
      input.addEventListener("change", () => this.set({ layer: position, hidden: false }));
      layer.input = input;
      layer.thumbnail = make("canvas", { width: THUMBNAIL, height: THUMBNAIL, "aria-hidden": "true" });
      return make("label", { class: "fk-layer", title: layer.name }, input, layer.thumbnail,
        make("bdi", { textContent: layer.name }));
    }));
    const choices = [["-1", "nothing"], ...this.layers.map((layer, position) => [String(position), layer.name])];
    this.compare.replaceChildren(...choices.map(([value, name]) => make("option", { value, textContent: name })));
    this.#drawThumbnails();
  }

  /** Put the state into the controls, and draw. */
  #show() {
    const { state } = this;
    for (const name of ["opacity", "threshold", "swipe"]) {
      this[name].input.value = Math.round(state[name] * 100);
      this[name].value.textContent = name === "threshold" ? state[name].toFixed(2) : `${Math.round(state[name] * 100)} %`;
    }
    this.outline.checked = state.outline;
    this.colours.value = state.colours;
    this.compare.value = String(state.compare);
    this.layers.forEach((layer, position) => { layer.input.checked = position === state.layer; });
    this.chooser.hidden = this.layers.length === 0;
    this.compareField.hidden = this.layers.length < 2;
    this.swipeField.hidden = state.compare < 0;
    this.#drawRamp();
    const shown = this.layers[state.layer]?.name;
    this.canvas.setAttribute("aria-label", shown ? `Photograph with the mask ${shown}` : "Photograph");
    this.#schedule();
    if (this.point) this.#read();
  }

  /** The mask at the resolution that its colours are computed at. */
  #fine(layer) {
    if (!layer.fine) {
      const [x0, y0, x1, y1] = this.photograph?.window ?? [0, 0, 1, 1];
      const [w, h] = [(x1 - x0) * (this.photograph?.width ?? 1), (y1 - y0) * (this.photograph?.height ?? 1)];
      const { width, height } = this.photograph?.bitmap ?? { width: 0, height: 0 };
      const scale = Math.min(FINE, Math.max(width, height, 64)) / Math.max(w, h);
      layer.fine = upsampled(layer, Math.max(1, Math.round(h * scale)), Math.max(1, Math.round(w * scale)));
    }
    return layer.fine;
  }

  #drawRamp() {
    if (this.rampShows === this.state.colours) return;
    this.rampShows = this.state.colours;
    const values = Uint8Array.from({ length: 256 }, (_, value) => value);
    const words = lookup(this.tables[this.state.colours], 0).map((word) => word | 0xff000000);
    paint(this.ramp, { height: 1, width: 256, values }, words);
  }

  /** Of all layers or of one; at most a few times a second, since a live mask changes often. */
  #drawThumbnails(position = null) {
    (this.stale ??= new Set()).add(position ?? "all");
    this.waiting ??= setTimeout(() => {
      if (this.destroyed) return;
      const all = this.stale.has("all");
      this.layers.forEach((layer, i) => { if (all || this.stale.has(i)) this.#thumbnail(layer); });
      this.stale.clear();
      this.waiting = null;
    }, 120);
  }

  #thumbnail(layer) {
    if (!layer.thumbnail) return;
    drawSmall(layer.thumbnail, this.photograph, layer, lookup(this.tables[this.state.colours], this.state.threshold), THUMBNAIL);
  }

  #painted(layer) {
    if (!layer.painted) {
      layer.surface ??= document.createElement("canvas");
      paint(layer.surface, this.#fine(layer), lookup(this.tables[this.state.colours], this.state.threshold));
      layer.painted = layer.surface;
    }
    return layer.painted;
  }

  #resize() {
    const photograph = this.photograph;
    this.stage.classList.toggle("fk-bare", !photograph);
    if (!photograph || !this.element.clientWidth) return;
    // What the panel leaves, not what the picture takes: it must be able to grow again.
    const beside = getComputedStyle(this.element).gridTemplateColumns.includes(" ");
    const wide = this.element.clientWidth - (beside ? PANEL : 0);
    const most = parseFloat(getComputedStyle(this.stage).getPropertyValue("--fk-height")) || 480;
    const aspect = photograph.width / photograph.height;
    const width = Math.min(wide, most * aspect);
    const density = Math.min(window.devicePixelRatio || 1, MOST_PIXELS / Math.max(width, width / aspect));
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${width / aspect}px`;
    this.under.style.maxWidth = `${Math.max(width, 320)}px`;
    const [columns, rows] = [Math.round(width * density), Math.round((width / aspect) * density)];
    if (this.canvas.width !== columns || this.canvas.height !== rows) Object.assign(this.canvas, { width: columns, height: rows });
    // At once: a canvas that is given a size is empty, and would be seen so until the next frame.
    this.#draw();
  }

  #schedule() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      if (!this.destroyed) this.#draw();
    });
  }

  /** The part of the picture that is seen, in shares: left, top, and width (the height is the same share). */
  #seen() {
    const share = 1 / this.state.zoom;
    const start = (centre) => Math.min(Math.max(centre - share / 2, 0), 1 - share);
    return [start(this.state.x), start(this.state.y), share];
  }

  #draw() {
    const { photograph, state, layers } = this;
    if (!photograph) return;
    const read = this.point && document.activeElement === this.canvas && !this.pointing;
    const shown = state.hidden ? [] : [layers[state.layer], layers[state.compare]].filter(Boolean);
    for (const layer of shown) this.#painted(layer);
    this.painter.draw(photograph, shown, this.#seen(), state, read ? this.point : null);
  }

  /** The masks' values at the point, in words. */
  #read(aloud = false) {
    if (!this.point || !this.photograph) {
      this.readout.textContent = "";
      return;
    }
    const [x, y] = this.point;
    const [x0, y0, x1, y1] = this.photograph.window;
    const [u, v] = [(x - x0) / (x1 - x0), (y - y0) / (y1 - y0)];
    const place = `x ${Math.floor(x * this.photograph.width)}, y ${Math.floor(y * this.photograph.height)}`;
    const value = (layer) => {
      const { height, width, values } = this.#fine(layer);
      return values[Math.floor(v * height) * width + Math.floor(u * width)] / 255;
    };
    const inside = u >= 0 && v >= 0 && u < 1 && v < 1;
    const values = inside ? this.layers.map((layer) => [layer.name, value(layer).toFixed(2)]) : [];
    const words = values.map(([name, number]) => make("span", {}, make("bdi", { textContent: name }), ` ${number}`));
    if (!inside && this.layers.length) words.push(make("span", { textContent: "outside the classifier's input" }));
    this.readout.replaceChildren(make("span", { textContent: place }), ...words);
    if (aloud) this.spoken.textContent = [place, ...values.map((pair) => pair.join(" "))].join(", ");
  }

  #zoomBy(factor, anchor = null) {
    const [left, top, share] = this.#seen();
    const zoom = Math.min(Math.max(this.state.zoom * factor, 1), MOST_ZOOM);
    const [x, y] = anchor ?? [left + share / 2, top + share / 2];
    const kept = this.state.zoom / zoom;
    this.set({ zoom, x: x + (left + share / 2 - x) * kept, y: y + (top + share / 2 - y) * kept });
    this.canvas.classList.toggle("fk-movable", zoom > 1);
  }

  #reset() {
    this.set({ zoom: 1, x: 0.5, y: 0.5 });
    this.canvas.classList.remove("fk-movable");
  }

  #placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const [left, top, share] = this.#seen();
    const inside = (value) => Math.min(Math.max(value, 0), 1 - 1e-9);
    return [left + inside((event.clientX - box.left) / box.width) * share,
            top + inside((event.clientY - box.top) / box.height) * share];
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.#grab(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", () => { this.held = null; });
    canvas.addEventListener("pointercancel", () => { this.held = null; });
    canvas.addEventListener("pointerleave", () => {
      if (!this.held && document.activeElement !== canvas) { this.point = null; this.#read(); }
    });
    canvas.addEventListener("wheel", (event) => {
      // A page that is scrolled past the picture must not zoom it.
      if (document.activeElement !== canvas && !event.ctrlKey) return;
      event.preventDefault();
      this.#zoomBy(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0015)), this.#placeOf(event));
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => this.#zoomBy(2, this.#placeOf(event)));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.#schedule());
  }

  #nearDivider(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.state.compare >= 0 && Math.abs(event.clientX - box.left - this.state.swipe * box.width) < 14;
  }

  #grab(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    this.held = { what: this.#nearDivider(event) ? "divider" : "picture", x: event.clientX, y: event.clientY,
                  from: [...this.#seen()] };
    this.#move(event);
  }

  #move(event) {
    this.pointing = true;
    const box = this.canvas.getBoundingClientRect();
    if (this.held?.what === "divider") {
      this.set({ swipe: Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) });
    } else if (this.held && this.state.zoom > 1) {
      const [left, top, share] = this.held.from;
      const inside = (centre) => Math.min(Math.max(centre, share / 2), 1 - share / 2);
      this.set({ x: inside(left + share / 2 - ((event.clientX - this.held.x) / box.width) * share),
                 y: inside(top + share / 2 - ((event.clientY - this.held.y) / box.height) * share) });
    }
    this.canvas.classList.toggle("fk-dividing", this.held ? this.held.what === "divider" : this.#nearDivider(event));
    this.point = this.#placeOf(event);
    this.#read();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in arrows) this.#step(arrows[event.key], event.shiftKey ? 5 : 1);
    else if (event.key === "+" || event.key === "=") this.#zoomBy(1.5, this.point);
    else if (event.key === "-") this.#zoomBy(1 / 1.5, this.point);
    else if (event.key === "0") this.#reset();
    else if (event.key === " ") this.set({ hidden: !this.state.hidden });
    else if (/^[1-9]$/.test(event.key) && Number(event.key) <= this.layers.length) {
      this.set({ layer: Number(event.key) - 1, hidden: false });
      this.spoken.textContent = this.layers[this.state.layer].name;
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #step([dx, dy], steps) {
    this.pointing = false;
    const [left, top, share] = this.#seen();
    const [x, y] = this.point ?? [left + share / 2, top + share / 2];
    const inside = (value) => Math.min(Math.max(value, 0), 1 - 1e-9);
    this.point = [inside(x + 0.02 * share * steps * dx), inside(y + 0.02 * share * steps * dy)];
    const middle = (value) => Math.min(Math.max(value, share / 2), 1 - share / 2);
    this.set({ x: middle(this.point[0]), y: middle(this.point[1]) });
    this.#read(true);
  }
}
