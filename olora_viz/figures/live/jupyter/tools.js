// Plotly and the save menu, requested once per page by the first chart.

/** @import { Menu, PlotlyApi } from "../types.d.ts" */

/** @typedef {{ Plotly: PlotlyApi, menu: Menu }} Tools */
/** @typedef {{ module: string, exporter: string }} Texts figure.js and figure_export.js, bundled */
/** @typedef {(message: any, buffers: ArrayBuffer[]) => void} Listener */

/**
 * @typedef {object} Model what anywidget gives a view
 * @property {(event: string, listener: Listener) => void} on
 * @property {(event: string, listener: Listener) => void} off
 * @property {(message: object) => void} send
 * @property {(trait: string) => any} get
 * @property {(trait: string, value: any) => void} set
 * @property {() => void} save_changes
 */

const page = /** @type {{ oloraViz?: Promise<Tools>, Plotly?: PlotlyApi }} */ (globalThis);

/**
 * Request the tools, once per page.
 *
 * @param {Model} model
 * @returns {Promise<Tools>}
 */
export function toolsOf(model) {
  page.oloraViz ??= new Promise((resolve, reject) => {
    /** @type {Listener} */
    async function take(message, buffers) {
      if (!message.tools) return;
      model.off("msg:custom", take);
      try {
        resolve(await load(message.tools, buffers[0]));
      } catch (error) {
        page.oloraViz = undefined;
        reject(error);
      }
    }
    model.on("msg:custom", take);
    model.send({ want: "tools" });
  });
  return page.oloraViz;
}

/**
 * @param {Texts} texts
 * @param {ArrayBuffer} packed plotly.min.js, compressed
 * @returns {Promise<Tools>}
 */
async function load({ module, exporter }, packed) {
  const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const sources = { plotly: urlOf(await new Response(plain).text()), module: urlOf(module) };
  const before = page.Plotly;
  await import(/* webpackIgnore: true */ sources.plotly);
  const { Plotly } = page;
  if (!Plotly) throw new Error("Plotly did not load");
  if (before) page.Plotly = before; // the notebook may have its own
  const { saveMenu } = await import(/* webpackIgnore: true */ urlOf(exporter));
  return { Plotly, menu: saveMenu(sources) };
}

/** @param {string} text */
function urlOf(text) {
  return URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
}
