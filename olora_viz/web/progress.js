// Which lessons this browser's visitor has finished: those done step by step, or answered right.
//
// The list is kept in the browser. Where it cannot be stored, it lasts as long as the page.
import { get, set } from "../figures/live/store.js";
import { keep, recall } from "./parts/kept.js";

const KEY = "olora-viz-finished";

/** @returns {string[]} names of lessons */
const finished = () => {
  let stored = [];
  try {
    stored = JSON.parse(recall("localStorage", KEY) ?? "[]");
  } catch {
    // not a list of ours
  }
  return [...new Set([...(Array.isArray(stored) ? stored : []), ...get("finished")])];
};

/** Adds a lesson to those that are finished. @param {string} name */
export function finish(name) {
  const names = [...new Set([...finished(), name])];
  set({ finished: names });
  keep("localStorage", KEY, JSON.stringify(names));
  mark();
}

/**
 * Lets whoever chooses the right answer to a lesson's check question have finished it.
 *
 * @param {EventTarget} place of the answers
 */
export function watchAnswers(place) {
  place.addEventListener("click", ({ target }) => {
    const answer = /** @type {HTMLElement | null} */ (
      /** @type {Element} */ (target).closest?.(".choice[data-finishes] summary")?.parentElement
    );
    if (answer) finish(answer.dataset.finishes ?? "");
  });
}

/** Marks the finished lessons of the list, and counts them. */
export function mark() {
  const names = finished();
  const lessons = document.querySelectorAll("#lesson-list [data-lesson]");
  let done = 0;
  for (const lesson of lessons) {
    const is = names.includes(/** @type {HTMLElement} */ (lesson).dataset.lesson ?? "");
    lesson.querySelector(".done")?.toggleAttribute("hidden", !is);
    lesson.querySelector(".number")?.toggleAttribute("hidden", is);
    done += Number(is);
  }
  const count = document.querySelector("#lesson-list .count");
  if (count) count.textContent = `${done} of ${lessons.length} done`;
}
