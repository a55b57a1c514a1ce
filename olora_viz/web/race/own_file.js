// Reads a visitor's file and sends it as text: the server accepts no uploads.
//
// Gradio runs this with `element`, `props` and `trigger`.
/** @param {string} sentence */
const refuse = (sentence) => {
  const line = document.createElement("p");
  line.className = "problem";
  line.textContent = sentence;
  element.querySelector(".said").replaceChildren(line);
};

element.addEventListener("change", async (event) => {
  const input = /** @type {HTMLInputElement} */ (event.target);
  const file = input.files?.[0];
  if (!file) return;
  try {
    if (file.size > props.most_kib * 1024) {
      refuse(`your file has ${file.size} bytes, more than ${props.most_kib} KiB`);
      return;
    }
    const decoder = new TextDecoder("utf-8", { fatal: true });
    const text = decoder.decode(await file.arrayBuffer());
    trigger("select", { index: 0, value: { name: file.name, text } });
  } catch {
    refuse("your file is not UTF-8 text");
  } finally {
    input.value = ""; // the same file again, after a correction, is news too
  }
});

element.addEventListener("keydown", (event) => {
  const target = /** @type {Element} */ (event.target);
  if (!target.closest(".own-file") || !["Enter", " "].includes(event.key)) return;
  event.preventDefault();
  event.stopPropagation();
  element.querySelector("input").click();
});
