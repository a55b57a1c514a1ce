// A sweep's rates are half a decade apart, and its lanes are counted as the server counts them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { around, seedsIn } from "../../olora_viz/figures/live/sweep.js";

test("three rates stand half a decade apart around one", () => {
  assert.equal(around(1e-3), "3e-4/1e-3/3e-3");
  assert.equal(around(0.04), "1e-2/3e-2/1e-1");
});

test("a list of seeds names as many as it reads as", () => {
  const counts = ["0", "0-2", "0/3/7", "1-1/5"].map(seedsIn);
  assert.deepEqual(counts, [1, 3, 3, 2]);
});
