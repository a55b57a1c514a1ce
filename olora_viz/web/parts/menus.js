// A menu stays closed when the keyboard leaves it: Gradio's opens again at each key that it does not know, and at Tab
// that is after it has been left.
const OTHERS = ["Tab", "Shift", "Control", "Alt", "Meta"];

window.addEventListener(
  "keydown",
  (event) => {
    const field = /** @type {Element} */ (event.target);
    if (OTHERS.includes(event.key) && field.matches?.("input[role=combobox]"))
      event.stopImmediatePropagation();
  },
  { capture: true },
);
