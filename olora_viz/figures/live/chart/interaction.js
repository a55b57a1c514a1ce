// Interactions that Plotly provides.

/** @import { Meta, PlotElement, PlotEvents, PlotlyApi } from "../types.d.ts" */

import { laneOf } from "./labels.js";

/** Whether the primary pointer is a finger. */
export function isTouch() {
  return matchMedia("(pointer: coarse)").matches;
}

/**
 * Return Plotly's configuration: few buttons, visible on hover.
 *
 * @param {PlotlyApi} Plotly
 * @param {() => void} showAll
 */
export function config({ Icons }, showAll) {
  const whole = { name: "whole", title: "Show all", icon: Icons.home, click: showAll };
  return {
    displaylogo: false,
    displayModeBar: isTouch() ? false : "hover",
    doubleClick: false,
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d"], [whole]],
  };
}

/**
 * Listen to Plotly's events.
 *
 * @param {PlotElement} plot
 * @param {object} calls
 * @param {(change: PlotEvents["plotly_relayout"]) => void} calls.relayout
 * @param {(change: Record<string, unknown>, traces: number[]) => void} calls.restyle
 * @param {() => void} calls.showAll a double click
 * @param {(x: any) => void} calls.point x under the pointer; null when it leaves
 * @param {(x: any, y: any) => void} calls.pick a click on a point or a cell
 * @param {(lane: string) => void} calls.turn a click on a lane's name
 */
export function listen(plot, { relayout, restyle, showAll, point, pick, turn }) {
  plot.on("plotly_relayout", relayout);
  plot.on("plotly_restyle", ([change, traces]) => restyle(change, traces));
  plot.on("plotly_doubleclick", showAll);
  plot.on("plotly_hover", ({ points: [{ x }] }) => point(x));
  plot.on("plotly_unhover", () => point(null));
  plot.on("plotly_click", ({ points: [{ x, y }] }) => pick(x, y));
  plot.on("plotly_clickannotation", ({ annotation }) => {
    const lane = laneOf(annotation);
    if (lane) turn(lane);
  });
}

/**
 * Return the name of a map's cell, or of its row.
 *
 * @param {Meta} meta
 * @param {any} x
 * @param {any} y
 */
export function cellName({ names, rows }, x, y) {
  return names?.[y]?.[x] ?? rows?.[y];
}
