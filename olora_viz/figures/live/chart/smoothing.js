// The reader's choice of how much a curve is smoothed.

/** @import { Layout, Numbers, TextTrace, Trace } from "../types.d.ts" */

/** The choices of the weight of the past. */
export const SMOOTHINGS = [0, 0.6, 0.85, 0.95];

/**
 * Recompute the "smooth" trace of each lane from its "raw" trace, and move the marks at its end:
 * the cross of a diverged lane, and the lane's label.
 *
 * @param {Trace[]} data changed in place
 * @param {Layout} layout changed in place
 * @param {TextTrace[]} given the same traces before `points`, with the spacing of their points
 * @param {number} weight of the past, from one step to the next
 */
export function average(data, layout, given, weight) {
  /** @type {Map<string | undefined, { values: Numbers, every: number }>} */
  const raw = new Map();
  data.forEach(({ meta, legendgroup, y }, i) => {
    if (meta === "raw") raw.set(legendgroup, { values: y ?? [], every: given[i].dx ?? 1 });
  });
  for (const trace of data) {
    const curve = raw.get(trace.legendgroup);
    if (trace.meta !== "smooth" || !curve?.values.length) continue;
    trace.y = smoothed(curve.values, weight ** curve.every);
    const end = trace.y.findLast((v) => v > 0);
    if (end) moveEnd(data, layout, trace.legendgroup, end);
  }
}

/**
 * Return the exponential moving average of some values, as `smoothed` in olora_viz/figures/race.py
 * does; null from a gap on.
 *
 * @param {Numbers} values
 * @param {number} past weight of a value against the next one
 * @returns {Numbers}
 */
export function smoothed(values, past) {
  let mean = values[0];
  let weights = 0;
  return values.map((v) => {
    weights = past * weights + 1;
    mean = v === null || mean === null ? null : mean + (v - mean) / weights;
    return mean;
  });
}

/**
 * @param {Trace[]} data
 * @param {Layout} layout
 * @param {string | undefined} lane
 * @param {number} end
 */
function moveEnd(data, layout, lane, end) {
  for (const cross of data) {
    if (cross.meta === "out" && cross.legendgroup === lane) cross.y = [end];
  }
  const top = layout.yaxis.range?.[1] ?? Infinity;
  for (const label of layout.annotations ?? []) {
    if (label.name?.slice(4) === lane) label.y = Math.min(Math.log10(end), top);
  }
}
