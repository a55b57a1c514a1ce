// What the reader has bet on: a lane, marked at the end of its curve, and a step, at which there is a line.

/** @import { Fitted } from "../types.d.ts" */

const EVENT = "olora-viz-bet"; // the page has set data-bet-on of the document to the lane's name, data-bet-step

/**
 * @param {Element} element of the chart: one of a lesson, or of a matrix, is not of the race that was bet on
 * @param {() => void} changed called when the chart has to be redrawn
 */
export function readersBet(element, changed) {
  document.addEventListener(EVENT, changed);
  const bet = () =>
    element.closest("#learn-page, #spectrum-page") ? {} : document.documentElement.dataset;
  return {
    lane: () => bet().betOn ?? "",
    step: () => Number(bet().betStep ?? 0),
    stop: () => document.removeEventListener(EVENT, changed),
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
