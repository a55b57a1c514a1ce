// Opens a tab, whose cards style sheets show.

import { get, set, subscribe } from "../../figures/live/store.js";
import { markTabs, nextTab } from "../parts/next_tab.js";

const tabs = [.../** @type {NodeListOf<HTMLElement>} */ (element.querySelectorAll("[role=tab]"))];

/** @param {HTMLElement} tab */
const open = (tab) => set({ tab: tab.dataset.tabName });

const mark = () =>
  markTabs(
    tabs,
    tabs.find((tab) => tab.dataset.tabName === get("tab")),
  );

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
subscribe(["tab"], mark); // also where a guide speaks of a part of a card
if (get("tab")) mark();
else open(tabs[0]);
