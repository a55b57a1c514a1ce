// What a race in the browser may be asked for.

import { STARTS } from "./starts.js";

/** @typedef {import("./types").Asked} Asked */
/** @typedef {import("./types").Lane} Lane */

const MOST_LANES = 12;
const MOST_RANK = 64;
const DETERMINISTIC = new Set(["olora", "pissa", "milora"]);

/** @param {unknown} value @param {number} least @param {number} most */
const isWhole = (value, least, most) =>
  Number.isInteger(value) && Number(value) >= least && Number(value) <= most;

/** @param {unknown} value */
const isPositive = (value) => typeof value === "number" && value > 0 && value < Infinity;

/** Return what is wrong, as a sentence; empty if nothing is. @param {Asked} asked */
export function refusal({ data, lanes, steps, evalEvery, task }) {
  if (!Object.hasOwn(data.tasks, task))
    return `The task must be one of ${Object.keys(data.tasks).join(", ")}, not ${task}.`;
  if (!(lanes.length >= 1 && lanes.length <= MOST_LANES))
    return `A race here takes 1 to ${MOST_LANES} lanes, not ${lanes.length}.`;
  if (!isWhole(steps, 1, data.mostSteps))
    return `A race here takes 1 to ${data.mostSteps} steps, not ${steps}.`;
  if (!isWhole(evalEvery, 0, Infinity))
    return `Steps between evaluations must be a whole number from 0, not ${evalEvery}.`;
  const each = lanes.map((lane, k) => [k, ofLane(lane)]).find(([, wrong]) => wrong);
  if (each) return `Lane ${Number(each[0]) + 1}: ${each[1]}.`;
  const most = data.tasks[task].orders.length - 1;
  const far = bySeed(lanes) ? lanes.find(({ seed = 0 }) => seed > most) : undefined;
  return far ? `Batches by seed are here for seeds 0 to ${most}, not for ${far.seed}.` : "";
}

/** @param {Lane} lane */
function ofLane({ init, r, lr, alpha, seed = 0, weightDecay = 0 }) {
  if (!Object.hasOwn(STARTS, init))
    return `a start here is one of ${Object.keys(STARTS).join(", ")}, not ${init}`;
  if (!isWhole(r, 1, MOST_RANK)) return `the rank must be from 1 to ${MOST_RANK}, not ${r}`;
  if (!isPositive(lr)) return `the learning rate must be a positive number, not ${lr}`;
  if (alpha !== undefined && !isPositive(alpha))
    return `alpha must be a positive number, not ${alpha}`;
  if (!isWhole(seed, 0, Infinity)) return `the seed must be a whole number from 0, not ${seed}`;
  if (!(weightDecay === 0 || isPositive(weightDecay)))
    return `the weight decay must be a number from 0, not ${weightDecay}`;
  return "";
}

/** The settings of a lane but its seed. @param {Lane} lane */
const settings = ({ init, r, lr, alpha = r, weightDecay = 0 }) =>
  [init, r, lr, alpha, weightDecay].join();

/** Whether lanes of different seeds read different batches, as `RaceConfig.by_seed`. @param {Lane[]} lanes */
export function bySeed(lanes) {
  const repeated = lanes.filter(({ init }) => DETERMINISTIC.has(init));
  return repeated.some((lane) =>
    repeated.some(
      (other) => settings(other) === settings(lane) && (other.seed ?? 0) !== (lane.seed ?? 0),
    ),
  );
}

/** What the start of a lane depends on. @param {Lane} lane */
export const startKey = ({ init, r, alpha = r, seed = 0 }) =>
  [init, r, alpha / r, DETERMINISTIC.has(init) ? 0 : seed].join();
