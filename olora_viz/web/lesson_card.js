// Plays a lesson on the page that it is about.
//
// Gradio runs this with `element`, `trigger` and `watch`; the server writes the guide of a lesson that is opened.
import { play, playing } from "./parts/guide.js";
import { listen, remember } from "./lessons.js";
import { finish } from "./progress.js";

let opened = false; // whether this page has shown a lesson

/** A link to a lesson shows the page that the lesson is about, unless it names one itself. */
const begin = () => {
  const section = /** @type {HTMLElement | null} */ (element.querySelector(".guide"));
  if (!section) return;
  const { guide = "", page } = section.dataset;
  if (page && !window.location.hash) window.location.hash = page;
  const finished = () => finish(guide);
  play(section, { resumes: !opened && playing() === guide, finished, left: () => remember("") });
  opened = true;
};

// Opened once more, a lesson has the same value.
document.addEventListener("click", ({ target }) => {
  const { open } =
    /** @type {HTMLElement | null} */ (/** @type {Element} */ (target).closest?.("[data-open]"))
      ?.dataset ?? {};
  if (open && open === element.querySelector(".guide")?.dataset.guide) begin();
});

listen();
watch("value", begin);
