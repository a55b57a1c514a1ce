// The factors of a lane as few long vectors: an update then takes few kernels, and a step hands on few arrays.

import { numpy as np } from "@jax-js/jax";

/** @typedef {import("./types").Tensor} Tensor */
/** @typedef {import("./types").Tree} Tree */
/** @typedef {import("./types").Matrix} Matrix */
/** @typedef {"A" | "B"} Side */

const TOGETHER = 8; // as many as the library joins at once

/**
 * Return how factors lie in vectors.
 *
 * @param {[string, Record<Side, [number, number]>][]} shapes of A and B by layer
 */
export function vectorsOf(shapes) {
  const places = shapes.flatMap(([name, each]) =>
    /** @type {Side[]} */ (["A", "B"]).map((side) => ({ name, side, shape: each[side] })),
  );
  const blocks = Array.from({ length: Math.ceil(places.length / TOGETHER) }, (_, i) => {
    let end = 0;
    return places.slice(TOGETHER * i, TOGETHER * (i + 1)).map(({ name, side, shape }) => {
      const from = end;
      end += shape[0] * shape[1];
      return { name, side, shape, from, to: end };
    });
  });
  return {
    /** @param {Tree} tree @returns {Tensor[]} */
    joined: (tree) =>
      blocks.map((block) =>
        np.concatenate(block.map(({ name, side }) => tree[name][side].reshape([-1]))),
      ),
    /** @param {Tensor[]} vectors @returns {Tree} */
    apart: (vectors) => {
      /** @type {Tree} */
      const tree = {};
      blocks.forEach((block, i) => {
        for (const { name, side, shape, from, to } of block) {
          tree[name] ??= /** @type {import("./types").Pair} */ ({});
          tree[name][side] = vectors[i].ref.slice([from, to]).reshape(shape);
        }
        vectors[i].dispose();
      });
      return tree;
    },
    /** Return one matrix of vectors that are on the device no more. @param {string} name @param {Side} side @param {ArrayLike<number>[]} vectors @returns {Matrix} */
    matrix: (name, side, vectors) => {
      const i = blocks.findIndex((block) => block.some((e) => e.name === name && e.side === side));
      const place = blocks[i].find((e) => e.name === name && e.side === side);
      const { shape, from, to } = /** @type {NonNullable<typeof place>} */ (place);
      const values = Float32Array.from({ length: to - from }, (_, k) => vectors[i][from + k]);
      return { values, rows: shape[0], columns: shape[1] };
    },
  };
}
