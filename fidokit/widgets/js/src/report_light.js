// The report's pictures, enlarged: a dialog that is walked through by arrow keys.

import { elementOf } from "./report_page.js";

/**
 * The pictures that can be enlarged, photograph by photograph, in the order in which they stand.
 * @returns {HTMLElement[][]}
 */
function rowsOfFrames() {
  const articles = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("article.image:not([hidden])")]);
  return articles
    .map((article) => /** @type {HTMLElement[]} */ ([...article.querySelectorAll("figure:not([hidden]) .frame")]))
    .filter((frames) => frames.length > 0);
}

/**
 * The texts of what matches, joined.
 * @param {Element} within
 * @param {string} selector
 * @param {string} by
 */
function textOf(within, selector, by) {
  return [...within.querySelectorAll(selector)].map((element) => element.textContent?.trim()).join(by);
}

/** Let a press on a picture, or Enter on it, show it large. */
export function startLight() {
  const dialog = /** @type {HTMLDialogElement | null} */ (document.getElementById("light"));
  if (!dialog) return;
  const stage = elementOf("light-stage");
  const whole = elementOf("light-whole");
  /** @type {HTMLElement | null} */
  let current = null;

  const show = (/** @type {HTMLElement} */ frame) => {
    current = frame;
    const article = /** @type {HTMLElement} */ (frame.closest("article"));
    const figure = /** @type {HTMLElement} */ (frame.closest("figure"));
    const holder = document.createElement("div");
    holder.className = article.className.includes("zoomed") ? "zoomed" : "";
    holder.style.cssText = article.style.cssText;
    holder.style.display = "contents";
    const copy = /** @type {HTMLElement} */ (frame.cloneNode(true));
    copy.querySelector(".enlarge")?.remove();
    copy.classList.toggle("whole", frame.classList.contains("whole") || whole.ariaPressed === "true");
    if (copy.classList.contains("whole")) copy.querySelector(".inset")?.remove();
    holder.append(copy);
    stage.replaceChildren(holder);
    whole.hidden = !holder.className || frame.classList.contains("whole");
    const named = [textOf(figure, ".says, .which > *", " · "), textOf(article, "h3", ""), textOf(article, ".file", "")];
    elementOf("light-title").textContent = named.join(" – ");
    elementOf("light-words").textContent = textOf(figure, ".because, .verdicts li", " ");
  };
  const step = (/** @type {number} */ across, /** @type {number} */ down) => {
    const rows = rowsOfFrames();
    const row = rows.findIndex((frames) => current !== null && frames.includes(current));
    if (row < 0 || !current) return;
    const next = rows[row + down] ?? rows[row];
    const column = Math.min(rows[row].indexOf(current), next.length - 1) + across;
    // Past the last picture of a photograph comes the first of the next one.
    if (column >= next.length) show(rows[row + 1]?.[0] ?? current);
    else if (column < 0) show(rows[row - 1]?.at(-1) ?? current);
    else show(next[column]);
  };
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  for (const frame of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".strip .frame"))) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.setAttribute(
      "aria-label",
      `Enlarge: ${frame.querySelector("img.mask")?.getAttribute("alt") ?? frame.querySelector("[role=img]")?.ariaLabel}`,
    );
    button.addEventListener("click", () => {
      whole.ariaPressed = String(!!document.querySelector("#whole:checked"));
      show(frame);
      dialog.showModal();
      elementOf("light-close").focus();
    });
    frame.append(button);
  }
  dialog.addEventListener("keydown", (event) => {
    const by = STEPS[/** @type {keyof typeof STEPS} */ (event.key)];
    if (!by) return;
    event.preventDefault();
    step(by[0], by[1]);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    // Where she has walked to, and not where she came from.
    const button = /** @type {HTMLElement | null | undefined} */ (current?.querySelector(".enlarge"));
    button?.scrollIntoView({ block: "nearest" });
    button?.focus();
    stage.replaceChildren();
  });
  elementOf("light-before").addEventListener("click", () => step(-1, 0));
  elementOf("light-next").addEventListener("click", () => step(1, 0));
  elementOf("light-close").addEventListener("click", () => dialog.close());
  whole.addEventListener("click", () => {
    whole.ariaPressed = String(whole.ariaPressed !== "true");
    if (current) show(current);
  });
}
