// Marks the fields whose values the page refuses, for readers who do not see its sentences.
//
// Gradio runs this with `element` and `props`; props.fields are selectors by what a sentence calls the field.
const PACE = 250; // ms between two looks at the sentences
/** @type {Map<string, string>} The sentence on a field that was edited since */
const edited = new Map();
/** @type {[string, string][]} */
const fields = Object.entries(props.fields);

const sentences = () => {
  const alerts = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[role=alert]")]);
  const shown = alerts.filter((alert) => alert.offsetParent);
  return shown.flatMap((alert) => (alert.textContent ?? "").split("; "));
};

/** @param {string} what @param {string[]} said */
const wrongOf = (what, said) => said.find((each) => each.trim().startsWith(`${what} must `)) ?? "";

const mark = () => {
  const said = sentences();
  for (const [what, selector] of fields) {
    const wrong = wrongOf(what, said);
    if (!wrong) edited.delete(what);
    const isWrong = wrong !== "" && edited.get(what) !== wrong;
    for (const field of document.querySelectorAll(selector))
      if (isWrong) field.setAttribute("aria-invalid", "true");
      else field.removeAttribute("aria-invalid");
  }
};

document.addEventListener("input", ({ target }) => {
  const said = sentences();
  for (const [what, selector] of fields)
    if (/** @type {Element} */ (target).matches?.(selector)) edited.set(what, wrongOf(what, said));
  mark();
});
setInterval(mark, PACE);
