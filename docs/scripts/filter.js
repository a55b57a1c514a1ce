/**
 * Filters the tables of a page by the boxes and the words of its form. Rows that begin with the same name belong
 * together, over all tables. Without this script the form is hidden, and all rows are there.
 */
for (const form of document.querySelectorAll("form.filter")) {
  if (!(form instanceof HTMLFormElement)) continue;
  const boxes = [...form.querySelectorAll("input")].filter((input) => input.type === "checkbox");
  const words = /** @type {HTMLInputElement} */ (form.querySelector("input[type=search]"));
  const count = /** @type {HTMLOutputElement} */ (form.querySelector("output"));

  /** @type {Map<string, HTMLTableRowElement[]>} */
  const rows = new Map();
  for (const row of document.querySelectorAll("tbody tr"))
    if (row instanceof HTMLTableRowElement) {
      const name = text(row.cells[0]);
      rows.set(name, [...(rows.get(name) ?? []), row]);
    }

  const show = () => {
    const wanted = words.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of rows.values()) {
      const all = row.map(text).join(" ").toLowerCase();
      const fits =
        wanted.every((word) => all.includes(word)) &&
        boxes.every(
          (box) => !box.checked || text(row[0].cells[Number(box.dataset.column)]) === box.value,
        );
      for (const part of row) part.hidden = !fits;
      shown += Number(fits);
    }
    count.value = `${shown} of ${rows.size} starts`;
  };

  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show(); // a browser may have filled in what it held when the page was left
}

/** @param {Element} element */
function text(element) {
  return (element.textContent ?? "").trim();
}
