// Written by fidokit/widgets/js/build.js; change the sources there.
"use strict";
(() => {
  // src/text.js
  var SPACES = /\s+/;
  var MARKS = /\p{M}/gu;
  function folded(text) {
    return text.normalize("NFKD").replace(MARKS, "").toLowerCase();
  }
  function wordsOf(typed) {
    return typed.split(SPACES).filter(Boolean);
  }

  // src/report_page.js
  var collator = new Intl.Collator(void 0, { numeric: true, sensitivity: "base" });
  function inputOf(id) {
    return (
      /** @type {HTMLInputElement} */
      document.getElementById(id)
    );
  }
  function elementOf(id) {
    return (
      /** @type {HTMLElement} */
      document.getElementById(id)
    );
  }
  function onChange(name, act) {
    for (const input of document.querySelectorAll(`input[name=${name}]`)) {
      input.addEventListener("change", () => act(
        /** @type {HTMLInputElement} */
        input
      ));
    }
  }
  function checkedValue(name) {
    const input = document.querySelector(`input[name=${name}]:checked`);
    return (
      /** @type {HTMLInputElement} */
      input.value
    );
  }
  function hasWords(text, typed) {
    return wordsOf(folded(typed)).every((word) => text.includes(word));
  }
  function filtered(elements, { search, choice, kindOf, shown, nothing, what }) {
    const texts = new Map(elements.map((element) => [element, folded(element.dataset.text ?? "")]));
    const filter = () => {
      const kind = checkedValue(choice);
      let count = 0;
      for (const [element, text] of texts) {
        const fits = (kind === "all" || kindOf(element) === kind) && hasWords(text, search.value);
        element.hidden = !fits;
        count += Number(fits);
      }
      nothing.hidden = count > 0;
      shown.textContent = `${count} of ${elements.length} ${what}`;
    };
    onChange(choice, filter);
    search.addEventListener("input", filter);
    filter();
  }
  var ORDERS = {
    page: () => 0,
    margin: (a, b) => Number(a.dataset.margin) - Number(b.dataset.margin),
    label: (a, b) => collator.compare(a.dataset.label ?? "", b.dataset.label ?? "")
  };
  function startImages() {
    const page = document.getElementById("images");
    if (!page) return;
    const images = Array.from(page.querySelectorAll("article.image"));
    const nothing = elementOf("nothing");
    filtered(images, {
      search: inputOf("search"),
      choice: "state",
      kindOf: (image) => image.dataset.state,
      shown: elementOf("shown"),
      nothing,
      what: "photographs"
    });
    const sort = inputOf("sort");
    sort.addEventListener("change", () => {
      page.append(...[...images].sort(ORDERS[sort.value]), nothing);
    });
    const opacity = inputOf("opacity");
    opacity.addEventListener("input", () => {
      document.documentElement.style.setProperty("--opacity", String(opacity.valueAsNumber / 100));
      elementOf("opacity-value").textContent = `${opacity.value} %`;
    });
    onChange("mask", (input) => {
      for (
        const figure of
        /** @type {NodeListOf<HTMLElement>} */
        page.querySelectorAll("figure[data-mask]")
      ) {
        if (figure.dataset.mask === input.value) figure.hidden = !input.checked;
      }
    });
    elementOf("tools").hidden = false;
  }
  function compareValues(a, b, ascending, textual) {
    if (a === void 0 || b === void 0) return Number(a === void 0) - Number(b === void 0);
    const difference = textual ? collator.compare(a, b) : Number(a) - Number(b);
    return ascending ? difference : -difference;
  }
  function sortable(table) {
    if (!table.tHead) return;
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const heads = Array.from(table.tHead.rows[0].cells);
    for (const [column, head] of heads.entries()) {
      const textual = head.dataset.sort === "text";
      const value = (row) => row.cells[column].dataset.value;
      const sort = () => {
        const before = head.getAttribute("aria-sort");
        const ascending = before ? before === "descending" : textual;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        body.append(...[...rows].sort((a, b) => compareValues(value(a), value(b), ascending, textual)));
      };
      if (head.dataset.sort) addButton(head, sort);
    }
  }
  function startAnswers() {
    for (const table of document.querySelectorAll(".answer table")) sortable(
      /** @type {HTMLTableElement} */
      table
    );
  }
  function startClusters() {
    const table = (
      /** @type {HTMLTableElement | null} */
      document.getElementById("clusters")
    );
    if (!table?.tHead) return;
    const rows = Array.from(table.tBodies[0].rows);
    filtered(rows, {
      search: inputOf("cluster-search"),
      choice: "cluster-kind",
      kindOf: (row) => row.dataset.kind,
      shown: elementOf("clusters-shown"),
      nothing: elementOf("no-cluster"),
      what: "clusters"
    });
    sortable(table);
    elementOf("cluster-tools").hidden = false;
  }
  function addButton(head, press) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", press);
  }

  // src/report_light.js
  function rowsOfFrames() {
    const articles = (
      /** @type {HTMLElement[]} */
      [...document.querySelectorAll("article.image:not([hidden])")]
    );
    return articles.map((article) => (
      /** @type {HTMLElement[]} */
      [...article.querySelectorAll("figure:not([hidden]) .frame")]
    )).filter((frames) => frames.length > 0);
  }
  function textOf(within, selector, by) {
    return [...within.querySelectorAll(selector)].map((element) => element.textContent?.trim()).join(by);
  }
  function startLight() {
    const dialog = (
      /** @type {HTMLDialogElement | null} */
      document.getElementById("light")
    );
    if (!dialog) return;
    const stage = elementOf("light-stage");
    const whole = elementOf("light-whole");
    let current = null;
    const show = (frame) => {
      current = frame;
      const article = (
        /** @type {HTMLElement} */
        frame.closest("article")
      );
      const figure = (
        /** @type {HTMLElement} */
        frame.closest("figure")
      );
      const holder = document.createElement("div");
      holder.className = article.className.includes("zoomed") ? "zoomed" : "";
      holder.style.cssText = article.style.cssText;
      holder.style.display = "contents";
      const copy = (
        /** @type {HTMLElement} */
        frame.cloneNode(true)
      );
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
    const step = (across, down) => {
      const rows = rowsOfFrames();
      const row = rows.findIndex((frames) => current !== null && frames.includes(current));
      if (row < 0 || !current) return;
      const next = rows[row + down] ?? rows[row];
      const column = Math.min(rows[row].indexOf(current), next.length - 1) + across;
      if (column >= next.length) show(rows[row + 1]?.[0] ?? current);
      else if (column < 0) show(rows[row - 1]?.at(-1) ?? current);
      else show(next[column]);
    };
    const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    for (
      const frame of
      /** @type {NodeListOf<HTMLElement>} */
      document.querySelectorAll(".strip .frame")
    ) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "enlarge";
      button.setAttribute(
        "aria-label",
        `Enlarge: ${frame.querySelector("img.mask")?.getAttribute("alt") ?? frame.querySelector("[role=img]")?.ariaLabel}`
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
      const by = STEPS[
        /** @type {keyof typeof STEPS} */
        event.key
      ];
      if (!by) return;
      event.preventDefault();
      step(by[0], by[1]);
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    dialog.addEventListener("close", () => {
      const button = (
        /** @type {HTMLElement | null | undefined} */
        current?.querySelector(".enlarge")
      );
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

  // src/report.js
  startImages();
  startLight();
  startClusters();
  startAnswers();
})();
