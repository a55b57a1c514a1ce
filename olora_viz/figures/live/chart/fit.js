// Fits a layout to its element: size, zoom, and labels without overlap.

/** @import { Fitted, Layout, Meta } from "../types.d.ts" */
/** @import { Held } from "./zoom.js" */

import { placeLabels } from "./labels.js";
import { straighten, zoomTo } from "./zoom.js";

const NARROW = 420; // pixels

/**
 * Fit a layout.
 *
 * @param {Layout} layout changed in place
 * @param {Meta} meta
 * @param {object} how
 * @param {number} how.width of the element
 * @param {number} how.scale of text
 * @param {boolean} how.touch whether the pointer is a finger
 * @param {boolean} how.linear whether the vertical axis is made linear
 * @param {Held} how.held
 * @param {Set<string>} how.hidden lanes
 * @param {string} [how.bet] the lane that the reader has bet on
 * @returns {{ layout: Fitted, named: string[] }} and the lanes that a click on a label hides
 */
export function fit(layout, meta, { width, scale, touch, linear, held, hidden, bet }) {
  const narrow = width < NARROW;
  layout.margin = { ...layout.margin };
  if (narrow) layout.margin.l -= 12;
  const { t, b } = layout.margin;
  const fitted = Object.assign(layout, { width, height: meta.height + t + b });
  fitted.dragmode = touch ? false : "zoom"; // a finger's drag must scroll the page
  if (meta.x === "step" || meta.recall) fitted.margin.autoexpand = false; // lines over the plot rely on it
  if (meta.x === "step") {
    fitted.xaxis.showspikes = false; // the pointer's line is the same in all charts
    fitted.xaxis.unifiedhovertitle = { text: "step %{x}" };
  }
  if (linear && fitted.yaxis.type === "log") straighten(fitted);
  zoomTo(fitted, held);
  const named = placeLabels(fitted, { height: meta.height, scale, narrow, hidden, bet });
  return { layout: fitted, named };
}
