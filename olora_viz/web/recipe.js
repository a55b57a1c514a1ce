// The files of a decision's recipe: a tab for each tool, and a button that copies the file.
//
// Gradio runs this with `element`, whose content it replaces when the value changes.

import { copied } from "./parts/copy_button.js";
import { markTabs, nextTab } from "./parts/next_tab.js";

let chosen = "";

const tabs = () => [
  .../** @type {NodeListOf<HTMLElement>} */ (element.querySelectorAll("[role=tab]")),
];

/** @param {string} id of the tab to open */
const open = (id) => {
  const selected = tabs().find((tab) => tab.id === id);
  if (!selected) return;
  chosen = id;
  markTabs(tabs(), selected);
  for (const panel of element.querySelectorAll("[role=tabpanel]"))
    panel.toggleAttribute("hidden", panel.id !== selected.getAttribute("aria-controls"));
};

element.addEventListener("click", async (/** @type {MouseEvent} */ { target }) => {
  if (!(target instanceof HTMLButtonElement)) return;
  if (target.role === "tab") {
    open(target.id);
    return;
  }
  const done = await copied(
    target.closest("[role=tabpanel]")?.querySelector("pre")?.textContent ?? "",
  );
  target.textContent = done ? "Copied" : "Cannot copy here: mark the text";
  setTimeout(() => (target.textContent = "Copy"), 2500);
});

element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (!(event.target instanceof HTMLElement && event.target.role === "tab")) return;
  const next = nextTab(tabs(), event.key);
  if (!next) return;
  event.preventDefault();
  open(next.id);
  next.focus();
});

new MutationObserver(() => open(chosen)).observe(element, { childList: true, subtree: true });
