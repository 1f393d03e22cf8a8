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
function button(words2, press, properties = {}) {
  const made = make("button", { type: "button", textContent: words2, ...properties });
  made.addEventListener("click", press);
  return made;
}
function select(options = [], properties = {}) {
  const made = make("select", properties);
  offer(made, options);
  return made;
}
function offer(element, options) {
  element.replaceChildren(...options.map(([value, words2]) => make("option", { value, textContent: words2 })));
}
function labelled(id, words2, input, ...more) {
  input.id = id;
  return make("div", { class: "fk-field" }, make("label", { for: id, textContent: words2 }), input, ...more);
}
function labelledCheck(id, words2, input) {
  input.id = id;
  return make("div", { class: "fk-field fk-check" }, input, make("label", { for: id, textContent: words2 }));
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
function hatchedSwatch() {
  return make("span", { class: "fk-swatch", "aria-hidden": "true" });
}
function say(element, words2) {
  element.textContent = words2;
  element.hidden = !words2;
}
function uniqueName(kind) {
  const random = Array.from(crypto.getRandomValues(new Uint32Array(2)), (word) => word.toString(36));
  return `fidokit-${kind}-${random.join("")}`;
}
function goneNotice() {
  const words2 = "The kernel is gone: what is shown here stays, and nothing answers. Run the cell again.";
  const element = make("p", { class: "fk-gone", role: "alert", hidden: true });
  const tell = () => say(element, words2);
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
function listen(model, events) {
  for (const [event, act] of events) model.on(event, act);
  return () => {
    for (const [event, act] of events) model.off(event, act);
  };
}
function changes(show) {
  return Object.entries(show).map(([trait, act]) => [`change:${trait}`, act]);
}

// src/text.js
var SPACES = /\s+/;
var MARKS = /\p{M}/gu;
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
function lowered(text) {
  return text.toLocaleLowerCase();
}
function folded(text) {
  return text.normalize("NFKD").replace(MARKS, "").toLowerCase();
}
function wordsOf(typed) {
  return typed.split(SPACES).filter(Boolean);
}

// src/chooser.js
var MOST_SHOWN = 60;
var PIECE = 2 ** 21;
function listed(photographs, typed, chosen) {
  const words2 = wordsOf(lowered(typed));
  const found = photographs.filter(
    (photograph) => words2.every((word) => photograph.some((text) => lowered(text).includes(word)))
  );
  const shown = found.slice(0, MOST_SHOWN);
  const needed = words2.length ? void 0 : photographs.find(([image]) => image === chosen);
  if (needed && !shown.includes(needed)) shown.unshift(needed);
  return { found, shown };
}
function restInWords(offered, found, shown) {
  if (!offered) return "";
  if (!found) return "No photograph fits";
  return found > shown ? `${shown} of ${counted(found)} shown; search for the others` : "";
}
var Chooser = class {
  id = uniqueName("chooser");
  search = make("input", { type: "search", id: `${this.id}-search`, autocomplete: "off", spellcheck: false });
  searchField = make(
    "div",
    { class: "fk-field" },
    make("label", { for: `${this.id}-search`, textContent: "Search file or label" }),
    this.search
  );
  list = make("div", { class: "fk-list", role: "radiogroup", "aria-label": "Photograph" });
  found = make("p", { class: "fk-found", role: "status" });
  file = make("input", {
    type: "file",
    accept: "image/*,.tif,.tiff",
    id: `${this.id}-file`,
    class: "fk-unseen",
    tabIndex: -1
  });
  drop = make(
    "div",
    { class: "fk-drop" },
    button("Upload a photograph", () => this.file.click()),
    make("label", { for: `${this.id}-file`, class: "fk-unseen", textContent: "File of a photograph" }),
    this.file,
    make("span", { textContent: "or drop it here" })
  );
  element = make(
    "section",
    { class: "fk-chooser", "aria-label": "Photographs" },
    this.searchField,
    this.list,
    this.found,
    this.drop
  );
  /** @type {Offered[]} */
  #photographs = [];
  #chosen = "";
  #enabled = true;
  /** Address of each thumbnail; empty where a photograph cannot be shown. @type {Map<string, string>} */
  #thumbnails = /* @__PURE__ */ new Map();
  /** @type {Record<string, Look>} */
  #looks = {};
  /** @type {Set<string>} */
  #asked = /* @__PURE__ */ new Set();
  /** @type {Map<Element, string>} */
  #images = /* @__PURE__ */ new Map();
  /** @param {Send} send */
  constructor(send) {
    this.send = send;
    this.search.addEventListener("input", () => this.#list());
    this.file.addEventListener("change", () => this.#upload(this.file.files));
    for (
      const name of
      /** @type {const} */
      ["dragenter", "dragover", "dragleave", "drop"]
    ) {
      this.element.addEventListener(name, (event) => this.#drag(event, name === "dragenter" || name === "dragover"));
    }
    this.element.addEventListener("drop", (event) => this.#upload(event.dataTransfer?.files));
    this.sight = new IntersectionObserver((entries) => this.#seen(entries), { root: this.list, rootMargin: "80px" });
  }
  destroy() {
    this.sight.disconnect();
    for (const address of this.#thumbnails.values()) if (address) URL.revokeObjectURL(address);
  }
  /** @param {Offered[]} photographs */
  setPhotographs(photographs) {
    this.#photographs = photographs;
    this.searchField.hidden = photographs.length === 0;
    this.list.hidden = photographs.length === 0;
    this.#list();
  }
  /** @param {string} image */
  choose(image) {
    this.#chosen = image;
    for (const input of this.list.querySelectorAll("input")) input.checked = input.value === image;
  }
  /**
   * What the classifier says of photographs, by their names.
   * @param {Record<string, Look>} looks
   */
  setLooks(looks) {
    this.#looks = looks;
    for (const [row, image] of this.#images) this.#showLook(row, image);
  }
  /**
   * @param {Element} row of a photograph.
   * @param {string} image
   */
  #showLook(row, image) {
    const look = this.#looks[image];
    if (!look?.predicted) return;
    const called = [": predicted ", make("bdi", { textContent: look.predicted })];
    row.querySelector(".fk-look")?.replaceChildren(verdict(look.state), ...look.state === "right" ? [] : called);
  }
  /**
   * Not while a mask is computed.
   * @param {boolean} enabled
   */
  enable(enabled) {
    this.#enabled = enabled;
    for (const input of this.element.querySelectorAll("input")) input.disabled = !enabled;
    for (const each of this.element.querySelectorAll("button")) each.disabled = !enabled;
  }
  /**
   * @param {string} image
   * @param {DataView} bytes of a JPEG; none where the photograph cannot be read.
   */
  setThumbnail(image, bytes) {
    const address = bytes.byteLength ? URL.createObjectURL(new Blob([bytesOf(bytes)], { type: "image/jpeg" })) : "";
    this.#thumbnails.set(image, address);
    for (const [row, name] of this.#images) if (name === image) showThumbnail(row, address);
  }
  /**
   * @param {DragEvent} event
   * @param {boolean} over
   */
  #drag(event, over) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    this.drop.classList.toggle("fk-over", over);
  }
  #list() {
    const { found, shown } = listed(this.#photographs, this.search.value, this.#chosen);
    this.sight.disconnect();
    this.#images = new Map(shown.map((photograph) => [this.#row(photograph), photograph[0]]));
    this.list.replaceChildren(...this.#images.keys());
    for (const row of this.#images.keys()) this.sight.observe(row);
    this.found.textContent = restInWords(this.#photographs.length, found.length, shown.length);
  }
  /** @param {Offered} photograph */
  #row([image, label]) {
    const input = make("input", {
      type: "radio",
      name: this.id,
      value: image,
      checked: image === this.#chosen,
      disabled: !this.#enabled
    });
    input.addEventListener("change", () => this.send({ do: "choose", image }));
    const names = make(
      "span",
      { class: "fk-names" },
      make("bdi", { class: "fk-file", textContent: fileOf(image) }),
      label ? make("bdi", { class: "fk-label", textContent: label }) : null,
      make("span", { class: "fk-look" }),
      folderOf(image) ? make("bdi", { class: "fk-folder", textContent: folderOf(image) }) : null
    );
    const place = make("span", { class: "fk-thumbnail" });
    const row = make("label", { class: "fk-row", title: image, dataset: { image } }, input, place, names);
    const address = this.#thumbnails.get(image);
    if (address !== void 0) showThumbnail(row, address);
    this.#showLook(row, image);
    return row;
  }
  /** @param {IntersectionObserverEntry[]} entries */
  #seen(entries) {
    const images = entries.filter((entry) => entry.isIntersecting).map((entry) => this.#images.get(entry.target) ?? "").filter((image) => image && !this.#asked.has(image));
    for (const image of images) this.#asked.add(image);
    if (images.length) this.send({ do: "thumbnails", images });
  }
  /** @param {FileList | null | undefined} files */
  async #upload(files) {
    const file = files?.[0];
    this.file.value = "";
    if (!file || !this.#enabled) return;
    this.found.textContent = `Uploading ${file.name}`;
    this.search.value = "";
    await upload(file, this.send);
  }
  /**
   * What became of an upload.
   * @param {string} refused why it was; empty where it was taken.
   */
  setUploaded(refused) {
    this.#list();
    if (refused) this.found.textContent = refused;
  }
};
function fileOf(image) {
  return image.slice(image.lastIndexOf("/") + 1) || image;
}
function folderOf(image) {
  return fileOf(image) === image ? "" : image.slice(0, image.lastIndexOf("/"));
}
async function upload(file, send) {
  const parts = Math.max(1, Math.ceil(file.size / PIECE));
  for (let part = 0; part < parts; part++) {
    const content = await file.slice(part * PIECE, (part + 1) * PIECE).arrayBuffer();
    send({ do: "upload", name: file.name, part, parts }, [content]);
  }
}
function showThumbnail(row, address) {
  const picture = address ? make("img", { src: address, alt: "" }) : "?";
  row.querySelector(".fk-thumbnail")?.replaceChildren(picture);
}

// src/names.js
var BETWEEN_NAMES = /[()[\],;/|]/;
var QUOTES = /['’`´]/g;
var LOOSE = 6;
var MOST_WORDS = 20;
var NO_WORD = /[^\p{L}\p{N}]+/gu;
function words(text) {
  return wordsOf(folded(text).replace(QUOTES, "").replace(NO_WORD, " "));
}
function searched({ name, note }, before = false) {
  const parts = name.split(BETWEEN_NAMES).map(words).filter((part) => part.length);
  return { name, note, parts, text: words(name).join(" "), before };
}
function leftOver(part, text) {
  if (!text) return part.length;
  if (!part.length) return -1;
  for (let length = Math.min(part[0].length, text.length); length > 0; length--) {
    const left = part[0].startsWith(text.slice(0, length)) ? leftOver(part.slice(1), text.slice(length)) : -1;
    if (left >= 0) return left;
  }
  return -1;
}
function fitOf(part, typed) {
  const [whole, text] = [part.join(" "), typed.join(" ")];
  if (whole === text) return 0;
  if (whole.startsWith(text)) return 1;
  const left = typed.length === 1 ? leftOver(part, text) : -1;
  if (left === 0) return 2;
  if (typed.every((word) => part.some((own) => own.startsWith(word)))) return 3;
  if (left > 0) return 4;
  return typed.every((word) => whole.includes(word)) ? 5 : LOOSE + 1;
}
function fitting(offers, typed) {
  const asked = words(typed);
  if (!asked.length) return offers;
  const found = [];
  for (const offer2 of offers) {
    const ranks = offer2.parts.map((part) => MOST_WORDS * fitOf(part, asked) + Math.min(part.length, MOST_WORDS - 1));
    if (asked.every((word) => offer2.text.includes(word))) ranks.push(MOST_WORDS * LOOSE);
    const rank = Math.min(...ranks, Number.POSITIVE_INFINITY);
    const fit = Math.floor(rank / MOST_WORDS);
    if (fit <= LOOSE) found.push({ offer: offer2, rank: offer2.before ? fit * MOST_WORDS : rank });
  }
  return found.sort((a, b) => a.rank - b.rank).map(({ offer: offer2 }) => offer2);
}

// src/combobox.js
var MOST_LISTED = 100;
var PAGE = 8;
var Combobox = class {
  /** @type {{ title: string, offers: Searched[] }[]} */
  #groups = [];
  /** The rows of the list. @type {HTMLElement[]} */
  #rows = [];
  #active = -1;
  #open = false;
  /**
   * @param {string} id
   * @param {string} words of its label.
   * @param {string} what the names are, in the plural.
   * @param {() => void} [opened] called when the list opens.
   */
  constructor(id, words2, what, opened) {
    this.id = id;
    this.what = what;
    this.opened = opened;
    this.input = make("input", {
      type: "text",
      role: "combobox",
      autocomplete: "off",
      spellcheck: false,
      "aria-autocomplete": "list",
      "aria-expanded": "false",
      "aria-controls": `${id}-list`
    });
    this.count = make("p", { class: "fk-count", role: "status" });
    this.list = make("div", {
      role: "listbox",
      id: `${id}-list`,
      class: "fk-options",
      hidden: true,
      "aria-label": what
    });
    this.about = make("p", { class: "fk-about", hidden: true });
    this.popup = make("div", { class: "fk-popup" }, this.count, this.list);
    const box = make("div", { class: "fk-combobox" }, this.input, this.popup);
    this.element = labelled(id, words2, this.input, this.about);
    this.input.replaceWith(box);
    box.prepend(this.input);
    this.input.addEventListener("input", () => this.#show(this.input.value.trim() ? 0 : -1));
    this.input.addEventListener("click", () => this.#open || this.#show(-1));
    this.input.addEventListener("keydown", (event) => this.#key(event));
    this.input.addEventListener("blur", () => this.#leave());
    this.list.addEventListener("pointerdown", (event) => event.preventDefault());
    this.list.addEventListener("click", (event) => {
      const row = (
        /** @type {Element} */
        event.target.closest("[role=option]")
      );
      if (row) this.#choose(
        /** @type {HTMLElement} */
        row
      );
    });
  }
  /** What is typed or chosen; null for nothing. */
  get name() {
    return this.input.value.trim() || null;
  }
  set name(name) {
    this.input.value = name ?? "";
    this.input.title = this.input.value;
  }
  /**
   * Where a name stands in several groups, the first counts. The names of the first group come before others that fit
   * as well.
   * @param {Group[]} groups
   */
  setGroups(groups) {
    const seen = /* @__PURE__ */ new Set();
    this.#groups = groups.map(({ title, offers }, group) => {
      const own = offers.filter(({ name }) => !seen.has(name));
      for (const { name } of own) seen.add(name);
      return { title, offers: own.map((offer2) => searched(offer2, group === 0)) };
    });
    if (this.#open) this.#show(this.#active);
  }
  /**
   * Say something beneath the field.
   * @param {string} words
   */
  describe(words2) {
    this.about.replaceChildren(make("bdi", { textContent: words2 }));
    this.about.hidden = !words2;
  }
  /** @param {number} active row that Enter takes; -1 for none. */
  #show(active) {
    const typed = this.input.value.trim();
    if (!this.#open) this.opened?.();
    this.#open = true;
    const every = this.#groups.flatMap(({ offers }) => offers);
    const groups = typed ? [{ title: "", offers: fitting(every, typed) }] : this.#groups;
    const number = groups.reduce((sum, { offers }) => sum + offers.length, 0);
    let room = MOST_LISTED;
    const shown = groups.map(({ title, offers }) => {
      const own = offers.slice(0, room);
      room -= own.length;
      return this.#group(title, own);
    });
    this.#rows = shown.flatMap(({ rows }) => rows);
    this.list.replaceChildren(...shown.filter(({ rows }) => rows.length).map(({ element }) => element));
    for (const [i, row] of this.#rows.entries()) row.id = `${this.id}-option-${i}`;
    this.list.hidden = !this.#rows.length;
    this.input.setAttribute("aria-expanded", String(this.#rows.length > 0));
    this.count.textContent = this.#told(typed, number);
    this.#place();
    this.#activate(Math.min(active, this.#rows.length - 1));
  }
  /** Where there is no room to its right, the list grows to the left. */
  #place() {
    this.popup.classList.remove("fk-leftwards");
    const edge = this.element.closest(".fidokit")?.getBoundingClientRect().right ?? Number.POSITIVE_INFINITY;
    this.popup.classList.toggle("fk-leftwards", this.popup.getBoundingClientRect().right > edge);
  }
  /**
   * @param {string} typed
   * @param {number} number
   */
  #told(typed, number) {
    const rest = number > this.#rows.length ? `; the first ${this.#rows.length} are listed, type for the others` : "";
    if (!typed) return `${counted(number)} ${this.what}${rest}`;
    if (!number) return `None of the ${this.what} has this in its name`;
    return `${counted(number)} ${number === 1 ? "match" : "matches"}${rest}`;
  }
  /**
   * @param {string} title
   * @param {Searched[]} offers
   */
  #group(title, offers) {
    const rows = offers.map(({ name, note }) => {
      const beside = note ? make("span", { class: "fk-note", textContent: note }) : null;
      const chosen = name === this.name;
      return make(
        "div",
        { role: "option", class: "fk-option", "aria-selected": String(chosen), dataset: { name } },
        make("bdi", { textContent: name }),
        beside
      );
    });
    const head = title ? make("div", { class: "fk-group", "aria-hidden": "true", textContent: title }) : null;
    return { rows, element: make("div", { role: "group", "aria-label": title || this.what }, head, ...rows) };
  }
  /** @param {number} active */
  #activate(active) {
    this.#rows[this.#active]?.classList.remove("fk-active");
    for (const row2 of this.#rows) row2.setAttribute("aria-selected", String(row2.dataset.name === this.name));
    this.#active = active;
    const row = this.#rows[active];
    if (!row) {
      this.input.removeAttribute("aria-activedescendant");
      return;
    }
    row.classList.add("fk-active");
    row.setAttribute("aria-selected", "true");
    this.input.setAttribute("aria-activedescendant", row.id);
    const [top, bottom] = [row.offsetTop, row.offsetTop + row.offsetHeight];
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    else if (bottom > this.list.scrollTop + this.list.clientHeight) {
      this.list.scrollTop = bottom - this.list.clientHeight;
    }
  }
  #close() {
    this.#open = false;
    this.#rows = [];
    this.#active = -1;
    this.list.hidden = true;
    this.list.replaceChildren();
    this.count.textContent = "";
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }
  /** @param {HTMLElement} row */
  #choose(row) {
    this.name = row.dataset.name ?? "";
    this.#close();
    this.count.textContent = `${this.name} is chosen`;
  }
  /** A part of a name is enough where there is only one. */
  #leave() {
    if (this.#open && this.name !== null && this.#rows.length === 1) this.name = this.#rows[0].dataset.name ?? "";
    this.#close();
  }
  /** @param {KeyboardEvent} event */
  #key(event) {
    const steps = /* @__PURE__ */ new Map([
      ["ArrowDown", 1],
      ["ArrowUp", -1],
      ["PageDown", PAGE],
      ["PageUp", -PAGE]
    ]);
    const step = steps.get(event.key);
    if (step !== void 0) this.#step(step);
    else if (event.key === "Enter" && this.#rows[this.#active]) this.#choose(this.#rows[this.#active]);
    else if (event.key === "Escape" && this.#open) this.#close();
    else if (event.key === "Escape" && this.name !== null) this.name = null;
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
  /** @param {number} step */
  #step(step) {
    if (!this.#open) {
      this.#show(step > 0 ? 0 : -1);
      return;
    }
    const last = this.#rows.length - 1;
    let to = this.#active + step;
    if (step === 1 && to > last) to = 0;
    else if (step === -1 && to < 0) to = last;
    this.#activate(Math.max(0, Math.min(last, to)));
  }
};

// src/order.js
var BUSY = ["preparing", "running", "stopping"];
function settingInput({ kind, choices }) {
  if (kind === "check") return make("input", { type: "checkbox" });
  if (kind === "choice") return select(choices.map((value) => [value, value]));
  const modes = { whole: "numeric", number: "decimal", text: "text" };
  return make("input", { type: "text", inputMode: modes[kind], autocomplete: "off", spellcheck: false });
}
function isCheck(input) {
  return input.type === "checkbox";
}
var Order = class {
  id = uniqueName("order");
  summary = make("p", { class: "fk-summary" });
  preset = select();
  presetField = labelled(`${this.id}-preset`, "Settings", this.preset);
  fields = make("div", { class: "fk-fields" });
  details = make("details", { class: "fk-settings" }, make("summary", { textContent: "Single settings" }), this.fields);
  startButton = make("button", { type: "submit", class: "fk-start", textContent: "Start" });
  stopButton = button("Stop", () => this.send({ do: "stop" }), { disabled: true });
  message = make("p", { class: "fk-message", role: "alert", hidden: true });
  /** @type {Map<string, HTMLInputElement | HTMLSelectElement>} */
  #inputs = /* @__PURE__ */ new Map();
  /** Whether the likeliest classes of the photograph are known. */
  #asked = false;
  /**
   * @param {Askable} askable
   * @param {MethodForm[]} methods
   * @param {Send} send
   */
  constructor({ classes, taxa, ranks }, methods, send) {
    this.classes = classes.map((name) => ({ name, note: "" }));
    this.taxa = taxa.map(([name, note]) => ({ name, note }));
    this.methods = new Map(methods.map((method) => [method.name, method]));
    this.send = send;
    const what = taxa.length ? "classes and taxa" : "classes";
    const ask = () => this.#asked || this.send({ do: "likely" });
    this.target = new Combobox(`${this.id}-target`, "Class to explain", what, ask);
    this.against = new Combobox(`${this.id}-against`, "Rather than", what, ask);
    this.rank = select([["", "itself"], ...ranks.map((rank) => [rank, `its ${rank}`])]);
    this.rankField = labelled(`${this.id}-rank`, "Explain", this.rank);
    this.rankField.hidden = !ranks.length;
    this.method = select(methods.map(({ name }) => [name, name]));
    this.method.addEventListener("change", () => this.#showMethod());
    this.preset.addEventListener("change", () => this.#fill());
    this.element = make(
      "form",
      { class: "fk-order", "aria-label": "What to explain" },
      this.target.element,
      this.rankField,
      this.against.element,
      labelled(`${this.id}-method`, "Method", this.method, this.summary),
      this.presetField,
      make("div", { class: "fk-buttons" }, this.startButton, this.stopButton),
      this.message,
      this.details
    );
    this.setLikely([]);
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
  }
  /**
   * Show what is chosen in Python.
   * @param {string} name
   * @param {string} preset
   */
  setMethod(name, preset) {
    this.method.value = name;
    this.#showMethod(preset);
  }
  /**
   * @param {"target" | "against"} which
   * @param {string | null} name
   */
  setClass(which, name) {
    this[which].name = name;
  }
  /** @param {string | null} rank */
  setRank(rank) {
    this.rank.value = rank ?? "";
  }
  /**
   * The likeliest classes of the photograph and their scores, the predicted one first; none while they are not known.
   * @param {[string, number][]} likely
   */
  setLikely(likely) {
    this.#asked = likely.length > 0;
    const [predicted, runnerUp] = likely;
    this.target.input.placeholder = predicted ? `predicted: ${predicted[0]}` : "the predicted class";
    this.against.input.placeholder = "any other class";
    this.target.describe(predicted ? `Predicted: ${predicted[0]}, ${figure(predicted[1])}` : "");
    this.against.describe(runnerUp ? `Next: ${runnerUp[0]}, ${figure(runnerUp[1])}` : "");
    const offers = likely.map(([name, score]) => ({ name, note: figure(score) }));
    this.target.setGroups(this.#groups(offers));
    this.against.setGroups(this.#groups(offers.slice(1)));
  }
  /** @param {Offer[]} likely */
  #groups(likely) {
    return [
      { title: "Likeliest for this photograph", offers: likely },
      { title: "Taxa", offers: this.taxa },
      { title: "All classes", offers: this.classes }
    ];
  }
  /**
   * What went wrong, and what to do.
   * @param {string} words
   */
  setMessage(words2) {
    say(this.message, words2);
  }
  /** @param {string} state */
  setState(state) {
    const busy = BUSY.includes(state);
    for (const input of this.element.querySelectorAll("input")) input.disabled = busy;
    for (const input of this.element.querySelectorAll("select")) input.disabled = busy;
    const focused = [this.startButton, this.stopButton].some((each) => each === document.activeElement);
    this.startButton.disabled = busy;
    this.stopButton.disabled = !busy || state === "stopping";
    if (focused) (busy ? this.stopButton : this.startButton).focus();
  }
  /** @param {string | null} preset */
  #showMethod(preset = null) {
    const method = this.#chosen();
    this.summary.textContent = method.summary;
    const names = Object.keys(method.presets);
    offer(
      this.preset,
      names.map((name) => [name, name])
    );
    this.preset.value = preset !== null && names.includes(preset) ? preset : names[0];
    this.presetField.hidden = names.length < 2;
    this.details.hidden = method.fields.length === 0;
    this.#inputs = new Map(method.fields.map((field) => [field.name, settingInput(field)]));
    this.fields.replaceChildren(...method.fields.map((field) => this.#field(field)));
    this.#fill();
  }
  #chosen() {
    return (
      /** @type {MethodForm} */
      this.methods.get(this.method.value)
    );
  }
  /** @param {FormField} field */
  #field({ name, kind, help }) {
    const id = `${this.id}-field-${name}`;
    const input = (
      /** @type {HTMLInputElement | HTMLSelectElement} */
      this.#inputs.get(name)
    );
    input.title = help;
    input.setAttribute("aria-describedby", `${id}-help`);
    const words2 = name.replaceAll("_", " ");
    const element = kind === "check" ? labelledCheck(id, words2, input) : labelled(id, words2, input);
    element.querySelector("label")?.setAttribute("title", help);
    element.append(make("span", { class: "fk-unseen", id: `${id}-help`, textContent: help }));
    return element;
  }
  #fill() {
    const values = this.#chosen().presets[this.preset.value];
    for (const [name, input] of this.#inputs) {
      if (isCheck(input)) input.checked = Boolean(values[name]);
      else input.value = String(values[name]);
    }
  }
  #start() {
    const fields = Object.fromEntries(
      [...this.#inputs].map(([name, input]) => [name, isCheck(input) ? input.checked : input.value])
    );
    this.send({
      do: "start",
      method: this.method.value,
      preset: this.preset.value,
      fields,
      target: this.target.name,
      against: this.against.name,
      rank: this.rank.value || null
    });
  }
};

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
function valueAt({ height, width, values }, [across, down]) {
  if (across < 0 || down < 0 || across >= 1 || down >= 1) return null;
  return values[Math.floor(down * height) * width + Math.floor(across * width)] / 255;
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
  const { height, width, values } = mask;
  if (rows <= height && columns <= width) return { height, width, values };
  const across = new Float32Array(height * columns);
  for (let x = 0; x < columns; x++) {
    const place = clamp((x + 0.5) * width / columns - 0.5, 0, width - 1);
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
  const words2 = new Uint32Array(256);
  const bytes = new Uint8Array(words2.buffer);
  for (let value = 0; value < 256; value++) {
    bytes.set(table.subarray(3 * value, 3 * value + 3), 4 * value);
    bytes[4 * value + 3] = value / 255 >= threshold ? value : 0;
  }
  return words2;
}
function shades(threshold) {
  const words2 = new Uint32Array(256);
  const bytes = new Uint8Array(words2.buffer);
  for (let value = 0; value < 256; value++) bytes[4 * value + 3] = value / 255 >= threshold ? 255 - value : 255;
  return words2;
}
var DRAWN_AS = (
  /** @type {const} */
  [
    ["colours", "colours"],
    ["outline", "outline"],
    ["dimmed", "dimmed surroundings"]
  ]
);
function wordsOf2(style, table, threshold) {
  if (style === "outline") return new Uint32Array(256);
  return style === "dimmed" ? shades(threshold) : lookup(table, threshold);
}
function opaqueLookup(table) {
  const words2 = lookup(table, 0);
  const bytes = new Uint8Array(words2.buffer);
  for (let value = 0; value < 256; value++) bytes[4 * value + 3] = 255;
  return words2;
}
function coloured({ values }, words2) {
  const pixels = new Uint32Array(values.length);
  for (let i = 0; i < pixels.length; i++) pixels[i] = words2[values[i]];
  return pixels;
}
function contextOf(canvas) {
  return (
    /** @type {CanvasRenderingContext2D} */
    canvas.getContext("2d")
  );
}
function paint(canvas, mask, words2) {
  if (canvas.width !== mask.width || canvas.height !== mask.height) {
    canvas.width = mask.width;
    canvas.height = mask.height;
  }
  const data = new Uint8ClampedArray(coloured(mask, words2).buffer);
  contextOf(canvas).putImageData(new ImageData(data, mask.width, mask.height), 0, 0);
}
function outlinePieces({ height, width, values }, level) {
  const pieces = [];
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height ? values[y * width + x] : 0;
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

// src/meter.js
var STATES = /* @__PURE__ */ new Map([
  ["ready", ""],
  ["preparing", "Preparing the classifier; the first time, this takes some seconds"],
  ["running", "Computing"],
  ["stopping", "Stopping"],
  ["done", "Done"],
  ["stopped", "Stopped; the mask is as far as it had come"],
  ["failed", "This did not work"]
]);
var FIGURES = ["Evaluations", "Rate", "Time left", "Score kept", "Score dropped", "Loss"];
var UNKNOWN = "–";
function figuresOf({ evaluations, total, rate, left, kept, dropped, loss }) {
  return [
    `${evaluations} of ${total}`,
    `${figure(rate)} a second`,
    left === null ? UNKNOWN : `${Math.ceil(left)} s`,
    figure(kept),
    figure(dropped),
    figure(loss)
  ];
}
function courseOf(losses, total, { width, height }) {
  const values = losses.map(([, loss]) => loss);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return losses.map(([evaluations, loss]) => [
    2 + (width - 4) * evaluations / total,
    4 + (height - 8) * (1 - (loss - low) / Math.max(high - low, 1e-9))
  ]);
}
var Meter = class {
  state = make("span", { class: "fk-state", role: "status" });
  bar = make("progress", { max: 1, value: 0, "aria-label": "Evaluations done" });
  figures = FIGURES.map(() => make("dd", { textContent: UNKNOWN }));
  course = make("canvas", {
    class: "fk-course",
    width: 240,
    height: 56,
    role: "img",
    "aria-label": "Course of the loss over the evaluations"
  });
  curve = make(
    "div",
    { class: "fk-curve" },
    make("dt", { class: "fk-unseen", textContent: "Course of the loss" }),
    make("dd", {}, this.course)
  );
  list = make(
    "dl",
    { class: "fk-figures" },
    ...this.figures.map((value, i) => make("div", {}, make("dt", { textContent: FIGURES[i] }), value)),
    this.curve
  );
  element = make(
    "section",
    { class: "fk-meter", "aria-label": "Progress" },
    make("div", { class: "fk-line" }, this.state, this.bar),
    this.list
  );
  /** @type {[number, number][]} */
  #losses = [];
  /**
   * @param {string} state
   * @param {boolean} started whether there is a mask, or at least a look at one.
   */
  setState(state, started) {
    const early = state === "stopped" && !started;
    this.state.textContent = early ? "Stopped before there was a mask" : STATES.get(state) ?? state;
    this.element.dataset.state = state;
    this.element.hidden = state === "ready";
    if (state === "preparing" || state === "running") this.bar.removeAttribute("value");
    if (!BUSY.includes(state)) this.figures[FIGURES.indexOf("Time left")].textContent = UNKNOWN;
    if (state === "done") this.bar.value = 1;
  }
  /** @param {Progress | {}} progress empty before the first evaluation. */
  show(progress) {
    const started = "evaluations" in progress;
    this.list.hidden = !started;
    if (!started) {
      this.#losses = [];
      this.bar.value = 0;
      return;
    }
    this.bar.value = Math.min(1, progress.evaluations / Math.max(1, progress.total));
    for (const [i, text] of figuresOf(progress).entries()) this.figures[i].textContent = text;
    if (progress.loss !== null) this.#losses.push([progress.evaluations, progress.loss]);
    this.curve.hidden = this.#losses.length < 2;
    this.#draw(progress.total);
  }
  /** @param {number} total */
  #draw(total) {
    const context = contextOf(this.course);
    context.clearRect(0, 0, this.course.width, this.course.height);
    context.strokeStyle = getComputedStyle(this.course).color;
    context.lineWidth = 3;
    context.lineJoin = "round";
    context.beginPath();
    for (const point of courseOf(this.#losses, total, this.course)) context.lineTo(...point);
    context.stroke();
  }
};

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
function drawSmall(canvas, photograph, layer, words2, side, { opacity = 1, line = false, frame = null } = {}) {
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
  paint(layer.small, upsampled(layer, SMALL_MASK, SMALL_MASK), words2);
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
function drawRamp(canvas, table) {
  const values = Uint8Array.from({ length: 256 }, (_, value) => value);
  paint(canvas, { height: 1, width: 256, values }, opaqueLookup(table));
}
function emptyLegend() {
  const ramp = make("canvas", { class: "fk-ramp", width: 256, height: 1, "aria-hidden": "true" });
  const ends = ["0", "1"].map((textContent) => make("span", { textContent }));
  return { ramp, legend: make("div", { class: "fk-legend" }, ends[0], ramp, ends[1]) };
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
  constructor(id, name, words2, change) {
    this.name = name;
    this.input = make("input", { type: "range", min: 0, max: 100, step: 1, id });
    this.value = make("output", { class: "fk-number", for: id });
    this.input.addEventListener("input", () => change(this.input.valueAsNumber / 100));
    this.element = make(
      "div",
      { class: "fk-field" },
      make("label", { for: id, textContent: words2 }),
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
    this.drawnAs = select(DRAWN_AS.map(([value, words2]) => [value, words2]));
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
    const titled = (words2, label, act) => button(words2, act, { title: label, "aria-label": label });
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
    return wordsOf2(this.state.drawn_as, this.tables[this.state.colours], this.state.threshold);
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
    const values = this.#layers.map((layer) => ({ name: layer.name, value: valueAt(this.#fine(layer), inside) }));
    const known = values.flatMap(({ name, value }) => value === null ? [] : [{ name, text: figure(value) }]);
    const words2 = known.map(({ name, text }) => make("span", {}, make("bdi", { textContent: name }), ` ${text}`));
    if (values.length && !known.length) words2.push(make("span", { textContent: "outside the classifier's input" }));
    this.readout.replaceChildren(make("span", { textContent: place }), ...words2);
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

// src/explain.js
function initialize({ model }) {
  model.on("msg:custom", (message, buffers) => {
    if (message.kind !== "masks") return;
    const layers = [...model.get("_layers")];
    for (const [position, { layer, height, width }] of message.masks.entries()) {
      layers[layer] = { ...layers[layer], height, width, data: buffers[position] };
    }
    model.set("_layers", layers, { silent: true });
  });
}
function render({ model, el }) {
  const gone = goneNotice();
  const send = sender(model, gone.tell);
  const overlay = new Overlay(model.get("_tables"));
  const chooser = new Chooser(send);
  const askable = { classes: model.get("_classes"), taxa: model.get("_taxa"), ranks: model.get("_ranks") };
  const order = new Order(askable, model.get("_methods"), send);
  const meter = new Meter();
  const facts = make("dl", { class: "fk-facts" });
  const name = make("p", { class: "fk-title" });
  const frame = button("", () => send({ do: "frame", whole: !model.get("whole_frame") }), { class: "fk-frame-choice" });
  overlay.unseen.after(frame);
  overlay.view.append(facts);
  const framed = () => {
    const whole = model.get("whole_frame");
    frame.hidden = !whole && !model.get("_photograph").unseen;
    frame.textContent = whole ? "Show the classifier what it was trained with" : "Show the classifier the whole frame";
  };
  const side = make("div", { class: "fk-side" }, chooser.element, order.element);
  const main = make("div", { class: "fk-main" }, name, meter.element, overlay.element);
  el.append(widgetRoot(model.get("_static_class"), gone.element, make("div", { class: "fk-explain" }, side, main)));
  const likely = () => order.setLikely(model.get("_looked")[model.get("image_id")]?.likely ?? []);
  const method = () => order.setMethod(model.get("method"), model.get("_preset"));
  const show = {
    _photographs: () => chooser.setPhotographs(model.get("_photographs")),
    image_id: () => {
      chooser.choose(model.get("image_id"));
      name.replaceChildren(make("bdi", { textContent: model.get("image_id") }));
      likely();
    },
    _photograph: () => {
      overlay.setPhotograph(model.get("_photograph"));
      framed();
    },
    whole_frame: framed,
    _layers: () => overlay.setLayers(model.get("_layers")),
    _shown: () => overlay.show(model.get("_shown")),
    method,
    _preset: method,
    target: () => order.setClass("target", model.get("target")),
    against: () => order.setClass("against", model.get("against")),
    state: () => {
      const state = model.get("state");
      order.setState(state);
      meter.setState(state, "evaluations" in model.get("_progress"));
      chooser.enable(!BUSY.includes(state));
      frame.disabled = BUSY.includes(state);
    },
    _progress: () => meter.show(model.get("_progress")),
    _message: () => order.setMessage(model.get("_message")),
    _looked: () => {
      chooser.setLooks(model.get("_looked"));
      likely();
    },
    rank: () => order.setRank(model.get("rank")),
    _facts: () => facts.replaceChildren(...model.get("_facts").map(([term, value]) => fact(term, value)))
  };
  const take = (content, buffers) => {
    if (content.kind === "thumbnail") chooser.setThumbnail(content.image, buffers[0]);
    if (content.kind === "uploaded") chooser.setUploaded(content.refused);
    if (content.kind !== "masks") return;
    for (const [position, { layer, height, width }] of content.masks.entries()) {
      overlay.updateLayer(layer, { height, width }, buffers[position]);
    }
  };
  const stop = listen(model, [gone.event, ["msg:custom", take], ...changes(show)]);
  for (const act of Object.values(show)) act();
  return () => {
    stop();
    chooser.destroy();
    overlay.destroy();
  };
}
function fact(term, value) {
  const text = make("dd", {}, make("bdi", { textContent: value }));
  return make("div", {}, make("dt", { textContent: term }), text);
}
var explain_default = { initialize, render };
export {
  explain_default as default
};
