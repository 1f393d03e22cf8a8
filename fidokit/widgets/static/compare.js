// Written by fidokit/widgets/js/build.js; change the sources there.

// src/bytes.js
function bytesOf(data) {
  if (data instanceof Uint8Array) return (
    /** @type {Uint8Array<ArrayBuffer>} */
    data
  );
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(
      /** @type {ArrayBuffer} */
      data.buffer,
      data.byteOffset,
      data.byteLength
    );
  }
  return new Uint8Array(data);
}

// src/dom.js
var ATTRIBUTES = /* @__PURE__ */ new Set(["role", "for", "list"]);
function make(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = String(value);
    else if (key === "dataset") Object.assign(made.dataset, value);
    else if (key.startsWith("aria-") || ATTRIBUTES.has(key)) made.setAttribute(key, String(value));
    else Reflect.set(made, key, value);
  }
  if (made.tabIndex >= 0) made.dataset.lmSuppressShortcuts = "true";
  made.append(...children.filter((child) => child !== null && child !== void 0));
  return made;
}
function button(words, press, properties = {}) {
  const made = make("button", { type: "button", textContent: words, ...properties });
  made.addEventListener("click", press);
  return made;
}
function select(options = [], properties = {}) {
  const made = make("select", properties);
  offer(made, options);
  return made;
}
function offer(element, options) {
  element.replaceChildren(...options.map(([value, words]) => make("option", { value, textContent: words })));
}
function labelled(id, words, input, ...more) {
  input.id = id;
  return make("div", { class: "fk-field" }, make("label", { for: id, textContent: words }), input, ...more);
}
function labelledCheck(id, words, input) {
  input.id = id;
  return make("div", { class: "fk-field fk-check" }, input, make("label", { for: id, textContent: words }));
}
function verdict(state) {
  const signs = { right: "✓", wrong: "✗", "not judged": "–" };
  return make(
    "span",
    { class: "fk-verdict", dataset: { state } },
    make("span", { "aria-hidden": "true", textContent: `${signs[state]} ` }),
    state
  );
}
function paragraph(text) {
  return make("p", {}, make("bdi", { textContent: text }));
}
function bringIntoView(element, title) {
  title.focus({ preventScroll: true });
  setTimeout(() => element.scrollIntoView?.({ block: "start" }), 0);
}
function hatchedSwatch() {
  return make("span", { class: "fk-swatch", "aria-hidden": "true" });
}
function say(element, words) {
  element.textContent = words;
  element.hidden = !words;
}
function uniqueName(kind) {
  const random = Array.from(crypto.getRandomValues(new Uint32Array(2)), (word) => word.toString(36));
  return `fidokit-${kind}-${random.join("")}`;
}
function goneNotice() {
  const words = "The kernel is gone: what is shown here stays, and nothing answers. Run the cell again.";
  const element = make("p", { class: "fk-gone", role: "alert", hidden: true });
  const tell = () => say(element, words);
  return { element, event: ["comm_live_update", tell], tell };
}
function widgetRoot(staticClass, ...children) {
  const form = `.${CSS.escape(staticClass)}`;
  const rule = make("style", { textContent: `${form}, .jp-OutputArea-child:has(${form}) { display: none; }` });
  return make("div", { class: "fidokit", dataset: { lmSuppressShortcuts: "true" } }, rule, ...children);
}
function sender(model, lost) {
  return (message, buffers) => {
    try {
      model.send(message, void 0, buffers);
    } catch {
      lost();
    }
  };
}
function onTheme(act) {
  const watching = new MutationObserver(act);
  watching.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  const system = globalThis.matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", act);
  return () => {
    watching.disconnect();
    system.removeEventListener("change", act);
  };
}
function listen(model, events) {
  for (const [event, act] of events) model.on(event, act);
  return () => {
    for (const [event, act] of events) model.off(event, act);
  };
}
function changes(show) {
  return Object.entries(show).map(([trait, act]) => [`change:${trait}`, act]);
}

// src/geometry.js
var WHOLE = Object.freeze({ zoom: 1, x: 0.5, y: 0.5 });
var HAIR = 1e-9;
var STEP = 0.02;
var LINES = 1;
function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
function seenPart({ zoom, x, y }) {
  const share = 1 / zoom;
  return [clamp(x - share / 2, 0, 1 - share), clamp(y - share / 2, 0, 1 - share), share];
}
function centreOf([left, top, share]) {
  return [left + share / 2, top + share / 2];
}
function leavesOut([x0, y0, x1, y1], width) {
  const edge = 0.5 / width;
  return x0 > edge || y0 > edge || x1 < 1 - edge || y1 < 1 - edge;
}
function zoomed(view, factor, most, anchor = null) {
  const [centreX, centreY] = centreOf(seenPart(view));
  const zoom = clamp(view.zoom * factor, 1, most);
  const [x, y] = anchor ?? [centreX, centreY];
  const kept = view.zoom / zoom;
  return { zoom, x: x + (centreX - x) * kept, y: y + (centreY - y) * kept };
}
function centredOn([x, y], share) {
  return { x: clamp(x, share / 2, 1 - share / 2), y: clamp(y, share / 2, 1 - share / 2) };
}
function panned(part, [across, down]) {
  const [x, y] = centreOf(part);
  return centredOn([x - across * part[2], y - down * part[2]], part[2]);
}
function pointIn([left, top, share], [across, down]) {
  return [left + clamp(across, 0, 1 - HAIR) * share, top + clamp(down, 0, 1 - HAIR) * share];
}
function stepped([x, y], [dx, dy], share, steps) {
  const far = STEP * share * steps;
  return [clamp(x + far * dx, 0, 1 - HAIR), clamp(y + far * dy, 0, 1 - HAIR)];
}
function valueAt({ height, width, values: values2 }, [across, down]) {
  if (across < 0 || down < 0 || across >= 1 || down >= 1) return null;
  return values2[Math.floor(down * height) * width + Math.floor(across * width)] / 255;
}
function wheelFactor({ deltaY, deltaMode }) {
  return Math.exp(-deltaY * (deltaMode === LINES ? 0.05 : 15e-4));
}
var ARROWS = /* @__PURE__ */ new Map(
  /** @type {[string, Point][]} */
  [
    ["ArrowLeft", [-1, 0]],
    ["ArrowRight", [1, 0]],
    ["ArrowUp", [0, -1]],
    ["ArrowDown", [0, 1]]
  ]
);

// src/picture.js
function upsampled(mask, rows, columns) {
  const { height, width, values: values2 } = mask;
  if (rows <= height && columns <= width) return { height, width, values: values2 };
  const across = new Float32Array(height * columns);
  for (let x = 0; x < columns; x++) {
    const place = clamp((x + 0.5) * width / columns - 0.5, 0, width - 1);
    const left = Math.floor(place);
    const right = Math.min(left + 1, width - 1);
    const share = place - left;
    for (let y = 0; y < height; y++) {
      const row = y * width;
      across[y * columns + x] = values2[row + left] * (1 - share) + values2[row + right] * share;
    }
  }
  const out = new Uint8ClampedArray(rows * columns);
  for (let y = 0; y < rows; y++) {
    const place = clamp((y + 0.5) * height / rows - 0.5, 0, height - 1);
    const top = Math.floor(place) * columns;
    const bottom = Math.min(Math.floor(place) + 1, height - 1) * columns;
    const share = place - Math.floor(place);
    const row = y * columns;
    for (let x = 0; x < columns; x++) out[row + x] = across[top + x] * (1 - share) + across[bottom + x] * share;
  }
  return { height: rows, width: columns, values: out };
}
function lookup(table, threshold) {
  const words = new Uint32Array(256);
  const bytes = new Uint8Array(words.buffer);
  for (let value = 0; value < 256; value++) {
    bytes.set(table.subarray(3 * value, 3 * value + 3), 4 * value);
    bytes[4 * value + 3] = value / 255 >= threshold ? value : 0;
  }
  return words;
}
function shades(threshold) {
  const words = new Uint32Array(256);
  const bytes = new Uint8Array(words.buffer);
  for (let value = 0; value < 256; value++) bytes[4 * value + 3] = value / 255 >= threshold ? 255 - value : 255;
  return words;
}
var DRAWN_AS = (
  /** @type {const} */
  [
    ["colours", "colours"],
    ["outline", "outline"],
    ["dimmed", "dimmed surroundings"]
  ]
);
function wordsOf(style, table, threshold) {
  if (style === "outline") return new Uint32Array(256);
  return style === "dimmed" ? shades(threshold) : lookup(table, threshold);
}
function opaqueLookup(table) {
  const words = lookup(table, 0);
  const bytes = new Uint8Array(words.buffer);
  for (let value = 0; value < 256; value++) bytes[4 * value + 3] = 255;
  return words;
}
function coloured({ values: values2 }, words) {
  const pixels = new Uint32Array(values2.length);
  for (let i = 0; i < pixels.length; i++) pixels[i] = words[values2[i]];
  return pixels;
}
function contextOf(canvas) {
  return (
    /** @type {CanvasRenderingContext2D} */
    canvas.getContext("2d")
  );
}
function paint(canvas, mask, words) {
  if (canvas.width !== mask.width || canvas.height !== mask.height) {
    canvas.width = mask.width;
    canvas.height = mask.height;
  }
  const data = new Uint8ClampedArray(coloured(mask, words).buffer);
  contextOf(canvas).putImageData(new ImageData(data, mask.width, mask.height), 0, 0);
}
function outlinePieces({ height, width, values: values2 }, level) {
  const pieces = [];
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height ? values2[y * width + x] : 0;
  const edge = Math.max(level, 0.5);
  const cut = (a, b) => a === b ? 0.5 : (edge - a) / (b - a);
  const toShares = ([x, y]) => [clamp((x + 0.5) / width, 0, 1), clamp((y + 0.5) / height, 0, 1)];
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
      const sort = sortOf(a, b, c, d, edge);
      if (sort === 0 || sort === 15) continue;
      const found = segments(
        sort,
        [x + cut(a, b), y],
        [x + 1, y + cut(b, c)],
        [x + cut(d, c), y + 1],
        [x, y + cut(a, d)]
      );
      for (const [from, to] of found) pieces.push([toShares(from), toShares(to)]);
    }
  }
  return pieces;
}
function sortOf(a, b, c, d, edge) {
  return (a >= edge ? 8 : 0) + (b >= edge ? 4 : 0) + (c >= edge ? 2 : 0) + (d >= edge ? 1 : 0);
}
function segments(sort, top, right, bottom, left) {
  switch (sort) {
    case 1:
    case 14:
      return [[left, bottom]];
    case 2:
    case 13:
      return [[bottom, right]];
    case 3:
    case 12:
      return [[left, right]];
    case 4:
    case 11:
      return [[top, right]];
    case 6:
    case 9:
      return [[top, bottom]];
    case 7:
    case 8:
      return [[left, top]];
    case 5:
      return [
        [left, top],
        [bottom, right]
      ];
    default:
      return [
        [left, bottom],
        [top, right]
      ];
  }
}
function outline(mask, level) {
  const path = new Path2D();
  for (const [from, to] of outlinePieces(mask, level)) {
    path.moveTo(...from);
    path.lineTo(...to);
  }
  return path;
}

// src/painter.js
var versions = 0;
function forget(layer) {
  layer.painted = null;
  layer.line = null;
  layer.version = ++versions;
  return layer;
}
var Painter = class {
  /** @type {Map<string, { key: string, surface: HTMLCanvasElement }>} */
  #kept = /* @__PURE__ */ new Map();
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */
    canvas.getContext("2d", { alpha: false });
  }
  /**
   * @param {VersionedPhotograph} photograph
   * @param {Layer[]} shown no layer, one, or the two at both sides of the divider; they are painted.
   * @param {Part} seen
   * @param {Look} look
   * @param {Point | null} point where the cross is drawn, in shares of the picture.
   */
  draw(photograph, shown, seen, look, point) {
    const { canvas, context } = this;
    const [left, top, share] = seen;
    const view = { left, top, share, across: canvas.width / share, down: canvas.height / share, photograph };
    const place = [photograph.version, canvas.width, canvas.height, ...seen];
    const masks = [...place, shown.length > 1 ? look.swipe : 1, ...shown.map((layer) => layer.version)];
    const parts = shown.map((layer, i) => ({ layer, stretch: stretchOf(i, shown.length, view, look.swipe) }));
    context.globalAlpha = 1;
    const ground = this.#keep("ground", place, (to) => drawGround(to, view));
    context.drawImage(ground, 0, 0);
    if (!shown.length) return;
    context.globalAlpha = look.opacity;
    context.drawImage(
      this.#keep("masks", masks, (to) => {
        for (const { layer, stretch } of parts) drawMask(to, view, stretch, layer);
      }),
      0,
      0
    );
    context.globalAlpha = 1;
    if (!look.outline && shown.length < 2 && !point) return;
    context.drawImage(
      this.#keep("marks", [...masks, look.threshold, look.outline, point], (to) => {
        for (const { layer, stretch } of look.outline ? parts : [])
          drawOutline(to, view, stretch, layer, look.threshold);
        if (shown.length > 1) drawDivider(to, look.swipe * canvas.width);
        if (point) drawCross(to, (point[0] - left) * view.across, (point[1] - top) * view.down);
      }),
      0,
      0
    );
  }
  /**
   * A canvas of the picture's size with what `draw` draws; as it was, while the key is.
   * @param {string} name
   * @param {unknown[]} parts of the key.
   * @param {(context: CanvasRenderingContext2D) => void} draw
   */
  #keep(name, parts, draw) {
    const key = parts.join();
    const kept = this.#kept.get(name) ?? { key: "", surface: document.createElement("canvas") };
    this.#kept.set(name, kept);
    if (kept.key !== key) {
      kept.key = key;
      Object.assign(kept.surface, { width: this.canvas.width, height: this.canvas.height });
      draw(contextOf(kept.surface));
    }
    return kept.surface;
  }
};
function stretchOf(side, sides, { left, share }, swipe) {
  const divider = left + share * swipe;
  if (sides < 2) return [left, left + share];
  return side === 0 ? [left, divider] : [divider, left + share];
}
function drawGround(context, seen) {
  const { left, top, share, across, photograph } = seen;
  const { width, height } = photograph.bitmap;
  context.imageSmoothingEnabled = across < 6 * width;
  const part = (
    /** @type {const} */
    [left * width, top * height, share * width, share * height]
  );
  context.drawImage(photograph.bitmap, ...part, 0, 0, context.canvas.width, context.canvas.height);
  useShares(context, seen);
  hatch(context, photograph);
}
var hatching;
function hatchingTile() {
  if (hatching) return hatching;
  const side = 8;
  hatching = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const context = contextOf(hatching);
  context.fillStyle = "rgb(12 14 16 / 0.55)";
  context.fillRect(0, 0, side, side);
  context.strokeStyle = "rgb(255 255 255 / 0.55)";
  context.lineWidth = 1.5;
  context.beginPath();
  for (const shift of [-side, 0, side]) {
    context.moveTo(shift, side);
    context.lineTo(shift + side, 0);
  }
  context.stroke();
  return hatching;
}
function hatch(context, { window: [x0, y0, x1, y1], width }) {
  if (!leavesOut([x0, y0, x1, y1], width)) return;
  context.beginPath();
  context.rect(0, 0, 1, 1);
  context.rect(x0, y0, x1 - x0, y1 - y0);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = /** @type {CanvasPattern} */
  context.createPattern(hatchingTile(), "repeat");
  context.fill("evenodd");
}
function drawMask(context, seen, stretch, layer) {
  within(context, seen, stretch, ([x0, y0, x1, y1]) => {
    context.drawImage(
      /** @type {HTMLCanvasElement} */
      layer.painted,
      x0,
      y0,
      x1 - x0,
      y1 - y0
    );
  });
}
function drawOutline(context, seen, stretch, layer, threshold) {
  layer.line ??= outline(layer.fine ?? layer, 255 * (threshold || 0.5));
  const { line } = layer;
  within(context, seen, stretch, (window2) => strokeTwice(context, line, window2));
}
function useShares(context, { left, top, across, down }) {
  context.setTransform(across, 0, 0, down, -left * across, -top * down);
}
function within(context, seen, [from, to], draw) {
  context.save();
  useShares(context, seen);
  context.beginPath();
  context.rect(from, 0, to - from, 1);
  context.clip();
  draw(seen.photograph.window);
  context.restore();
}
var TWO_TONES = (
  /** @type {const} */
  [
    ["rgb(0 0 0 / 0.7)", 2],
    ["#fff", 1]
  ]
);
function strokeTwice(context, line, [x0, y0, x1, y1]) {
  const path = new Path2D();
  const inWindow = new DOMMatrix([x1 - x0, 0, 0, y1 - y0, x0, y0]);
  path.addPath(line, DOMMatrix.fromMatrix(context.getTransform()).multiply(inWindow));
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  for (const [strokeStyle, wide] of TWO_TONES) {
    Object.assign(context, { strokeStyle, lineWidth: 2 * wide * (window.devicePixelRatio || 1), lineCap: "round" });
    context.stroke(path);
  }
  context.restore();
}
function drawDivider(context, x) {
  const { height } = context.canvas;
  const thick = window.devicePixelRatio || 1;
  for (const [colour, wide] of TWO_TONES) {
    Object.assign(context, { strokeStyle: colour, fillStyle: colour, lineWidth: 2 * wide * thick });
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, height);
    context.stroke();
    context.beginPath();
    context.arc(x, height / 2, (5 + 2 * wide) * thick, 0, 2 * Math.PI);
    context.fill();
  }
}
function drawCross(context, x, y) {
  const arm = 9 * (window.devicePixelRatio || 1);
  for (const [strokeStyle, wide] of TWO_TONES) {
    Object.assign(context, { strokeStyle, lineWidth: wide * arm / 6 });
    context.beginPath();
    context.moveTo(x - arm, y);
    context.lineTo(x + arm, y);
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
    context.stroke();
  }
}
var SMALL_MASK = 76;
function smallSize({ width, height }, side, density) {
  const scale = side * Math.min(2, density) / Math.max(width, height);
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}
function drawSmall(canvas, photograph, layer, words, side, { opacity = 1, line = false, frame = null } = {}) {
  const shown = photograph ?? layer;
  if (!shown) return;
  Object.assign(canvas, smallSize(shown, side, window.devicePixelRatio || 1));
  const context = contextOf(canvas);
  if (photograph) {
    context.drawImage(photograph.bitmap, 0, 0, canvas.width, canvas.height);
    context.setTransform(canvas.width, 0, 0, canvas.height, 0, 0);
    hatch(context, photograph);
  }
  context.setTransform(canvas.width, 0, 0, canvas.height, 0, 0);
  if (frame) strokeTwice(context, rectangle(frame), [0, 0, 1, 1]);
  if (!layer) return;
  const [x0, y0, x1, y1] = photograph?.window ?? [0, 0, 1, 1];
  context.globalAlpha = opacity;
  layer.small ??= document.createElement("canvas");
  paint(layer.small, upsampled(layer, SMALL_MASK, SMALL_MASK), words);
  context.drawImage(layer.small, x0, y0, x1 - x0, y1 - y0);
  context.globalAlpha = 1;
  if (line) strokeTwice(context, outline(upsampled(layer, SMALL_MASK, SMALL_MASK), 255 / 2), [x0, y0, x1, y1]);
}
function rectangle([x0, y0, x1, y1]) {
  const path = new Path2D();
  path.moveTo(x0, y0);
  for (const [x, y] of [
    [x1, y0],
    [x1, y1],
    [x0, y1],
    [x0, y0]
  ])
    path.lineTo(x, y);
  return path;
}

// src/tiles.js
var MOST_PICTURES = 300;
var Pictures = class {
  /** @type {Map<Key, Picture>} */
  #kept = /* @__PURE__ */ new Map();
  /** @type {Set<Key>} */
  #asked = /* @__PURE__ */ new Set();
  /** @type {Key[]} */
  #fresh = [];
  #destroyed = false;
  /**
   * @param {(keys: Key[]) => void} ask called with keys whose pictures are needed; they arrive by `take`.
   * @param {(key: Key) => void} changed called with the key of a picture that has come.
   */
  constructor(ask, changed) {
    this.ask = ask;
    this.changed = changed;
  }
  destroy() {
    this.#giveBack();
    this.#destroyed = true;
  }
  /**
   * The picture of a key; undefined while it is not there, which asks for it.
   * @param {Key} key
   */
  get(key) {
    const picture = this.#kept.get(key);
    if (picture) {
      this.#kept.delete(key);
      this.#kept.set(key, picture);
    } else if (!this.#asked.has(key)) {
      if (!this.#fresh.length) queueMicrotask(() => this.ask(this.#fresh.splice(0)));
      this.#asked.add(key);
      this.#fresh.push(key);
    }
    return picture;
  }
  /** Forget all, as when other masks are shown. */
  clear() {
    this.#giveBack();
    this.#kept.clear();
    this.#asked.clear();
  }
  /**
   * A picture that the kernel sent: photograph, its near part or none, and layers, and their data in order.
   * @param {Key} key
   * @param {{ photograph: SentPhotograph, near: SentPhotograph[], layers: SentLayer[] }} sent
   * @param {DataView[]} buffers
   */
  async take(key, { photograph, near, layers }, buffers) {
    const [whole, part = null] = await Promise.all([photograph, ...near].map((each, i) => opened(each, buffers[i])));
    if (this.#destroyed) {
      for (const each of [whole, part]) each?.bitmap.close();
      return;
    }
    this.#asked.delete(key);
    giveBack(this.#kept.get(key));
    const first = 1 + near.length;
    this.#kept.set(key, {
      photograph: whole,
      near: part,
      part: photograph.part ?? null,
      unseen: photograph.unseen ?? "",
      reason: photograph.reason ?? "",
      layers: new Map(layers.map((layer, i) => [layer.name, smallLayer(layer, buffers[first + i], part)]))
    });
    for (const [old, picture] of this.#kept) {
      if (this.#kept.size <= MOST_PICTURES) break;
      giveBack(picture);
      this.#kept.delete(old);
    }
    this.changed(key);
  }
  #giveBack() {
    for (const picture of this.#kept.values()) giveBack(picture);
  }
};
async function opened({ type, width = 0, height = 0, window: window2 }, data) {
  if (!data.byteLength) return null;
  const bitmap = await createImageBitmap(new Blob([bytesOf(data)], { type }));
  return { bitmap, width, height, window: (
    /** @type {Window} */
    window2
  ) };
}
function giveBack(picture) {
  picture?.photograph?.bitmap.close();
  picture?.near?.bitmap.close();
}
function smallLayer({ height, width }, data, part) {
  const layer = { height, width, values: bytesOf(data) };
  return { ...layer, near: part !== null && isMarkedIn(layer, part.window) };
}
function isMarkedIn({ height, width, values: values2 }, [x0, y0, x1, y1]) {
  const across = [-x0, 1 - x0].map((edge) => width * edge / (x1 - x0));
  const down = [-y0, 1 - y0].map((edge) => height * edge / (y1 - y0));
  const covers = ([from, to], cell) => cell + 1 > from && cell < to;
  let [inside, most] = [0, 0];
  for (const [i, value] of values2.entries()) {
    most = Math.max(most, value);
    if (value > inside && covers(across, i % width) && covers(down, Math.floor(i / width))) inside = value;
  }
  return 2 * inside >= most;
}
function drawTile(canvas, picture, name, words, side, { opacity, line = false, whole = false }) {
  const layer = name === null ? null : picture.layers.get(name);
  const photograph = layer?.near && !whole ? picture.near : picture.photograph;
  drawSmall(canvas, photograph, layer, words, side, { opacity, line, frame: layer || whole ? null : picture.part });
}
function drawRamp(canvas, table) {
  const values2 = Uint8Array.from({ length: 256 }, (_, value) => value);
  paint(canvas, { height: 1, width: 256, values: values2 }, opaqueLookup(table));
}
function emptyLegend() {
  const ramp = make("canvas", { class: "fk-ramp", width: 256, height: 1, "aria-hidden": "true" });
  const ends = ["0", "1"].map((textContent) => make("span", { textContent }));
  return { ramp, legend: make("div", { class: "fk-legend" }, ends[0], ramp, ends[1]) };
}
function legendOf(table) {
  const { ramp, legend } = emptyLegend();
  drawRamp(ramp, table);
  return legend;
}

// src/overlay_controls.js
var FAILING = ["explains little"];
var THUMBNAIL = 76;
var HELP = "With the picture in focus: arrow keys move the point that is read, and the picture when it is enlarged; plus and minus zoom, 0 shows the whole picture, r the mask's region; 1 to 9 choose a mask; the space bar hides it. The wheel zooms while the picture is in focus; a drag moves it.";
function shareInWords(name, share) {
  return name === "threshold" ? share.toFixed(2) : `${Math.round(share * 100)} %`;
}
var Slider = class {
  /**
   * @param {string} id
   * @param {SliderName} name
   * @param {string} words
   * @param {(share: number) => void} change
   */
  constructor(id, name, words, change) {
    this.name = name;
    this.input = make("input", { type: "range", min: 0, max: 100, step: 1, id });
    this.value = make("output", { class: "fk-number", for: id });
    this.input.addEventListener("input", () => change(this.input.valueAsNumber / 100));
    this.element = make(
      "div",
      { class: "fk-field" },
      make("label", { for: id, textContent: words }),
      make("div", { class: "fk-slider" }, this.input, this.value)
    );
  }
  /** @param {number} share */
  show(share) {
    this.input.value = String(Math.round(share * 100));
    this.value.textContent = shareInWords(this.name, share);
  }
};
var OverlayControls = class {
  /** The name of the colours that the legend shows. */
  #legend = "";
  /**
   * @param {string} id that the identifiers of its elements begin with; the keys are described by `${id}-help`.
   * @param {Record<string, Uint8Array>} tables colour map name -> 768 bytes.
   * @param {(changes: Partial<Settings>) => void} set
   */
  constructor(id, tables, set) {
    this.id = id;
    this.tables = tables;
    this.set = set;
    this.list = make("div", { class: "fk-layers" });
    this.chooser = make("fieldset", { class: "fk-field" }, make("legend", { textContent: "Mask" }), this.list);
    this.none = make("p", { class: "fk-no-mask", textContent: "No mask yet" });
    this.opacity = new Slider(`${id}-opacity`, "opacity", "Opacity", (opacity) => set({ opacity }));
    this.threshold = new Slider(`${id}-threshold`, "threshold", "Show values from", (threshold) => set({ threshold }));
    this.swipe = new Slider(`${id}-swipe`, "swipe", "Divider", (swipe) => set({ swipe }));
    this.drawnAs = select(DRAWN_AS.map(([value, words]) => [value, words]));
    this.drawnAs.addEventListener("change", () => set({ drawn_as: this.drawnAs.value }));
    this.outline = make("input", { type: "checkbox" });
    this.outline.addEventListener("change", () => set({ outline: this.outline.checked }));
    this.compare = select();
    this.compare.addEventListener("change", () => set({ compare: Number(this.compare.value) }));
    this.compareField = labelled(`${id}-compare`, "Compare with", this.compare);
    this.colours = select(Object.keys(tables).map((name) => [name, name]));
    this.colours.addEventListener("change", () => set({ colours: this.colours.value }));
    const { ramp, legend } = emptyLegend();
    this.ramp = ramp;
    this.outlineField = labelledCheck(`${id}-outline`, "Outline", this.outline);
    const colours = labelled(`${id}-colours`, "Colours", this.colours);
    this.coloursField = make("div", { class: "fk-field" }, colours, legend);
    this.element = make(
      "div",
      { class: "fk-panel" },
      this.chooser,
      this.none,
      labelled(`${id}-drawn-as`, "Mask drawn as", this.drawnAs),
      this.opacity.element,
      this.threshold.element,
      this.outlineField,
      this.compareField,
      this.swipe.element,
      this.coloursField,
      make(
        "details",
        { class: "fk-help" },
        make("summary", { textContent: "Keys" }),
        make("p", { id: `${id}-help`, textContent: HELP })
      )
    );
  }
  /**
   * Offer these layers; each gets its input and its thumbnail.
   * @param {Layer[]} layers
   */
  offerLayers(layers) {
    const rows = layers.map((layer, position) => {
      layer.input = make("input", { type: "radio", name: `${this.id}-layer`, value: position });
      layer.input.addEventListener("change", () => this.set({ layer: position, hidden: false }));
      layer.thumbnail = make("canvas", { width: THUMBNAIL, height: THUMBNAIL, "aria-hidden": "true" });
      const name = make("bdi", { textContent: layer.name });
      const verdict2 = layer.verdict ? make("small", { textContent: layer.verdict }) : null;
      const classes = `fk-layer${FAILING.includes(layer.verdict) ? " fk-back" : ""}`;
      return make("label", { class: classes, title: layer.name }, layer.input, layer.thumbnail, name, verdict2);
    });
    this.list.replaceChildren(...rows);
    offer(this.compare, [["-1", "nothing"], ...layers.map((layer, position) => [String(position), layer.name])]);
  }
  /**
   * Show these settings of these layers.
   * @param {Settings} settings
   * @param {Layer[]} layers
   */
  show(settings, layers) {
    this.opacity.show(settings.opacity);
    this.threshold.show(settings.threshold);
    this.swipe.show(settings.swipe);
    this.outline.checked = settings.outline;
    this.drawnAs.value = settings.drawn_as;
    this.outlineField.hidden = settings.drawn_as === "outline";
    this.opacity.element.hidden = settings.drawn_as === "outline";
    this.coloursField.hidden = settings.drawn_as !== "colours";
    this.colours.value = settings.colours;
    this.compare.value = String(settings.compare);
    for (const [position, layer] of layers.entries()) layer.input.checked = position === settings.layer;
    this.chooser.hidden = layers.length === 0;
    this.none.hidden = layers.length > 0;
    this.element.classList.toggle("fk-maskless", layers.length === 0);
    this.compareField.hidden = layers.length < 2;
    this.swipe.element.hidden = settings.compare < 0;
    if (this.#legend === settings.colours) return;
    this.#legend = settings.colours;
    drawRamp(this.ramp, this.tables[settings.colours]);
  }
};

// src/text.js
function figure(value) {
  if (value === null || value === void 0 || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 100) return counted(Math.round(value));
  if (size >= 0.01) return value.toFixed(2);
  if (size === 0) return "0";
  return size >= 1e-4 ? value.toPrecision(2) : value.toExponential(1);
}
function counted(value) {
  return value.toLocaleString("en");
}

// src/overlay.js
var FINE = 512;
var MOST_ZOOM = 32;
var INSET = 96;
var BUTTON_ZOOM = 1.5;
var MOST_PIXELS = 1400;
var PANEL = 234;
var GRIP = 14;
var NO_PHOTOGRAPH = "No photograph yet";
var DIGIT = /^[1-9]$/;
var PATIENCE = 120;
var Overlay = class {
  id = uniqueName("overlay");
  canvas = make("canvas", {
    class: "fk-canvas",
    tabIndex: 0,
    role: "application",
    "aria-describedby": `${this.id}-help`,
    "aria-roledescription": "zoomable picture"
  });
  empty = make("p", { class: "fk-empty", textContent: NO_PHOTOGRAPH });
  inset = make("canvas", { "aria-hidden": "true" });
  here = make("span", { class: "fk-here" });
  insetButton = button("", () => this.#reset(), {
    class: "fk-inset",
    hidden: true,
    title: "See all of it",
    "aria-label": "Where this part lies; see all of it"
  });
  stage = make(
    "div",
    { class: "fk-stage" },
    make("div", { class: "fk-picture" }, this.canvas, this.insetButton),
    this.empty
  );
  unseenWords = make("span");
  /** What the classifier does not see. */
  unseen = make("div", { class: "fk-cut", hidden: true }, hatchedSwatch(), this.unseenWords);
  readout = make("output", { class: "fk-readout" });
  spoken = make("span", { class: "fk-unseen", role: "status" });
  toRegion = button("Region", () => this.#look(this.#region()), {
    title: "Show the mask's region",
    "aria-label": "Show the mask's region",
    hidden: true
  });
  under = make("div", { class: "fk-under" }, this.readout, this.#zoomButtons());
  view = make("div", { class: "fk-view" }, this.stage, this.under, this.unseen, this.spoken);
  painter = new Painter(this.canvas);
  /** @type {Layer[]} */
  #layers = [];
  /** @type {VersionedPhotograph | null} */
  #photograph = null;
  /** Of the photographs that were to be shown, the last one's number. */
  #turn = 0;
  /** Whether somebody has chosen what is seen of the photograph. */
  #moved = false;
  /** The point whose values are read. @type {Point | null} */
  #point = null;
  /** Whether the pointer chose it. */
  #pointing = false;
  /** @type {Held | null} */
  #held = null;
  /** Layers whose thumbnails are to be drawn again. @type {Set<Layer>} */
  #stale = /* @__PURE__ */ new Set();
  /** @type {ReturnType<typeof setTimeout> | null} */
  #waiting = null;
  /** @type {number | null} */
  #drawing = null;
  #destroyed = false;
  /** @param {Record<string, Bytes>} tables colour map name -> 768 bytes. */
  constructor(tables) {
    this.tables = Object.fromEntries(Object.entries(tables).map(([name, data]) => [name, bytesOf(data)]));
    this.state = {
      opacity: 0.75,
      threshold: 0,
      outline: false,
      drawn_as: "colours",
      colours: Object.keys(tables)[0],
      layer: 0,
      compare: -1,
      swipe: 0.5,
      hidden: false,
      ...WHOLE
    };
    this.controls = new OverlayControls(this.id, this.tables, (changes2) => this.set(changes2));
    this.insetButton.append(this.inset, this.here);
    this.element = make("div", { class: "fk-overlay" }, this.view, this.controls.element);
    this.#listen();
    this.resizing = new ResizeObserver(() => this.#resize());
    this.resizing.observe(this.element);
    this.#show();
  }
  /** Let go of what outlives the elements. */
  destroy() {
    this.resizing.disconnect();
    this.#photograph?.bitmap.close();
    this.#destroyed = true;
  }
  /**
   * Show a photograph; `null`, or one without data, for none.
   * @param {SentPhotograph | null} photograph
   */
  async setPhotograph(photograph) {
    this.#turn += 1;
    const version = this.#turn;
    const bitmap = photograph?.data?.byteLength ? await createImageBitmap(new Blob([bytesOf(photograph.data)], { type: photograph.type })) : null;
    if (version !== this.#turn || this.#destroyed) {
      bitmap?.close();
      return;
    }
    this.#photograph?.bitmap.close();
    const { width = 1, height = 1, window: window2 = [0, 0, 1, 1] } = photograph ?? {};
    this.#photograph = bitmap && { bitmap, width, height, window: window2, version };
    this.#moved = false;
    this.#point = null;
    const cut = bitmap !== null && leavesOut(window2, width);
    this.empty.textContent = photograph?.reason || NO_PHOTOGRAPH;
    this.unseen.hidden = !cut;
    this.unseenWords.textContent = `Hatched: ${photograph?.unseen || "not seen by the classifier"}`;
    drawSmall(this.inset, this.#photograph, null, new Uint32Array(256), INSET);
    this.#open();
    for (const layer of this.#layers) forget(layer).fine = null;
    this.#resize();
    this.#drawThumbnails(this.#layers);
  }
  /**
   * Show these masks; the chosen one stays chosen where its name is still there.
   * @param {SentLayer[]} layers
   */
  setLayers(layers) {
    const [chosen, other] = [this.#layers[this.state.layer]?.name, this.#layers[this.state.compare]?.name];
    const names = layers.map((layer) => layer.name);
    this.#layers = layers.map(emptyLayer);
    if (chosen !== void 0) this.state.layer = Math.max(0, names.indexOf(chosen));
    if (other !== void 0) this.state.compare = names.indexOf(other);
    this.controls.offerLayers(this.#layers);
    this.#drawThumbnails(this.#layers);
    this.#open();
  }
  /** See the region of the chosen mask, unless somebody has looked elsewhere. */
  #open() {
    if (!this.#moved) Object.assign(this.state, this.#region());
    this.#show();
  }
  /** @returns {View} */
  #region() {
    const [x, y, zoom] = this.#layers[this.state.layer]?.view ?? [WHOLE.x, WHOLE.y, WHOLE.zoom];
    return { x, y, zoom };
  }
  /**
   * Show other values of the mask at a position.
   * @param {number} position
   * @param {{ height: number, width: number, view?: [number, number, number] }} about
   * @param {Bytes} data
   */
  updateLayer(position, about, data) {
    const layer = this.#layers[position];
    if (!layer) return;
    Object.assign(forget(layer), about, { values: bytesOf(data), fine: null });
    this.#drawThumbnails([layer]);
    if (position === this.state.layer || position === this.state.compare) this.#schedule();
    this.#read();
  }
  /**
   * Show the mask of this name, if there is one.
   * @param {string} name
   */
  show(name) {
    const position = this.#layers.findIndex((layer) => layer.name === name);
    if (position < 0) return;
    this.set({ layer: position });
    this.#open();
  }
  /**
   * Change settings, as the controls do.
   * @param {Partial<Settings & View>} changes
   */
  set(changes2) {
    const { state } = this;
    Object.assign(state, changes2);
    state.layer = clamp(state.layer, 0, Math.max(0, this.#layers.length - 1));
    if (state.compare >= this.#layers.length) state.compare = -1;
    const recoloured = "colours" in changes2 || "threshold" in changes2 || "drawn_as" in changes2;
    if (recoloured || "outline" in changes2) for (const layer of this.#layers) forget(layer);
    if (recoloured) this.#drawThumbnails(this.#layers);
    this.#show();
  }
  #zoomButtons() {
    const titled = (words, label, act) => button(words, act, { title: label, "aria-label": label });
    return make(
      "div",
      { class: "fk-zoom", role: "group", "aria-label": "Zoom" },
      titled("−", "Zoom out", () => this.#zoomBy(1 / BUTTON_ZOOM)),
      titled("+", "Zoom in", () => this.#zoomBy(BUTTON_ZOOM)),
      this.toRegion,
      titled("Whole picture", "Show the whole picture", () => this.#reset())
    );
  }
  /** Put the state into the controls, and draw. */
  #show() {
    this.controls.show(this.state, this.#layers);
    const shown = this.#layers[this.state.layer]?.name;
    this.canvas.setAttribute("aria-label", shown ? `Photograph with the mask ${shown}` : "Photograph");
    this.canvas.classList.toggle("fk-movable", this.state.zoom > 1);
    this.toRegion.hidden = this.#region().zoom <= 1;
    this.insetButton.hidden = this.state.zoom <= 1;
    const [left, top, share] = seenPart(this.state);
    const edges = { left, top, width: share, height: share };
    for (const [name, value] of Object.entries(edges)) this.here.style.setProperty(name, `${100 * value}%`);
    this.#schedule();
    this.#read();
  }
  /**
   * The mask at the resolution that its colours are computed at.
   * @param {Layer} layer
   */
  #fine(layer) {
    layer.fine ??= upsampled(layer, ...fineSize(this.#photograph));
    return layer.fine;
  }
  #colours() {
    return wordsOf(this.state.drawn_as, this.tables[this.state.colours], this.state.threshold);
  }
  /**
   * Draw thumbnails, at most a few times a second.
   * @param {Layer[]} layers
   */
  #drawThumbnails(layers) {
    for (const layer of layers) this.#stale.add(layer);
    this.#waiting ??= setTimeout(() => {
      this.#waiting = null;
      if (this.#destroyed) return;
      for (const layer of this.#layers) {
        if (this.#stale.has(layer)) drawSmall(layer.thumbnail, this.#photograph, layer, this.#colours(), THUMBNAIL);
      }
      this.#stale.clear();
    }, PATIENCE);
  }
  #resize() {
    const photograph = this.#photograph;
    this.stage.classList.toggle("fk-bare", !photograph);
    if (!photograph || !this.element.clientWidth) return;
    const beside = getComputedStyle(this.element).gridTemplateColumns.includes(" ");
    const wide = this.element.clientWidth - (beside ? PANEL : 0);
    const most = Number.parseFloat(getComputedStyle(this.stage).getPropertyValue("--fk-height")) || 480;
    const aspect = photograph.width / photograph.height;
    const width = Math.min(wide, most * aspect);
    const density = Math.min(window.devicePixelRatio || 1, MOST_PIXELS / Math.max(width, width / aspect));
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${width / aspect}px`;
    this.under.style.maxWidth = `${Math.max(width, 320)}px`;
    const size = { width: Math.round(width * density), height: Math.round(width / aspect * density) };
    if (this.canvas.width !== size.width || this.canvas.height !== size.height) Object.assign(this.canvas, size);
    this.#draw();
  }
  #schedule() {
    this.#drawing ??= requestAnimationFrame(() => {
      this.#drawing = null;
      if (!this.#destroyed) this.#draw();
    });
  }
  #draw() {
    const photograph = this.#photograph;
    const { state } = this;
    if (!photograph) return;
    const read = document.activeElement === this.canvas && !this.#pointing ? this.#point : null;
    const chosen = state.hidden ? [] : [this.#layers[state.layer], this.#layers[state.compare]];
    const shown = chosen.filter((layer) => layer !== void 0);
    for (const layer of shown) {
      if (!layer.painted) paint(layer.surface, this.#fine(layer), this.#colours());
      layer.painted = layer.surface;
    }
    const outline2 = state.outline || state.drawn_as === "outline";
    this.painter.draw(photograph, shown, seenPart(state), { ...state, outline: outline2 }, read);
  }
  /** Say the masks' values at the point, if there is one. */
  #read(aloud = false) {
    const photograph = this.#photograph;
    if (!this.#point || !photograph) {
      this.readout.textContent = "";
      return;
    }
    const [x, y] = this.#point;
    const [x0, y0, x1, y1] = photograph.window;
    const inside = [(x - x0) / (x1 - x0), (y - y0) / (y1 - y0)];
    const place = `x ${Math.floor(x * photograph.width)}, y ${Math.floor(y * photograph.height)}`;
    const values2 = this.#layers.map((layer) => ({ name: layer.name, value: valueAt(this.#fine(layer), inside) }));
    const known = values2.flatMap(({ name, value }) => value === null ? [] : [{ name, text: figure(value) }]);
    const words = known.map(({ name, text }) => make("span", {}, make("bdi", { textContent: name }), ` ${text}`));
    if (values2.length && !known.length) words.push(make("span", { textContent: "outside the classifier's input" }));
    this.readout.replaceChildren(make("span", { textContent: place }), ...words);
    if (aloud) this.spoken.textContent = [place, ...known.map(({ name, text }) => `${name} ${text}`)].join(", ");
  }
  /**
   * @param {number} factor
   * @param {Point | null} anchor
   */
  #zoomBy(factor, anchor = null) {
    this.#look(zoomed(this.state, factor, MOST_ZOOM, anchor));
  }
  #reset() {
    this.#look(WHOLE);
  }
  /**
   * See what somebody has asked for.
   * @param {Partial<View>} view
   */
  #look(view) {
    this.#moved = true;
    this.set(view);
  }
  // --- pointer and keys -------------------------------------------------------------------------------------------
  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.#grab(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => {
        this.#held = null;
      });
    }
    canvas.addEventListener("pointerleave", () => {
      if (this.#held || document.activeElement === canvas) return;
      this.#point = null;
      this.#read();
    });
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => this.#zoomBy(2, this.#placeOf(event)));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.#schedule());
  }
  /**
   * The pointer's place, in shares of the picture.
   * @param {MouseEvent} event
   */
  #placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = (
      /** @type {Point} */
      [
        (event.clientX - box.left) / box.width,
        (event.clientY - box.top) / box.height
      ]
    );
    return pointIn(seenPart(this.state), place);
  }
  /** @param {WheelEvent} event */
  #wheel(event) {
    if (document.activeElement !== this.canvas && !event.ctrlKey) return;
    event.preventDefault();
    this.#zoomBy(wheelFactor(event), this.#placeOf(event));
  }
  /** @param {PointerEvent} event */
  #nearDivider(event) {
    const box = this.canvas.getBoundingClientRect();
    const far = Math.abs(event.clientX - box.left - this.state.swipe * box.width);
    return this.state.compare >= 0 && far < GRIP;
  }
  /** @param {PointerEvent} event */
  #grab(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    const what = this.#nearDivider(event) ? "divider" : "picture";
    this.#held = { what, x: event.clientX, y: event.clientY, from: seenPart(this.state) };
    this.#move(event);
  }
  /** @param {PointerEvent} event */
  #move(event) {
    this.#pointing = true;
    const box = this.canvas.getBoundingClientRect();
    const held = this.#held;
    if (held?.what === "divider") {
      this.set({ swipe: clamp((event.clientX - box.left) / box.width, 0, 1) });
    } else if (held && this.state.zoom > 1) {
      this.#look(panned(held.from, [(event.clientX - held.x) / box.width, (event.clientY - held.y) / box.height]));
    }
    this.canvas.classList.toggle("fk-dividing", held ? held.what === "divider" : this.#nearDivider(event));
    this.#point = this.#placeOf(event);
    this.#read();
  }
  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!this.#press(event.key, event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
  }
  /**
   * Do what a key is for; false where it is for nothing.
   * @param {string} key
   * @param {boolean} shift
   */
  #press(key, shift) {
    const direction = ARROWS.get(key);
    if (direction) this.#step(direction, shift ? 5 : 1);
    else if (key === "+" || key === "=") this.#zoomBy(BUTTON_ZOOM, this.#point);
    else if (key === "-") this.#zoomBy(1 / BUTTON_ZOOM, this.#point);
    else if (key === "0") this.#reset();
    else if (key === "r") this.#look(this.#region());
    else if (key === " ") this.set({ hidden: !this.state.hidden });
    else if (DIGIT.test(key) && Number(key) <= this.#layers.length) this.#choose(Number(key) - 1);
    else return false;
    return true;
  }
  /** @param {number} position of a layer. */
  #choose(position) {
    this.set({ layer: position, hidden: false });
    this.spoken.textContent = this.#layers[position].name;
  }
  /**
   * @param {Point} direction
   * @param {number} steps
   */
  #step(direction, steps) {
    this.#pointing = false;
    const part = seenPart(this.state);
    this.#point = stepped(this.#point ?? centreOf(part), direction, part[2], steps);
    this.#look(centredOn(this.#point, part[2]));
    this.#read(true);
  }
};
function emptyLayer({ name, height, width, data, view, verdict: verdict2 = "" }) {
  return forget({
    name,
    view,
    verdict: verdict2,
    height,
    width,
    values: bytesOf(data),
    version: 0,
    fine: null,
    surface: make("canvas"),
    painted: null,
    line: null,
    input: make("input"),
    thumbnail: make("canvas")
  });
}
function fineSize(photograph) {
  const { window: [x0, y0, x1, y1] = [0, 0, 1, 1], width = 1, height = 1 } = photograph ?? {};
  const [across, down] = [(x1 - x0) * width, (y1 - y0) * height];
  const { bitmap = { width: 0, height: 0 } } = photograph ?? {};
  const scale = Math.min(FINE, Math.max(bitmap.width, bitmap.height, 64)) / Math.max(across, down);
  return [Math.max(1, Math.round(down * scale)), Math.max(1, Math.round(across * scale))];
}

// src/compare_detail.js
var WORDS = "All figures of this image";
var CompareDetail = class {
  title = make("h3", { tabIndex: -1 });
  figures = make("div", { class: "fk-scroll", tabIndex: 0, role: "region", "aria-label": WORDS });
  reasons = make("div", { class: "fk-reasons" });
  /** The image that was shown last. */
  #shown = "";
  /**
   * @param {Record<string, Bytes>} tables colour map name -> 768 bytes.
   * @param {(wanted: Look) => void} look
   */
  constructor(tables, look) {
    this.overlay = new Overlay(tables);
    const close = button("Close", () => look({ image_id: "" }));
    this.element = make(
      "section",
      { class: "fk-detail", "aria-label": "One image", hidden: true },
      make("div", { class: "fk-line" }, this.title, close),
      this.overlay.element,
      this.figures,
      this.reasons
    );
  }
  /** @param {Detail | { about?: undefined }} detail of no image where it is empty. */
  show(detail) {
    const wasHidden = this.element.hidden;
    this.element.hidden = !detail.about;
    if (!detail.about) return;
    const { about, names, lines, reasons } = detail;
    const predicted = make("bdi", { textContent: about.predicted || "nothing" });
    this.title.replaceChildren(
      make("bdi", { textContent: about.image }),
      " ",
      verdict(about.state),
      ", called ",
      predicted
    );
    this.figures.replaceChildren(figuresTable(names, lines));
    this.reasons.replaceChildren(...reasons.map(paragraph));
    if (wasHidden || about.image !== this.#shown) bringIntoView(this.element, this.title);
    this.#shown = about.image;
  }
};
function figuresTable(names, lines) {
  const columns = names.map((name) => make("th", { scope: "col" }, make("bdi", { textContent: name })));
  const head = make("tr", {}, make("th", { scope: "col", textContent: "Figure" }), ...columns);
  const rows = lines.map(([words, better, ...values2]) => {
    const note = better ? make("small", { textContent: ` ${better}` }) : null;
    const cells = values2.map((value) => make("td", { textContent: value }));
    return make("tr", {}, make("th", { scope: "row" }, words, note), ...cells);
  });
  return make("table", { class: "fk-table" }, make("thead", {}, head), make("tbody", {}, ...rows));
}

// src/compare_page.js
var WAYS = (
  /** @type {Record<string, string>} */
  { "higher is better": "↑", "lower is better": "↓" }
);
var TILE = 260;
var WORDS2 = "Masks by image and method";
var ComparePage = class {
  head = make("thead");
  body = make("tbody");
  #look = { opacity: 0.75, line: false, whole: false };
  #words;
  /** Of each image that is shown. @type {Map<string, { tiles: Tile[], reason: HTMLElement, unseen: HTMLElement }>} */
  #shown = /* @__PURE__ */ new Map();
  /**
   * @param {Uint8Array} table colours of a mask's values, 768 bytes.
   * @param {Pictures<string>} pictures by image.
   * @param {(wanted: Look) => void} look
   */
  constructor(table, pictures, look) {
    this.table = table;
    this.#words = wordsOf("colours", table, 0);
    this.pictures = pictures;
    this.look = look;
    const caption = make("caption", { class: "fk-unseen", textContent: WORDS2 });
    const page = make("table", { class: "fk-page" }, caption, this.head, this.body);
    this.element = make("div", { class: "fk-scroll", tabIndex: 0, role: "region", "aria-label": WORDS2 }, page);
  }
  /**
   * @param {PageRow[]} rows
   * @param {string[]} panels names of the masks, a column each.
   * @param {Figure[]} figures that are said of each mask.
   */
  show(rows, panels, figures) {
    const columns = panels.map((name) => make("th", { scope: "col" }, make("bdi", { textContent: name })));
    this.head.replaceChildren(make("tr", {}, make("th", { scope: "col", textContent: "Photograph" }), ...columns));
    this.element.style.setProperty("--fk-columns", String(1 + columns.length));
    this.#shown = /* @__PURE__ */ new Map();
    this.body.replaceChildren(...rows.map((row) => this.#row(row, panels, figures)));
    if (!rows.length) {
      const words = "No image fits. Change the search or the choice.";
      this.body.append(make("tr", {}, make("td", { colSpan: panels.length + 1, textContent: words })));
    }
    this.drawAll();
  }
  /**
   * Draw the tiles of an image, once its picture is there.
   * @param {string} image
   */
  draw(image) {
    const shown = this.#shown.get(image);
    const picture = shown && this.pictures.get(image);
    if (!picture) return;
    shown.reason.textContent = picture.reason;
    shown.unseen.replaceChildren(...picture.unseen ? [hatchedSwatch(), picture.unseen] : []);
    for (const { name, canvas } of shown.tiles) drawTile(canvas, picture, name, this.#words, TILE, this.#look);
  }
  drawAll() {
    for (const image of this.#shown.keys()) this.draw(image);
  }
  /** @param {number} opacity */
  setOpacity(opacity) {
    this.#look.opacity = opacity;
    this.drawAll();
  }
  /** @param {string} style one of `DRAWN_AS`. */
  setStyle(style) {
    this.#words = wordsOf(style, this.table, 0);
    this.#look.line = style === "outline";
    this.drawAll();
  }
  /** @param {boolean} whole whether masks are shown on the whole picture. */
  setWhole(whole) {
    this.#look.whole = whole;
    this.drawAll();
  }
  /**
   * @param {PageRow} row
   * @param {string[]} panels
   * @param {Figure[]} figures
   */
  #row(row, panels, figures) {
    const photograph = emptyTile(null, `Photograph ${row.image}`);
    const masks = row.cells.map(
      ({ there }, i) => there ? emptyTile(panels[i], `Mask ${panels[i]} of ${row.image}`) : null
    );
    const [reason, unseen] = [make("p", { class: "fk-reason" }), make("p", { class: "fk-cut" })];
    this.#shown.set(row.image, { tiles: [photograph, ...masks.filter((tile) => tile !== null)], reason, unseen });
    const open = make(
      "button",
      { type: "button", class: "fk-open", title: "Show it large", "aria-label": `Show ${row.image} large` },
      photograph.canvas
    );
    open.addEventListener("click", () => this.look({ image_id: row.image }));
    const about = make("th", { scope: "row" }, open, reason, ...wordsOn(row), unseen);
    const cells = row.cells.map((cell, i) => {
      if (FAILING.some((failing) => cell.words[0]?.startsWith(failing))) masks[i]?.canvas.classList.add("fk-back");
      const picture = masks[i]?.canvas ?? make("p", { class: "fk-none", textContent: "No mask" });
      const asked = cell.asked ? make("p", { class: "fk-asked" }, make("bdi", { textContent: cell.asked })) : null;
      const verdicts = cell.words.map((words) => make("p", { class: "fk-found", textContent: words }));
      return make("td", {}, picture, asked, values(cell, figures), ...verdicts);
    });
    return make("tr", { dataset: { image: row.image } }, about, ...cells);
  }
};
function emptyTile(name, words) {
  const canvas = make("canvas", { class: "fk-tile", width: 1, height: 1, role: "img", "aria-label": words });
  return { name, canvas };
}
function wordsOn({ image, state, label, predicted, score, reason, value }) {
  return [
    make("p", { class: "fk-file" }, make("bdi", { textContent: image })),
    make("p", {}, verdict(state)),
    make("p", {}, "label ", make("bdi", { textContent: label || "none" })),
    make("p", {}, "called ", make("bdi", { textContent: predicted || "nothing" }), score ? ` ${score}` : null),
    reason ? make("p", { textContent: reason }) : null,
    value ? make("p", { class: "fk-value", textContent: value }) : null
  ];
}
function values(cell, figures) {
  const lines = figures.map(({ words, better }, i) => {
    const value = make("dd", { textContent: cell.values[i] });
    const way = better ? make("span", { title: better, textContent: ` ${WAYS[better] ?? ""}` }) : null;
    return make("div", { title: better }, make("dt", {}, words, way), value);
  });
  return make("dl", { class: "fk-values" }, ...lines);
}

// src/compare_tools.js
var TYPING = 250;
var OF_IMAGES = ["dataset", "score", "margin"];
var STATES = ["all", "wrong", "right", "not judged"];
var Choices = class {
  #key = "";
  /** @type {HTMLInputElement[]} */
  #inputs = [];
  /**
   * @param {string} words
   * @param {(chosen: string[]) => void} change
   */
  constructor(words, change) {
    this.change = change;
    this.list = make("div", { class: "fk-choices" });
    const legend = make("legend", { class: "fk-unseen", textContent: words });
    this.element = make(
      "details",
      { class: "fk-chosen" },
      make("summary", { textContent: words }),
      make("fieldset", { class: "fk-field" }, legend, this.list)
    );
  }
  /**
   * @param {string[][]} offered name and words of each.
   * @param {string[]} chosen
   */
  show(offered, chosen) {
    const key = JSON.stringify(offered);
    if (key !== this.#key) {
      this.#key = key;
      this.#inputs = offered.map(([value]) => make("input", { type: "checkbox", value }));
      const labels = offered.map(
        ([, words], i) => make("label", { class: "fk-choice" }, this.#inputs[i], make("bdi", { textContent: words }))
      );
      this.list.replaceChildren(...labels);
      for (const input of this.#inputs) input.addEventListener("change", () => this.change(this.#chosen()));
    }
    for (const input of this.#inputs) input.checked = chosen.includes(input.value);
  }
  #chosen() {
    return this.#inputs.filter((input) => input.checked).map((input) => input.value);
  }
};
var CompareTools = class {
  sort = select();
  of = select();
  descending = select([
    ["", "lowest first"],
    ["1", "highest first"]
  ]);
  state = select(STATES.map((state) => [state, state]));
  search = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;
  /** @param {(wanted: Look) => void} look */
  constructor(look) {
    this.sort.addEventListener("change", () => look({ sort: this.sort.value }));
    this.of.addEventListener("change", () => look({ of: this.of.value }));
    this.state.addEventListener("change", () => look({ state: this.state.value }));
    this.descending.addEventListener("change", () => look({ descending: this.descending.value !== "" }));
    this.search.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => look({ search: this.search.value }), TYPING);
    });
    this.panels = new Choices("Masks shown", (panels) => look({ panels }));
    this.metrics = new Choices("Figures shown", (metrics) => look({ metrics }));
    const id = uniqueName("compare-tools");
    this.element = make(
      "form",
      { class: "fk-tools", "aria-label": "What to compare" },
      labelled(`${id}-sort`, "Order by", this.sort),
      labelled(`${id}-of`, "of", this.of),
      labelled(`${id}-way`, "Direction", this.descending),
      labelled(`${id}-state`, "Answers", this.state),
      labelled(`${id}-search`, "Search file, label or class", this.search),
      this.panels.element,
      this.metrics.element
    );
    this.element.addEventListener("submit", (event) => event.preventDefault());
  }
  /**
   * Show what the kernel has chosen; what is being typed stays.
   * @param {Pick<Model<ToolTraits>, "get">} model
   */
  show(model) {
    const names = model.get("_names").map((name) => [name, name]);
    offer(this.sort, model.get("_orders"));
    this.sort.value = model.get("sort");
    offer(this.of, [["mean", "all masks, mean"], ...names]);
    this.of.value = model.get("of");
    this.of.disabled = OF_IMAGES.includes(model.get("sort"));
    this.descending.value = model.get("descending") ? "1" : "";
    this.state.value = model.get("state");
    if (document.activeElement !== this.search) this.search.value = model.get("search");
    this.panels.show(names, model.get("panels"));
    this.metrics.show(model.get("_figures"), model.get("metrics"));
  }
};

// src/plot.js
var PLOTLY_PATIENCE = 2e4;
var AXIS = /^[xy]axis/;
var SHELVES = "fidokitPlotly";
function plotlyShelf(version) {
  const shelves = Reflect.get(globalThis, SHELVES) ?? /* @__PURE__ */ new Map();
  Reflect.set(globalThis, SHELVES, shelves);
  const shelf = shelves.get(version) ?? emptyShelf();
  shelves.set(version, shelf);
  return shelf;
}
function emptyShelf() {
  const shelf = (
    /** @type {Shelf} */
    { unpacking: false }
  );
  shelf.promise = new Promise((resolve) => {
    shelf.resolve = resolve;
  });
  return shelf;
}
async function unpackedPlotly(content) {
  const stream = new Blob([bytesOf(content)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  const parts = [
    "const module = {exports: {}}, exports = module.exports, define = undefined;\n",
    text,
    "\nexport default module.exports;"
  ];
  const address = URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));
  const before = Object.getOwnPropertyDescriptor(globalThis, "Plotly");
  try {
    return (await import(
      /* webpackIgnore: true */
      address
    )).default;
  } finally {
    if (before) Object.defineProperty(globalThis, "Plotly", before);
    else Reflect.deleteProperty(globalThis, "Plotly");
    URL.revokeObjectURL(address);
  }
}
function themed({ data, layout }, style) {
  const [ink, line, accent] = ["--fk-ink", "--fk-line", "--fk-accent"].map((name) => resolved(style, name));
  const axes = Object.entries(layout).filter(([name]) => AXIS.test(name));
  return {
    data: data.map((trace) => trace.marker ? { ...trace, marker: { ...trace.marker, color: accent } } : trace),
    layout: {
      ...layout,
      ...Object.fromEntries(axes.map(([name, axis]) => [name, { ...axis, gridcolor: line, linecolor: line }])),
      font: { ...layout.font, color: ink },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)"
    }
  };
}
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
var Plot = class {
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
    const plotly = this.#plotly ?? await this.#fetch(version);
    this.#plotly = plotly;
    if (this.#destroyed || turn !== this.#turn) return;
    const figure2 = JSON.parse(text);
    const { data, layout } = themed(figure2, getComputedStyle(this.element));
    await plotly.react(
      this.place,
      data,
      { ...layout, autosize: true },
      {
        displaylogo: false,
        responsive: false,
        displayModeBar: false
      }
    );
    this.state.textContent = "";
    if (this.#drawn) return;
    this.#drawn = true;
    const place = (
      /** @type {DrawnPlace} */
      /** @type {HTMLElement} */
      this.place
    );
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
};

// src/compare.js
var PLOT = "Means of the figures shown, with 95 % intervals; the same figures stand in study.summary()";
function pageInWords([fit, all, pages], page) {
  return `Page ${page + 1} of ${counted(pages)}; ${counted(fit)} of ${counted(all)} images`;
}
function render({ model, el }) {
  const gone = goneNotice();
  const send = sender(model, gone.tell);
  const look = (wanted) => send({ do: "look", ...wanted });
  const tables = model.get("_tables");
  const table = bytesOf(Object.values(tables)[0]);
  const pictures = new Pictures(
    (images) => send({ do: "pictures", images }),
    (key) => page.draw(key)
  );
  const page = new ComparePage(table, pictures, look);
  const tools = new CompareTools(look);
  const detail = new CompareDetail(tables, look);
  const plot = new Plot(send, PLOT, (trace, point) => send({ do: "clicked", trace, point }));
  const alert = make("p", { class: "fk-message", role: "alert", hidden: true });
  const remark = make("p", { class: "fk-remark", hidden: true });
  const count = make("p", { class: "fk-count", role: "status" });
  const before = button("Previous page", () => look({ page: model.get("page") - 1 }));
  const after = button("Next page", () => look({ page: model.get("page") + 1 }));
  const opacity = make("input", { type: "range", min: 0, max: 100, step: 5, value: 75 });
  opacity.addEventListener("input", () => page.setOpacity(opacity.valueAsNumber / 100));
  const summary = make(
    "details",
    { class: "fk-summary-figure", open: true },
    make("summary", { textContent: "Means over all images" }),
    make("p", { textContent: "A click on a mean shows the images behind it, the worst first." }),
    plot.element
  );
  const style = select(DRAWN_AS.map(([value, words]) => [value, words]));
  style.addEventListener("change", () => page.setStyle(style.value));
  const whole = make("input", { type: "checkbox" });
  whole.addEventListener("change", () => page.setWhole(whole.checked));
  const opacityField = labelled(`${uniqueName("compare")}-opacity`, "Opacity", opacity);
  const looks = [
    labelled(`${uniqueName("compare")}-drawn-as`, "Masks drawn as", style),
    labelledCheck(`${uniqueName("compare")}-whole`, "Whole pictures", whole)
  ];
  const line = make("div", { class: "fk-line" }, before, after, count, ...looks, opacityField, legendOf(table));
  const parts = [remark, alert, summary, tools.element, line, page.element, detail.element];
  el.append(widgetRoot(model.get("_static_class"), gone.element, make("div", { class: "fk-compare" }, ...parts)));
  const rows = () => {
    const figures = new Map(model.get("_figures").map(([name, words, better]) => [name, { words, better }]));
    const shown = model.get("metrics").map((name) => figures.get(name) ?? { words: name, better: "" });
    page.show(model.get("_rows"), model.get("panels"), shown);
  };
  const turned = () => {
    const number = model.get("page");
    count.textContent = pageInWords(model.get("_count"), number);
    before.disabled = number <= 0;
    after.disabled = number + 1 >= model.get("_count")[2];
  };
  const show = {
    _rows: rows,
    _count: turned,
    page: turned,
    _plot: () => {
      const [figure2, version] = model.get("_plot");
      if (figure2 === void 0 || version === void 0) send({ do: "plot" });
      else plot.show(figure2, version);
    },
    _photograph: () => void detail.overlay.setPhotograph(model.get("_photograph")),
    _layers: () => detail.overlay.setLayers(model.get("_layers")),
    _detail: () => detail.show(model.get("_detail")),
    _message: () => say(alert, model.get("_message")),
    _remark: () => say(remark, model.get("_remark"))
  };
  const again = () => {
    pictures.clear();
    page.drawAll();
  };
  const take = (content, buffers) => {
    if (content.kind === "picture") pictures.take(content.image, content, buffers);
    plot.take(content, buffers);
  };
  const choices = ["_orders", "_figures", "panels", "metrics", "sort", "of", "descending", "state", "search"];
  const chosen = Object.fromEntries(choices.map((name) => [name, () => tools.show(model)]));
  const stop = listen(model, [
    gone.event,
    ...changes(show),
    ["change:panels", again],
    ...changes(chosen),
    ["msg:custom", take]
  ]);
  tools.show(model);
  for (const act of Object.values(show)) act();
  return () => {
    stop();
    pictures.destroy();
    plot.destroy();
    detail.overlay.destroy();
  };
}
var compare_default = { render };
export {
  compare_default as default,
  pageInWords
};
