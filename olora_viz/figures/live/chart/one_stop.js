// Makes every row of buttons one Tab stop, with arrow keys within: WAI-ARIA's toolbar.

/**
 * Listen to the arrow keys in all toolbars of a chart.
 *
 * @param {HTMLElement} frame
 * @returns {() => void} to call after each draw, which may have made buttons anew
 */
export function oneStopEach(frame) {
  frame.addEventListener("keydown", (event) => {
    const buttons = ofBar(event.target);
    const at = buttons.findIndex((button) => button === event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    buttons.at(to % buttons.length)?.focus({ preventScroll: true });
  });
  frame.addEventListener("focusin", ({ target }) => stopAt(ofBar(target), target));
  return () => {
    for (const bar of frame.querySelectorAll("[role=toolbar]")) {
      if (!bar.ariaLabel) bar.ariaLabel = "tools of the chart"; // Plotly's has no name
      const buttons = ofBar(bar);
      stopAt(buttons, buttons.find((button) => button.tabIndex === 0) ?? buttons[0]);
    }
  };
}

/**
 * @param {HTMLElement[]} buttons of a toolbar
 * @param {EventTarget | null} stop the one that Tab leads to
 */
function stopAt(buttons, stop) {
  for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
}

/**
 * @param {EventTarget | null} part of a toolbar
 * @returns {HTMLElement[]} its buttons; none outside
 */
function ofBar(part) {
  const bar = part instanceof Element ? part.closest("[role=toolbar]") : null;
  return bar ? [...bar.querySelectorAll("button")] : [];
}
