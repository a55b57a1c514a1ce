// Lanes of one model: each has W − s B⁰A⁰, its own A and B, and the moments of its optimizer.

import { jit, numpy as np, vjp } from "@jax-js/jax";

import { laidOut, rowsOnDevice } from "./batches.js";
import { makeModel } from "./model.js";
import { atStart, clock, update } from "./optimizer.js";
import { generator } from "./random.js";
import { STARTS } from "./starts.js";
import { mean } from "./statistics.js";
import { vectorsOf } from "./vectors.js";
import { numbersOf, onDevice, padded, paddedOnDevice, resized } from "./weights.js";

/** @typedef {import("./types").Lane} Spec */
/** @typedef {import("./types").Example} Example */
/** @typedef {import("./types").Matrix} Matrix */
/** @typedef {import("./types").Factors} Factors */
/** @typedef {import("./types").FactorsByLayer} FactorsByLayer */
/** @typedef {import("./types").Tensor} Tensor */
/** @typedef {import("./optimizer.js").State} State */
/** @typedef {ReturnType<typeof makeTrainer>} Trainer */
/**
 * @typedef {object} Lane
 * @property {Spec} spec
 * @property {number} scale
 * @property {FactorsByLayer} start
 * @property {Record<string, Tensor>} frozen
 * @property {State} state
 * @property {number} done updates
 */

/** The scaling s of an adapter. @param {Spec} spec */
export const scaleOf = ({ alpha, r }) => (alpha ?? r) / r;

/**
 * Make what starts, trains and evaluates lanes of one model on batches of one size.
 *
 * @param {Record<string, Matrix>} weights
 * @param {import("./types").Shape} shape
 * @param {{ rows: number, width: number, supervised: number }} size
 */
export function makeTrainer(weights, shape, size) {
  const model = makeModel(weights, shape, size.rows, size.width);

  /** @param {Spec} spec @param {string[]} names of layers @returns {FactorsByLayer} */
  const startOf = ({ init, r, alpha, seed = 0 }, names) =>
    Object.fromEntries(
      names.map((name) => {
        const random = generator(seed, name);
        return [name, STARTS[init](weights[name], r, scaleOf({ init, r, alpha, lr: 0 }), random)];
      }),
    );

  /** @param {Spec} spec @param {FactorsByLayer} start @returns {Lane} */
  const add = (spec, start) => {
    const scale = scaleOf(spec);
    /** @type {Lane["frozen"]} */
    const frozen = {};
    /** @type {import("./types").Tree} */
    const theta = {};
    for (const name of model.names) {
      frozen[name] = paddedOnDevice(without(weights[name], start[name], spec.r, scale));
      theta[name] = factorsOnDevice(weights[name], start[name], spec.r);
    }
    const state = atStart(passes(spec.r).vectors.joined(theta));
    return { spec, scale, start, frozen, state, done: 0 };
  };

  /**
   * The compiled passes of lanes of one rank, for which the factors lie in vectors alike.
   *
   * @param {number} r
   */
  const compiled = (r) => {
    const vectors = vectorsOf(model.names.map((name) => [name, shapesOf(weights[name], r)]));
    const step = jit(
      /** @param {Lane["frozen"]} frozen @param {State} state @param {Tensor} scale @param {import("./model.js").Rows} rows @param {Tensor} clock */
      (frozen, state, scale, { ids, pick, targets, share }, clock) => {
        const theta = vectors.apart(state.theta.map((x) => x.ref));
        const [y, back] = vjp(
          (/** @type {import("./types").Tree} */ theta) =>
            model.hidden({ theta, frozen, scale }, ids, pick),
          [theta],
        );
        const { loss, gradient } = model.lossAndGradient(y, targets, share);
        const [all] = back(gradient);
        return { loss, ...update(state, vectors.joined(all), clock) };
      },
    );
    const judge = jit(
      /** @param {Lane["frozen"]} frozen @param {Tensor[]} theta @param {Tensor} scale @param {import("./model.js").Rows} rows */
      (frozen, theta, scale, { ids, pick, targets, share }) => {
        share.dispose();
        const y = model.hidden({ theta: vectors.apart(theta), frozen, scale }, ids, pick);
        const best = np.argmax(model.logits(y.ref), -1);
        return { losses: model.tokenLosses(y, targets), best };
      },
    );
    return { vectors, step, judge };
  };
  /** @type {Map<number, ReturnType<typeof compiled>>} */
  const known = new Map();
  /** @param {number} r */
  const passes = (r) => {
    const each = known.get(r) ?? compiled(r);
    known.set(r, each);
    return each;
  };

  /** @param {Lane} lane */
  const read = ({ frozen, scale }) => ({
    frozen: Object.fromEntries(Object.entries(frozen).map(([name, W]) => [name, W.ref])),
    scale: onDevice(Float32Array.of(scale), 1),
  });

  /** Make one update by a batch; the loss before it, and the norm of the gradient. @param {Lane} lane @param {Example[]} examples */
  const train = async (lane, examples) => {
    const { lr, weightDecay = 0 } = lane.spec;
    const { frozen, scale } = read(lane);
    const rows = rowsOnDevice(laidOut(examples, size));
    const time = clock(++lane.done, lr, weightDecay);
    const { next, loss, norm } = passes(lane.spec.r).step(frozen, lane.state, scale, rows, time);
    lane.state = next;
    return { loss: (await numbersOf(loss))[0], gradNorm: (await numbersOf(norm))[0] };
  };

  /** Judge at most a batch: the loss and the likeliest token at each answer's token. @param {Lane} lane @param {Example[]} examples */
  const judged = async (lane, examples) => {
    const laid = laidOut(examples, size);
    const { frozen, scale } = read(lane);
    const theta = lane.state.theta.map((x) => x.ref);
    const { losses, best } = passes(lane.spec.r).judge(frozen, theta, scale, rowsOnDevice(laid));
    return { ...laid, losses: await numbersOf(losses), best: await numbersOf(best) };
  };

  /**
   * The mean loss of the answers' tokens, and the share of answers of which every token is the
   * likeliest; and both by example, with the losses by the mean number of tokens.
   *
   * @param {Lane} lane
   * @param {Example[]} examples
   */
  const evaluate = async (lane, examples) => {
    const lost = examples.map(() => 0);
    const right = examples.map(() => 1);
    let tokens = 0;
    for (let at = 0; at < examples.length; at += size.rows) {
      const part = examples.slice(at, at + size.rows);
      const { owner, targets, losses, best } = await judged(lane, part);
      owner.forEach((row, i) => {
        lost[at + row] += losses[i];
        if (best[i] !== targets[i]) right[at + row] = 0;
      });
      tokens += owner.length;
    }
    const loss = lost.map((each) => (each * examples.length) / tokens);
    return { evalLoss: mean(loss), evalAccuracy: mean(right), examples: { loss, right } };
  };

  /**
   * Continue prompts by the likeliest token after the other, until the end or for `most` tokens.
   *
   * @param {Lane} lane
   * @param {number[][]} prompts at most as many as a batch has rows
   * @param {{ end: number, most: number }} until the token that ends, and the most tokens
   */
  const answer = async (lane, prompts, { end, most }) => {
    const rows = prompts.map((prompt) => [...prompt]);
    for (let i = 0; i < most; i++) {
      const open = rows.filter((row) => row.at(-1) !== end && row.length <= size.width);
      if (!open.length) break;
      const { best } = await judged(
        lane,
        open.map((row) => [row.length, ...row, end]),
      );
      open.forEach((row, k) => row.push(best[k]));
    }
    return rows.map((row, i) => row.slice(prompts[i].length));
  };

  /** Free what a lane has on the device. @param {Lane} lane */
  const drop = ({ frozen, state }) => {
    for (const x of [...Object.values(frozen), ...Object.values(state).flat()]) x.dispose();
  };

  /** A and B as they are, of some layers. @param {Lane} lane @param {string[]} [names] @returns {Promise<FactorsByLayer>} */
  const now = async ({ state, spec: { r } }, names = model.names) => {
    const values = await Promise.all(state.theta.map((x) => numbersOf(x.ref)));
    const { matrix } = passes(r).vectors;
    return Object.fromEntries(
      names.map((name) => {
        const { rows, columns } = weights[name];
        const [A, B] = [matrix(name, "A", values), matrix(name, "B", values)];
        return [name, { A: resized(A, r, columns).values, B: resized(B, rows, r).values }];
      }),
    );
  };

  return { names: model.names, startOf, add, train, evaluate, answer, now, drop };
}

/** W − s B A @param {Matrix} W @param {Factors} factors @param {number} r @param {number} s @returns {Matrix} */
function without({ values, rows, columns }, { A, B }, r, s) {
  const rest = Float64Array.from(values);
  for (let i = 0; i < rows; i++)
    for (let k = 0; k < r; k++) {
      const b = s * B[i * r + k];
      if (b) for (let j = 0; j < columns; j++) rest[i * columns + j] -= b * A[k * columns + j];
    }
  return { values: Float32Array.from(rest), rows, columns };
}

/** The shapes of A and B, padded. @param {{ rows: number, columns: number }} W @param {number} r @returns {{ A: [number, number], B: [number, number] }} */
const shapesOf = ({ rows, columns }, r) => ({ A: [r, padded(columns)], B: [padded(rows), r] });

/** @param {Matrix} W @param {Factors} factors @param {number} r */
function factorsOnDevice({ rows, columns }, { A, B }, r) {
  const wide = resized({ values: A, rows: r, columns }, r, padded(columns));
  const high = resized({ values: B, rows, columns: r }, padded(rows), r);
  return { A: onDevice(wide.values, r, wide.columns), B: onDevice(high.values, high.rows, r) };
}
