// The guide of a first visit, and the line that offers it: never to whoever follows a link, within
// another page, or has closed it.
//
// Gradio runs this with `element`.
import { set } from "../../figures/live/store.js";
import { load, play, playing, save } from "./guide.js";

const section = /** @type {HTMLElement} */ (element.querySelector(".guide"));
const name = section.dataset.guide ?? "";
const query = new URLSearchParams(window.location.search);

const never = () => {
  save({ ...load(), never: true });
  set({ guideOffered: false });
};

/** @param {boolean} resumes */
const begin = (resumes) => {
  never();
  play(section, { resumes });
};

document.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  if (target.closest?.("[data-never]")) never();
  else if (target.closest?.(`[data-begin="${name}"]`)) begin(false);
});

const isLink =
  [...query.keys()].some((key) => !key.startsWith("__")) || window.location.hash !== "";
if (playing() === name) begin(true);
else if (query.get("guide") === name) begin(false);
else set({ guideOffered: !isLink && window.top === window.self && !load().never });
