// MaskOverlay: the overlay, fed by a model's traits.

/** @import { Settings } from "./overlay_controls.js" */
/** @import { Bytes, Listener, Model, Rendered, SentLayer, SentPhotograph } from "./types.d.ts" */

import { goneNotice, listen, widgetRoot } from "./dom.js";
import { Overlay } from "./overlay.js";

/**
 * Layers are named in Python and counted here.
 * @typedef {Omit<Settings, "layer" | "compare" | "hidden"> & {
 *   _tables: Record<string, Bytes>, _photograph: SentPhotograph, _layers: SentLayer[], _static_class: string,
 *   layer: string | null, compare: string | null,
 * }} Traits
 */

const OPTIONS = /** @type {const} */ ([
  "opacity",
  "threshold",
  "outline",
  "drawn_as",
  "colours",
  "layer",
  "compare",
  "swipe",
]);

/**
 * A trait as one of the overlay's settings.
 * @param {Model<Traits>} model
 * @param {typeof OPTIONS[number]} name
 */
export function setting(model, name) {
  const value = model.get(name);
  if (name !== "layer" && name !== "compare") return { [name]: value };
  return { [name]: model.get("_layers").findIndex((layer) => layer.name === value) };
}

/**
 * Other values of a mask, taken into the model so that a second view has them too; nothing goes back to the kernel.
 * @param {{ model: Model<Traits> }} widget
 */
function initialize({ model }) {
  model.on("msg:custom", (message, buffers) => {
    if (message.kind !== "mask") return;
    const layers = [...model.get("_layers")];
    layers[message.layer] = { ...layers[message.layer], ...message.about, data: buffers[0] };
    model.set("_layers", layers, { silent: true });
  });
}

/** @param {Rendered<Traits>} view */
function render({ model, el }) {
  const overlay = new Overlay(model.get("_tables"));
  const gone = goneNotice();
  el.append(widgetRoot(model.get("_static_class"), gone.element, overlay.element));
  const photograph = () => overlay.setPhotograph(model.get("_photograph"));
  const layers = () => overlay.setLayers(model.get("_layers"));
  /** @type {Listener} */
  const take = ({ kind, layer, about }, buffers) => {
    if (kind === "mask") overlay.updateLayer(layer, about, buffers[0]);
  };
  const stop = listen(model, [
    gone.event,
    ["change:_photograph", photograph],
    ["change:_layers", layers],
    ["msg:custom", take],
    ...OPTIONS.map(
      (name) => /** @type {[string, Listener]} */ ([`change:${name}`, () => overlay.set(setting(model, name))]),
    ),
  ]);
  photograph();
  layers();
  overlay.set(Object.assign({}, ...OPTIONS.map((name) => setting(model, name))));
  return () => {
    stop();
    overlay.destroy();
  };
}

export default { initialize, render };
