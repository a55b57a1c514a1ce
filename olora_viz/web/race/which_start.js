// Filters the table of starts by the words of its field.
//
// Gradio runs this with `element`.
const words = /** @type {HTMLInputElement} */ (element.querySelector("input"));
const count = /** @type {HTMLOutputElement} */ (element.querySelector("output"));
/** @type {NodeListOf<HTMLTableRowElement>} */
const found = element.querySelectorAll("tbody tr");
const rows = [...found];

words.addEventListener("input", () => {
  const wanted = words.value.toLowerCase().split(/\s+/);
  for (const row of rows) {
    const text = [...row.cells]
      .map((cell) => cell.textContent)
      .join(" ")
      .toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
  }
  count.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
});
