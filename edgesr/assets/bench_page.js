"use strict";
// Tables are sorted by the column whose name is pressed; what has no value stays at the end.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), row = head.parentElement, body = head.closest("table").tBodies[0];
    const index = Array.prototype.indexOf.call(row.children, head);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of row.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (tr) => tr.children[index].dataset.sort ?? "";
    const compare = (a, b) => head.dataset.words !== undefined ? a.localeCompare(b) : Number(a) - Number(b);
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      return down ? compare(y, x) : compare(x, y);
    });
    body.append(...rows);
  });
}
