// Choosing a photograph: a list that is searched, with thumbnails as they come into sight; upload and drag-and-drop.

/** @import { Send, Verdict } from "./types.d.ts" */

import { bytesOf } from "./bytes.js";
import { button, make, uniqueName, verdict } from "./dom.js";
import { counted, lowered, wordsOf } from "./text.js";

/** @typedef {[string, string]} Offered image_id and label of a photograph. */
/** @typedef {{ predicted: string, state: Verdict, likely: [string, number][] }} Look what the classifier says of it. */

/** Photographs shown at once; more are found by searching. */
export const MOST_SHOWN = 60;
/** Bytes of one message of an upload: servers refuse messages of some ten megabytes. */
export const PIECE = 2 ** 21;

/**
 * Photographs in which all that is typed occurs, and those of them that are shown; with nothing typed, the chosen one
 * is among them.
 * @param {Offered[]} photographs
 * @param {string} typed
 * @param {string} chosen
 */
export function listed(photographs, typed, chosen) {
  const words = wordsOf(lowered(typed));
  const found = photographs.filter((photograph) =>
    words.every((word) => photograph.some((text) => lowered(text).includes(word))),
  );
  const shown = found.slice(0, MOST_SHOWN);
  const needed = words.length ? undefined : photographs.find(([image]) => image === chosen);
  if (needed && !shown.includes(needed)) shown.unshift(needed);
  return { found, shown };
}

/**
 * What is said of photographs that are not shown.
 * @param {number} offered
 * @param {number} found
 * @param {number} shown
 */
export function restInWords(offered, found, shown) {
  if (!offered) return "";
  if (!found) return "No photograph fits";
  return found > shown ? `${shown} of ${counted(found)} shown; search for the others` : "";
}

export class Chooser {
  id = uniqueName("chooser");
  search = make("input", { type: "search", id: `${this.id}-search`, autocomplete: "off", spellcheck: false });
  searchField = make(
    "div",
    { class: "fk-field" },
    make("label", { for: `${this.id}-search`, textContent: "Search file or label" }),
    this.search,
  );
  list = make("div", { class: "fk-list", role: "radiogroup", "aria-label": "Photograph" });
  found = make("p", { class: "fk-found", role: "status" });
  file = make("input", {
    type: "file",
    accept: "image/*,.tif,.tiff",
    id: `${this.id}-file`,
    class: "fk-unseen",
    tabIndex: -1,
  });
  drop = make(
    "div",
    { class: "fk-drop" },
    button("Upload a photograph", () => this.file.click()),
    make("label", { for: `${this.id}-file`, class: "fk-unseen", textContent: "File of a photograph" }),
    this.file,
    make("span", { textContent: "or drop it here" }),
  );
  element = make(
    "section",
    { class: "fk-chooser", "aria-label": "Photographs" },
    this.searchField,
    this.list,
    this.found,
    this.drop,
  );
  /** @type {Offered[]} */
  #photographs = [];
  #chosen = "";
  #enabled = true;
  /** Address of each thumbnail; empty where a photograph cannot be shown. @type {Map<string, string>} */
  #thumbnails = new Map();
  /** @type {Record<string, Look>} */
  #looks = {};
  /** @type {Set<string>} */
  #asked = new Set();
  /** @type {Map<Element, string>} */
  #images = new Map();

  /** @param {Send} send */
  constructor(send) {
    this.send = send;
    this.search.addEventListener("input", () => this.#list());
    this.file.addEventListener("change", () => this.#upload(this.file.files));
    for (const name of /** @type {const} */ (["dragenter", "dragover", "dragleave", "drop"])) {
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
    row.querySelector(".fk-look")?.replaceChildren(verdict(look.state), ...(look.state === "right" ? [] : called));
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
      disabled: !this.#enabled,
    });
    input.addEventListener("change", () => this.send({ do: "choose", image }));
    const names = make(
      "span",
      { class: "fk-names" },
      make("bdi", { class: "fk-file", textContent: fileOf(image) }),
      label ? make("bdi", { class: "fk-label", textContent: label }) : null,
      make("span", { class: "fk-look" }),
      folderOf(image) ? make("bdi", { class: "fk-folder", textContent: folderOf(image) }) : null,
    );
    const place = make("span", { class: "fk-thumbnail" });
    const row = make("label", { class: "fk-row", title: image, dataset: { image } }, input, place, names);
    const address = this.#thumbnails.get(image);
    if (address !== undefined) showThumbnail(row, address);
    this.#showLook(row, image);
    return row;
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #seen(entries) {
    const images = entries
      .filter((entry) => entry.isIntersecting)
      .map((entry) => this.#images.get(entry.target) ?? "")
      .filter((image) => image && !this.#asked.has(image));
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
}

/**
 * The name of a photograph's file, by which photographs of one folder differ.
 * @param {string} image
 */
export function fileOf(image) {
  return image.slice(image.lastIndexOf("/") + 1) || image;
}

/**
 * The folder before it; empty where there is none.
 * @param {string} image
 */
export function folderOf(image) {
  return fileOf(image) === image ? "" : image.slice(0, image.lastIndexOf("/"));
}

/**
 * Send a file, a piece after the other.
 * @param {File} file
 * @param {Send} send
 */
export async function upload(file, send) {
  const parts = Math.max(1, Math.ceil(file.size / PIECE));
  for (let part = 0; part < parts; part++) {
    // biome-ignore lint/performance/noAwaitInLoops: no more than one piece is to be in memory
    const content = await file.slice(part * PIECE, (part + 1) * PIECE).arrayBuffer();
    send({ do: "upload", name: file.name, part, parts }, [content]);
  }
}

/**
 * @param {Element} row of a photograph.
 * @param {string} address
 */
function showThumbnail(row, address) {
  const picture = address ? make("img", { src: address, alt: "" }) : "?";
  row.querySelector(".fk-thumbnail")?.replaceChildren(picture);
}
