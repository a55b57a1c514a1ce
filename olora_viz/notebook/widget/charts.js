// Charts side by side: those that are named, in their order.

/** @import { Node, Panel, Part } from "./types.d.ts" */

import { append } from "../../figures/live/element.js";
import { mount } from "../../figures/live/figure.js";
import { toolsOf } from "../../figures/live/jupyter/tools.js";

/** @typedef {ReturnType<typeof mount>} Figure */

/**
 * @param {Node} node
 * @param {Panel} panel
 * @returns {Part}
 */
export function charts({ name = "" }, panel) {
  const place = document.createElement("div");
  place.className = "charts";
  /** @type {Map<string, { frame: HTMLElement, figure: Figure | null }>} */
  const shown = new Map();
  let isAlive = true;

  /** @param {string} chart */
  async function begin(chart) {
    const frame = append(place, "div", "chart");
    frame.dataset.chart = chart;
    const inside = append(frame, "div");
    inside.textContent = "Loading the chart …";
    /** @type {{ frame: HTMLElement, figure: Figure | null }} */
    const one = { frame, figure: null };
    shown.set(chart, one);
    const { Plotly, menu } = await toolsOf(panel.model);
    if (!isAlive || shown.get(chart) !== one) return;
    one.figure = mount(inside, { plotly: Plotly, palette: panel.palette, menu });
    one.figure.onPick((picked) => panel.send({ picked: [name, picked] }));
    one.figure.draw(panel.chart(chart) ?? null);
  }

  /** @param {string[]} names */
  function show(names) {
    for (const [chart, { frame, figure }] of shown) {
      if (names.includes(chart)) continue;
      figure?.destroy();
      frame.remove();
      shown.delete(chart);
    }
    for (const chart of names) if (!shown.has(chart)) begin(chart);
  }

  return {
    node: place,
    show,
    draw: (chart) => shown.get(chart)?.figure?.draw(panel.chart(chart) ?? null),
    destroy() {
      isAlive = false;
      show([]);
    },
  };
}
