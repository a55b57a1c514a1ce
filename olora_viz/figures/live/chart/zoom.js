// The reader's zoom, and the scale of the vertical axis.

/** @import { Layout } from "../types.d.ts" */

/** @typedef {{ xaxis?: number[], yaxis?: number[] }} Held the ranges that the reader chose */

/** Both axes of a chart. */
export const AXES = /** @type {const} */ (["xaxis", "yaxis"]);

/**
 * Keep the reader's zoom across redraws.
 *
 * @param {() => void} changed called when the chart has to be redrawn
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
    /** The uirevision for Plotly, which also decides whether Plotly keeps a zoom. */
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
    /** @param {(keyof Held)[]} axes to reset */
    reset(...axes) {
      held = { ...held };
      for (const axis of axes) delete held[axis];
      resets += 1;
      changed();
    },
  };
}

/**
 * Return the held ranges after a change that Plotly reports.
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
 * Apply the held ranges, with Plotly's automatic ticks.
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
 * Make a logarithmic vertical axis linear: from zero to the same maximum, with Plotly's automatic
 * ticks.
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
