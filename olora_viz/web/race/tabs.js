// Opens a tab: `data-tab` of the document names it, and style sheets show its cards.

import { markTabs, nextTab } from "../parts/next_tab.js";

const tabs = [.../** @type {NodeListOf<HTMLElement>} */ (element.querySelectorAll("[role=tab]"))];

/** @param {HTMLElement} tab */
const open = (tab) => {
  document.documentElement.dataset.tab = tab.dataset.tabName;
};

const mark = () => {
  const name = document.documentElement.dataset.tab;
  markTabs(
    tabs,
    tabs.find((tab) => tab.dataset.tabName === name),
  );
};

element.addEventListener("click", (event) => {
  const tab = tabs.find((one) => one.contains(/** @type {Node} */ (event.target)));
  if (tab) open(tab);
});
element.addEventListener("keydown", (event) => {
  const shown = tabs.filter((tab) => tab.offsetParent);
  const next = nextTab(shown, /** @type {KeyboardEvent} */ (event).key);
  if (!next) return;
  event.preventDefault();
  open(next);
  next.focus();
});
// Whatever asks to see a part of a card opens its tab, see learn.js.
new MutationObserver(mark).observe(document.documentElement, { attributeFilter: ["data-tab"] });
document.documentElement.dataset.tab ??= tabs[0].dataset.tabName;
mark();
