// Plays a lesson on the page that it is about.
//
// Gradio runs this with `element`, `trigger` and `watch`; the server writes the guide of a lesson that is opened.
import { play, playing } from "./parts/guide.js";
import { listen, remember } from "./lessons.js";
import { finish } from "./progress.js";

let asked = ""; // the lesson that the reader has opened
/** @type {ReturnType<typeof play> | null} */
let played = null;

/** A link to a lesson plays it on the page that it is about; one that names another page, as Learn, is to be read. */
const begin = () => {
  const section = /** @type {HTMLElement | null} */ (element.querySelector(".guide"));
  if (!section) return;
  const { guide = "", page = "" } = section.dataset;
  const here = window.location.hash.slice(1);
  const resumes = asked !== guide && playing() === guide;
  if (asked !== guide && here && (here !== page || (page === "learn" && !resumes))) return;
  if (!here) window.location.hash = page;
  played = play(section, { resumes, finished: () => finish(guide), left: () => remember("") });
};

// Opened once more, a lesson has the same value.
document.addEventListener("click", ({ target }) => {
  const link = /** @type {HTMLElement | null} */ (
    /** @type {Element} */ (target).closest?.("[data-open], [data-lesson]")
  );
  const { open, lesson } = link?.dataset ?? {};
  const shown = element.querySelector(".guide")?.dataset.guide;
  if (lesson && lesson !== shown) played?.stop(true); // the list leads to another one
  if (!open) return;
  asked = open;
  if (open === shown) begin();
});

listen();
watch("value", begin);
