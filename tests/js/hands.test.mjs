// What is changed by hand follows exactly: a QR in the plane, and the exact test of paired differences.

import assert from "node:assert/strict";
import { test } from "node:test";

import { nearest, ratesOf } from "../../olora_viz/figures/live/chart/rate_handle.js";
import { arrangements, asFar } from "../../olora_viz/web/hands/permutations.js";
import { between, qr } from "../../olora_viz/web/hands/qr.js";

/** @param {number} a @param {number} b */
const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-12, `${a} is not ${b}`);

/** @type {[[number, number], [number, number]][]} */
const PAIRS = [];
for (const a of [-3, -0.1, 0, 2.5])
  for (const b of [-4, 0, 1])
    for (const c of [-5, 0, 0.3])
      for (const d of [-2, 0, 6])
        PAIRS.push([
          [a, b],
          [c, d],
        ]);

test("Q is orthonormal, QR is W, and the diagonal of R is never negative", () => {
  for (const [w1, w2] of PAIRS) {
    const { q1, q2, r11, r12, r22 } = qr(w1, w2);
    near(Math.hypot(...q1), 1);
    near(Math.hypot(...q2), 1);
    near(q1[0] * q2[0] + q1[1] * q2[1], 0);
    assert.ok(r11 >= 0 && r22 >= 0);
    for (const i of [0, 1]) {
      near(q1[i] * r11, w1[i]);
      near(q1[i] * r12 + q2[i] * r22, w2[i]);
    }
  }
  assert.deepEqual(qr([0, 0], [1, 2]).q1, [1, 0]);
});

test("the angle of two lines is that of their directions, either way", () => {
  const { q1 } = qr([1, 1], [0, 1]);
  near(between(q1, [1, 0]), 45);
  near(between(q1, [-1, 0]), 45);
  near(between([1, 0], [0, -1]), 90);
});

test("arrangements are all signs, as many above as below, and a mean counts itself", () => {
  for (const differences of [[1], [0.5, -0.25], [3, 1, 2], [0.088, -0.002, -0.047], [0, 0]]) {
    const means = arrangements(differences);
    assert.equal(means.length, 2 ** differences.length);
    near(means[0], differences.reduce((sum, x) => sum + x, 0) / differences.length);
    near(
      means.reduce((sum, x) => sum + x, 0),
      0,
    );
    means.forEach((mean, i) => near(mean, -means[means.length - 1 - i]));
    assert.ok(asFar(means) >= 2);
  }
});

test("where all agree only the race and its mirror are as far, whatever the number of seeds", () => {
  for (let n = 1; n <= 10; n += 1) {
    const agreeing = Array.from({ length: n }, (_, i) => 0.1 * (i + 1));
    assert.equal(asFar(arrangements(agreeing)), 2);
  }
  assert.equal(asFar(arrangements([1, -1])), 4, "a mean of zero is nothing");
});

test("the handle finds the nearest rate by its ratio, of all curves", () => {
  assert.deepEqual(ratesOf([{ rates: [1e-3, 1e-2] }, { rates: [3e-4, 1e-3] }]), [3e-4, 1e-3, 1e-2]);
  assert.equal(nearest([1e-3, 1e-2], 3e-3), 0);
  assert.equal(nearest([1e-3, 1e-2], 3.3e-3), 1);
});
