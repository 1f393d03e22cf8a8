// Choosing a photograph: a list that is searched, with thumbnails as they come into sight; upload and drag-and-drop.

/** Photographs shown at once; more are found by searching. */
const MOST_SHOWN = 60;
/** Bytes of one message of an upload: servers refuse messages of some ten megabytes. */
const PIECE = 2 ** 21;

let choosers = 0;

class Chooser {
  /** @param send a message to the kernel, with buffers. */
  constructor(send) {
    this.send = send;
    this.id = `fidokit-chooser-${++choosers}`;
    this.photographs = [];
    this.thumbnails = new Map();
    this.asked = new Set();
    this.element = this.#build();
    this.sight = new IntersectionObserver((entries) => this.#seen(entries), { root: this.list, rootMargin: "80px" });
  }

  destroy() {
    this.sight.disconnect();
    for (const address of this.thumbnails.values()) if (address) URL.revokeObjectURL(address);
  }

  /** Offer these photographs, [image_id, label]. */
  setPhotographs(photographs) {
    this.photographs = photographs;
    this.searchField.hidden = this.list.hidden = photographs.length === 0;
    this.#list();
  }

  choose(image) {
    this.chosen = image;
    for (const input of this.list.querySelectorAll("input")) input.checked = input.value === image;
  }

  /** Not while a mask is computed. */
  enable(enabled) {
    this.enabled = enabled;
    for (const input of this.element.querySelectorAll("input, button")) input.disabled = !enabled;
  }

  setThumbnail(image, bytes) {
    const address = bytes.byteLength ? URL.createObjectURL(new Blob([bytesOf(bytes)], { type: "image/jpeg" })) : "";
    this.thumbnails.set(image, address);
    for (const row of this.list.children) if (row.dataset.image === image) this.#picture(row, address);
  }

  #build() {
    const id = (name) => `${this.id}-${name}`;
    this.search = make("input", { type: "search", id: id("search"), autocomplete: "off", spellcheck: false });
    this.search.addEventListener("input", () => this.#list());
    this.searchField = make("div", { class: "fk-field" },
      make("label", { for: id("search"), textContent: "Search file or label" }), this.search);
    this.list = make("div", { class: "fk-list", role: "radiogroup", "aria-label": "Photograph" });
    this.found = make("p", { class: "fk-found", role: "status" });
    this.file = make("input", { type: "file", accept: "image/*,.tif,.tiff", id: id("file"), class: "fk-unseen", tabIndex: -1 });
    this.file.addEventListener("change", () => this.#upload(this.file.files));
    const browse = make("button", { type: "button", textContent: "Upload a photograph" });
    browse.addEventListener("click", () => this.file.click());
    const label = make("label", { for: id("file"), class: "fk-unseen", textContent: "File of a photograph" });
    this.drop = make("div", { class: "fk-drop" }, browse, label, this.file,
      make("span", { textContent: "or drop it here" }));
    const element = make("section", { class: "fk-chooser", "aria-label": "Photographs" }, this.searchField, this.list,
      this.found, this.drop);
    for (const name of ["dragenter", "dragover"]) element.addEventListener(name, (event) => this.#drag(event, true));
    for (const name of ["dragleave", "drop"]) element.addEventListener(name, (event) => this.#drag(event, false));
    element.addEventListener("drop", (event) => this.#upload(event.dataTransfer.files));
    return element;
  }

  #drag(event, over) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    this.drop.classList.toggle("fk-over", over);
  }

  #list() {
    const words = this.search.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const fits = (photograph) => words.every((word) => photograph.some((text) => text.toLocaleLowerCase().includes(word)));
    const found = this.photographs.filter(fits);
    // The newest upload is what somebody looks for.
    const shown = words.length ? found.slice(0, MOST_SHOWN) : this.#withChosen(found.slice(0, MOST_SHOWN));
    this.sight.disconnect();
    this.list.replaceChildren(...shown.map(([image, label]) => this.#row(image, label)));
    for (const row of this.list.children) this.sight.observe(row);
    const left = found.length - shown.length;
    this.found.textContent = !this.photographs.length ? "" : !found.length ? "No photograph fits"
      : left > 0 ? `${shown.length} of ${found.length.toLocaleString("en")} shown; search for the others` : "";
  }

  #withChosen(shown) {
    const chosen = this.photographs.find(([image]) => image === this.chosen);
    return chosen && !shown.includes(chosen) ? [chosen, ...shown] : shown;
  }

  #row(image, label) {
    const input = make("input", { type: "radio", name: this.id, value: image, checked: image === this.chosen,
                                  disabled: this.enabled === false });
    input.addEventListener("change", () => this.send({ do: "choose", image }));
    const row = make("label", { class: "fk-row", title: image, dataset: { image } }, input,
      make("span", { class: "fk-thumbnail" }),
      make("span", { class: "fk-names" }, make("bdi", { textContent: image }),
        label ? make("bdi", { class: "fk-label", textContent: label }) : null));
    if (this.thumbnails.has(image)) this.#picture(row, this.thumbnails.get(image));
    return row;
  }

  #picture(row, address) {
    const place = row.querySelector(".fk-thumbnail");
    if (address) place.replaceChildren(make("img", { src: address, alt: "" }));
    else place.textContent = "?";
  }

  #seen(entries) {
    const images = entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target.dataset.image)
      .filter((image) => !this.asked.has(image));
    for (const image of images) this.asked.add(image);
    if (images.length) this.send({ do: "thumbnails", images });
  }

  async #upload(files) {
    const file = files?.[0];
    this.file.value = "";
    if (!file || this.enabled === false) return;
    this.found.textContent = `Uploading ${file.name}`;
    const parts = Math.max(1, Math.ceil(file.size / PIECE));
    for (let part = 0; part < parts; part++) {
      const content = await file.slice(part * PIECE, (part + 1) * PIECE).arrayBuffer();
      this.send({ do: "upload", name: file.name, part, parts }, [content]);
    }
    this.search.value = "";
  }
}
