// AdamW on the factors of a lane, as torch's; the schedule is constant.

import { numpy as np } from "@jax-js/jax";

/** @typedef {import("./types").Tensor} Tensor */
/** @typedef {import("./types").Tree} Tree */

const BETAS = /** @type {const} */ ([0.9, 0.999]);
const EPS = 1e-8;
const SIDES = /** @type {const} */ (["A", "B"]);

/** The factors and their moments. @typedef {{ theta: Tree, first: Tree, second: Tree }} State */

/** @param {Tree} tree @param {(x: Tensor) => Tensor} f @returns {Tree} */
export function mapped(tree, f) {
  return Object.fromEntries(
    Object.entries(tree).map(([name, { A, B }]) => [name, { A: f(A), B: f(B) }]),
  );
}

/** @param {Tree} theta @returns {State} */
export function atStart(theta) {
  const zeros = () => mapped(theta, (x) => np.zeros(x.shape));
  return { theta, first: zeros(), second: zeros() };
}

/**
 * What an update reads of its number t, from 1: lr / (1 − β₁ᵗ), √(1 − β₂ᵗ) and 1 − lr · decay.
 *
 * @param {number} t
 * @param {number} lr
 * @param {number} decay
 */
export function clock(t, lr, decay) {
  const values = [lr / (1 - BETAS[0] ** t), Math.sqrt(1 - BETAS[1] ** t), 1 - lr * decay];
  return np.array(values, { dtype: np.float32 });
}

/**
 * Return the next state, and the norm of the gradient.
 *
 * @param {State} state
 * @param {Tree} gradient
 * @param {Tensor} clock
 */
export function update(state, gradient, clock) {
  const [rate, root, shrink] = [0, 1, 2].map((i) => clock.ref.slice(i));
  clock.dispose();
  /** @type {State} */
  const next = { theta: {}, first: {}, second: {} };
  let squares = np.zeros([]);
  for (const name of Object.keys(gradient)) {
    const [theta, first, second] = [next.theta, next.first, next.second].map(
      (tree) => (tree[name] = /** @type {import("./types").Pair} */ ({})),
    );
    for (const side of SIDES) {
      const g = gradient[name][side];
      const square = np.square(g.ref);
      squares = squares.add(square.ref.sum());
      const m = state.first[name][side].mul(BETAS[0]).add(g.mul(1 - BETAS[0]));
      const v = state.second[name][side].mul(BETAS[1]).add(square.mul(1 - BETAS[1]));
      const moved = rate.ref.mul(m.ref).div(np.sqrt(v.ref).div(root.ref).add(EPS));
      theta[side] = state.theta[name][side].mul(shrink.ref).sub(moved);
      [first[side], second[side]] = [m, v];
    }
  }
  for (const each of [rate, root, shrink]) each.dispose();
  return { next, norm: np.sqrt(squares) };
}
