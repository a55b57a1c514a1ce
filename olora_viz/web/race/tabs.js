// Opens a tab: `data-tab` of the document names it, and style sheets show its cards.
const tabs = [.../** @type {NodeListOf<HTMLElement>} */ (element.querySelectorAll("[role=tab]"))];

/** @param {HTMLElement} tab */
const open = (tab) => {
  document.documentElement.dataset.tab = tab.dataset.tabName;
};

const mark = () => {
  const name = document.documentElement.dataset.tab;
  for (const tab of tabs) {
    const chosen = tab.dataset.tabName === name;
    tab.setAttribute("aria-selected", `${chosen}`);
    tab.tabIndex = chosen ? 0 : -1;
  }
};

element.addEventListener("click", (event) => {
  const tab = tabs.find((one) => one.contains(/** @type {Node} */ (event.target)));
  if (tab) open(tab);
});
element.addEventListener("keydown", (event) => {
  const { key } = /** @type {KeyboardEvent} */ (event);
  const shown = tabs.filter((tab) => tab.offsetParent);
  const at = shown.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[key];
  if (to === undefined) return;
  const next = shown[(to + shown.length) % shown.length];
  event.preventDefault();
  open(next);
  next.focus();
});
// Whatever asks to see a part of a card opens its tab, see learn.js.
new MutationObserver(mark).observe(document.documentElement, { attributeFilter: ["data-tab"] });
document.documentElement.dataset.tab ??= tabs[0].dataset.tabName;
mark();
