// A scatter of images on a canvas, to select from by box, lasso, click and key. Drawn by hand: plotly's traces for many
// points need a graphics card, and its other ones take a second for 20,000.

const MAP_HEIGHT = 420;
const MOST_MAP_ZOOM = 60;
/** Pixels around a point in which the pointer counts as on it. */
const REACH = 9;
const TOOLS = [["box", "Box"], ["lasso", "Lasso"], ["move", "Move"]];
const WRONG = 0;

let maps = 0;

class ScatterMap {
  /**
   * @param act {select(rows, how), hover(row)}: rows as a Uint32Array; row or -1.
   * @param say what stands for a point, in words.
   */
  constructor(act, say) {
    Object.assign(this, { act, say });
    this.id = `fidokit-map-${++maps}`;
    this.tool = "box";
    this.points = null;
    this.selected = new Uint8Array(0);
    this.count = 0;
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.at = this.cursor = -1;
    this.element = this.#build();
    this.resizing = new ResizeObserver(() => this.#resize());
    this.resizing.observe(this.stage);
  }

  destroy() {
    this.resizing.disconnect();
    this.destroyed = true;
  }

  /** Show these points: x, y, cluster and state as arrays, colours of the clusters. */
  setPoints(points) {
    this.points = points;
    this.n = points.x.length;
    this.selected = new Uint8Array(this.n);
    const range = (values) => {
      let [low, high] = [Infinity, -Infinity];
      for (const value of values) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
      return [low, high];
    };
    const [[left, right], [bottom, top]] = [range(points.x), range(points.y)];
    const span = Math.max(right - left, top - bottom) || 1;
    // In shares of a square; the first is on the left, and y points down.
    this.x = Float32Array.from(points.x, (x) => 0.5 + (0.94 * (x - (left + right) / 2)) / span);
    this.y = Float32Array.from(points.y, (y) => 0.5 - (0.94 * (y - (bottom + top) / 2)) / span);
    // Errors are drawn last: they are what the map is for.
    this.drawn = Uint32Array.from([...Array(this.n).keys()].sort((a, b) => (points.state[a] === WRONG) - (points.state[b] === WRONG)));
    this.#draw();
  }

  /** Show what is selected; the others fade. */
  setSelected(rows) {
    this.selected.fill(0);
    for (const row of rows) this.selected[row] = 1;
    this.count = rows.length;
    this.#draw();
  }

  /** Ring a point, as while its photograph is pointed at; -1 for none. */
  ring(row) {
    this.at = row;
    this.#drawMarks();
  }

  #build() {
    this.base = make("canvas", { class: "fk-map-base", "aria-hidden": "true" });
    this.marks = make("canvas", { class: "fk-map", tabIndex: 0, role: "application" });
    this.marks.setAttribute("aria-label", "Map of the images");
    this.marks.setAttribute("aria-describedby", `${this.id}-help`);
    this.label = make("div", { class: "fk-map-label", hidden: true });
    this.spoken = make("span", { class: "fk-unseen", role: "status" });
    this.stage = make("div", { class: "fk-map-stage" }, this.base, this.marks, this.label);
    const tools = TOOLS.map(([name, words]) => {
      const input = make("input", { type: "radio", name: `${this.id}-tool`, value: name, checked: name === this.tool });
      input.addEventListener("change", () => this.#useTool(name));
      return make("label", { class: "fk-tool" }, input, make("span", { textContent: words }));
    });
    const button = (words, title, act) => {
      const made = make("button", { type: "button", textContent: words, title, "aria-label": title });
      made.addEventListener("click", act);
      return made;
    };
    const help = make("details", { class: "fk-help" }, make("summary", { textContent: "Keys" }),
      make("p", { id: `${this.id}-help`, textContent: "With the map in focus: arrow keys go from image to image, Enter selects "
        + "that one, the space bar adds it or takes it out; a selects all in view, Escape none; plus and minus zoom, 0 shows "
        + "all. A drag selects with the chosen tool, with the shift key held it adds; the wheel zooms while the map is in focus." }));
    this.#listen();
    return make("div", { class: "fk-map-box" },
      make("div", { class: "fk-line" },
        make("fieldset", { class: "fk-tools-of-map" }, make("legend", { class: "fk-unseen", textContent: "A drag" }), ...tools),
        make("div", { class: "fk-zoom", role: "group", "aria-label": "Zoom of the map" },
          button("−", "Zoom out", () => this.#zoomBy(1 / 1.5)), button("+", "Zoom in", () => this.#zoomBy(1.5)),
          button("All", "Show all images", () => this.#reset()))),
      this.stage, this.spoken, help);
  }

  #useTool(name) {
    this.tool = name;
    this.marks.classList.toggle("fk-movable", name === "move");
  }

  #resize() {
    const wide = this.stage.clientWidth;
    if (!wide) return;
    const density = Math.min(window.devicePixelRatio || 1, 2);
    for (const canvas of [this.base, this.marks]) {
      Object.assign(canvas, { width: Math.round(wide * density), height: Math.round(MAP_HEIGHT * density) });
      Object.assign(canvas.style, { width: `${wide}px`, height: `${MAP_HEIGHT}px` });
    }
    this.density = density;
    this.#draw();
  }

  /** Pixels of the canvas a share takes, and where share 0 lies. */
  #frame() {
    const { width, height } = this.base;
    const scale = Math.min(width, height) * this.view.zoom;
    return { scale, left: width / 2 - this.view.x * scale, top: height / 2 - this.view.y * scale };
  }

  #place(row, { scale, left, top } = this.#frame()) {
    return [left + this.x[row] * scale, top + this.y[row] * scale];
  }

  #draw() {
    if (!this.points || !this.density || this.destroyed) return;
    const context = this.base.getContext("2d");
    const frame = this.#frame();
    const { width, height } = this.base;
    context.globalAlpha = 1;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    const size = (this.n > 5000 ? 0.75 : 1) * this.density * Math.min(2, Math.sqrt(this.view.zoom));
    const fade = this.count > 0;
    for (const chosen of fade ? [0, 1] : [0]) {
      context.globalAlpha = fade && !chosen ? 0.22 : 1;
      for (const row of this.drawn) {
        if (fade && this.selected[row] !== chosen) continue;
        const [x, y] = this.#place(row, frame);
        if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
        const sprite = this.#sprite(this.points.cluster[row], this.points.state[row], size);
        context.drawImage(sprite, x - sprite.width / 2, y - sprite.height / 2);
      }
    }
    this.#drawMarks();
  }

  /** A small picture of a point of a colour and state: a cross where the answer is wrong, a ring where nobody knows. */
  #sprite(cluster, state, size) {
    const key = `${cluster} ${state} ${size.toFixed(2)}`;
    this.sprites ??= new Map();
    if (this.sprites.size > 400) this.sprites.clear();
    if (!this.sprites.has(key)) {
      const side = Math.ceil(11 * size);
      const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
      const context = canvas.getContext("2d");
      const colour = this.points.colours[cluster];
      Object.assign(context, { strokeStyle: colour, fillStyle: colour, lineWidth: 2 * size, lineCap: "round" });
      context.translate(side / 2, side / 2);
      context.beginPath();
      if (state === WRONG) {
        const arm = 3.4 * size;
        context.moveTo(-arm, -arm); context.lineTo(arm, arm); context.moveTo(-arm, arm); context.lineTo(arm, -arm);
        context.stroke();
      } else {
        context.arc(0, 0, (state === 1 ? 3 : 2.6) * size, 0, 2 * Math.PI);
        if (state === 1) context.fill(); else { context.lineWidth = size; context.stroke(); }
      }
      this.sprites.set(key, canvas);
    }
    return this.sprites.get(key);
  }

  /** What changes with the pointer: the shape that is drawn, rings around points. */
  #drawMarks() {
    if (!this.points || !this.density) return;
    const context = this.marks.getContext("2d");
    context.clearRect(0, 0, this.marks.width, this.marks.height);
    const frame = this.#frame();
    for (const [row, colour] of [[this.at, "#111"], [document.activeElement === this.marks ? this.cursor : -1, "#0b6a94"]]) {
      if (row < 0) continue;
      const [x, y] = this.#place(row, frame);
      for (const [strokeStyle, lineWidth] of [["#fff", 5], [colour, 2.5]]) {
        Object.assign(context, { strokeStyle, lineWidth: lineWidth * this.density });
        context.beginPath();
        context.arc(x, y, 8 * this.density, 0, 2 * Math.PI);
        context.stroke();
      }
    }
    const path = this.held?.path;
    if (!path || path.length < 2) return;
    context.beginPath();
    if (this.tool === "box") {
      const [[x0, y0], [x1, y1]] = [path[0], path[path.length - 1]];
      context.rect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    } else {
      for (const [x, y] of path) context.lineTo(x, y);
      context.closePath();
    }
    Object.assign(context, { fillStyle: "rgb(11 106 148 / 0.12)", strokeStyle: "#0b6a94", lineWidth: 1.5 * this.density });
    context.fill();
    context.stroke();
  }

  // --- pointer and keys -------------------------------------------------------------------------------------------

  #listen() {
    const { marks } = this;
    marks.addEventListener("pointerdown", (event) => this.#grab(event));
    marks.addEventListener("pointermove", (event) => this.#move(event));
    marks.addEventListener("pointerup", (event) => this.#release(event));
    marks.addEventListener("pointercancel", () => { this.held = null; this.#drawMarks(); });
    marks.addEventListener("pointerleave", () => { if (!this.held) this.#hover(-1); });
    marks.addEventListener("wheel", (event) => {
      // A page that is scrolled past the map must not zoom it.
      if (document.activeElement !== marks && !event.ctrlKey) return;
      event.preventDefault();
      this.#zoomBy(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0015)), this.#pixel(event));
    }, { passive: false });
    marks.addEventListener("keydown", (event) => this.#key(event));
    for (const name of ["focus", "blur"]) marks.addEventListener(name, () => this.#drawMarks());
  }

  #pixel(event) {
    const box = this.marks.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.marks.width, ((event.clientY - box.top) / box.height) * this.marks.height];
  }

  #grab(event) {
    if (event.button !== 0 || !this.points) return;
    this.marks.setPointerCapture(event.pointerId);
    this.marks.focus({ preventScroll: true });
    this.held = { path: this.tool === "move" ? null : [this.#pixel(event)], from: this.#pixel(event), view: { ...this.view } };
  }

  #move(event) {
    const [x, y] = this.#pixel(event);
    if (!this.held) return this.#hover(this.#nearest(x, y, REACH * this.density));
    if (this.tool === "move") {
      const { scale } = this.#frame();
      this.view = { ...this.view, x: this.held.view.x - (x - this.held.from[0]) / scale, y: this.held.view.y - (y - this.held.from[1]) / scale };
      return this.#draw();
    }
    const [lastX, lastY] = this.held.path[this.held.path.length - 1];
    if (Math.hypot(x - lastX, y - lastY) < 2 * this.density) return;
    this.held.path.push([x, y]);
    this.#drawMarks();
  }

  #release(event) {
    const held = this.held;
    this.held = null;
    if (!held) return;
    const [x, y] = this.#pixel(event);
    if (Math.hypot(x - held.from[0], y - held.from[1]) < 4 * this.density && (held.path?.length ?? 1) < 3) {
      const row = this.#nearest(x, y, REACH * this.density);
      if (row >= 0) this.#select([row], event.shiftKey, "click");
      else if (!event.shiftKey && this.tool !== "move" && this.count) this.#select([], false, "click");
      return this.#drawMarks();
    }
    if (this.tool === "move") return;
    held.path.push([x, y]);
    this.#select(this.#inside(held.path), event.shiftKey, this.tool);
  }

  /** Rows within a shape in pixels. */
  #inside(path) {
    const frame = this.#frame();
    const rows = [];
    if (this.tool === "box") {
      const [[x0, y0], [x1, y1]] = [path[0], path[path.length - 1]];
      const [left, right, top, bottom] = [Math.min(x0, x1), Math.max(x0, x1), Math.min(y0, y1), Math.max(y0, y1)];
      for (let row = 0; row < this.n; row++) {
        const [x, y] = this.#place(row, frame);
        if (x >= left && x <= right && y >= top && y <= bottom) rows.push(row);
      }
      return rows;
    }
    const shape = new Path2D();
    for (const [x, y] of path) shape.lineTo(x, y);
    shape.closePath();
    const context = this.marks.getContext("2d");
    for (let row = 0; row < this.n; row++) if (context.isPointInPath(shape, ...this.#place(row, frame), "evenodd")) rows.push(row);
    return rows;
  }

  /** The row nearest to a pixel, within so many of them; -1 if there is none. */
  #nearest(x, y, reach) {
    const frame = this.#frame();
    let [found, least] = [-1, reach * reach];
    for (let row = 0; row < this.n; row++) {
      const [px, py] = this.#place(row, frame);
      const far = (px - x) ** 2 + (py - y) ** 2;
      // Of two at one place, the error.
      if (far < least || (far === least && this.points.state[row] === WRONG)) [found, least] = [row, far];
    }
    return found;
  }

  #select(rows, add, how) {
    const chosen = add ? new Set([...this.#current(), ...rows]) : rows;
    this.act.select(Uint32Array.from(chosen), how);
  }

  #current() {
    const rows = [];
    for (let row = 0; row < this.n; row++) if (this.selected[row]) rows.push(row);
    return rows;
  }

  #hover(row) {
    if (row === this.at) return;
    this.ring(row);
    this.label.hidden = row < 0;
    if (row >= 0) {
      this.label.replaceChildren(...this.say(row).map((words) => make("div", {}, make("bdi", { textContent: words }))));
      const [x, y] = this.#place(row).map((pixels) => pixels / this.density);
      const right = x > this.stage.clientWidth / 2;
      Object.assign(this.label.style, { left: right ? "" : `${x + 14}px`, right: right ? `${this.stage.clientWidth - x + 14}px` : "",
                                        top: `${Math.min(y, MAP_HEIGHT - 90)}px` });
    }
    this.act.hover(row);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.points) return;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in arrows) this.#step(...arrows[event.key]);
    else if (event.key === "+" || event.key === "=") this.#zoomBy(1.5);
    else if (event.key === "-") this.#zoomBy(1 / 1.5);
    else if (event.key === "0") this.#reset();
    else if (event.key === "Escape") this.#select([], false, "key");
    else if (event.key === "a") this.#select(this.#inView(), event.shiftKey, "key");
    else if (event.key === "Enter" && this.cursor >= 0) this.#select([this.cursor], false, "key");
    else if (event.key === " " && this.cursor >= 0) {
      const rows = this.#current().filter((row) => row !== this.cursor);
      this.#select(this.selected[this.cursor] ? rows : [...rows, this.cursor], false, "key");
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** To the nearest point in a direction; one further aside counts as further away. */
  #step(dx, dy) {
    const frame = this.#frame();
    const { width, height } = this.base;
    const [x, y] = this.cursor < 0 ? [width / 2, height / 2] : this.#place(this.cursor, frame);
    let [found, least] = [this.cursor < 0 ? this.#nearest(x, y, Infinity) : this.cursor, Infinity];
    if (this.cursor >= 0) for (let row = 0; row < this.n; row++) {
      const [px, py] = this.#place(row, frame);
      const [along, aside] = [(px - x) * dx + (py - y) * dy, Math.abs((px - x) * dy) + Math.abs((py - y) * dx)];
      if (along <= 0.5) continue;
      const far = along + 2 * aside;
      if (far < least) [found, least] = [row, far];
    }
    this.cursor = found;
    const [px, py] = this.#place(found, frame);
    if (px < 0 || py < 0 || px > width || py > height) {
      this.view = { ...this.view, x: this.x[found], y: this.y[found] };
      this.#draw();
    }
    this.#hover(found);
    this.#drawMarks();
    this.spoken.textContent = [...this.say(found), this.selected[found] ? "selected" : ""].filter(Boolean).join(", ");
  }

  #inView() {
    const frame = this.#frame();
    const { width, height } = this.base;
    const rows = [];
    for (let row = 0; row < this.n; row++) {
      const [x, y] = this.#place(row, frame);
      if (x >= 0 && y >= 0 && x <= width && y <= height) rows.push(row);
    }
    return rows;
  }

  #zoomBy(factor, anchor = null) {
    const { width, height } = this.base;
    const zoom = Math.min(Math.max(this.view.zoom * factor, 1), MOST_MAP_ZOOM);
    const [x, y] = anchor ?? [width / 2, height / 2];
    const before = this.#frame();
    const [shareX, shareY] = [(x - before.left) / before.scale, (y - before.top) / before.scale];
    const scale = Math.min(width, height) * zoom;
    this.view = zoom === 1 ? { zoom, x: 0.5, y: 0.5 }
      : { zoom, x: shareX - (x - width / 2) / scale, y: shareY - (y - height / 2) / scale };
    this.#draw();
  }

  #reset() {
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.#draw();
  }
}
