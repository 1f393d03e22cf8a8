// A photograph with masks on a canvas. What stays as it was from one frame to the next is kept, not drawn again.

let versions = 0;

/** A layer whose picture and outline must be made anew. */
function forget(layer) {
  layer.painted = layer.line = null;
  layer.version = ++versions;
  return layer;
}

class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.kept = {};
  }

  /**
   * Draw.
   * @param shown no layer, one, or the two at both sides of the divider; they are painted.
   * @param seen left, top and width (the height is the same share) of the part of the picture that is seen, in shares.
   * @param point where the cross is drawn, in shares of the picture; null for none.
   */
  draw(photograph, shown, seen, state, point) {
    const { canvas, context } = this;
    const [left, top, share] = seen;
    const view = { left, top, share, across: canvas.width / share, down: canvas.height / share, photograph };
    const place = [photograph.version, canvas.width, canvas.height, ...seen];
    const versions = [...place, shown.length > 1 ? state.swipe : 1, ...shown.map((layer) => layer.version)];
    const parts = shown.map((layer, side) => [layer, this.#side(side, shown.length, view, state.swipe)]);
    context.globalAlpha = 1;
    context.drawImage(this.#keep("ground", [...place, shown.length > 0], (to) => drawGround(to, view, shown.length)), 0, 0);
    if (!shown.length) return;
    context.globalAlpha = state.opacity;
    context.drawImage(this.#keep("masks", versions, (to) => {
      for (const [layer, side] of parts) within(to, view, side, ([x0, y0, x1, y1]) => {
        to.drawImage(layer.painted, x0, y0, x1 - x0, y1 - y0);
      });
    }), 0, 0);
    context.globalAlpha = 1;
    if (!state.outline && shown.length < 2 && !point) return;
    context.drawImage(this.#keep("marks", [...versions, state.threshold, state.outline, point], (to) => {
      for (const [layer, side] of state.outline ? parts : []) within(to, view, side, (window) => {
        layer.line ??= outline(layer.fine, 255 * (state.threshold || 0.5));
        strokeTwice(to, layer.line, window);
      });
      if (shown.length > 1) drawDivider(to, state.swipe * canvas.width);
      if (point) drawCross(to, (point[0] - left) * view.across, (point[1] - top) * view.down);
    }), 0, 0);
  }

  /** The stretch of the picture, from left to right, that belongs to the first or the second of so many layers. */
  #side(side, sides, { left, share }, swipe) {
    const divider = left + share * swipe;
    if (sides < 2) return [left, left + share];
    return side === 0 ? [left, divider] : [divider, left + share];
  }

  /** A canvas of the picture's size with what `draw` draws; as it was, while the key is. */
  #keep(name, key, draw) {
    const { width, height } = this.canvas;
    const kept = (this.kept[name] ??= { surface: document.createElement("canvas") });
    if (kept.key !== key.join()) {
      kept.key = key.join();
      Object.assign(kept.surface, { width, height });
      draw(kept.surface.getContext("2d"));
    }
    return kept.surface;
  }
}

/** The photograph; darkened where the classifier did not see it, if there is a mask over it. */
function drawGround(context, { left, top, share, across, down, photograph }, masks) {
  const { width, height } = photograph.bitmap;
  const [x0, y0, x1, y1] = photograph.window;
  const edge = 0.5 / photograph.width;
  // Pixels that are large enough to be told apart are shown as what they are.
  context.imageSmoothingEnabled = across < 6 * width;
  context.drawImage(photograph.bitmap, left * width, top * height, share * width, share * height,
    0, 0, context.canvas.width, context.canvas.height);
  if (!masks || (x0 <= edge && y0 <= edge && x1 >= 1 - edge && y1 >= 1 - edge)) return;
  context.setTransform(across, 0, 0, down, -left * across, -top * down);
  context.beginPath();
  context.rect(0, 0, 1, 1);
  context.rect(x0, y0, x1 - x0, y1 - y0);
  context.fillStyle = "rgb(12 14 16 / 0.55)";
  context.fill("evenodd");
}

/** Draw in shares of the picture, within a stretch of it from left to right; `draw` gets the window of the input. */
function within(context, { left, top, across, down, photograph }, [from, to], draw) {
  context.save();
  context.setTransform(across, 0, 0, down, -left * across, -top * down);
  context.beginPath();
  context.rect(from, 0, to - from, 1);
  context.clip();
  draw(photograph.window);
  context.restore();
}

/** Each line dark below and light above, so that it is seen on any photograph. */
const TWO_TONES = [["rgb(0 0 0 / 0.7)", 2], ["#fff", 1]];

/** A line in shares of a window (x0, y0, x1, y1) of the context's coordinates, as thick as it is on the screen. */
function strokeTwice(context, line, [x0, y0, x1, y1]) {
  const path = new Path2D();
  path.addPath(line, new DOMMatrix(context.getTransform()).multiply(new DOMMatrix([x1 - x0, 0, 0, y1 - y0, x0, y0])));
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  for (const [strokeStyle, wide] of TWO_TONES) {
    Object.assign(context, { strokeStyle, lineWidth: 2 * wide * (window.devicePixelRatio || 1), lineCap: "round" });
    context.stroke(path);
  }
  context.restore();
}

/** The line between two masks, with a handle, at a column of the canvas. */
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

/** The point that the keyboard reads. */
function drawCross(context, x, y) {
  const arm = 9 * (window.devicePixelRatio || 1);
  for (const [strokeStyle, wide] of TWO_TONES) {
    Object.assign(context, { strokeStyle, lineWidth: (wide * arm) / 6 });
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [0, 1]]) {
      context.moveTo(x - arm * dx, y - arm * dy);
      context.lineTo(x + arm * dx, y + arm * dy);
    }
    context.stroke();
  }
}

/** Pixels of a mask in a small picture: as many as are seen. */
const SMALL_MASK = 76;

/**
 * A small picture: a photograph, or nothing, with a mask over it, or without one.
 * @param words colours, as `lookup` gives them.
 * @param side its longer side in pixels of the page.
 */
function drawSmall(canvas, photograph, layer, words, side, opacity = 1) {
  const pixels = side * Math.min(2, window.devicePixelRatio || 1);
  const [wide, high] = photograph ? [photograph.width, photograph.height] : [layer.width, layer.height];
  const scale = pixels / Math.max(wide, high);
  canvas.width = Math.max(1, Math.round(wide * scale));
  canvas.height = Math.max(1, Math.round(high * scale));
  const context = canvas.getContext("2d");
  if (photograph) context.drawImage(photograph.bitmap, 0, 0, canvas.width, canvas.height);
  if (!layer) return;
  const [x0, y0, x1, y1] = photograph?.window ?? [0, 0, 1, 1];
  context.setTransform(canvas.width, 0, 0, canvas.height, 0, 0);
  context.globalAlpha = opacity;
  // Not the picture that a large one is made of: of a live mask, that one is made only where it is seen.
  layer.small ??= document.createElement("canvas");
  paint(layer.small, upsampled(layer, SMALL_MASK, SMALL_MASK), words);
  context.drawImage(layer.small, x0, y0, x1 - x0, y1 - y0);
}
