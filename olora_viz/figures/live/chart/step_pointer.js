// Marks the step under the pointer in all charts of a race.

/** @import { Fitted, Meta, PlotElement, PlotlyApi } from "../types.d.ts" */

const EVENT = "olora-viz-step";

/** @typedef {{ race: string, step: number | null, from: Element }} Pointed detail of the event */
/** @typedef {{ race: string, meta: Meta, Plotly: PlotlyApi | null }} Shown null: not drawn yet */

/**
 * Draw a line at the step under the pointer, in this chart or in another one of its race.
 *
 * @param {PlotElement} plot
 * @param {HTMLElement} line lies over the plot
 * @param {() => Shown | null} chart null while it has no figure
 */
export function stepPointer(plot, line, chart) {
  /** @type {number | null} */
  let pointed = null; // null: no step
  let elsewhere = false; // in another chart
  let waiting = false;

  /** @param {number | null} step under the pointer in this chart */
  function tell(step) {
    const shown = chart();
    if (shown?.meta.x !== "step" || (step === pointed && !elsewhere)) return;
    const detail = { race: shown.race, step, from: plot };
    document.dispatchEvent(new CustomEvent(EVENT, { detail }));
  }

  /** @param {Event} event */
  function hear(event) {
    const { detail } = /** @type {CustomEvent<Pointed>} */ (event);
    const shown = chart();
    if (shown?.meta.x !== "step" || detail.race !== shown.race) return;
    pointed = detail.step;
    elsewhere = detail.from !== plot;
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      point();
    });
  }
  document.addEventListener(EVENT, hear);

  // Draw the line, and show the values at this step if the pointer is in another chart.
  function point() {
    const { Plotly, meta } = chart() ?? {};
    if (!Plotly || !meta) return;
    const { left, top, width, height } = area(plot.layout);
    const at = isSeen(plot) && pointed !== null ? across(plot.layout, column(meta, pointed)) : NaN;
    line.hidden = !(at >= 0 && at <= width);
    if (!line.hidden) {
      line.style.left = `${left + at}px`;
      line.style.top = `${top}px`;
      line.style.height = `${height}px`;
    }
    if (!elsewhere || meta.steps) return; // a map has a value for each of its layers
    if (line.hidden || pointed === null) Plotly.Fx.unhover(plot);
    else Plotly.Fx.hover(plot, { xval: pointed });
  }

  return {
    tell,
    /** After the chart was drawn. */
    redraw() {
      if (pointed !== null) point();
    },
    stop: () => document.removeEventListener(EVENT, hear),
  };
}

/**
 * Return the plot area inside a chart, in pixels. Its margins must be fixed.
 *
 * @param {Fitted} layout
 */
export function area({ width, height, margin: { l, r, t, b } }) {
  return { left: l, top: t, width: width - l - r, height: height - t - b };
}

/**
 * Return the distance in pixels between the plot's left edge and a value on a linear axis.
 *
 * @param {Fitted} layout
 * @param {number} x
 */
export function across(layout, x) {
  const [first, last] = layout.xaxis.range ?? [NaN, NaN];
  return ((x - first) / (last - first)) * area(layout).width;
}

/**
 * Return the position of a step on the horizontal axis; on a map, the index of the nearest column.
 *
 * @param {Meta} meta
 * @param {number} step
 */
export function column({ steps }, step) {
  if (!steps) return step;
  let best = 0;
  steps.forEach((n, i) => {
    if (Math.abs(n - step) < Math.abs(steps[best] - step)) best = i;
  });
  return best;
}

/** @param {Element} element */
function isSeen(element) {
  const { width, top, bottom } = element.getBoundingClientRect();
  return width > 0 && bottom > 0 && top < window.innerHeight;
}
