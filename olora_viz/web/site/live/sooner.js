// How many steps before plain LoRA the starts reach the loss that both reach, as studies/verdict_line.py has it.

import { ERROR, LEAST_SEEDS, holm, tInterval } from "./statistics.js";

/** @import { Group } from "./told.js" */
/** Held-out losses of the lanes at a step. @typedef {{ step: number, values: (number | null)[] }} Point */

/** When a lane's loss first reached a target, by linear interpolation. @param {Point[]} points @param {number} lane @param {number} target */
function firstAt(points, lane, target) {
  const losses = points.map(({ values }) => values[lane] ?? NaN);
  const i = losses.findIndex((loss) => loss <= target);
  if (i <= 0 || Number.isNaN(losses[i - 1])) return points[Math.max(0, i)].step;
  const [above, below] = [losses[i - 1], losses[i]];
  const share = above > below ? (above - target) / (above - below) : 1;
  return points[i - 1].step + share * (points[i].step - points[i - 1].step);
}

/**
 * Return the starts at one rate that are sooner than plain LoRA, with by how many steps.
 *
 * Of each seed it is the higher one of both last losses that is to be reached: if nothing tells the
 * starts apart, either is as likely to be the sooner one.
 *
 * @param {Group[]} groups of whole lanes, the best one first
 * @param {Point[]} points from step 0 to the last one
 */
export function sooner(groups, points) {
  const last = points.at(-1)?.values ?? [];
  const lora = groups.find(({ init }) => init === "lora");
  if (!lora || lora.lanes.length < LEAST_SEEDS) return [];
  const others = groups.filter((group) => group !== lora);
  const gaps = others.map(({ lanes }) =>
    tInterval(
      lanes.map((ours, seed) => {
        const theirs = lora.lanes[seed];
        const target = Math.max(Number(last[ours]), Number(last[theirs]));
        return firstAt(points, theirs, target) - firstAt(points, ours, target);
      }),
    ),
  );
  const p = holm(gaps.map((gap) => gap.p));
  return others
    .map(({ name }, i) => ({ name, gap: gaps[i], p: p[i] }))
    .filter((each) => each.p < ERROR && each.gap.mean > 0);
}
