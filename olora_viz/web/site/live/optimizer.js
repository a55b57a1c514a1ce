// AdamW on the factors of a lane, as torch's; the schedule is constant.

import { numpy as np } from "@jax-js/jax";

/** @typedef {import("./types").Tensor} Tensor */

const BETAS = /** @type {const} */ ([0.9, 0.999]);
const EPS = 1e-8;
/** The factors and their moments, see vectors.js. @typedef {{ theta: Tensor[], first: Tensor[], second: Tensor[] }} State */

/** @param {Tensor[]} theta @returns {State} */
export function atStart(theta) {
  const zeros = () => theta.map((x) => np.zeros(x.shape));
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
 * @param {Tensor[]} gradient
 * @param {Tensor} clock
 */
export function update(state, gradient, clock) {
  const [rate, root, shrink] = [0, 1, 2].map((i) => clock.ref.slice(i));
  clock.dispose();
  let squares = np.zeros([]);
  const [first, second] = [state.first, state.second].map((moments, order) =>
    gradient.map((g, i) => {
      const power = order ? np.square(g.ref) : g.ref;
      return moments[i].mul(BETAS[order]).add(power.mul(1 - BETAS[order]));
    }),
  );
  for (const g of gradient) squares = squares.add(np.square(g).sum());
  const theta = state.theta.map((x, i) => {
    const moved = rate.ref.mul(first[i].ref).div(np.sqrt(second[i].ref).div(root.ref).add(EPS));
    return x.mul(shrink.ref).sub(moved);
  });
  for (const each of [rate, root, shrink]) each.dispose();
  return { next: { theta, first, second }, norm: np.sqrt(squares) };
}
