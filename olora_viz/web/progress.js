// Which lessons this browser's visitor has finished: those whose check answer was opened.
//
// The list is kept in the browser. Where it cannot be stored, it lasts as long as the page.
const KEY = "olora-viz-finished";
const root = document.documentElement;

/** @returns {string[]} names of lessons */
const finished = () => {
  let stored = [];
  try {
    stored = JSON.parse(localStorage.getItem(KEY) ?? "[]");
  } catch {
    // denied, or not a list of ours
  }
  const here = (root.dataset.finished ?? "").split(" ");
  return [...new Set([...(Array.isArray(stored) ? stored : []), ...here])].filter(Boolean);
};

/** @param {string} name of a lesson */
function finish(name) {
  const names = [...new Set([...finished(), name])];
  root.dataset.finished = names.join(" ");
  try {
    localStorage.setItem(KEY, JSON.stringify(names));
  } catch {
    // denied, or full
  }
}

/**
 * Lets whoever opens the answer of a lesson's check question have finished it.
 *
 * @param {EventTarget} place of the answers
 */
export function watchAnswers(place) {
  const opened = (/** @type {Event} */ event) => {
    const answer = /** @type {HTMLDetailsElement} */ (event.target);
    if (!answer.open || !answer.dataset.finishes) return;
    finish(answer.dataset.finishes);
    mark();
  };
  place.addEventListener("toggle", opened, true); // toggles do not bubble
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
