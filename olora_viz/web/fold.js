// Keeps a row's folds open when the row is drawn again.
//
// Gradio runs this with `element`, whose content it replaces when the value changes.
/** Which of the folds are open, in their order. @type {boolean[]} */
let open = [];

const folds = () => [...element.querySelectorAll("details")];

element.addEventListener(
  "toggle",
  () => (open = folds().map((fold) => fold.open)),
  true, // the event does not bubble
);

new MutationObserver(() => {
  folds().forEach((fold, i) => {
    if (fold.open !== Boolean(open[i])) fold.open = Boolean(open[i]);
  });
}).observe(element, { childList: true, subtree: true });
