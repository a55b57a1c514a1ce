// The weights of a small Llama, from text to matrices on the device.

import { numpy as np } from "@jax-js/jax";

/** @typedef {import("./types").Data} Data */
/** @typedef {import("./types").Shape} Shape */
/** @typedef {import("./types").Matrix} Matrix */

const ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"];
const MLP = ["gate_proj", "up_proj", "down_proj"];
const BLOCK = 32; // a width such as 341 is many times slower than the next multiple

/** The linear layers, in the model's order. @param {Shape} shape */
export function layersOf({ num_hidden_layers }) {
  return Array.from({ length: num_hidden_layers }, (_, l) => [
    ...ATTENTION.map((kind) => `model.layers.${l}.self_attn.${kind}`),
    ...MLP.map((kind) => `model.layers.${l}.mlp.${kind}`),
  ]).flat();
}

/** Decode float16. @param {Uint8Array} bytes */
export function fromHalf(bytes) {
  const halves = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => {
    const half = halves.getUint16(2 * i, true);
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}

/** The weights by name; a vector is a row. @param {Pick<Data, "weights" | "entries">} data @returns {Record<string, Matrix>} */
export function matricesOf({ weights, entries }) {
  const flat = fromHalf(Uint8Array.from(atob(weights), (c) => c.charCodeAt(0)));
  let at = 0;
  return Object.fromEntries(
    entries.map(([name, shape]) => {
      const [rows, columns] = shape.length > 1 ? shape : [1, shape[0]];
      const values = flat.subarray(at, (at += rows * columns));
      return [name.replace(/\.weight$/, ""), { values, rows, columns }];
    }),
  );
}

/** @param {number} side */
export const padded = (side) => BLOCK * Math.ceil(side / BLOCK);

/** @param {Matrix} matrix @param {number} rows @param {number} columns @returns {Matrix} */
export function resized({ values, ...old }, rows, columns) {
  if (old.rows === rows && old.columns === columns) return { values, rows, columns };
  const copy = new Float32Array(rows * columns);
  const common = Math.min(columns, old.columns);
  for (let i = 0; i < Math.min(rows, old.rows); i++)
    copy.set(values.subarray(i * old.columns, i * old.columns + common), i * columns);
  return { values: copy, rows, columns };
}

/** Put numbers on the device. @param {Float32Array} values @param {number[]} shape */
export function onDevice(values, ...shape) {
  return np.array(/** @type {Float32Array<ArrayBuffer>} */ (values), {
    dtype: np.float32,
    shape,
  });
}

/** Put a matrix on the device, padded with zeros. @param {Matrix} matrix */
export function paddedOnDevice(matrix) {
  const { values, rows, columns } = resized(matrix, padded(matrix.rows), padded(matrix.columns));
  return onDevice(values, rows, columns);
}
