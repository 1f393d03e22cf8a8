// ErrorWidget: map, table of clusters, evidence and gallery, linked with each other. A selection is shown here at once,
// and goes to the kernel through a queue that loses none.

/** @import { About } from "./gallery.js" */
/** @import { Known } from "./image_detail.js" */
/** @import { Bytes, Cluster, Listener, Rendered, Send, SentLayer, SentPhotograph, Verdict } from "./types.d.ts" */

import { bytesOf, numbersOf } from "./bytes.js";
import { ClusterTable, Evidence, titleOf } from "./clusters.js";
import {
  button,
  changes,
  goneNotice,
  labelled,
  listen,
  make,
  save,
  say,
  sender,
  uniqueName,
  widgetRoot,
} from "./dom.js";
import { Gallery } from "./gallery.js";
import { ImageDetail } from "./image_detail.js";
import { ScatterMap } from "./map.js";
import { lookup } from "./picture.js";
import { SelectionQueue } from "./queue.js";
import { figure } from "./text.js";
import { drawTile, MOST_PICTURES, Pictures } from "./tiles.js";

/**
 * Points as the kernel sends them: `names` of classes and the numbers of `clusters` (-1 for none) by code.
 * @typedef {{
 *   names: string[], colours: string[], clusters: number[], x: Bytes, y: Bytes, score: Bytes, state: Bytes, cluster: Bytes,
 *   label: Bytes, predicted: Bytes,
 * }} SentPoints
 */
/**
 * What is selected: rows, the cluster that they are (null for none), how many of them each cluster holds; and which view's
 * selection it was.
 * @typedef {{ rows: Bytes, cluster: number | null, counts: number[], view: string, number: number }} Selection
 */
/**
 * @typedef {{
 *   _tables: Record<string, Bytes>, _static_class: string, _points: SentPoints, _ids: string[], _clusters: Cluster[],
 *   _words: Record<string, string>,
 *   _summary: string[], _view: Selection, _progress: [number, number] | [], _photograph: SentPhotograph, _layers: SentLayer[],
 *   _about: Known | { image?: undefined }, _message: string, _remark: string, state: string,
 * }} Traits
 */

const STATES = /** @type {const} */ (["wrong", "right", "not judged"]);
/** Pixels of the longer side of a photograph on the map. */
const THUMBNAIL = 64;
/** Milliseconds that the kernel may take before it is said that it does. */
const PATIENCE = 1000;

/** The images of the map, a row each. */
export class Images {
  /**
   * @param {SentPoints} sent
   * @param {string[]} ids
   */
  constructor(sent, ids) {
    this.ids = ids;
    this.names = sent.names;
    this.clusters = sent.clusters;
    this.label = numbersOf(sent.label, Int32Array);
    this.predicted = numbersOf(sent.predicted, Int32Array);
    this.score = numbersOf(sent.score, Float32Array);
    this.points = {
      x: numbersOf(sent.x, Float32Array),
      y: numbersOf(sent.y, Float32Array),
      cluster: numbersOf(sent.cluster, Int32Array),
      state: numbersOf(sent.state, Uint8Array),
      colours: sent.colours,
    };
  }

  /**
   * @param {number} row
   * @returns {About}
   */
  about(row) {
    const nameOf = (/** @type {number} */ code) => (code < 0 ? "none" : this.names[code]);
    return {
      name: this.ids[row],
      label: nameOf(this.label[row]),
      predicted: nameOf(this.predicted[row]),
      score: this.score[row],
      state: STATES[this.points.state[row]],
    };
  }

  /**
   * An image in words, a line each.
   * @param {number} row
   */
  say(row) {
    const { name, label, predicted, score, state } = this.about(row);
    const cluster = this.clusters[this.points.cluster[row]];
    const lines = [name, `label ${label}`, `called ${predicted} (${figure(score)}), ${state}`];
    return cluster >= 0 ? [...lines, `cluster ${cluster}`] : lines;
  }
}

/** What can be done with the selection. */
class SelectionTools {
  name = make("input", { type: "text", value: "selection", autocomplete: "off", spellcheck: false, size: 12 });
  said = make("span", { role: "status" });

  /**
   * @param {Send} send
   * @param {() => void} clear
   */
  constructor(send, clear) {
    this.csv = button("Save as CSV", () => send({ do: "csv" }));
    this.put = button("Put into the notebook", () => send({ do: "put", name: this.name.value.trim() }));
    this.clear = button("Clear", clear);
    const name = labelled(`${uniqueName("selection")}-name`, "as", this.name);
    const parts = [this.csv, this.put, name, this.clear, this.said];
    this.element = make("form", { class: "fk-line", "aria-label": "The selection" }, ...parts);
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.put.click();
    });
  }

  /** @param {number} count */
  setCount(count) {
    for (const each of [this.csv, this.put, this.clear]) each.disabled = !count;
    this.said.textContent = "";
  }
}

/** @param {Rendered<Traits>} view */
function render({ model, el }) {
  const gone = goneNotice();
  const send = sender(model, gone.tell);
  const tables = model.get("_tables");
  const colours = lookup(bytesOf(Object.values(tables)[0]), 0);
  const images = new Images(model.get("_points"), model.get("_ids"));

  const waiting = make("p", { class: "fk-waiting", role: "status" });
  let since = 0;
  const queue = new SelectionQueue(send, (count) => {
    const long = count > 1 || (count === 1 && Date.now() - since > PATIENCE);
    waiting.textContent = long ? `${count} selections wait for the kernel` : "";
  });
  /** @type {Pictures<number>} */
  const pictures = new Pictures(
    (rows) => send({ do: "pictures", images: rows }),
    (row) => {
      gallery.draw(row);
      map.pictured(row);
    },
  );
  /** Pictures as small as the map has them. @type {Map<number, HTMLCanvasElement>} */
  const thumbnails = new Map();
  const thumbnail = (/** @type {number} */ row) => {
    const picture = pictures.get(row);
    if (!picture?.photograph) return null;
    const kept = thumbnails.get(row) ?? make("canvas");
    if (!thumbnails.has(row)) {
      drawTile(kept, picture, "mask", colours, THUMBNAIL, { opacity: 0.6 });
      if (thumbnails.size >= MOST_PICTURES) thumbnails.clear();
      thumbnails.set(row, kept);
    }
    return kept;
  };
  const open = (/** @type {number | null} */ image) => send({ do: "open", image });
  const gallery = new Gallery(pictures, colours, { open, hover: (row) => map.ring(row) }, (row) => images.about(row));
  const selection = new SelectionTools(send, () => choose(new Uint32Array(0)));
  const detail = new ImageDetail(tables, () => open(null));
  const evidence = new Evidence({
    verify: (cluster) => send({ do: "verify", cluster }),
    stop: () => send({ do: "stop" }),
    changes: (cluster) => send({ do: "changes", cluster }),
  });
  const show = (/** @type {Uint32Array<ArrayBuffer>} */ rows) => {
    map.setSelected(rows);
    gallery.show(rows);
    selection.setCount(rows.length);
  };
  const choose = (/** @type {Uint32Array<ArrayBuffer>} */ rows) => {
    since = Date.now();
    show(rows);
    table.setSelection([], null);
    known(null);
    queue.add(rows);
  };
  const map = new ScatterMap({ select: choose, hover: (row) => gallery.mark(row), picture: thumbnail }, (row) =>
    images.say(row),
  );
  const table = new ClusterTable((cluster) => {
    since = Date.now();
    queue.add(new Uint32Array(0), cluster);
  });

  const alert = make("p", { class: "fk-message", role: "alert", hidden: true });
  const remark = make("p", { class: "fk-remark", hidden: true });
  const summary = make("div", { class: "fk-summary-lines" });
  const pair = make("div", { class: "fk-pair" }, map.element, evidence.element);
  const parts = [remark, alert, summary, table.element, pair, selection.element, waiting, gallery.element];
  el.append(
    widgetRoot(model.get("_static_class"), gone.element, make("div", { class: "fk-errors" }, ...parts, detail.element)),
  );
  map.setPoints(images.points);

  // From the start, and while no cluster is chosen, the clearest one.
  const known = (/** @type {number | null} */ cluster) => {
    const rows = model.get("_clusters");
    const chosen = rows.find((row) => row.cluster === cluster);
    evidence.show(chosen ?? rows[0] ?? null, chosen !== undefined);
  };
  table.explain(model.get("_words") ?? {});
  const traits = {
    _clusters: () => {
      const clusters = model.get("_clusters");
      table.setClusters(clusters);
      evidence.forgetChanges();
      known(table.chosen);
      const names = new Map(clusters.map((row) => [row.cluster, titleOf(row)]));
      map.setNames(images.clusters.map((number) => names.get(number) ?? ""));
    },
    _view: () => {
      const { rows, cluster, counts, view, number } = model.get("_view");
      if (queue.overtakes(view, number)) return;
      // What was selected here is shown already, and the gallery may have been turned since.
      if (view !== queue.view || cluster !== null) show(numbersOf(rows, Uint32Array));
      table.setSelection(counts, cluster);
      known(cluster);
    },
    _summary: () => {
      const lines = model.get("_summary").filter((line) => !line.startsWith("- "));
      summary.replaceChildren(...lines.map((textContent) => make("p", { textContent })));
    },
    state: () => evidence.setState(model.get("state")),
    _progress: () => {
      const [done = 0, total = 0] = model.get("_progress");
      evidence.setProgress(done, total);
    },
    _photograph: () => void detail.overlay.setPhotograph(model.get("_photograph")),
    _layers: () => detail.overlay.setLayers(model.get("_layers")),
    _about: () => detail.show(model.get("_about")),
    _message: () => say(alert, model.get("_message")),
    _remark: () => say(remark, model.get("_remark")),
  };
  /** @type {Listener} */
  const take = (content, buffers) => {
    queue.take(content);
    if (content.kind === "changes") evidence.showChanges(content.cluster, content.rows, buffers);
    if (content.kind === "picture") pictures.take(content.image, content, buffers);
    if (content.kind === "csv") save(content.name, buffers[0], "text/csv");
    if (content.kind === "put") selection.said.textContent = `The variable ${content.name} has ${content.count} rows`;
  };
  const stop = listen(model, [gone.event, ["msg:custom", take], ...changes(traits)]);
  for (const act of Object.values(traits)) act();
  return () => {
    stop();
    for (const part of [queue, pictures, map, detail.overlay]) part.destroy();
  };
}

export default { render };
