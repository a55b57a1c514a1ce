// What a reader chose, applied to a figure: zoom, scale, smoothing, theme, step, cell.

import assert from "node:assert/strict";
import { test } from "node:test";

import { cellName } from "../../olora_viz/figures/live/chart/interaction.js";
import { average, smoothed } from "../../olora_viz/figures/live/chart/smoothing.js";
import { across, area, column } from "../../olora_viz/figures/live/chart/step_pointer.js";
import { paint } from "../../olora_viz/figures/live/chart/theme.js";
import {
  heldAfter,
  readersZoom,
  straighten,
  zoomTo,
} from "../../olora_viz/figures/live/chart/zoom.js";

function layout() {
  return {
    xaxis: { range: [0, 10] },
    yaxis: { type: "log", range: [-2, 1], tickvals: [0.01, 1] },
    margin: { l: 50, r: 30, t: 8, b: 40 },
    width: 480,
    height: 300,
    uirevision: "one",
  };
}

test("a zoom is held per axis until it is reset there", () => {
  const both = heldAfter({}, { "xaxis.range[0]": 0, "yaxis.range": [0, 1] }, layout());
  assert.deepEqual(both, { xaxis: [0, 10], yaxis: [-2, 1] });
  assert.deepEqual(heldAfter(both, { "xaxis.autorange": true }, layout()), { yaxis: [-2, 1] });
  assert.deepEqual(heldAfter(both, { dragmode: "pan" }, layout()), both);
  const zoomed = layout();
  zoomTo(zoomed, { yaxis: [-1, 0] });
  assert.deepEqual(zoomed.xaxis, layout().xaxis);
  assert.deepEqual(zoomed.yaxis, { type: "log", range: [-1, 0], nticks: 6, tickformat: "~g" });
});

test("a zoom outlives draws, and ends with another revision or a reset; Plotly hears of both", () => {
  let draws = 0;
  const zoom = readersZoom(() => draws++);
  zoom.follow("one");
  zoom.relayout({ "xaxis.range[0]": 2 }, layout());
  zoom.follow("one");
  assert.deepEqual(zoom.held(), { xaxis: [0, 10] });
  const before = zoom.key();
  zoom.reset("yaxis");
  assert.deepEqual(zoom.held(), { xaxis: [0, 10] });
  assert.notEqual(zoom.key(), before);
  assert.equal(draws, 2);
  zoom.follow("two");
  assert.deepEqual(zoom.held(), {});
});

test("an axis made linear shows the same values, from zero", () => {
  const label = { text: "", x: 0, y: -1, font: {} };
  const made = { ...layout(), annotations: [label, { ...label, y: 0.5, yref: "paper" }] };
  straighten(made);
  assert.equal(made.yaxis.type, "linear");
  assert.deepEqual(made.yaxis.range, [-0.2, 10]);
  assert.equal(made.yaxis.tickvals, undefined);
  assert.deepEqual(
    made.annotations.map(({ y }) => y),
    [0.1, 0.5],
  );
});

test("an average of equal values is that value, and of weight zero the values themselves", () => {
  assert.deepEqual(smoothed([3, 3, 3], 0.9), [3, 3, 3]);
  assert.deepEqual(smoothed([1, 2, 4], 0), [1, 2, 4]);
  assert.deepEqual(smoothed([1, 2.5], 0.5), [1, 2]); // weights 1/3 and 2/3
  assert.deepEqual(smoothed([1, null, 4], 0.5), [1, null, null]);
});

test("curves are averaged lane by lane, and their labels and crosses follow", () => {
  const raw = { meta: "raw", legendgroup: "a", y: [1, 11] };
  const smooth = { meta: "smooth", legendgroup: "a", y: [0, 0] };
  const out = { meta: "out", legendgroup: "a", y: [0] };
  const other = { meta: "smooth", legendgroup: "b", y: [5, 5] };
  const data = [raw, smooth, out, other];
  const made = { ...layout(), annotations: [{ name: "end a", text: "a", x: 1, y: 9, font: {} }] };
  average(data, made, [{ dx: 2 }, {}, {}, {}], 0.5); // points are two steps apart
  assert.deepEqual(smooth.y, [1, 9]); // weights 1/5 and 4/5
  assert.deepEqual(out.y, [9]);
  assert.deepEqual(other.y, [5, 5]);
  assert.equal(made.annotations[0].y, Math.log10(9));
});

test("tokens become colours at every depth, in a copy", () => {
  const given = { a: ["@one", { b: "@unknown" }], n: [1, null], t: "plain", z: null };
  const before = structuredClone(given);
  const made = paint(given, { one: "#123456" });
  assert.deepEqual(made, { ...given, a: ["#123456", { b: "#888" }] });
  assert.deepEqual(given, before);
  assert.notEqual(made.n, given.n);
});

test("a step is where the axis has it; on a map, at the nearest column", () => {
  assert.deepEqual(area(layout()), { left: 50, top: 8, width: 400, height: 252 });
  assert.equal(across(layout(), 0), 0);
  assert.equal(across(layout(), 5), 200);
  assert.equal(across(layout(), 10), 400);
  const meta = { title: "", unit: "", badge: "", message: "", height: 100 };
  assert.equal(column(meta, 7), 7);
  assert.equal(column({ ...meta, steps: [1, 5, 9] }, 6), 1);
});

test("a cell has its own name, or that of its row", () => {
  const meta = { title: "", unit: "", badge: "", message: "", height: 100 };
  assert.equal(cellName({ ...meta, names: [["a", "b"]] }, 1, 0), "b");
  assert.equal(cellName({ ...meta, rows: { "0.q": "layers.0.q" } }, 3, "0.q"), "layers.0.q");
  assert.equal(cellName(meta, 1, 1), undefined);
});
