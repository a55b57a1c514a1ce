// Space races, pauses and resumes; S steps; ? opens the help. Ignored in text fields.
const help = element.querySelector("dialog");
const TYPING = "input, select, textarea, [contenteditable], [role=listbox], [role=option]";
const PRESSED_BY_SPACE = "button, a, summary, [role=button], [role=tab]";

// The button, if it can be pressed now: it exists, is on this page, and is enabled.
/** @param {string} id */
const ready = (id) => {
  const button = /** @type {HTMLButtonElement | null} */ (document.getElementById(id));
  return button && !button.disabled && button.getClientRects().length ? button : null;
};

element.querySelector("#help-button").addEventListener("click", () => help.showModal());
help.addEventListener("click", (event) => event.target === help && help.close());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const target = event.target instanceof Element ? event.target : document.body;
  if (help.open || document.querySelector("dialog[open]") || target.closest(TYPING)) return;
  if (event.key === " " && !target.closest(PRESSED_BY_SPACE)) {
    const button = ready("pause-button") ?? ready("race-button");
    if (!button) return;
    event.preventDefault(); // the page does not scroll
    if (!event.repeat) button.click();
  } else if ((event.key === "s" || event.key === "S") && !event.shiftKey) {
    ready("step-button")?.click();
  } else if (event.key === "?") {
    event.preventDefault();
    help.showModal();
  }
});

// The list of a field is no stop of its own: it closes when the focus leaves the field, and takes it along.
document.addEventListener(
  "keydown",
  ({ key }) => {
    if (key !== "Tab") return;
    const lists = /** @type {NodeListOf<HTMLElement>} */ (
      document.querySelectorAll("[role=listbox]")
    );
    for (const list of lists) list.tabIndex = -1;
  },
  true,
);
