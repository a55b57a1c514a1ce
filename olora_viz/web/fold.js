// Keeps a row's fold open when the row is drawn again.
//
// Gradio runs this with `element`, whose content it replaces when the value changes.
let open = false;

element.addEventListener(
  "toggle",
  (/** @type {Event} */ event) => {
    if (event.target instanceof HTMLDetailsElement) open = event.target.open;
  },
  true, // the event does not bubble
);

new MutationObserver(() => {
  const fold = element.querySelector("details");
  if (fold && fold.open !== open) fold.open = open;
}).observe(element, { childList: true, subtree: true });
