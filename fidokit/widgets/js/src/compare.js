// CompareWidget: a page of images, a column a mask, figures beneath; the summary above, one image large below.

/** @import { Detail } from "./compare_detail.js" */
/** @import { PageRow } from "./compare_page.js" */
/** @import { Look, ToolTraits } from "./compare_tools.js" */
/** @import { Bytes, Listener, Rendered, SentLayer, SentPhotograph } from "./types.d.ts" */

import { bytesOf } from "./bytes.js";
import { CompareDetail } from "./compare_detail.js";
import { ComparePage } from "./compare_page.js";
import { CompareTools } from "./compare_tools.js";
import {
  button,
  changes,
  goneNotice,
  labelled,
  labelledCheck,
  listen,
  make,
  say,
  select,
  sender,
  uniqueName,
  widgetRoot,
} from "./dom.js";
import { DRAWN_AS } from "./picture.js";
import { Plot } from "./plot.js";
import { counted } from "./text.js";
import { legendOf, Pictures } from "./tiles.js";

/**
 * `_count` is how many images fit, of how many, on how many pages; `_plot` is a figure and the version of its plotly.js,
 * or empty before it is asked for.
 * @typedef {ToolTraits & {
 *   _tables: Record<string, Bytes>, _static_class: string, _rows: PageRow[], _count: [number, number, number], page: number,
 *   _plot: [string, string] | [], _photograph: SentPhotograph, _layers: SentLayer[], _detail: Detail | { about?: undefined },
 *   _message: string, _remark: string,
 * }} Traits
 */

const PLOT = "Means of the figures shown, with 95 % intervals; the same figures stand in study.summary()";

/**
 * Which page is shown of how many, and how many images there are.
 * @param {[number, number, number]} count images that fit, all images, pages.
 * @param {number} page
 */
export function pageInWords([fit, all, pages], page) {
  return `Page ${page + 1} of ${counted(pages)}; ${counted(fit)} of ${counted(all)} images`;
}

/** @param {Rendered<Traits>} view */
function render({ model, el }) {
  const gone = goneNotice();
  const send = sender(model, gone.tell);
  const look = (/** @type {Look} */ wanted) => send({ do: "look", ...wanted });
  const tables = model.get("_tables");
  const table = bytesOf(Object.values(tables)[0]);
  /** @type {Pictures<string>} */
  const pictures = new Pictures(
    (images) => send({ do: "pictures", images }),
    (key) => page.draw(key),
  );
  const page = new ComparePage(table, pictures, look);
  const tools = new CompareTools(look);
  const detail = new CompareDetail(tables, look);
  const plot = new Plot(send, PLOT, (trace, point) => send({ do: "clicked", trace, point }));
  const alert = make("p", { class: "fk-message", role: "alert", hidden: true });
  const remark = make("p", { class: "fk-remark", hidden: true });
  const count = make("p", { class: "fk-count", role: "status" });
  const before = button("Previous page", () => look({ page: model.get("page") - 1 }));
  const after = button("Next page", () => look({ page: model.get("page") + 1 }));
  const opacity = make("input", { type: "range", min: 0, max: 100, step: 5, value: 75 });
  opacity.addEventListener("input", () => page.setOpacity(opacity.valueAsNumber / 100));
  const summary = make(
    "details",
    { class: "fk-summary-figure", open: true },
    make("summary", { textContent: "Means over all images" }),
    make("p", { textContent: "A click on a mean shows the images behind it, the worst first." }),
    plot.element,
  );
  const style = select(DRAWN_AS.map(([value, words]) => [value, words]));
  style.addEventListener("change", () => page.setStyle(style.value));
  const whole = make("input", { type: "checkbox" });
  whole.addEventListener("change", () => page.setWhole(whole.checked));
  const opacityField = labelled(`${uniqueName("compare")}-opacity`, "Opacity", opacity);
  const looks = [
    labelled(`${uniqueName("compare")}-drawn-as`, "Masks drawn as", style),
    labelledCheck(`${uniqueName("compare")}-whole`, "Whole pictures", whole),
  ];
  const line = make("div", { class: "fk-line" }, before, after, count, ...looks, opacityField, legendOf(table));
  const parts = [remark, alert, summary, tools.element, line, page.element, detail.element];
  el.append(widgetRoot(model.get("_static_class"), gone.element, make("div", { class: "fk-compare" }, ...parts)));

  const rows = () => {
    const figures = new Map(model.get("_figures").map(([name, words, better]) => [name, { words, better }]));
    const shown = model.get("metrics").map((name) => figures.get(name) ?? { words: name, better: "" });
    page.show(model.get("_rows"), model.get("panels"), shown);
  };
  const turned = () => {
    const number = model.get("page");
    count.textContent = pageInWords(model.get("_count"), number);
    before.disabled = number <= 0;
    after.disabled = number + 1 >= model.get("_count")[2];
  };
  const show = {
    _rows: rows,
    _count: turned,
    page: turned,
    _plot: () => {
      const [figure, version] = model.get("_plot");
      if (figure === undefined || version === undefined) send({ do: "plot" });
      else plot.show(figure, version);
    },
    _photograph: () => void detail.overlay.setPhotograph(model.get("_photograph")),
    _layers: () => detail.overlay.setLayers(model.get("_layers")),
    _detail: () => detail.show(model.get("_detail")),
    _message: () => say(alert, model.get("_message")),
    _remark: () => say(remark, model.get("_remark")),
  };
  const again = () => {
    pictures.clear();
    page.drawAll();
  };
  /** @type {Listener} */
  const take = (content, buffers) => {
    if (content.kind === "picture") pictures.take(content.image, content, buffers);
    plot.take(content, buffers);
  };
  const choices = ["_orders", "_figures", "panels", "metrics", "sort", "of", "descending", "state", "search"];
  const chosen = Object.fromEntries(choices.map((name) => [name, () => tools.show(model)]));
  const stop = listen(model, [
    gone.event,
    ...changes(show),
    ["change:panels", again],
    ...changes(chosen),
    ["msg:custom", take],
  ]);
  tools.show(model);
  for (const act of Object.values(show)) act();
  return () => {
    stop();
    pictures.destroy();
    plot.destroy();
    detail.overlay.destroy();
  };
}

export default { render };
