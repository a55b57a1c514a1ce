// The part of a chart that the reader zoomed to, and the scale of its vertical axis.

/** @import { Layout } from "../types.d.ts" */

/** @typedef {{ xaxis?: number[], yaxis?: number[] }} Held the ranges that the reader chose */

/** Both axes of a chart. */
export const AXES = /** @type {const} */ (["xaxis", "yaxis"]);

/**
 * Keep the reader's zoom of a chart.
 *
 * @param {() => void} changed called when the chart has to be drawn again
 */
export function readersZoom(changed) {
  /** @type {string | null} */
  let revision = null;
  let resets = 0;
  /** @type {Held} */
  let held = {};
  return {
    /** @param {string} now the layout's uirevision: a zoom is kept while it stays the same */
    follow(now) {
      if (now !== revision) held = {};
      revision = now;
    },
    /** The uirevision for Plotly, which keeps zooms by it as well. */
    key: () => `${revision}/${resets}`,
    held: () => held,
    /**
     * @param {Record<string, unknown>} change of the event plotly_relayout
     * @param {Layout} layout as it is now
     */
    relayout(change, layout) {
      held = heldAfter(held, change, layout);
      changed();
    },
    /** @param {(keyof Held)[]} axes to be shown whole again */
    reset(...axes) {
      held = { ...held };
      for (const axis of axes) delete held[axis];
      resets += 1;
      changed();
    },
  };
}

/**
 * Return the ranges that are held after a change that Plotly reports.
 *
 * @param {Held} held
 * @param {Record<string, unknown>} change of the event plotly_relayout
 * @param {Layout} layout as it is now
 * @returns {Held}
 */
export function heldAfter(held, change, layout) {
  const after = { ...held };
  for (const axis of AXES) {
    const { range } = layout[axis];
    if (change[`${axis}.autorange`]) delete after[axis];
    else if (range && Object.keys(change).some((key) => key.startsWith(`${axis}.range`))) {
      after[axis] = [...range];
    }
  }
  return after;
}

/**
 * Show the ranges that are held, with ticks of Plotly's choice.
 *
 * @param {Layout} layout changed in place
 * @param {Held} held
 */
export function zoomTo(layout, held) {
  for (const name of AXES) {
    const range = held[name];
    if (!range) continue;
    const axis = layout[name];
    axis.range = [...range];
    delete axis.tickvals;
    delete axis.ticktext;
    axis.nticks = 6;
    if (axis.type === "log") axis.tickformat = "~g";
  }
}

/**
 * Make a logarithmic vertical axis linear: from zero, with ticks of Plotly's choice, up to the same
 * value.
 *
 * @param {Layout} layout changed in place
 */
export function straighten(layout) {
  const axis = layout.yaxis;
  const top = 10 ** (axis.range?.[1] ?? 0);
  axis.type = "linear";
  axis.range = [-0.02 * top, top];
  axis.nticks = 6;
  delete axis.tickvals;
  delete axis.ticktext;
  for (const label of layout.annotations ?? []) {
    if (label.yref === "y" || label.yref === undefined) label.y = 10 ** label.y;
  }
}
