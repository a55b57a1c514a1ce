// The chart as an anywidget.
//
// A view requests its data and receives it in custom messages, so that the notebook does not store it:
// {whole, palette, serial}, then {change, serial} with the changes since serial − 1, and {tools}
// once per page for all charts.

/** @import { Packed, Palette } from "./types.d.ts" */
/** @import { Change } from "./jupyter/change.js" */
/** @import { Model } from "./jupyter/tools.js" */

import { mount } from "./figure.js";
import { changed } from "./jupyter/change.js";
import { toolsOf } from "./jupyter/tools.js";

/** @typedef {{ whole?: Packed, palette: Palette, change?: Change, serial: number }} Message */

/** @param {{ model: Model, el: HTMLElement }} view */
function render({ model, el }) {
  el.classList.add("olora-viz", "olora-viz-figure");
  // A live panel hides the saved picture, which is for readers without a kernel.
  const cell = () => el.closest(".jp-Cell")?.classList.add("olora-viz-live");
  const chart = document.createElement("div");
  chart.className = "olora-viz-chart";
  chart.textContent = "The chart appears when the kernel has time to send it.";
  el.append(chart);
  let figure = /** @type {ReturnType<typeof mount> | null} */ (null);
  let value = /** @type {Packed | null} */ (null);
  let serial = -1;
  let isAlive = true;

  /** @param {Palette} palette */
  async function begin(palette) {
    const { Plotly, menu } = await toolsOf(model);
    if (!isAlive || figure) return;
    figure = mount(chart, { plotly: Plotly, palette, menu });
    figure.onPick((name) => model.send({ picked: name }));
    figure.draw(value);
  }

  /** @param {Message} message */
  function take(message) {
    if (message.whole) {
      value = message.whole;
      serial = message.serial;
      cell();
      if (figure) figure.draw(value);
      else begin(message.palette);
    } else if (message.change && value) {
      if (message.serial <= serial) return;
      if (message.serial > serial + 1) {
        model.send({ want: "figure" });
        return;
      }
      value = changed(value, message.change);
      serial = message.serial;
      figure?.draw(value);
    }
  }

  model.on("msg:custom", take);
  model.send({ want: "figure" });
  requestAnimationFrame(cell);
  return () => {
    isAlive = false;
    model.off("msg:custom", take);
    figure?.destroy();
  };
}

export default { render };
