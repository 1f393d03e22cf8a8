import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { Plot, themed } from "../src/plot.js";
import { openPage, sentBytes, settled } from "./page.js";

const FIGURE = JSON.stringify({ data: [1], layout: { title: "means" } });
// A stand-in for plotly.js: it exports as that does, and leaves a name on the page as that does.
const PLOTLY = `globalThis.Plotly = module.exports = {
  drawn: [], react(place, data, layout) { this.drawn.push([data, layout]); place.on = (_, act) => { this.click = act; }; },
  purge() { this.drawn.push("purged"); }, Plots: { resize() {} },
};`;

let sent;
let clicks;
let plots;
function plot() {
  const made = new Plot(
    (message) => sent.push(message),
    "Means",
    (...click) => clicks.push(click),
  );
  plots.push(made);
  return made;
}

beforeEach(() => {
  openPage();
  [sent, clicks, plots] = [[], [], []];
  // Node imports no blobs; what it imports instead says the same.
  globalThis.URL.createObjectURL = (blob) => globalThis.addresses.get(blob);
  globalThis.addresses = { get: () => `data:text/javascript,${encodeURIComponent(globalThis.module)}` };
  globalThis.module = `const module = {exports: {}}; ${PLOTLY} export default module.exports;`;
});

// One that is left asks for plotly.js again and again.
afterEach(() => {
  for (const each of plots) each.destroy();
});

describe("a figure", () => {
  test("asks for plotly.js once a page, draws itself with it, and hears clicks", async () => {
    const [one, two] = [plot(), plot()];
    one.show(FIGURE, "1");
    assert.deepEqual([sent, one.state.textContent], [[{ do: "plotly" }], "Fetching the figure"]);
    await one.take({ kind: "plotly", version: "1" }, [sentBytes(gzipSync("x"))]);
    await two.show(FIGURE, "1");
    await settled();
    assert.deepEqual([sent.length, one.state.textContent], [1, ""]);
    const plotly = await import(globalThis.addresses.get());
    const [data, { title, autosize, paper_bgcolor: paper }] = plotly.default.drawn[0];
    assert.deepEqual([data, title, autosize, paper], [[1], "means", true, "rgba(0,0,0,0)"]);
    plotly.default.click({ points: [{ curveNumber: 2, pointNumber: 5 }] });
    assert.deepEqual(clicks, [[2, 5]]);
    assert.equal(globalThis.Plotly, undefined);
    await one.show("", "1");
    assert.equal(plotly.default.drawn.at(-1), "purged");
  });

  test("wears the colours of the page", () => {
    const figure = { data: [{ marker: { size: 9, color: "#0b5a7a" } }, {}], layout: { xaxis2: { title: "area" } } };
    const { data, layout } = themed(figure, getComputedStyle(document.body));
    assert.deepEqual([data[0].marker.size, data[0].marker.color === "#0b5a7a", data[1]], [9, false, {}]);
    assert.equal(layout.xaxis2.title, "area");
    assert.ok(layout.xaxis2.gridcolor && layout.font.color);
  });

  test("of another version asks for its own plotly.js", () => {
    const other = plot();
    other.show(FIGURE, "2");
    assert.deepEqual(sent, [{ do: "plotly" }]);
  });

  test("says why it cannot be drawn", async () => {
    const broken = plot();
    await broken.take({ kind: "plotly", version: "3" }, [sentBytes([1, 2, 3])]);
    assert.match(broken.state.textContent, /^The figure cannot be drawn: /);
  });
});
