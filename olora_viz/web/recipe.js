// The files of a decision's recipe, each with a button that copies it.
//
// Gradio runs this with `element`.

import { copied } from "./parts/copy_button.js";

element.addEventListener("click", async (/** @type {MouseEvent} */ { target }) => {
  if (!(target instanceof HTMLButtonElement)) return;
  const done = await copied(target.closest("details")?.querySelector("pre")?.textContent ?? "");
  target.textContent = done ? "Copied" : "Cannot copy here: mark the text";
  setTimeout(() => (target.textContent = "Copy"), 2500);
});
