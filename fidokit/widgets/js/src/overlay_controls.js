// The panel beside a photograph with masks: which mask is shown, and how.

/** @import { Layer } from "./types.d.ts" */

import { labelled, labelledCheck, make, offer, select } from "./dom.js";
import { DRAWN_AS } from "./picture.js";
import { drawRamp, emptyLegend } from "./tiles.js";

/**
 * What the controls set: `layer` and `compare` are positions, -1 for none; shares are from 0 to 1.
 * @typedef {{
 *   opacity: number, threshold: number, swipe: number, outline: boolean, drawn_as: string, colours: string, layer: number,
 *   compare: number, hidden: boolean,
 * }} Settings
 */
/** @typedef {"opacity" | "threshold" | "swipe"} SliderName */

/** Verdicts of masks that step back, as in `fidokit.methods.verdicts`. */
export const FAILING = ["explains little"];
/** Pixels of a side of a mask's thumbnail. */
export const THUMBNAIL = 76;

const HELP =
  "With the picture in focus: arrow keys move the point that is read, and the picture when it is enlarged; plus and " +
  "minus zoom, 0 shows the whole picture, r the mask's region; 1 to 9 choose a mask; the space bar hides it. The wheel zooms while the " +
  "picture is in focus; a drag moves it.";

/**
 * What stands beside a slider.
 * @param {SliderName} name
 * @param {number} share
 */
export function shareInWords(name, share) {
  return name === "threshold" ? share.toFixed(2) : `${Math.round(share * 100)} %`;
}

/** A slider from 0 to 1, with its value in words. */
class Slider {
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
      make("div", { class: "fk-slider" }, this.input, this.value),
    );
  }

  /** @param {number} share */
  show(share) {
    this.input.value = String(Math.round(share * 100));
    this.value.textContent = shareInWords(this.name, share);
  }
}

export class OverlayControls {
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
        make("p", { id: `${id}-help`, textContent: HELP }),
      ),
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
      const verdict = layer.verdict ? make("small", { textContent: layer.verdict }) : null;
      const classes = `fk-layer${FAILING.includes(layer.verdict) ? " fk-back" : ""}`;
      return make("label", { class: classes, title: layer.name }, layer.input, layer.thumbnail, name, verdict);
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
}
