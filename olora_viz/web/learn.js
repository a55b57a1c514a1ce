// Lets the visitor choose, open and close lessons.
//
// Gradio runs this with `element`, `props`, `trigger` and `watch`. The address keeps the lesson's
// name, so that a reload, or a copied link, comes back to it.
import { write } from "./parts/address.js";
import { mark, watchAnswers } from "./progress.js";

/**
 * @param {string | undefined} name of a lesson; nothing: none
 * @param {boolean} opens whether its recorded race is shown
 */
const remember = (name, opens = false) => {
  const { search } = window.location;
  const another = name && name !== new URLSearchParams(search).get("lesson");
  const gone = opens || another ? ["lesson", "start"] : ["lesson"]; // start= is of the last race
  const kept = search
    .slice(1)
    .split("&")
    .filter((pair) => !gone.includes(pair.split("=")[0]));
  write([...kept, name && `lesson=${name}`].filter(Boolean).join("&"));
};

/** Opens the tab of a part of the page. @param {string | undefined} id */
const revealed = (id) => {
  const part = document.getElementById(id ?? "");
  const tabs = [...document.querySelectorAll("[data-tab-name]")];
  for (const { dataset } of /** @type {HTMLElement[]} */ (tabs))
    if (part?.closest(`.tab-${dataset.tabName}`))
      document.documentElement.dataset.tab = dataset.tabName;
  return part;
};

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
  } else if (found("close")) {
    remember("");
    found("close")?.closest("section")?.remove();
  } else if (found("show")) {
    const part = revealed(found("show")?.dataset.show);
    part?.scrollIntoView({ block: "center", behavior: "smooth" });
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

// A link to a lesson shows the page that the lesson is about, unless it names one itself; a lesson
// opens the tab that it is about.
watch("value", () => {
  const { page, where } = element.querySelector(".guided")?.dataset ?? {};
  if (page && !window.location.hash) window.location.hash = page;
  revealed(where);
});
