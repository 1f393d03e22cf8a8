// ErrorWidget: map, table of clusters, evidence and gallery, linked with each other. A selection is shown here at once,
// and goes to the kernel through a queue that loses none.

/** An array of numbers from the bytes of a trait. */
function numbersOf(data, kind) {
  const bytes = bytesOf(data);
  return new kind(bytes.slice().buffer);
}

/** A file that the browser saves. */
function save(name, content, type) {
  const address = URL.createObjectURL(new Blob([bytesOf(content)], { type }));
  const link = make("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** What can be done with the selection. */
class SelectionTools {
  constructor(send, clear) {
    const id = `fidokit-selection-${maps}`;
    const button = (words, press) => {
      const made = make("button", { type: "button", textContent: words });
      made.addEventListener("click", press);
      return made;
    };
    this.name = make("input", { type: "text", value: "selection", autocomplete: "off", spellcheck: false, size: 12 });
    this.said = make("span", { role: "status" });
    this.csv = button("Save as CSV", () => send({ do: "csv" }));
    this.put = button("Put into the notebook", () => send({ do: "put", name: this.name.value.trim() }));
    this.clear = button("Clear", clear);
    this.element = make("form", { class: "fk-line", "aria-label": "The selection" }, this.csv, this.put,
      labelled(`${id}-name`, "as", this.name), this.clear, this.said);
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.put.click();
    });
  }

  setCount(count) {
    for (const button of [this.csv, this.put, this.clear]) button.disabled = !count;
  }
}

function render({ model, el }) {
  const send = (message, buffers) => model.send(message, undefined, buffers);
  const tables = model.get("_tables");
  const words = lookup(bytesOf(tables[Object.keys(tables)[0]]), 0);
  const sent = model.get("_points");
  const ids = model.get("_ids");
  const points = { colours: sent.colours };
  for (const name of ["x", "y", "score"]) points[name] = numbersOf(sent[name], Float32Array);
  for (const name of ["cluster", "label", "predicted"]) points[name] = numbersOf(sent[name], Int32Array);
  points.state = numbersOf(sent.state, Uint8Array);
  const nameOf = (code) => (code < 0 ? "none" : sent.names[code]);
  const about = (row) => ({ name: ids[row], label: nameOf(points.label[row]), predicted: nameOf(points.predicted[row]),
    score: points.score[row], state: ["wrong", "right", "not judged"][points.state[row]] });
  const say = (row) => {
    const { name, label, predicted, score, state } = about(row);
    const cluster = sent.clusters[points.cluster[row]];
    return [name, `label ${label}`, `called ${predicted} (${score.toFixed(2)}), ${state}`, ...(cluster >= 0 ? [`cluster ${cluster}`] : [])];
  };

  const waiting = make("p", { class: "fk-waiting", role: "status" });
  const queue = new SelectionQueue(send, (count) => {
    waiting.textContent = count > 1 || (count && busyLong()) ? `${count} selections wait for the kernel` : "";
  });
  let since = 0;
  const busyLong = () => Date.now() - since > 1000;
  const pictures = new Pictures((images) => send({ do: "pictures", images }), (row) => gallery.draw(row));
  const gallery = new Gallery(pictures, words, { open: (image) => send({ do: "open", image }), hover: (row) => map.ring(row) }, about);
  const selection = new SelectionTools(send, () => select(new Uint32Array(0)));
  const shown = (rows) => {
    map.setSelected(rows);
    gallery.show(rows);
    selection.setCount(rows.length);
    selection.said.textContent = "";
  };
  const select = (rows) => {
    since = Date.now();
    shown(rows);
    table.setSelection([], null);
    evidence.show(null);
    queue.add(rows);
  };
  const map = new ScatterMap({ select, hover: (row) => gallery.mark(row) }, say);
  const table = new ClusterTable((cluster) => {
    since = Date.now();
    queue.add(new Uint32Array(0), cluster);
  });
  const evidence = new Evidence({ verify: (cluster) => send({ do: "verify", cluster }), stop: () => send({ do: "stop" }) });

  const overlay = new Overlay(tables);
  const title = make("h3", { tabIndex: -1 });
  const close = make("button", { type: "button", textContent: "Close" });
  close.addEventListener("click", () => send({ do: "open", image: null }));
  const detail = make("section", { class: "fk-detail", "aria-label": "One image", hidden: true },
    make("div", { class: "fk-line" }, title, close), overlay.element);
  const message = make("p", { class: "fk-message", role: "alert", hidden: true });
  const remark = make("p", { class: "fk-remark", hidden: true });
  const summary = make("div", { class: "fk-summary-lines" });
  const root = make("div", { class: "fidokit", dataset: { lmSuppressShortcuts: "true" } },
    staticRule(model.get("_static_class")),
    make("div", { class: "fk-errors" }, remark, message, summary, table.element,
      make("div", { class: "fk-pair" }, map.element, evidence.element), selection.element, waiting, gallery.element, detail));
  el.append(root);
  map.setPoints(points);

  const view = () => {
    const { rows, cluster, counts, view: from, number } = model.get("_view");
    if (queue.overtakes(from, number)) return;
    const own = numbersOf(rows, Uint32Array);
    // What was selected here is shown already, and the gallery may have been turned since.
    if (from !== queue.view || cluster !== null) shown(own);
    table.setSelection(counts, cluster);
    evidence.show(model.get("_clusters").find((row) => row.cluster === cluster) ?? null);
  };
  const text = (element, said) => {
    element.textContent = said;
    element.hidden = !said;
  };
  const show = {
    _clusters: () => {
      table.setClusters(model.get("_clusters"));
      evidence.show(model.get("_clusters").find((row) => row.cluster === table.chosen) ?? null);
    },
    _view: view,
    _summary: () => summary.replaceChildren(...model.get("_summary").filter((line) => !line.startsWith("- "))
      .map((line) => make("p", { textContent: line }))),
    state: () => evidence.setState(model.get("state")),
    _progress: () => evidence.setProgress(...(model.get("_progress").length ? model.get("_progress") : [0, 0])),
    _photograph: () => overlay.setPhotograph(model.get("_photograph")),
    _layers: () => overlay.setLayers(model.get("_layers")),
    _about: () => {
      const known = model.get("_about");
      const opened = detail.hidden && known.image;
      detail.hidden = !known.image;
      if (!known.image) return;
      title.replaceChildren(make("bdi", { textContent: known.image }), " ", verdict(known.state), ", label ",
        make("bdi", { textContent: known.label || "none" }), ", called ", make("bdi", { textContent: known.predicted }));
      if (opened) title.focus();
    },
    _message: () => text(message, model.get("_message")),
    _remark: () => text(remark, model.get("_remark")),
  };
  const take = (content, buffers) => {
    queue.take(content);
    if (content.kind === "picture") pictures.take(content.image, content.photograph, content.layers, buffers);
    if (content.kind === "csv") save(content.name, buffers[0], "text/csv");
    if (content.kind === "put") selection.said.textContent = `The variable ${content.name} has ${content.count} rows`;
  };
  const events = [["msg:custom", take], ...Object.entries(show).map(([trait, act]) => [`change:${trait}`, act])];
  for (const [event, act] of events) model.on(event, act);
  for (const act of Object.values(show)) act();
  return () => {
    for (const [event, act] of events) model.off(event, act);
    for (const part of [queue, pictures, map, overlay]) part.destroy();
  };
}

export default { render };
