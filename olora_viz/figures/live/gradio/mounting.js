// Loads the chart's modules and prepares to mount charts with them.

import { here, load } from "./serving.js";

/**
 * Load the modules that `props` names, and return the function that mounts a chart in an element.
 *
 * @returns {Promise<(place: Element) => any>}
 */
export async function mounting() {
  const [{ mount }, { saveMenu }] = await Promise.all([load(props.module), load(props.exporter)]);
  const sources = { plotly: here(props.plotly), module: here(props.module) };
  const palette = JSON.parse(props.palette);
  return (place) => mount(place, { plotly: sources.plotly, palette, menu: saveMenu(sources) });
}
