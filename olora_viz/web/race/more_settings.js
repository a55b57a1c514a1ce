// The fold "More settings": says how many settings differ from the defaults, and what is wrong.
//
// Gradio runs this with `element`, `props`, `server` and `watch`; props.value and props.plain are the
// settings and their defaults, as text by name.
/** @type {NodeListOf<HTMLInputElement | HTMLSelectElement>} */
const inputs = element.querySelectorAll("[name]");
const said = /** @type {HTMLElement} */ (element.querySelector(".changed"));
const problem = /** @type {HTMLElement} */ (element.querySelector(".problem"));
let asked = 0;

const values = () => Object.fromEntries([...inputs].map(({ name, value }) => [name, value.trim()]));

const count = () => {
  const changed = Object.entries(values()).filter(([name, value]) => value !== props.plain[name]);
  said.textContent = changed.length ? ` · ${changed.length} changed` : "";
};

const look = async () => {
  const turn = ++asked;
  await new Promise((resolve) => setTimeout(resolve, 60));
  if (turn !== asked) return;
  const steps = /** @type {HTMLInputElement | null} */ (
    document.querySelector("#setup-steps input")
  );
  const wrong = await server.seen([steps?.value ?? "", values()]);
  if (turn !== asked) return;
  problem.hidden = !wrong;
  problem.textContent = wrong && `${wrong}.`;
};

const show = () => {
  for (const input of inputs) {
    const text = props.value[input.name];
    // What stands for a visitor's own file is no choice that every page has, nor is number:0.01.
    if (
      input instanceof HTMLSelectElement &&
      ![...input.options].some(({ value }) => value === text)
    ) {
      [...input.options]
        .filter(({ value }) => value.startsWith("file:"))
        .forEach((old) => old.remove());
      input.add(new Option(text.startsWith("file:") ? "your file" : text, text));
    }
    if (input !== document.activeElement || input.value.trim() !== text) input.value = text;
  }
  count();
};

element.addEventListener("input", () => {
  props.value = values();
  count();
  look();
});
watch("value", () => {
  show();
  if (!problem.hidden) look();
});
show();
