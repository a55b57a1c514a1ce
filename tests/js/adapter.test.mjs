// Inside an adapter: what the texts of a race say is multiplied as torch does.
import assert from "node:assert/strict";
import { test } from "node:test";

import { decoded, inWords, largest, learned, sum } from "../../olora_viz/figures/live/adapter.js";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+";

/**
 * @param {number[][]} rows levels
 * @param {number} scale
 */
const picture = (rows, scale) => ({
  text: rows
    .flat()
    .map((level) => ALPHABET[level + 31])
    .join(""),
  scale,
  rows: rows.length,
  columns: rows[0].length,
});

const LANE = {
  mark: "",
  label: "OLoRA",
  init: "olora",
  short: "",
  summary: "",
  scaling: 2,
  A0: picture([[31, 0, -31]], 1),
  B0: picture([[31], [0]], 0.5),
  A: picture([[0, 31, 0]], 0.1),
  B: picture([[0], [-31]], 0.2),
  sigma: [0.3, 0.4],
};

test("a text is a matrix of levels", () => {
  const { rows, columns, values } = decoded(LANE.A0);
  assert.deepEqual([rows, columns, ...values], [1, 3, 1, 0, -1]);
  assert.equal(largest(decoded(LANE.A0)), 1);
  assert.deepEqual([...sum(decoded(LANE.A0), decoded(LANE.A0)).values], [2, 0, -2]);
});

test("what is learned is s (B A − B⁰ A⁰)", () => {
  const { A, B, delta } = learned(LANE);
  /** @param {import("../../olora_viz/figures/live/adapter.js").Matrix} b @param {typeof b} a */
  const product = (b, a) => [...b.values].flatMap((x) => [...a.values].map((y) => 2 * x * y));
  const before = product(decoded(LANE.B0), decoded(LANE.A0));
  product(B, A).forEach((value, i) => {
    assert.ok(Math.abs(value - before[i] - delta.values[i]) < 1e-6);
  });
  assert.ok(Math.abs(A.values[1] - 0.1) < 1e-6);
  assert.ok(Math.abs(B.values[1] + 0.2) < 1e-6);
});

test("its directions add up to it", () => {
  const two = {
    ...LANE,
    A0: picture(
      [
        [31, 5],
        [-9, 20],
      ],
      1,
    ),
    B0: picture(
      [
        [31, -4],
        [8, 2],
        [1, 1],
      ],
      1,
    ),
    A: picture(
      [
        [3, 31],
        [2, -5],
      ],
      0.1,
    ),
    B: picture(
      [
        [-31, 4],
        [0, 2],
        [7, 7],
      ],
      0.2,
    ),
  };
  const [whole, first, second] = [undefined, 0, 1].map((only) => learned(two, only).delta);
  whole.values.forEach((value, i) => {
    assert.ok(Math.abs(value - first.values[i] - second.values[i]) < 1e-5);
  });
});

test("before the first step nothing is learned, and the words say so", () => {
  const lane = { ...LANE, A: null, B: null, sigma: [] };
  const { A, B, delta } = learned(lane);
  assert.equal(largest(delta), 0);
  /** @type {import("../../olora_viz/figures/live/adapter.js").Inside} */
  const value = { name: "0 · q_proj", step: 0, shape: [2, 3], W: LANE.A0, lanes: [lane] };
  assert.equal(
    inWords(value, lane, A, B, delta),
    "OLoRA, before the first step: rank 1, nothing has moved yet.",
  );
  const moved = learned(LANE);
  assert.equal(
    inWords({ ...value, step: 5 }, LANE, moved.A, moved.B, moved.delta),
    "OLoRA, after step 5: rank 1, ΔW has norm 0.50, its largest rows are 2, 1.",
  );
});
