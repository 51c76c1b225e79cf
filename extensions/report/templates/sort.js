"use strict";
// Sorts a table by the column whose button is pressed: numbers as numbers, what is empty last, else as texts.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, place) => row.cells[place].dataset.sort ?? row.cells[place].textContent.trim();
  const compare = (one, other, way) => {
    const empty = [one, other].map((text) => text === "" || text === "-");
    if (empty[0] || empty[1]) return empty[0] - empty[1];
    const numbers = [Number(one), Number(other)];
    const order = numbers.some(Number.isNaN) ? one.localeCompare(other, "en", { numeric: true }) : numbers[0] - numbers[1];
    return way * order;
  };
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((each) => each.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [value(row, place), row]);
      rows.sort((one, other) => compare(one[0], other[0], up ? 1 : -1));
      body.append(...rows.map((pair) => pair[1]));
    });
  });
}
