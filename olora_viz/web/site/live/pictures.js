// A, B and σ(ΔW) of a lane as the texts that figures/live/adapter.js draws; see measures/factors.py.

import { columnsOf, dot, orthonormal, singularValues } from "./matrices.js";

/** @typedef {import("./types").Matrix} Matrix */
/** @typedef {import("./types").Factors} Factors */
/** @typedef {import("./types").Picture} Picture */
/** @typedef {{ rows: number, columns: number }} Sides of W */

const MOST_SIDE = 128;
const LEVELS = 31;
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+";
const DIGITS = 4;

/** @param {number} value */
const rounded = (value) => Number(value.toPrecision(DIGITS));

/** @param {Matrix} matrix @returns {Picture} */
export function picture(matrix) {
  const { values, rows, columns } = pooled(matrix);
  const scale = rounded(values.reduce((most, value) => Math.max(most, Math.abs(value)), 0));
  /** @param {number} value */
  const level = (value) => Math.round((value / (scale || 1)) * LEVELS);
  const letters = Array.from(values, (value) => {
    return ALPHABET[LEVELS + Math.max(-LEVELS, Math.min(LEVELS, level(value)))];
  });
  return { text: letters.join(""), scale, rows, columns };
}

/** A matrix of at most `MOST_SIDE` rows and columns, each number the mean of a block. @param {Matrix} matrix @returns {Matrix} */
function pooled({ values, ...old }) {
  const [rows, columns] = [old.rows, old.columns].map((side) => Math.min(side, MOST_SIDE));
  if (rows === old.rows && columns === old.columns) return { values, rows, columns };
  const [down, across] = [blocks(old.rows, rows), blocks(old.columns, columns)];
  const means = new Float32Array(rows * columns);
  down.forEach(([top, bottom], i) =>
    across.forEach(([left, right], j) => {
      let sum = 0;
      for (let y = top; y < bottom; y++)
        for (let x = left; x < right; x++) sum += values[y * old.columns + x];
      means[i * columns + j] = sum / ((bottom - top) * (right - left));
    }),
  );
  return { values: means, rows, columns };
}

/** @param {number} from @param {number} to */
function blocks(from, to) {
  const at = Array.from({ length: to }, (_, i) => i);
  return at.map((i) => [Math.floor((i * from) / to), Math.ceil(((i + 1) * from) / to)]);
}

/** @param {Sides} W @param {Factors} factors @param {number} r @param {number[]} [sigma] */
export function pictured({ rows, columns }, { A, B }, r, sigma = new Array(r).fill(0)) {
  return {
    A: picture({ values: A, rows: r, columns }),
    B: picture({ values: B, rows, columns: r }),
    sigma,
  };
}

/**
 * Return what has become of A and B since the start, and the r largest singular values of
 * s (B A − B⁰A⁰).
 *
 * @param {Sides} W
 * @param {Factors} now
 * @param {Factors} start
 * @param {number} r
 * @param {number} s
 */
export function movedSince(W, now, start, r, s) {
  const moved = {
    A: now.A.map((value, i) => value - start.A[i]),
    B: now.B.map((value, i) => value - start.B[i]),
  };
  // (B − B⁰) A + B⁰ (A − A⁰), in which no digits cancel
  /** @param {Float32Array} B */
  const columns = (B) => columnsOf({ values: B, rows: W.rows, columns: r });
  const left = [...columns(moved.B), ...columns(start.B)];
  const right = [...now.A, ...moved.A];
  const used = left.map((column, k) => ({ column, k })).filter(({ column }) => dot(column, column));
  const basis = orthonormal(used.slice(0, W.rows).map(({ column }) => column));
  const core = basis.map((u) => {
    const row = new Float64Array(W.columns);
    for (const { column, k } of used) {
      const c = s * dot(u, column);
      for (let j = 0; j < W.columns; j++) row[j] += c * right[k * W.columns + j];
    }
    return row;
  });
  const sigma = [...singularValues(core), ...new Array(r).fill(0)].slice(0, r).map(rounded);
  return pictured(W, moved, r, sigma);
}
