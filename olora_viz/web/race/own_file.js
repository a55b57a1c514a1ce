// Reads a visitor's file and sends it as text: the server accepts no uploads.
//
// Gradio runs this with `element`, `props`, `trigger` and `watch`. The tab keeps the file under the key
// props.storage, so that a reload or a restart of the server finds it again, see arrive.js;
// props.words is what a sentence calls it.

/**
 * @param {string} sentence
 * @param {string} kind
 */
const line = (sentence, kind) => {
  const words = document.createElement("p");
  words.className = kind;
  words.textContent = sentence;
  return words;
};

/** @param {string} sentence */
const refuse = (sentence) => {
  element.querySelector(".said").replaceChildren(line(sentence, "problem"));
};

/** @param {string} own */
const keep = (own) => {
  try {
    sessionStorage.setItem(props.storage, own);
  } catch {
    sessionStorage.removeItem(props.storage);
    const loss = "This browser does not keep your file: after a reload, choose it again.";
    element.querySelector(".said").append(line(loss, "hint"));
  }
};
/** @type {string | null} */
let sent = null; // the file that the server is checking; until it is accepted, the last one stays
watch("value", () => {
  if (sent === null || !props.value) return;
  const accepted = !String(props.value).includes('class="problem"');
  // The server's answer is drawn first, and this adds to it.
  if (accepted) requestAnimationFrame(keep.bind(null, sent));
  sent = null;
});

element.addEventListener("change", async (event) => {
  const input = /** @type {HTMLInputElement} */ (event.target);
  const file = input.files?.[0];
  if (!file) return;
  try {
    if (file.size > props.most_kib * 1024) {
      const kib = Math.ceil(file.size / 1024).toLocaleString("en");
      refuse(
        `${props.words} has ${kib} KiB, more than ${props.most_kib}: on the command line a file may be of any size`,
      );
      return;
    }
    const decoder = new TextDecoder("utf-8", { fatal: true });
    const text = decoder.decode(await file.arrayBuffer());
    const own = { name: file.name, text };
    sent = JSON.stringify(own);
    props.value = ""; // the same answer again is news too
    trigger("select", { index: 0, value: own });
  } catch {
    refuse(
      `${props.words} is not UTF-8 text: save it in UTF-8, a table as CSV, a document as plain text`,
    );
  } finally {
    input.value = ""; // the same file again, after a correction, is news too
  }
});

element.querySelector(".own-file").addEventListener("click", () => {
  element.querySelector("input").click();
});
