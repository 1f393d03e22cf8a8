// ExplainWidget: chooser, order, progress and overlay, fed by a model's traits. Everything said to the kernel is a
// message; no trait is written here.

/** @import { Progress } from "./meter.js" */
/** @import { Look, Offered } from "./chooser.js" */
/** @import { Bytes, Listener, MethodForm, Model, Rendered, SentLayer, SentPhotograph } from "./types.d.ts" */

import { Chooser } from "./chooser.js";
import { button, changes, goneNotice, listen, make, sender, widgetRoot } from "./dom.js";
import { Meter } from "./meter.js";
import { BUSY, Order } from "./order.js";
import { Overlay } from "./overlay.js";

/**
 * @typedef {{
 *   _tables: Record<string, Bytes>, _photographs: Offered[], _classes: string[], _taxa: string[][], _ranks: string[],
 *   _methods: MethodForm[], _looked: Record<string, Look>, rank: string | null,
 *   _photograph: SentPhotograph, _layers: SentLayer[], _shown: string, _preset: string, _progress: Progress | {},
 *   _message: string, _facts: string[][], _static_class: string, image_id: string, method: string,
 *   target: string | null, against: string | null, state: string, whole_frame: boolean,
 * }} Traits
 */

/**
 * A second view, or one that opens later, shows the masks as they are by then.
 * @param {{ model: Model<Traits> }} widget
 */
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

/** @param {Rendered<Traits>} view */
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
    _facts: () => facts.replaceChildren(...model.get("_facts").map(([term, value]) => fact(term, value))),
  };
  /** @type {Listener} */
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

/**
 * @param {string} term
 * @param {string} value
 */
function fact(term, value) {
  const text = make("dd", {}, make("bdi", { textContent: value }));
  return make("div", {}, make("dt", { textContent: term }), text);
}

export default { initialize, render };
