// Keyboard access to what a click on a lane's name does: buttons that are visible while focused.

import { append } from "../element.js";

/**
 * Offer a button for every lane.
 *
 * @param {HTMLElement} frame the buttons' parent
 * @param {string[]} names
 * @param {Set<string>} hidden
 * @param {(lane: string) => void} turn
 */
export function offerLanes(frame, names, hidden, turn) {
  const there = new Map([...frame.children].map((button) => [laneOf(button), button]));
  if (names.join("\n") !== [...there.keys()].join("\n")) {
    const focused = document.activeElement;
    frame.replaceChildren(...names.map((lane) => there.get(lane) ?? make(frame, lane, turn)));
    if (focused instanceof HTMLElement && frame.contains(focused)) {
      focused.focus({ preventScroll: true });
    }
  }
  for (const button of frame.children) {
    const lane = laneOf(button);
    const words = `${hidden.has(lane) ? "show" : "hide"} ${lane}`;
    if (button.textContent !== words) button.textContent = words;
  }
}

/**
 * @param {HTMLElement} frame
 * @param {string} lane
 * @param {(lane: string) => void} turn
 */
function make(frame, lane, turn) {
  const button = append(frame, "button", "quiet");
  button.type = "button";
  button.dataset.lane = lane;
  button.addEventListener("click", () => turn(lane));
  return button;
}

/** @param {Element} button */
function laneOf(button) {
  return /** @type {HTMLElement} */ (button).dataset.lane ?? "";
}
