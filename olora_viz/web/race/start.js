// Starts the race of a link with start=1: on a visible page only, after a countdown that can be
// cancelled.
//
// Gradio runs this with `element`, `props` and `watch`; props.value is { seconds } when the server has
// read such a link. A reload starts nothing, see arrive.js.
const bar = /** @type {HTMLElement} */ (element.querySelector(".countdown"));
const ticking = /** @type {HTMLElement} */ (element.querySelector(".ticking"));
const said = /** @type {HTMLElement} */ (element.querySelector("[role=status]"));
const [now, cancel] = /** @type {NodeListOf<HTMLButtonElement>} */ (
  element.querySelectorAll("button")
);
const RACES = "#race-button, #step-button, #measure-button";
let timer = 0;
let left = 0; // seconds; 0 when nothing counts down

/** @param {string} sentence for a screen reader, once and not every second */
const end = (sentence) => {
  window.clearInterval(timer);
  left = 0;
  bar.hidden = true;
  said.textContent = sentence;
};

const start = () => {
  const race = /** @type {HTMLButtonElement | null} */ (document.querySelector("#race-button"));
  end("");
  race?.click();
};

const show = () => {
  ticking.textContent = document.hidden
    ? "The race starts when the page is shown."
    : `The race starts in ${left} s.`;
};

const count = () => {
  window.clearInterval(timer);
  left = props.value?.seconds ?? 0;
  if (!left) return;
  bar.hidden = false;
  said.textContent = `The race starts in ${left} seconds. Escape cancels it.`;
  show();
  if (document.hidden) return; // from the beginning, when the page is shown
  timer = window.setInterval(() => {
    left -= 1;
    if (left > 0) show();
    else start();
  }, 1000);
};

const cancelled = "The race was not started.";
now.addEventListener("click", start);
cancel.addEventListener("click", () => end(cancelled));
document.addEventListener("visibilitychange", () => left && count());
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !left || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  end(cancelled);
});
// Whoever starts something else has decided.
document.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  if (left && target.closest?.(RACES)) end("");
});
watch("value", count);
