// Copies the links for a class.
//
// Gradio runs this with `element`.
import { copies } from "../links/copy_button.js";

for (const line of element.querySelectorAll(".class-link")) {
  const { link = "" } = /** @type {HTMLElement} */ (line).dataset;
  copies(line, () => ({ link: window.location.origin + window.location.pathname + link }));
}
