// Shows the glossary's entry beside a term, a button with the class "term" anywhere on the page.
//
// Escape and a click elsewhere close it, as the browser does with any popover.

const GAP = 6; // pixels between the term and its entry

const beside = document.createElement("div");
beside.id = "term-beside";
beside.popover = "auto";
beside.setAttribute("role", "note");
beside.setAttribute("aria-live", "polite");
document.body.append(beside);

/** @param {HTMLElement} button */
const show = (button) => {
  const entry = document.getElementById(`term-${button.dataset.term}`);
  if (!entry) return;
  const word = document.createElement("b");
  word.textContent = entry.querySelector("dt")?.textContent ?? "";
  const meaning = document.createElement("p");
  const known = entry.querySelector("dd")?.cloneNode(true);
  if (known) meaning.append(...known.childNodes);
  beside.replaceChildren(word, meaning);
  beside.showPopover();
  const { left, top, bottom } = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = beside;
  const below = bottom + GAP + height < window.innerHeight;
  beside.style.left = `${Math.max(GAP, Math.min(left, window.innerWidth - width - GAP))}px`;
  beside.style.top = `${below ? bottom + GAP : Math.max(GAP, top - GAP - height)}px`;
};

document.addEventListener("click", (event) => {
  const button = /** @type {Element} */ (event.target).closest?.(".term");
  if (button) show(/** @type {HTMLElement} */ (button));
});
window.addEventListener("scroll", () => beside.hidePopover(), { passive: true });
