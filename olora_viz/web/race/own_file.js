// Reads a visitor's file and sends it as text: the server accepts no uploads.
//
// Gradio runs this with `element`, `props`, `trigger` and `watch`. The tab keeps the file, so that a
// reload or a restart of the server finds it again, see arrive.js.
const KEPT = "olora-viz-file";

/** @param {string} sentence */
const refuse = (sentence) => {
  const line = document.createElement("p");
  line.className = "problem";
  line.textContent = sentence;
  element.querySelector(".said").replaceChildren(line);
};

/** @param {string} own */
const keep = (own) => {
  try {
    sessionStorage.setItem(KEPT, own);
  } catch {
    sessionStorage.removeItem(KEPT); // too large for this browser: a reload loses it, and says so
  }
};
watch("value", () => {
  if (String(props.value).includes('class="problem"')) sessionStorage.removeItem(KEPT);
});

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
    const own = { name: file.name, text };
    keep(JSON.stringify(own));
    trigger("select", { index: 0, value: own });
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
