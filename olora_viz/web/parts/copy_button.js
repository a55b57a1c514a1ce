// A button that copies a link, and says whether it could.

/**
 * @param {Element} element has the button, and a line for screen readers
 * @param {() => { link: string, note?: string }} made returns the link, and what is said about it
 */
export function copies(element, made) {
  const button = /** @type {HTMLButtonElement} */ (element.querySelector("button"));
  const said = /** @type {HTMLElement} */ (element.querySelector("[role=status]"));
  const words = button.textContent;
  let back = 0;
  button.addEventListener("click", async () => {
    const { link, note = "" } = made();
    const done = await copied(link);
    if (!done) window.history.replaceState(window.history.state, "", link);
    said.textContent = `The link is ${done ? "copied" : "in the address bar"}${note}.`;
    button.textContent = `${done ? "Link copied" : "See address bar"}${note}`;
    clearTimeout(back);
    back = window.setTimeout(() => {
      button.textContent = words;
      said.textContent = "";
    }, 2500);
  });
}

/**
 * Copy a text, and return whether that was possible.
 *
 * @param {string} text
 */
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // not a secure page, or not permitted
  }
}
