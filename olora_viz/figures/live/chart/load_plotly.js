// Loads Plotly, once per page.

/** @import { PlotlyApi } from "../types.d.ts" */

/** @type {Promise<PlotlyApi> | undefined} */
let loading;

/**
 * Load Plotly, unless it is already loaded.
 *
 * @param {PlotlyApi | string} source Plotly itself, or the URL of plotly.min.js
 * @returns {Promise<PlotlyApi>}
 */
export function loadPlotly(source) {
  if (typeof source !== "string") return Promise.resolve(source);
  if (window.Plotly?.react) return Promise.resolve(window.Plotly);
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = source;
    script.onload = () => {
      if (window.Plotly) resolve(window.Plotly);
      else reject(new Error(`${source} is not Plotly`));
    };
    script.onerror = () => reject(new Error(`could not load ${source}`));
    document.head.append(script);
  });
  return loading;
}
