// Keeps a press that comes before the page knows what it shows: a race that it started at once would
// be put aside by the answer.

/**
 * Hold presses of some buttons back; return what makes the last of them and lets all later ones pass.
 *
 * @param {string} buttons their selector
 * @returns {() => void}
 */
export function holdEarly(buttons) {
  /** @type {HTMLElement | null} */
  let pressed = null;
  /** @param {Event} event */
  const hold = (event) => {
    const button = event.target instanceof Element ? event.target.closest(buttons) : null;
    if (!button) return;
    event.stopImmediatePropagation();
    pressed = /** @type {HTMLElement} */ (button);
  };
  document.addEventListener("click", hold, true);
  return () => {
    document.removeEventListener("click", hold, true);
    pressed?.click();
  };
}
