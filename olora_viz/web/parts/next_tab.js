// Tabs by the keyboard.

/**
 * Return the tab to which a key moves from the selected one; undefined if it moves to none.
 *
 * @param {HTMLElement[]} tabs
 * @param {string} key
 */
export function nextTab(tabs, key) {
  const at = tabs.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[key];
  return to === undefined ? undefined : tabs[(to + tabs.length) % tabs.length];
}

/**
 * Mark the tabs, of which one is selected: Tab leads to it alone.
 *
 * @param {HTMLElement[]} tabs
 * @param {HTMLElement | undefined} selected
 */
export function markTabs(tabs, selected) {
  for (const tab of tabs) {
    tab.setAttribute("aria-selected", `${tab === selected}`);
    tab.tabIndex = tab === selected ? 0 : -1;
  }
}
