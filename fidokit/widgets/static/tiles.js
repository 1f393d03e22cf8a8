// Small pictures of photographs with masks over them: fetched when they come into sight, kept for as long as a view is.

/** Pictures that are kept; of those that were seen longest ago, the bitmaps are given back. */
const MOST_PICTURES = 300;

class Pictures {
  /**
   * @param ask called with keys whose pictures are needed; they arrive by `take`.
   * @param changed called with the key of a picture that has come.
   */
  constructor(ask, changed) {
    Object.assign(this, { ask, changed });
    this.kept = new Map();
    this.asked = new Set();
    this.fresh = [];
  }

  destroy() {
    for (const picture of this.kept.values()) picture.photograph?.bitmap?.close();
    this.destroyed = true;
  }

  /** {photograph, layers, reason} of a key; undefined while it is not there, which asks for it. */
  get(key) {
    const picture = this.kept.get(key);
    if (picture) {
      this.kept.delete(key);
      this.kept.set(key, picture);
      return picture;
    }
    if (!this.asked.has(key)) {
      // All that one page needs, in one message.
      if (!this.fresh.length) queueMicrotask(() => this.ask(this.fresh.splice(0)));
      this.asked.add(key);
      this.fresh.push(key);
    }
    return undefined;
  }

  /** Forget all, as when other masks are shown. */
  clear() {
    for (const picture of this.kept.values()) picture.photograph?.bitmap?.close();
    this.kept.clear();
    this.asked.clear();
  }

  /** A picture that the kernel sent: photograph and layers, and their data in order. */
  async take(key, photograph, layers, buffers) {
    let bitmap = null;
    if (buffers[0].byteLength) {
      bitmap = await createImageBitmap(new Blob([bytesOf(buffers[0])], { type: photograph.type }));
    }
    if (this.destroyed) return bitmap?.close();
    this.asked.delete(key);
    this.kept.get(key)?.photograph?.bitmap?.close();
    this.kept.set(key, {
      photograph: bitmap && { ...photograph, bitmap },
      reason: photograph.reason ?? "",
      layers: new Map(layers.map((layer, i) => [layer.name, { ...layer, values: bytesOf(buffers[i + 1]) }])),
    });
    for (const [old, picture] of this.kept) {
      if (this.kept.size <= MOST_PICTURES) break;
      picture.photograph?.bitmap?.close();
      this.kept.delete(old);
    }
    this.changed(key);
  }
}

/** A canvas with a photograph and one of its masks, or none; what is missing is said in words beside it. */
function drawTile(canvas, picture, name, words, side, opacity) {
  const layer = name === null ? null : picture.layers.get(name);
  if (picture.photograph || layer) drawSmall(canvas, picture.photograph, layer, words, side, opacity);
}

/** The 256 colours of a mask's values, with 0 and 1 at the ends. */
function legendOf(table) {
  const ramp = make("canvas", { class: "fk-ramp", width: 256, height: 1, "aria-hidden": "true" });
  const values = Uint8Array.from({ length: 256 }, (_, value) => value);
  paint(ramp, { height: 1, width: 256, values }, lookup(table, 0).map((word) => word | 0xff000000));
  return make("div", { class: "fk-legend" }, make("span", { textContent: "0" }), ramp, make("span", { textContent: "1" }));
}

/** Whether an answer is right, in a sign and a word. */
function verdict(state) {
  const signs = { right: "✓", wrong: "✗", "not judged": "–" };
  return make("span", { class: "fk-verdict", dataset: { state } },
    make("span", { "aria-hidden": "true", textContent: `${signs[state]} ` }), state);
}

/** A field with its label. */
function labelled(id, words, input, check = false) {
  input.id = id;
  const label = make("label", { for: id, textContent: words });
  return make("div", { class: check ? "fk-field fk-check" : "fk-field" }, ...(check ? [input, label] : [label, input]));
}
