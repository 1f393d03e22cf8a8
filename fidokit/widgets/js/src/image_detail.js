// One photograph, large, with its masks: what a click on a small one shows.

/** @import { Bytes, Verdict } from "./types.d.ts" */

import { button, make, verdict } from "./dom.js";
import { Overlay } from "./overlay.js";

/** @typedef {{ image: string, state: Verdict, label: string, predicted: string }} Known of an image. */

/** One image, large. */
export class ImageDetail {
  title = make("h3", { tabIndex: -1 });

  /**
   * @param {Record<string, Bytes>} tables
   * @param {() => void} close
   */
  constructor(tables, close) {
    this.overlay = new Overlay(tables);
    const line = make("div", { class: "fk-line" }, this.title, button("Close", close));
    const properties = { class: "fk-detail", "aria-label": "One image", hidden: true };
    this.element = make("section", properties, line, this.overlay.element);
  }

  /** @param {Known | { image?: undefined }} known */
  show(known) {
    const wasHidden = this.element.hidden;
    this.element.hidden = !known.image;
    if (!known.image) return;
    const [image, label, predicted] = [known.image, known.label || "none", known.predicted].map((text) =>
      make("bdi", { textContent: text }),
    );
    this.title.replaceChildren(image, " ", verdict(known.state), ", label ", label, ", called ", predicted);
    if (wasHidden) this.title.focus();
  }
}
