// Whoever presses a button by a key goes on from there: a button that is disabled by its press hands its focus to the
// first one of its bar that is enabled next, itself or another.
const PATIENCE = 10_000; // ms
const BAR = "#top-bar, .card";
/** @type {Element | null} */
let focused = null;
/** @type {HTMLButtonElement | null} The button that had the focus as it was disabled */
let left = null;
let until = 0;
let byKey = false;

/** Whether nothing else has the focus. */
const isFree = () =>
  [null, document.body, left].includes(/** @type {any} */ (document.activeElement));

/** Whether a button is in view, in the bar of the one that was left. @param {HTMLButtonElement} button */
const isNext = (button) =>
  button === left ||
  (button.getClientRects().length > 0 && button.closest(BAR) === left?.closest(BAR));

new MutationObserver((changes) => {
  const buttons = changes
    .map(({ target }) => target)
    .filter((target) => target instanceof HTMLButtonElement);
  const gone = buttons.find((button) => button.disabled && button === focused && byKey);
  if (gone) {
    left = gone;
    until = performance.now() + PATIENCE;
  }
  if (!left || !isFree() || performance.now() > until) return;
  const FOLLOWS = Node.DOCUMENT_POSITION_FOLLOWING;
  const [next] = buttons
    .filter((button) => !button.disabled && isNext(button))
    .sort((a, b) => (a.compareDocumentPosition(b) & FOLLOWS ? -1 : 1));
  next?.focus({ preventScroll: true });
}).observe(document.documentElement, { subtree: true, attributeFilter: ["disabled"] });

document.addEventListener("focusin", ({ target }) => {
  focused = /** @type {Element} */ (target);
  left = null;
});
document.addEventListener("keydown", () => (byKey = true), { capture: true });
document.addEventListener("pointerdown", () => (byKey = false), { capture: true });
