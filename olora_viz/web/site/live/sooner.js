// How many steps before plain LoRA the starts reach the loss that both reach, as studies/verdict_line.py has it.

/** @import { Group } from "./told.js" */
/** Held-out losses of the lanes at a step. @typedef {{ step: number, values: (number | null)[] }} Point */
/** A mean, its 95% interval, and the p-value of a mean of zero. @typedef {{ mean: number, low: number, high: number, p: number }} Interval */

const SEEDS = 3; // that a verdict rests on, and the most here
const ERROR = 0.05;
const MOST_WORDS = 15;
const LEAST_GUESS = 0.05; // of answers of which none is known to be the common one
const NORMAL = 1.959963984540054; // of 95%

/** Student's t interval of the mean of three values, whose two degrees of freedom have a closed form. @param {number[]} values @returns {Interval} */
export function intervalOfThree(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / SEEDS;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const error = Math.sqrt(squares / (SEEDS - 1) / SEEDS);
  if (error <= 1e-15 * Math.abs(mean)) return { mean, low: mean, high: mean, p: mean ? 0 : 1 };
  const t = Math.abs(mean) / error;
  const half = error * (1 - ERROR) * Math.sqrt(2 / (1 - (1 - ERROR) ** 2));
  return { mean, low: mean - half, high: mean + half, p: 1 - t / Math.sqrt(2 + t * t) };
}

/** Adjust p-values (Holm 1979). @param {number[]} values */
function holm(values) {
  const order = values.map((_, i) => i).sort((i, j) => values[i] - values[j]);
  const adjusted = values.map(() => 0);
  let highest = 0;
  order.forEach((i, rank) => {
    highest = Math.max(highest, Math.min(1, values[i] * (values.length - rank)));
    adjusted[i] = highest;
  });
  return adjusted;
}

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
 * Return the starts of three seeds at one rate that are sooner than plain LoRA, with by how many steps.
 *
 * Of each seed it is the higher one of both last losses that is to be reached: if nothing tells the
 * starts apart, either is as likely to be the sooner one.
 *
 * @param {Group[]} groups the best one first
 * @param {Point[]} points from step 0 to the last one
 */
export function sooner(groups, points) {
  const last = points.at(-1)?.values ?? [];
  const isWhole = (/** @type {Group} */ { lanes }) =>
    lanes.length === SEEDS && lanes.every((k) => last[k] !== null);
  const lora = groups.find(({ init }) => init === "lora");
  if (!lora || !isWhole(lora)) return [];
  const others = groups.filter((group) => group !== lora && isWhole(group));
  const gaps = others.map(({ lanes }) =>
    intervalOfThree(
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

/** @param {string[]} words */
const and = (words) =>
  [words.slice(0, -1).join(", "), ...words.slice(-1)].filter(Boolean).join(" and ");
/** @param {string[]} names @param {number} most */
const listed = (names, most) =>
  and(
    names.length <= most
      ? names
      : [...names.slice(0, most - 1), `${names.length - most + 1} others`],
  );
/** Round as Python does, halves to the even number. @param {number} value */
const round = (value) => (value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value));

/** Say who learns sooner, in at most 15 words. @param {ReturnType<typeof sooner>} starts @param {string} rate */
export function headline(starts, rate) {
  const names = starts.map(({ name }) => name);
  const means = starts.map(({ gap }) => round(gap.mean)).sort((a, b) => a - b);
  const count = [...new Set([means[0], Number(means.at(-1))])].join(" to ");
  const learn = `learn${starts.length === 1 ? "s" : ""} ${count} steps earlier than LoRA`;
  const said = [` at rate ${rate}`, ""].flatMap((at) =>
    [3, 2].map((most) => `${listed(names, most)} ${learn}${at}.`),
  );
  return said.find((each) => each.split(" ").length <= MOST_WORDS) ?? said[3];
}

/** Say by how many steps, with the intervals. @param {ReturnType<typeof sooner>} starts */
export function intervals(starts) {
  const each = starts.map(({ name, gap: { mean, low, high } }, i) => {
    const steps = `${round(mean)}${i ? "" : " steps fewer than LoRA"}`;
    return `${name}${i ? "" : " takes"} ${steps} (${round(low)} to ${round(high)})`;
  });
  return `To the loss that both reach, ${and(each)}; means over seeds, 95% intervals.`;
}

/**
 * Whether the best share of right answers is clearly above what guessing gets, by Wilson's interval.
 *
 * @param {number} share
 * @param {number} examples
 * @param {number} guess share of the commonest answer
 */
export function isLearned(share, examples, guess) {
  const z = NORMAL ** 2 / examples;
  const centre = share + z / 2;
  const half = Math.sqrt(z * (share * (1 - share) + z / 4));
  return (centre - half) / (1 + z) > Math.max(guess, LEAST_GUESS);
}
