// The starts of an adapter, A (r, in) and B (out, r), as in the package's initializers.

import { columnsOf, orthonormal, triplets } from "./matrices.js";
import { normal, uniform } from "./random.js";

/** @typedef {import("./types").Matrix} Matrix */
/** @typedef {import("./types").Factors} Factors */
/** @typedef {(W: Matrix, r: number, s: number, random: () => number) => Factors} Start */

/** A is uniformly random and B is zero. @type {Start} */
function lora({ rows, columns }, r, _s, random) {
  const bound = Math.fround(Math.sqrt(3) * (Math.sqrt(2 / 6) / Math.sqrt(columns)));
  const span = Math.fround(2 * bound);
  const drawn = () => Math.fround(uniform(random) * span) - bound;
  return { A: Float32Array.from({ length: r * columns }, drawn), B: new Float32Array(rows * r) };
}

/** B is an orthonormal basis of the first r columns of W. @type {Start} */
function olora(W, r) {
  return onBasis(W, orthonormal(columnsOf(W).slice(0, r)));
}

/** B is a random orthonormal basis. @type {Start} */
function randomOrthonormal(W, r, _s, random) {
  return onBasis(W, orthonormal(Array.from({ length: r }, () => normal(random, W.rows))));
}

/** A and B share the r largest singular triplets of W. @type {Start} */
function pissa(W, r, s) {
  return ofTriplets(W, triplets(W).slice(0, r), s);
}

/** A and B share the r smallest singular triplets of W, the smallest first. @type {Start} */
function milora(W, r, s) {
  return ofTriplets(W, triplets(W).slice(-r).reverse(), s);
}

/** @type {Record<string, Start>} */
export const STARTS = { lora, olora, random_orthonormal: randomOrthonormal, pissa, milora };

/** B is a basis and A is W in it. @param {Matrix} W @param {Float64Array[]} basis */
function onBasis({ values, rows, columns }, basis) {
  const A = basis.map((u) => {
    const row = new Float64Array(columns);
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) row[j] += u[i] * values[i * columns + j];
    return row;
  });
  return joined(A, basis);
}

/** B = U √(S / s) and A = √(S / s) Vᵀ. @param {Matrix} W @param {ReturnType<typeof triplets>} each @param {number} s */
function ofTriplets(W, each, s) {
  const [A, B] = [/** @type {const} */ ("v"), /** @type {const} */ ("u")].map((side) =>
    each.map((one) => one[side].map((x) => x * Math.sqrt(one.s / s))),
  );
  return joined(A, B);
}

/** @param {Float64Array[]} rowsOfA @param {Float64Array[]} columnsOfB @returns {Factors} */
function joined(rowsOfA, columnsOfB) {
  const r = rowsOfA.length;
  const A = new Float32Array(r * rowsOfA[0].length);
  const B = new Float32Array(r * columnsOfB[0].length);
  rowsOfA.forEach((row, k) => A.set(row, k * row.length));
  columnsOfB.forEach((column, k) => column.forEach((x, i) => (B[i * r + k] = x)));
  return { A, B };
}
