// Lets the visitor choose and open lessons. The address keeps the lesson's name, so that a reload, or
// a copied link, comes back to it.
import { write } from "./parts/address.js";
import { mark, watchAnswers } from "./progress.js";

/**
 * @param {string | undefined} name of a lesson; nothing: none
 * @param {boolean} opens whether its recorded race is shown
 */
export const remember = (name, opens = false) => {
  const { search } = window.location;
  const another = name && name !== new URLSearchParams(search).get("lesson");
  const gone = opens || another ? ["lesson", "at", "start"] : ["lesson", "at"]; // start= is of the last race
  const kept = search
    .slice(1)
    .split("&")
    .filter((pair) => !gone.includes(pair.split("=")[0]));
  write([...kept, name && `lesson=${name}`].filter(Boolean).join("&"));
};

/** Listens to the lessons' buttons within a component of Gradio, which runs this with `element`, `trigger` and `watch`. */
export function listen() {
  element.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    /** @param {string} name */
    const found = (name) => /** @type {HTMLElement | null} */ (target.closest(`[data-${name}]`));
    const chosen = found("lesson");
    const opened = found("open");
    if (chosen) {
      remember(chosen.dataset.lesson);
      trigger("select", { index: 0, value: { lesson: chosen.dataset.lesson, open: false } });
      window.scrollTo({ top: 0 });
      if (!found("question")) return;
      const show = () => document.querySelector("#lesson-guide .check")?.scrollIntoView();
      window.addEventListener("hashchange", show, { once: true }); // the page Learn is shown first
    } else if (opened) {
      remember(opened.dataset.open, true);
      trigger("select", { index: 0, value: { lesson: opened.dataset.open, open: true } });
      window.location.hash = opened.dataset.page ?? "";
      window.scrollTo({ top: 0 });
    } else if (found("glossary")) {
      event.preventDefault(); // the fragment names the page
      document.querySelector("#lesson-glossary")?.scrollIntoView();
    } else if (found("teachers")) {
      event.preventDefault();
      window.location.hash = ""; // so that it changes, and teachers.js opens the plan
      window.location.hash = "teachers";
    }
  });
  watchAnswers(element);
  watch("value", mark);
  window.addEventListener("storage", mark); // of another tab
  mark();
}
