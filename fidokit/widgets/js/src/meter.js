// How far the optimiser is: a bar, figures, and the course of the loss.

import { make } from "./dom.js";
import { BUSY } from "./order.js";
import { contextOf } from "./picture.js";
import { figure } from "./text.js";

/**
 * Evaluations done and to be done, evaluations a second, seconds left, the scores of what is kept and what is dropped, and the
 * loss; null where it is not known.
 * @typedef {{
 *   evaluations: number, total: number, rate: number | null, left: number | null, kept: number | null,
 *   dropped: number | null, loss: number | null,
 * }} Progress
 */

const STATES = new Map([
  ["ready", ""],
  ["preparing", "Preparing the classifier; the first time, this takes some seconds"],
  ["running", "Computing"],
  ["stopping", "Stopping"],
  ["done", "Done"],
  ["stopped", "Stopped; the mask is as far as it had come"],
  ["failed", "This did not work"],
]);
const FIGURES = ["Evaluations", "Rate", "Time left", "Score kept", "Score dropped", "Loss"];
const UNKNOWN = "–";

/**
 * The figures in words, in their order.
 * @param {Progress} progress
 */
export function figuresOf({ evaluations, total, rate, left, kept, dropped, loss }) {
  return [
    `${evaluations} of ${total}`,
    `${figure(rate)} a second`,
    left === null ? UNKNOWN : `${Math.ceil(left)} s`,
    figure(kept),
    figure(dropped),
    figure(loss),
  ];
}

/**
 * The course of a loss as points on a canvas, the lowest loss at its bottom.
 * @param {[number, number][]} losses evaluations and loss.
 * @param {number} total evaluations that are the canvas's right edge.
 * @param {{ width: number, height: number }} size
 * @returns {[number, number][]}
 */
export function courseOf(losses, total, { width, height }) {
  const values = losses.map(([, loss]) => loss);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return losses.map(([evaluations, loss]) => [
    2 + ((width - 4) * evaluations) / total,
    4 + (height - 8) * (1 - (loss - low) / Math.max(high - low, 1e-9)),
  ]);
}

export class Meter {
  state = make("span", { class: "fk-state", role: "status" });
  bar = make("progress", { max: 1, value: 0, "aria-label": "Evaluations done" });
  figures = FIGURES.map(() => make("dd", { textContent: UNKNOWN }));
  course = make("canvas", {
    class: "fk-course",
    width: 240,
    height: 56,
    role: "img",
    "aria-label": "Course of the loss over the evaluations",
  });
  curve = make(
    "div",
    { class: "fk-curve" },
    make("dt", { class: "fk-unseen", textContent: "Course of the loss" }),
    make("dd", {}, this.course),
  );
  list = make(
    "dl",
    { class: "fk-figures" },
    ...this.figures.map((value, i) => make("div", {}, make("dt", { textContent: FIGURES[i] }), value)),
    this.curve,
  );
  element = make(
    "section",
    { class: "fk-meter", "aria-label": "Progress" },
    make("div", { class: "fk-line" }, this.state, this.bar),
    this.list,
  );
  /** @type {[number, number][]} */
  #losses = [];

  /**
   * @param {string} state
   * @param {boolean} started whether there is a mask, or at least a look at one.
   */
  setState(state, started) {
    const early = state === "stopped" && !started;
    this.state.textContent = early ? "Stopped before there was a mask" : (STATES.get(state) ?? state);
    this.element.dataset.state = state;
    this.element.hidden = state === "ready";
    if (state === "preparing" || state === "running") this.bar.removeAttribute("value");
    if (!BUSY.includes(state)) this.figures[FIGURES.indexOf("Time left")].textContent = UNKNOWN;
    if (state === "done") this.bar.value = 1;
  }

  /** @param {Progress | {}} progress empty before the first evaluation. */
  show(progress) {
    const started = "evaluations" in progress;
    this.list.hidden = !started;
    if (!started) {
      this.#losses = [];
      this.bar.value = 0;
      return;
    }
    this.bar.value = Math.min(1, progress.evaluations / Math.max(1, progress.total));
    for (const [i, text] of figuresOf(progress).entries()) this.figures[i].textContent = text;
    if (progress.loss !== null) this.#losses.push([progress.evaluations, progress.loss]);
    this.curve.hidden = this.#losses.length < 2;
    this.#draw(progress.total);
  }

  /** @param {number} total */
  #draw(total) {
    const context = contextOf(this.course);
    context.clearRect(0, 0, this.course.width, this.course.height);
    context.strokeStyle = getComputedStyle(this.course).color;
    context.lineWidth = 3;
    context.lineJoin = "round";
    context.beginPath();
    for (const point of courseOf(this.#losses, total, this.course)) context.lineTo(...point);
    context.stroke();
  }
}
