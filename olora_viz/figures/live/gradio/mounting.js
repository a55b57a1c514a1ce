// Loads the chart's modules and prepares to mount charts with them.

import { here, load } from "./serving.js";

/**
 * Load the modules that `files` names, and return the function that mounts a chart in an element.
 *
 * @returns {Promise<(place: Element) => any>}
 */
export async function mounting() {
  const [{ mount }, { saveMenu }, { palette }] = await Promise.all(
    [files.module, files.exporter, files.palette].map(load),
  );
  const sources = { plotly: here(files.plotly), module: here(files.module) };
  return (place) => mount(place, { plotly: sources.plotly, palette, menu: saveMenu(sources) });
}
