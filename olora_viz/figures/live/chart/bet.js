// What the reader has bet on: a lane, marked at the end of its curve, and a step, at which there is a line.

/** @import { Fitted } from "../types.d.ts" */

const EVENT = "olora-viz-bet"; // the page has set data-bet-on of the document to the lane's name, data-bet-step

/** @param {() => void} changed called when the chart has to be redrawn */
export function readersBet(changed) {
  document.addEventListener(EVENT, changed);
  return {
    lane: () => document.documentElement.dataset.betOn ?? "",
    step: () => Number(document.documentElement.dataset.betStep ?? 0),
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
