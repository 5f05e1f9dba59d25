// The table of studies: sorted by any column, filtered by words, status and finding.

const table = document.querySelector("#studies");
const body = table.tBodies[0];
const rows = [...body.rows];
const filters = document.querySelector("#filters");
const told = document.querySelector("#told");

const valueOf = (row, column) => {
  const cell = row.cells[column];
  return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent.trim();
};

function sortBy(column, isRising) {
  const sign = isRising ? 1 : -1;
  rows.sort((a, b) => {
    const [left, right] = [valueOf(a, column), valueOf(b, column)];
    return sign * (typeof left === "number" ? left - right : left.localeCompare(right, undefined, { numeric: true }));
  });
  body.append(...rows);
  [...table.tHead.rows[0].cells].forEach((cell, n) => {
    if (n === column) cell.setAttribute("aria-sort", isRising ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  });
}

function filter() {
  const { words, status, kind } = Object.fromEntries(new FormData(filters));
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const { kinds, status: own } = row.dataset;
    row.hidden = !(wanted.every((word) => text.includes(word)) && (!status || own === status)
      && (!kind || kinds.split("|").includes(kind)));
    shown += row.hidden ? 0 : 1;
  }
  told.textContent = `${shown} of ${rows.length} shown`;
}

[...table.tHead.rows[0].cells].forEach((cell, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...cell.childNodes);
  button.addEventListener("click", () => sortBy(column, cell.getAttribute("aria-sort") !== "ascending"));
  cell.append(button);
});
filters.hidden = false;
filters.addEventListener("input", filter);
filters.addEventListener("submit", (event) => event.preventDefault());
filter();
