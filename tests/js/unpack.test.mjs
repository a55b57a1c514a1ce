// What packing.py writes is what is drawn.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decoder, points, unpack } from "../../olora_viz/figures/live/chart/unpack.js";
import { changed } from "../../olora_viz/figures/live/jupyter/change.js";

test("a figure is unpacked but for its points", () => {
  const packed = {
    data: [{ y: "1.5,,2", trace: '{"name":"a"}' }],
    layout: { xaxis: '{"title":"step"}', uirevision: '"one"' },
  };
  const { data, layout } = unpack(packed);
  assert.deepEqual(data, [{ name: "a", y: "1.5,,2" }]);
  assert.deepEqual(layout, { xaxis: { title: "step" }, uirevision: "one" });
});

test("text that grows is read to the same numbers as at once, in a new array each time", () => {
  const whole = ["1", "1,-2.5", "1,-2.5,", "1,-2.5,,1e-7", "3", "", "3,,", "3,,"];
  const decode = decoder();
  /** @type {unknown[]} */
  const seen = [];
  for (const text of whole) {
    const numbers = decode("0y", text);
    assert.deepEqual(numbers, decoder()("0y", text));
    assert.ok(!seen.includes(numbers));
    seen.push(numbers);
  }
  assert.deepEqual(seen[3], [1, -2.5, null, 1e-7]);
  assert.deepEqual(seen[5], []);
});

test("equally spaced points get their places, from the first on", () => {
  const trace = points({ y: "5,6,7", x0: 10, dx: 5 }, 0, decoder());
  assert.deepEqual(trace, { y: [5, 6, 7], x: [10, 15, 20] });
});

test("what is new in a figure is appended or replaced, and the old one stays as it was", () => {
  const old = { data: [{ y: "1,2", trace: "{}" }], layout: { height: "3", width: "4" } };
  const change = {
    data: { 0: { y: { more: ",5" }, trace: '{"name":"b"}' } },
    layout: { height: "5" },
  };
  const now = changed(old, change);
  assert.deepEqual(now.data, [{ y: "1,2,5", trace: '{"name":"b"}' }]);
  assert.deepEqual(now.layout, { height: "5", width: "4" });
  assert.equal(old.data[0].y, "1,2");
});
