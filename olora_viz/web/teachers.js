// Copies the links for a class, and opens the plan where the address names it.
//
// Gradio runs this with `element`.
import { copies } from "./parts/copy_button.js";

for (const line of element.querySelectorAll(".class-link")) {
  const { link = "" } = /** @type {HTMLElement} */ (line).dataset;
  copies(line, () => ({ link: window.location.origin + window.location.pathname + link }));
}

const open = () => {
  if (window.location.hash !== "#teachers") return;
  element.querySelector("details")?.toggleAttribute("open", true);
  element.scrollIntoView();
};
window.addEventListener("hashchange", open);
open();
