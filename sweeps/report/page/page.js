"use strict";
// Sort by the heading that was clicked; what has no number stays last.
const table = document.getElementById("all");
const body = table.tBodies[0];
for (const heading of table.tHead.rows[0].cells) {
  heading.addEventListener("click", () => {
    const ascending = heading.getAttribute("aria-sort") === "descending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const sign = ascending ? 1 : -1;
    const column = heading.cellIndex;
    const value = (row) => column === 0 ? row.cells[0].textContent : row.cells[column].dataset.value;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (column === 0 ? x.localeCompare(y, "en", { numeric: true }) : x - y);
    };
    body.append(...[...body.rows].sort(compare));
  });
}
const filter = document.getElementById("filter");
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/);
  for (const row of body.rows) {
    const label = row.cells[0].textContent.toLowerCase();
    row.hidden = !words.every((word) => label.includes(word));
  }
});
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
