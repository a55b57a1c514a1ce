import assert from "node:assert/strict";
import { test } from "node:test";

import {
  placeOf,
  valuesOf,
  withStart,
  withValue,
  written,
} from "../../olora_viz/web/race/lane_line.js";

/** @param {string} init @param {string} [lr] @param {object} [more] */
const row = (init, lr = "1e-3", more = {}) => ({ init, r: 8, alpha: "", lr, seed: "0-2", ...more });

test("one value for all makes lanes that are equal then one", () => {
  const lanes = [row("lora", "1e-3"), row("lora", "3e-3"), row("olora", "1e-3")];
  assert.deepEqual(withValue(lanes, "lr", "1e-2"), [row("lora", "1e-2"), row("olora", "1e-2")]);
  assert.equal(valuesOf(lanes, "lr"), "1e-3, 3e-3");
  assert.equal(lanes.length, 3);
});

test("another start has the rates, ranks and seeds of the first one", () => {
  const lanes = [row("lora", "1e-3"), row("lora", "3e-3"), row("olora", "1e-2", { r: 4 })];
  assert.deepEqual(withStart(lanes, "pissa").slice(3), [
    row("pissa", "1e-3"),
    row("pissa", "3e-3"),
  ]);
});

test("a slider stands at the nearest value by ratio, and writes it as the table does", () => {
  const rates = [1e-4, 3e-4, 1e-3];
  assert.equal(placeOf(rates, 9e-4), 2);
  assert.equal(placeOf(rates, 1e-9), 0);
  assert.equal(placeOf(rates, NaN), 1); // a rate that is computed, in words
  assert.deepEqual([0.003, 0.0001, 0.1, 16].map(written), ["3e-3", "1e-4", "1e-1", "16"]);
  assert.equal(
    valuesOf(
      ["1e-4", "1e-3", "1e-2", "3e-2"].map((lr) => row("lora", lr)),
      "lr",
    ),
    "4 values",
  );
});
