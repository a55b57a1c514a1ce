// The report of a decision, and its adapter: both by addresses that expire.
//
// Gradio runs this with `element`, `props`, `server` and `watch`; props.value is { ready, adapter }.

import { here } from "../figures/live/gradio/serving.js";

const list = element.querySelector(".exports");
const said = element.querySelector("[role=status]");
/** @type {NodeListOf<HTMLButtonElement>} */
const buttons = element.querySelectorAll("button");
for (const button of buttons) {
  button.addEventListener("click", async () => {
    try {
      const file = await server.decided([
        sessionStorage.getItem(list.dataset.held ?? ""),
        button.dataset.kind,
      ]);
      said.textContent = file.problem ?? "";
      if (!file.url) return;
      const link = document.createElement("a");
      link.href = here(file.url);
      link.download = file.name;
      link.click();
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      said.textContent = `export failed: ${message || "the server does not answer"}`;
    }
  });
}

const show = () => {
  /** @type {{ ready?: boolean, adapter?: boolean }} */
  const { ready = false, adapter = false } = props.value || {};
  for (const button of buttons) {
    button.disabled = !(button.dataset.kind === "adapter" ? adapter : ready);
  }
};
show();
watch("value", show);
