// From bytes to pictures: masks upsampled, coloured, outlined. Pure functions, no state.

/** The bytes of a trait or a message, however they came. */
function bytesOf(data) {
  if (data instanceof Uint8Array) return data;
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return new Uint8Array(data);
}

/**
 * A mask of (height, width) bytes, bilinearly at (rows, columns), cell centres aligned to pixel areas; as it is if it is
 * not coarser.
 */
function upsampled(mask, rows, columns) {
  const { height, width, values } = mask;
  if (rows <= height && columns <= width) return { height, width, values };
  const across = new Float32Array(height * columns);
  for (let x = 0; x < columns; x++) {
    const place = Math.min(Math.max(((x + 0.5) * width) / columns - 0.5, 0), width - 1);
    const left = Math.floor(place);
    const right = Math.min(left + 1, width - 1);
    const share = place - left;
    for (let y = 0; y < height; y++) {
      const row = y * width;
      across[y * columns + x] = values[row + left] * (1 - share) + values[row + right] * share;
    }
  }
  const out = new Uint8ClampedArray(rows * columns);
  for (let y = 0; y < rows; y++) {
    const place = Math.min(Math.max(((y + 0.5) * height) / rows - 0.5, 0), height - 1);
    const top = Math.floor(place) * columns;
    const bottom = Math.min(Math.floor(place) + 1, height - 1) * columns;
    const share = place - Math.floor(place);
    const row = y * columns;
    for (let x = 0; x < columns; x++) out[row + x] = across[top + x] * (1 - share) + across[bottom + x] * share;
  }
  return { height: rows, width: columns, values: out };
}

/** The 256 colours of a table of 768 bytes as RGBA words; opaque as the value is high, and clear below the threshold. */
function lookup(table, threshold) {
  const words = new Uint32Array(256);
  const bytes = new Uint8Array(words.buffer);
  for (let value = 0; value < 256; value++) {
    bytes.set(table.subarray(3 * value, 3 * value + 3), 4 * value);
    bytes[4 * value + 3] = value / 255 >= threshold ? value : 0;
  }
  return words;
}

/** A mask drawn onto a canvas of its size. */
function paint(canvas, mask, words) {
  if (canvas.width !== mask.width || canvas.height !== mask.height) {
    canvas.width = mask.width;
    canvas.height = mask.height;
  }
  const pixels = new Uint32Array(mask.values.length);
  for (let i = 0; i < pixels.length; i++) pixels[i] = words[mask.values[i]];
  const data = new Uint8ClampedArray(pixels.buffer);
  canvas.getContext("2d").putImageData(new ImageData(data, mask.width, mask.height), 0, 0);
}

/**
 * The line around what is at least `level` (0 to 255), by marching squares on the pixel centres; the picture's edge
 * counts as outside, so that every region is closed. Coordinates are shares of the picture.
 */
function outline(mask, level) {
  const { height, width, values } = mask;
  const path = new Path2D();
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : values[y * width + x]);
  const edge = Math.max(level, 0.5);
  const cut = (a, b) => (a === b ? 0.5 : (edge - a) / (b - a));
  const toX = (x) => Math.min(Math.max((x + 0.5) / width, 0), 1);
  const toY = (y) => Math.min(Math.max((y + 0.5) / height, 0), 1);
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
      const sort = (a >= edge ? 8 : 0) + (b >= edge ? 4 : 0) + (c >= edge ? 2 : 0) + (d >= edge ? 1 : 0);
      if (sort === 0 || sort === 15) continue;
      const top = [x + cut(a, b), y];
      const right = [x + 1, y + cut(b, c)];
      const bottom = [x + cut(d, c), y + 1];
      const left = [x, y + cut(a, d)];
      for (const [from, to] of segments(sort, top, right, bottom, left)) {
        path.moveTo(toX(from[0]), toY(from[1]));
        path.lineTo(toX(to[0]), toY(to[1]));
      }
    }
  }
  return path;
}

/** The pieces of line through one square, by which of its corners (8, 4, 2, 1 clockwise from the top left) are in. */
function segments(sort, top, right, bottom, left) {
  switch (sort) {
    case 1: case 14: return [[left, bottom]];
    case 2: case 13: return [[bottom, right]];
    case 3: case 12: return [[left, right]];
    case 4: case 11: return [[top, right]];
    case 6: case 9: return [[top, bottom]];
    case 7: case 8: return [[left, top]];
    case 5: return [[left, top], [bottom, right]];
    default: return [[left, bottom], [top, right]];
  }
}

/** An element with properties and children; text is text, never HTML. */
function make(element, properties = {}, ...children) {
  const made = document.createElement(element);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key === "dataset") Object.assign(made.dataset, value);
    else if (key.startsWith("aria-") || key === "role" || key === "for" || key === "list") made.setAttribute(key, value);
    else made[key] = value;
  }
  // Notebook 7 looks at keys before any element does, and its shortcuts are meant for whatever has the focus.
  if (made.tabIndex >= 0) made.dataset.lmSuppressShortcuts = "true";
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A rule that hides a widget's static form while the widget is alive, and in JupyterLab the whole output it is in. */
function staticRule(name) {
  const form = `.${CSS.escape(name)}`;
  return make("style", { textContent: `${form}, .jp-OutputArea-child:has(${form}) { display: none; }` });
}
