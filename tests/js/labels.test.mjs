// Names at the ends of curves never lie on each other.

import assert from "node:assert/strict";
import { test } from "node:test";

import { placeLabels, spread } from "../../olora_viz/figures/live/chart/labels.js";

/**
 * A generator of numbers in [0, 1) that are the same in every run.
 *
 * @param {number} seed
 */
function random(seed) {
  return () => (seed = (seed * 16807) % 2147483647) / 2147483647;
}

test("positions are a gap apart, in order, inside, and stay where there is room", () => {
  const next = random(7);
  for (let n = 1; n < 30; n++) {
    const wanted = Array.from({ length: n }, () => next() * 500);
    const placed = spread(wanted, 14, 0, 500);
    const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]);
    order.slice(1).forEach((i, rank) => assert.ok(placed[i] - placed[order[rank]] > 14 - 1e-9));
    assert.ok(Math.min(...placed) >= 0);
    assert.ok(Math.max(...placed) <= 500 + 1e-9);
  }
  assert.deepEqual(spread([300, 10, 100], 14, 0, 500), [300, 10, 100]);
});

test("positions that are too near move least: no other solution has a smaller squared distance", () => {
  const next = random(11);
  const cost = (/** @type {number[]} */ a, /** @type {number[]} */ b) =>
    a.reduce((sum, x, i) => sum + (x - b[i]) ** 2, 0);
  for (let trial = 0; trial < 200; trial++) {
    const wanted = Array.from({ length: 6 }, () => 200 + next() * 60);
    const best = cost(spread(wanted, 14, 0, 500), wanted);
    const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]);
    const other = Array(6);
    let at = 150 + next() * 60;
    for (const i of order) {
      other[i] = at;
      at += 14 + next() * 8;
    }
    assert.ok(best <= cost(other, wanted) + 1e-9);
  }
});

/** @param {string} name @param {number} y */
function label(name, y) {
  return { name, text: name.slice(4), x: 5, y, font: {}, captureevents: name.startsWith("end ") };
}

test("labels of hidden lanes are struck out, those outside of a zoom are not shown", () => {
  const annotations = [
    label("end a", 0.5),
    label("end b", 0.5),
    label("end c", 3),
    label("x", 0.5),
  ];
  const layout = {
    xaxis: { range: [0, 10] },
    yaxis: { range: [0, 1] },
    margin: { l: 0, r: 0, t: 0, b: 0 },
    uirevision: "",
    annotations,
  };
  const how = { scale: 1, height: 100, narrow: false, hidden: new Set(["b"]) };
  const named = placeLabels(layout, how);
  assert.deepEqual(named, ["a", "b", "c"]);
  const [a, b, c, other] = /** @type {{ text: string, visible?: boolean, yshift?: number }[]} */ (
    annotations
  );
  assert.equal(b.text, "<s>b</s>");
  assert.equal(a.text, "a");
  assert.deepEqual([a.visible, b.visible, c.visible], [true, true, false]);
  assert.equal((b.yshift ?? 0) - (a.yshift ?? 0), 14);
  assert.equal(other.visible, undefined);
  placeLabels(layout, { ...how, bet: "gone" });
  assert.equal(layout.margin.r, 0);
  placeLabels(layout, { ...how, bet: "a" });
  assert.equal(a.text, "◆ a");
  assert.ok(layout.margin.r >= 15, "the mark has room beside the label");
});

test("labels on an axis that runs backwards stay", () => {
  const [inside, outside] = [
    { ...label("end a", 0.5), x: 1 },
    { ...label("end b", 0.5), x: 4 },
  ];
  const layout = {
    xaxis: { range: [2, 0] },
    yaxis: { range: [0, 1] },
    margin: { l: 0, r: 0, t: 0, b: 0 },
    uirevision: "",
    annotations: [inside, outside],
  };
  placeLabels(layout, { scale: 1, height: 100, narrow: false, hidden: new Set() });
  assert.deepEqual(
    layout.annotations.map((each) => /** @type {{ visible?: boolean }} */ (each).visible),
    [true, false],
  );
});
