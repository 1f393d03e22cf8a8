"use strict";
(() => {
  const page = document.getElementById("images");
  if (!page) return;
  const images = Array.from(page.querySelectorAll("article.image"));
  const nothing = document.getElementById("nothing");
  const shown = document.getElementById("shown");
  const search = document.getElementById("search");
  const sort = document.getElementById("sort");
  const opacity = document.getElementById("opacity");
  const opacityValue = document.getElementById("opacity-value");
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const texts = new Map(images.map((image) => [image, plain(image.dataset.text)]));
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const orders = {
    page: () => 0,
    margin: (a, b) => a.dataset.margin - b.dataset.margin,
    label: (a, b) => collator.compare(a.dataset.label, b.dataset.label),
  };

  const filter = () => {
    const state = document.querySelector("input[name=state]:checked").value;
    const words = plain(search.value).split(/\s+/).filter(Boolean);
    let count = 0;
    for (const image of images) {
      const text = texts.get(image);
      const fits = (state === "all" || image.dataset.state === state) && words.every((word) => text.includes(word));
      image.hidden = !fits;
      count += fits;
    }
    nothing.hidden = count > 0;
    shown.textContent = `${count} of ${images.length} photographs`;
  };

  document.querySelectorAll("input[name=state]").forEach((input) => input.addEventListener("change", filter));
  search.addEventListener("input", filter);
  sort.addEventListener("change", () => {
    // Array.prototype.sort is stable, so that equal images stay in the order of the page.
    page.append(...[...images].sort(orders[sort.value]), nothing);
  });
  opacity.addEventListener("input", () => {
    document.documentElement.style.setProperty("--opacity", opacity.value / 100);
    opacityValue.textContent = `${opacity.value} %`;
  });
  document.querySelectorAll("input[name=mask]").forEach((input) =>
    input.addEventListener("change", () => {
      for (const figure of page.querySelectorAll("figure[data-mask]")) {
        if (figure.dataset.mask === input.value) figure.hidden = !input.checked;
      }
    })
  );
  document.getElementById("tools").hidden = false;
  filter();
})();

(() => {
  const table = document.getElementById("clusters");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const search = document.getElementById("cluster-search");
  const shown = document.getElementById("clusters-shown");
  const nothing = document.getElementById("no-cluster");
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const texts = new Map(rows.map((row) => [row, plain(row.dataset.text)]));
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  const filter = () => {
    const kind = document.querySelector("input[name=cluster-kind]:checked").value;
    const words = plain(search.value).split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const fits = (kind === "all" || row.dataset.kind === kind) && words.every((word) => texts.get(row).includes(word));
      row.hidden = !fits;
      count += fits;
    }
    nothing.hidden = count > 0;
    shown.textContent = `${count} of ${rows.length} clusters`;
  };

  const sort = (column, ascending, textual) => {
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => {
      // What has no value comes last either way.
      if (value(a) === undefined || value(b) === undefined) return (value(a) === undefined) - (value(b) === undefined);
      const difference = textual ? collator.compare(value(a), value(b)) : value(a) - value(b);
      return ascending ? difference : -difference;
    };
    body.append(...[...rows].sort(compare));
  };

  // The buttons are made here, so that there are none that do nothing where scripts do not run.
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const textual = head.dataset.sort === "text";
    if (!head.dataset.sort) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const ascending = before ? before === "descending" : textual;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sort(column, ascending, textual);
    });
  });

  document.querySelectorAll("input[name=cluster-kind]").forEach((input) => input.addEventListener("change", filter));
  search.addEventListener("input", filter);
  document.getElementById("cluster-tools").hidden = false;
  filter();
})();
