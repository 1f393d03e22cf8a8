// MaskOverlay: the overlay, fed by a model's traits.

const OPTIONS = ["opacity", "threshold", "outline", "colours", "layer", "compare", "swipe"];

/** A trait's value as the overlay's state has it: layers are named in Python and counted here. */
function option(model, name) {
  const value = model.get(name);
  if (name !== "layer" && name !== "compare") return value;
  return model.get("_layers").findIndex((layer) => layer.name === value);
}

/** Other values of a mask, taken into the model so that a second view has them too; nothing goes back to the kernel. */
function initialize({ model }) {
  model.on("msg:custom", (message, buffers) => {
    if (message.kind !== "mask") return;
    const layers = [...model.get("_layers")];
    layers[message.layer] = { ...layers[message.layer], ...message.size, data: buffers[0] };
    model.set("_layers", layers, { silent: true });
  });
}

function render({ model, el }) {
  const overlay = new Overlay(model.get("_tables"));
  const root = make("div", { class: "fidokit", dataset: { lmSuppressShortcuts: "true" } },
    staticRule(model.get("_static_class")), overlay.element);
  el.append(root);
  const photograph = () => overlay.setPhotograph(model.get("_photograph"));
  const layers = () => overlay.setLayers(model.get("_layers"));
  const update = (message, buffers) => {
    if (message.kind === "mask") overlay.updateLayer(message.layer, message.size.height, message.size.width, buffers[0]);
  };
  const events = [["change:_photograph", photograph], ["change:_layers", layers], ["msg:custom", update]];
  for (const name of OPTIONS) events.push([`change:${name}`, () => overlay.set({ [name]: option(model, name) })]);
  for (const [name, act] of events) model.on(name, act);
  photograph();
  layers();
  overlay.set(Object.fromEntries(OPTIONS.map((name) => [name, option(model, name)])));
  return () => {
    for (const [name, act] of events) model.off(name, act);
    overlay.destroy();
  };
}

export default { initialize, render };
