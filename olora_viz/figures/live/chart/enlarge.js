// Larger text, thicker lines and taller plots, where the page asks for them: `--chart-scale` and
// `--chart-height` of its style sheet, both 1 by default.

/** @import { Trace } from "../types.d.ts" */

/**
 * Read what the page asks for.
 *
 * @param {Element} element
 */
export function sizes(element) {
  const style = getComputedStyle(element);
  /** @param {string} name */
  const read = (name) => +style.getPropertyValue(name) || 1;
  return { scale: read("--chart-scale"), tall: read("--chart-height") };
}

/**
 * Enlarge text, margins, lines and marks.
 *
 * @param {Trace[]} data changed in place
 * @param {any} layout changed in place
 * @param {number} scale
 */
export function enlarge(data, layout, scale) {
  if (scale === 1) return;
  for (const part of [layout, layout.hoverlabel, layout.xaxis?.title, layout.yaxis?.title]) {
    times(part?.font, "size", scale);
  }
  for (const annotation of layout.annotations ?? []) times(annotation.font, "size", scale);
  for (const side of ["l", "r", "t", "b"]) times(layout.margin, side, scale);
  for (const trace of data) {
    times(trace.line, "width", scale);
    times(trace.marker, "size", scale);
  }
}

/**
 * @param {any} part
 * @param {string} name
 * @param {number} scale
 */
function times(part, name, scale) {
  if (typeof part?.[name] === "number") part[name] *= scale;
}
