// What the reader has bet on: a lane, marked at the end of its curve, and a step, at which there is a line.

/** @import { Fitted } from "../types.d.ts" */

import { get, subscribe } from "../store.js";

/**
 * @param {Element} element of the chart: one of a lesson, or of a matrix, is not of the race that was bet on
 * @param {() => void} changed called when the chart has to be redrawn
 */
export function readersBet(element, changed) {
  const isOfRace = () => !element.closest("#learn-page, #spectrum-page");
  return {
    lane: () => (isOfRace() ? get("betLane") : ""),
    step: () => (isOfRace() ? get("betStep") : 0),
    stop: subscribe(["betLane", "betStep"], changed),
  };
}

/**
 * Draw the line at the step of a bet, if that is within the chart.
 *
 * @param {Fitted} layout changed in place
 * @param {number} step 0: none
 */
export function markStep(layout, step) {
  if (!step) return;
  const line = { color: layout.font?.color, width: 1.5, dash: "dash" };
  const mark = { type: "line", x0: step, x1: step, yref: "paper", y0: 0, y1: 1, line };
  layout.shapes = [...(layout.shapes ?? []), mark];
}
