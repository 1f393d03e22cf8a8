// ExplainWidget: chooser, order, progress and overlay, fed by a model's traits. Everything said to the kernel is a
// message; no trait is written here.

const STATES = {
  ready: "", preparing: "Preparing the classifier; the first time, this takes some seconds", running: "Computing",
  stopping: "Stopping", done: "Done", stopped: "Stopped; the mask is what there was", failed: "This did not work",
};

/** How far the optimiser is: a bar, figures, and the course of the loss. */
class Meter {
  constructor() {
    this.state = make("span", { class: "fk-state", role: "status" });
    this.bar = make("progress", { max: 1, value: 0, "aria-label": "Evaluations done" });
    this.figures = Object.fromEntries(["Evaluations", "Rate", "Time left", "Score kept", "Score dropped", "Loss"].map(
      (name) => [name, make("dd", { textContent: "–" })]));
    this.course = make("canvas", { class: "fk-course", width: 240, height: 56, role: "img" });
    this.course.setAttribute("aria-label", "Course of the loss over the evaluations");
    this.list = make("dl", { class: "fk-figures" },
      ...Object.entries(this.figures).map(([name, value]) => make("div", {}, make("dt", { textContent: name }), value)),
      make("div", { class: "fk-curve" }, make("dt", { class: "fk-unseen", textContent: "Course of the loss" }),
        make("dd", {}, this.course)));
    this.losses = [];
    this.element = make("section", { class: "fk-meter", "aria-label": "Progress" },
      make("div", { class: "fk-line" }, this.state, this.bar), this.list);
  }

  setState(state) {
    this.state.textContent = STATES[state] ?? state;
    this.element.dataset.state = state;
    this.element.hidden = state === "ready";
    if (state === "preparing" || state === "running") this.bar.removeAttribute("value");
    if (!["preparing", "running", "stopping"].includes(state)) this.figures["Time left"].textContent = "–";
    if (state === "done") this.bar.value = 1;
  }

  show(progress) {
    const started = "evaluations" in progress;
    this.list.hidden = !started;
    if (!started) {
      this.losses = [];
      this.bar.value = 0;
      return;
    }
    const number = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
    this.bar.value = Math.min(1, progress.evaluations / Math.max(1, progress.total));
    const texts = {
      Evaluations: `${progress.evaluations} of ${progress.total}`, Rate: `${number(progress.rate, 1)} a second`,
      "Time left": progress.left === null ? "–" : `${Math.ceil(progress.left)} s`, "Score kept": number(progress.kept),
      "Score dropped": number(progress.dropped), Loss: number(progress.loss),
    };
    for (const [name, text] of Object.entries(texts)) this.figures[name].textContent = text;
    if (progress.loss !== null) this.losses.push([progress.evaluations, progress.loss]);
    this.course.closest("div").hidden = this.losses.length < 2;
    this.#draw(progress.total);
  }

  #draw(total) {
    const context = this.course.getContext("2d");
    const { width, height } = this.course;
    const values = this.losses.map(([, loss]) => loss);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    context.clearRect(0, 0, width, height);
    context.strokeStyle = getComputedStyle(this.course).color;
    context.lineWidth = 3;
    context.lineJoin = "round";
    context.beginPath();
    for (const [evaluations, loss] of this.losses) {
      context.lineTo(2 + ((width - 4) * evaluations) / total,
        4 + (height - 8) * (1 - (loss - low) / Math.max(high - low, 1e-9)));
    }
    context.stroke();
  }
}

function initialize({ model }) {
  // A second view, or one that opens later, shows the masks as they are by then.
  model.on("msg:custom", (message, buffers) => {
    if (message.kind !== "masks") return;
    const layers = [...model.get("_layers")];
    message.masks.forEach(({ layer, height, width }, position) => {
      layers[layer] = { ...layers[layer], height, width, data: buffers[position] };
    });
    model.set("_layers", layers, { silent: true });
  });
}

function render({ model, el }) {
  const send = (message, buffers) => model.send(message, undefined, buffers);
  const overlay = new Overlay(model.get("_tables"));
  const chooser = new Chooser(send);
  const order = new Order(model.get("_classes"), model.get("_methods"), send);
  const meter = new Meter();
  const facts = make("dl", { class: "fk-facts" });
  const name = make("p", { class: "fk-title" });
  const root = make("div", { class: "fidokit", dataset: { lmSuppressShortcuts: "true" } },
    staticRule(model.get("_static_class")),
    make("div", { class: "fk-explain" },
      make("div", { class: "fk-side" }, chooser.element, order.element),
      make("div", { class: "fk-main" }, name, meter.element, overlay.element)));
  overlay.view.append(facts);
  el.append(root);

  const show = {
    _photographs: () => chooser.setPhotographs(model.get("_photographs")),
    image_id: () => {
      chooser.choose(model.get("image_id"));
      name.replaceChildren(make("bdi", { textContent: model.get("image_id") }));
    },
    _photograph: () => overlay.setPhotograph(model.get("_photograph")),
    _layers: () => overlay.setLayers(model.get("_layers")),
    _shown: () => overlay.show(model.get("_shown")),
    method: () => order.setMethod(model.get("method"), model.get("_preset")),
    _preset: () => order.setMethod(model.get("method"), model.get("_preset")),
    target: () => order.setClass("target", model.get("target")),
    against: () => order.setClass("against", model.get("against")),
    state: () => {
      const state = model.get("state");
      order.setState(state);
      meter.setState(state);
      chooser.enable(!["preparing", "running", "stopping"].includes(state));
    },
    _progress: () => meter.show(model.get("_progress")),
    _message: () => order.setMessage(model.get("_message")),
    _prediction: () => order.setPrediction(...model.get("_prediction")),
    _facts: () => facts.replaceChildren(...model.get("_facts").map(([term, value]) =>
      make("div", {}, make("dt", { textContent: term }), make("dd", {}, make("bdi", { textContent: value }))))),
  };
  const take = (content, buffers) => {
    if (content.kind === "thumbnail") chooser.setThumbnail(content.image, buffers[0]);
    if (content.kind !== "masks") return;
    content.masks.forEach(({ layer, height, width }, position) => overlay.updateLayer(layer, height, width, buffers[position]));
  };
  const events = [["msg:custom", take], ...Object.entries(show).map(([trait, act]) => [`change:${trait}`, act])];
  for (const [event, act] of events) model.on(event, act);
  for (const act of Object.values(show)) act();
  return () => {
    for (const [event, act] of events) model.off(event, act);
    chooser.destroy();
    overlay.destroy();
  };
}

export default { initialize, render };
