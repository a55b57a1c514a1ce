// The weights of a small Llama, from text to matrices on the device.

import { defaultDevice, numpy as np } from "@jax-js/jax";

/** @typedef {import("./types").Data} Data */
/** @typedef {import("./types").Shape} Shape */
/** @typedef {import("./types").Matrix} Matrix */
/** @typedef {import("./types").Tensor} Tensor */

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

/** Decode float16. @param {Uint8Array} bytes little-endian */
export function fromHalf(bytes) {
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) {
    const half = bytes[2 * i] | (bytes[2 * i + 1] << 8);
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    let size = fraction * 2 ** -24;
    if (exponent === 31) size = fraction ? NaN : Infinity;
    else if (exponent) size = (1 + fraction / 1024) * 2 ** (exponent - 15);
    values[i] = half & 0x8000 ? -size : size;
  }
  return values;
}

/** @param {string} text in base64 */
function bytesOf(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/** The weights by name; a vector is a row. @param {Pick<Data, "weights" | "entries">} data @returns {Record<string, Matrix>} */
export function matricesOf({ weights, entries }) {
  const flat = fromHalf(bytesOf(weights));
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

/**
 * Read numbers from the device. WebAssembly is not waited for: the library compiles a kernel again for
 * each of its uses that it meets while it waits, as of every layer.
 *
 * @param {Tensor} x
 */
export const numbersOf = async (x) => (defaultDevice() === "wasm" ? x.dataSync() : x.data());
