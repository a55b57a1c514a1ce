// A chart's numbers as a table and as CSV.

import assert from "node:assert/strict";
import { test } from "node:test";

import { csv, table } from "../../olora_viz/figures/live/export/numbers.js";
import { fileName } from "../../olora_viz/figures/live/export/save_chart.js";

const META = { title: "", unit: "", badge: "", message: "", height: 100 };
const AXES = { xaxis: { title: { text: "step" } }, yaxis: { title: { text: "loss, nats" } } };

test("curves are rows under names with units", () => {
  const data = [
    { name: "a", meta: "raw", x: [1, 2], y: [0.5, null] },
    { name: "a", meta: "smooth", y: [0.25] },
  ];
  assert.deepEqual(table(data, { ...AXES, meta: META }), {
    header: ["curve", "step", "loss, nats"],
    rows: [
      ["a, raw", 1, 0.5],
      ["a, raw", 2, null],
      ["a", 0, 0.25],
    ],
  });
});

test("a map has the values that its logarithms were taken of, and names for its cells", () => {
  const trace = { x: [0, 1], y: ["q"], z: [[0, 1]], customdata: [[1, 10]] };
  const meta = { ...META, rows: { q: "layers.0.q" }, columns: [5, 6] };
  assert.deepEqual(table([trace], { ...AXES, meta }), {
    header: ["layer", "step", "value"],
    rows: [
      ["layers.0.q", 5, 1],
      ["layers.0.q", 6, 10],
    ],
  });
  const names = [["q", null]];
  assert.deepEqual(table([trace], { ...AXES, meta: { ...META, names } }).rows, [["q", 1]]);
});

test("no cell of a CSV is a formula, and quotes come back", () => {
  const rows = [["=1+1", "@x", '-a "b"', "c,d", -1, NaN, null, "two\nlines"]];
  assert.equal(
    csv({ header: ["h"], rows }),
    `h\r\n'=1+1,'@x,"'-a ""b""","c,d",-1,,,"two\nlines"\r\n`,
  );
});

test("a file's name is plain and short, whatever the title", () => {
  assert.equal(fileName("Held-out accuracy, λ_max"), "held-out-accuracy-max");
  assert.equal(fileName("λ"), "chart");
  assert.ok(fileName("long ".repeat(50)).length <= 60);
});
