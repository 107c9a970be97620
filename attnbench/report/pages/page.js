"use strict";

/* Sorting by a heading, filtering by words, category and leaderboard; without it the tables still stand. */

function sortBy(heading) {
  const table = heading.closest("table");
  const rising = heading.getAttribute("aria-sort") === "descending";
  const index = heading.cellIndex;
  const body = table.tBodies[0];
  const value = (row) => row.cells[index].dataset.v;
  const numeric = Array.from(body.rows).every((row) => value(row) === "" || !isNaN(Number(value(row))));
  const order = (one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === "" || b === "") return (a === "") - (b === ""); // not measured: last, either way
    const found = numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
    return rising ? found : -found;
  };
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
  body.append(...Array.from(body.rows).sort(order));
}

function filter() {
  const words = document.getElementById("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const category = document.getElementById("category").value;
  const only = document.getElementById("only").value;
  let shown = 0;
  for (const section of document.querySelectorAll("main section")) {
    section.hidden = only !== "" && section.id !== only;
    for (const row of section.querySelectorAll("tbody tr")) {
      const text = row.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word));
      row.hidden = !(fits && (category === "" || row.dataset.category === category));
      if (!row.hidden && !section.hidden) shown += 1;
    }
  }
  document.getElementById("shown").textContent = shown + " rows";
}

for (const heading of document.querySelectorAll("th[scope=col]")) {
  heading.querySelector("button").addEventListener("click", () => sortBy(heading));
}
for (const name of ["words", "category", "only"]) {
  document.getElementById(name).addEventListener("input", filter);
}
document.getElementById("filters").hidden = false;
filter();
