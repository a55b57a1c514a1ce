// Draws a figure of olora_viz.figures and keeps the reader's choices.
//
//   const figure = mount(element, { plotly, palette });
//   figure.draw(value);    // any number of times; the newest value wins
//   figure.onPick((name) => …);  // a map's cell was clicked: meta.names[y][x] or meta.rows[y]
//   figure.destroy();
//
// A zoom survives every draw until layout.uirevision changes, a hidden lane until meta.race does.
// The reader can make a logarithmic vertical axis linear and, with meta.smoothing, change the
// smoothing; both choices persist.

/** @import { Menu, Packed, Palette, PlotlyApi, Value } from "./types.d.ts" */

import { markStep, readersBet } from "./chart/bet.js";
import { enlarge, sizes } from "./chart/enlarge.js";
import { fit } from "./chart/fit.js";
import { hiddenLanes } from "./chart/hidden_lanes.js";
import { cellName, config, isTouch, listen } from "./chart/interaction.js";
import { offerLanes } from "./chart/lane_buttons.js";
import { loadPlotly } from "./chart/load_plotly.js";
import { oneStopEach } from "./chart/one_stop.js";
import { paced } from "./chart/pace.js";
import { rateHandle } from "./chart/rate_handle.js";
import { watchSight } from "./chart/sight.js";
import { skeleton, write } from "./chart/skeleton.js";
import { average } from "./chart/smoothing.js";
import { stepPointer } from "./chart/step_pointer.js";
import { isDark, paint, watchTheme } from "./chart/theme.js";
import { decoder, points, unpack } from "./chart/unpack.js";
import { AXES, readersZoom } from "./chart/zoom.js";

/**
 * Put a chart into an element.
 *
 * @param {Element} element
 * @param {object} options
 * @param {PlotlyApi | string} options.plotly Plotly itself, or the URL of plotly.min.js
 * @param {Palette} options.palette what a colour "@token" of a value means
 * @param {Menu} [options.menu] called with the chart's head, see export/save_menu.js
 * @param {boolean} [options.eager] draw even outside the viewport
 */
export function mount(element, { plotly, palette, menu, eager = false }) {
  const parts = skeleton(element);
  const { plot } = parts;
  const decode = decoder();
  let Plotly = /** @type {PlotlyApi | null} */ (null);
  let given = /** @type {Packed | null} */ (null); // the newest value, as received
  let value = /** @type {Value | null} */ (null);
  let linear = false; // the reader chose a linear axis
  let weight = /** @type {number | null} */ (null); // of past values, if the reader chose one
  let width = 0; // that the chart was drawn with
  let isDrawn = false;
  let isAlive = true;
  let picked = /** @type {((name: string) => void) | null} */ (null);

  const pace = paced(render);
  const redraw = pace.atOnce;
  const zoom = readersZoom(redraw);
  const lanes = hiddenLanes(redraw);
  const bet = readersBet(element, redraw);
  const handle = rateHandle(parts.frame, parts.recall);
  const pointer = stepPointer(plot, parts.pointer, () => {
    if (!value) return null;
    const drawn = isAlive && isDrawn ? Plotly : null;
    return { race: raceOf(value), meta: value.layout.meta, Plotly: drawn };
  });
  const keepStops = oneStopEach(parts.frame);
  const sight = watchSight(plot, { eager, changed: redraw, print: pace.now });
  const endTheme = watchTheme(redraw);
  const resized = new ResizeObserver(() => plot.clientWidth !== width && redraw());
  resized.observe(plot);
  const colors = () => palette[isDark(element) ? "dark" : "light"];
  const saving = menu?.(parts.head, {
    plot,
    palette,
    colors,
    value: () => /** @type {Value} */ (value),
    given: () => /** @type {Packed} */ (given),
    Plotly: () => /** @type {PlotlyApi} */ (Plotly),
  });
  parts.scale.addEventListener("click", () => {
    linear = !linear;
    zoom.reset("yaxis");
  });
  parts.weight.addEventListener("change", () => {
    weight = +parts.weight.value;
    redraw();
  });

  /** @param {Packed | null} next */
  function draw(next) {
    if (next && given && JSON.stringify(next) === JSON.stringify(given)) return;
    given = next;
    value = next && unpack(next);
    pace.schedule();
  }

  function render() {
    if (!isAlive || !Plotly || !value?.layout) return false;
    const { meta, yaxis, margin, uirevision } = value.layout;
    zoom.follow(uirevision);
    lanes.follow(raceOf(value));
    const logarithmic = yaxis.type === "log";
    write(parts, meta, { logarithmic, linear, weight: weight ?? meta.smoothing });
    saving?.show(meta, value.data.length > 0);
    const { scale, tall } = sizes(plot);
    plot.style.height = `${meta.height * tall + (margin.t + margin.b) * scale}px`;
    if (!sight.isNear() || !plot.clientWidth) return false;
    show(Plotly, value);
    return true;
  }

  /**
   * @param {PlotlyApi} Plotly
   * @param {Value} value
   */
  function show(Plotly, { data: traces, layout: { meta, ...rest } }) {
    const used = colors();
    const data = traces.map((trace, i) => points(paint(trace, used), i, decode));
    const painted = paint(rest, used);
    if (weight !== null && weight !== meta.smoothing) average(data, painted, traces, weight);
    lanes.apply(data);
    width = plot.clientWidth;
    const hidden = lanes.hidden();
    const { scale, tall } = sizes(plot);
    enlarge(data, painted, scale);
    const chosen = {
      width,
      scale,
      touch: isTouch(),
      linear,
      held: zoom.held(),
      hidden,
      bet: bet.lane(),
    };
    const { layout, named } = fit(painted, { ...meta, height: meta.height * tall }, chosen);
    offerLanes(parts.lanes, named, hidden, turn);
    if (meta.x === "step") markStep(layout, bet.step());
    layout.uirevision = zoom.key();
    Plotly.react(plot, data, layout, config(Plotly, showAll));
    keepStops();
    if (!isDrawn) listenToReader();
    isDrawn = true;
    pointer.redraw();
    handle.draw(meta, layout);
  }

  function listenToReader() {
    listen(plot, {
      showAll,
      turn,
      relayout: (change) => zoom.relayout(change, plot.layout),
      restyle: (change, traces) => lanes.restyled(change, traces, plot.data),
      point: (x) => pointer.tell(value?.layout.meta.steps?.[x] ?? x),
      pick(x, y) {
        const name = value && cellName(value.layout.meta, x, y);
        if (name) picked?.(name);
      },
    });
  }

  function showAll() {
    zoom.reset(...AXES);
  }

  /** @param {string} lane */
  function turn(lane) {
    lanes.turn(lane, value?.layout.meta.members?.[lane]);
  }

  /** @param {(name: string) => void} call */
  function onPick(call) {
    picked = call;
  }

  function destroy() {
    isAlive = false;
    for (const part of [sight, lanes, bet, pointer]) part.stop();
    resized.disconnect();
    endTheme();
    saving?.destroy();
    Plotly?.purge(plot);
    element.replaceChildren();
  }

  const ready = loadPlotly(plotly).then((loaded) => {
    Plotly = loaded;
    pace.schedule();
  });
  return { draw, resize: redraw, onPick, destroy, ready };
}

/** @param {Value} value */
function raceOf({ layout }) {
  return layout.meta.race ?? layout.uirevision;
}
