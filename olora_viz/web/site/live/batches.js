// Examples as the arrays of one size that a compiled pass reads.

import { numpy as np } from "@jax-js/jax";

import { onDevice } from "./weights.js";

/** @typedef {import("./types").Example} Example */

/**
 * Lay out examples in rows, padded on the right. The last token of an example is not read, since
 * nothing follows it.
 *
 * @param {Example[]} examples at most `rows`
 * @param {{ rows: number, width: number, supervised: number }} size
 */
export function laidOut(examples, { rows, width, supervised }) {
  const ids = new Int32Array(rows * width);
  const targets = new Int32Array(supervised);
  const places = new Int32Array(supervised);
  /** @type {number[]} the example of each target */
  const owner = [];
  examples.forEach(([from, ...tokens], row) => {
    ids.set(tokens.slice(0, -1), row * width);
    for (let at = from; at < tokens.length; at++) {
      targets[owner.length] = tokens[at];
      places[owner.length] = row * width + at - 1;
      owner.push(row);
    }
  });
  return { ids, targets, places, owner };
}

/**
 * Put rows on the device, see `Rows` in model.js.
 *
 * @param {ReturnType<typeof laidOut>} laid
 */
export function rowsOnDevice({ ids, targets, places, owner }) {
  const pick = new Float32Array(targets.length * ids.length);
  owner.forEach((_, i) => (pick[i * ids.length + places[i]] = 1));
  const share = new Float32Array(targets.length).fill(1 / owner.length, 0, owner.length);
  return {
    ids: np.array(ids, { dtype: np.int32 }),
    pick: onDevice(pick, targets.length, ids.length),
    targets: np.array(targets, { dtype: np.int32 }),
    share: onDevice(share, targets.length),
  };
}
