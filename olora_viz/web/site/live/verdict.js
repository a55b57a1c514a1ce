// A finished race in at most 15 words, with how sure they are, as studies/verdict_line.py says them.

import { LEAST_EXAMPLES, LEAST_SEEDS, compareAll, leastShare, mean } from "./statistics.js";
import { sooner } from "./sooner.js";

/** @import { Group } from "./told.js" */
/** @import { Point } from "./sooner.js" */
/** @import { Kind } from "./statistics.js" */
/** @import { Examples } from "./types.d.ts" */
/** @typedef {{ headline: string, tag: string, certainty: string, below: string }} Verdict */
/**
 * @typedef {object} Facts of starts, the best one first
 * @property {string[]} names
 * @property {string[]} scores each with its name
 * @property {string} unit
 * @property {Kind[][]} kind of each against each other
 * @property {boolean} isApart whether one is level with the first and not equal to it
 * @property {ReturnType<typeof sooner>} early
 * @property {number} seeds
 * @property {number} count examples
 * @property {boolean} isUnlearned
 * @property {string} certainty
 */

const MOST_WORDS = 15;
const [FLOOR, CEILING] = [0.05, 0.95];
const LATER = {
  rates: "Is it the start, or only the rate? Race at a higher one.",
  seeds: "Is it the start, or luck?",
};

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
/** @param {number} share */
export const percent = (share) => `${round(100 * share)}%`;
/** The first of some sentences that is short enough. @param {string[]} said */
const short = (said) =>
  said.find((each) => each.split(" ").length <= MOST_WORDS) ?? said[said.length - 1];

/** Say by how many steps starts are sooner, with the intervals. @param {ReturnType<typeof sooner>} starts */
export function intervals(starts) {
  const each = starts.map(({ name, gap: { mean: steps, low, high } }, i) => {
    const [takes, fewer] = i ? ["", ""] : [" takes", " steps fewer than LoRA"];
    return `${name}${takes} ${round(steps)}${fewer} (${round(low)} to ${round(high)})`;
  });
  return `To the loss that both reach, ${and(each)}; means over seeds, 95% intervals.`;
}

/** How sure the order of the first one and the others is. @param {Kind[]} kinds @param {number} seeds @param {number} count @param {boolean} isUnlearned */
function certaintyOf(kinds, seeds, count, isUnlearned) {
  if (seeds < 2) return "one-run";
  if (kinds.includes("undecided") || count < LEAST_EXAMPLES) return "open";
  if (kinds.includes("ahead")) return seeds >= LEAST_SEEDS && !isUnlearned ? "clear" : "open";
  return "level";
}

/** Say who leads whom. @param {Facts} facts @param {string} rate @param {number | null} guess */
function headlineOf({ names, scores, unit, kind, early, seeds, count, isUnlearned }, rate, guess) {
  /** @param {number[]} most @param {(most: number, at: string) => string} say @param {string} least */
  const shortest = (most, say, least) =>
    short([` at rate ${rate}`, ""].flatMap((at) => most.map((n) => say(n, at))).concat(least));
  const kinds = kind[0].slice(1);
  const scarce = count < LEAST_EXAMPLES || seeds === 1 ? "examples" : "seeds or examples";
  if (isUnlearned) {
    const lane = guess === null ? "has learned the task" : "is clearly better than guessing";
    return `No lane ${lane}: train for more steps.`;
  }
  if (early.length) {
    const steps = early.map(({ gap }) => round(gap.mean)).sort((a, b) => a - b);
    const many = [...new Set([steps[0], steps[steps.length - 1]])].join(" to ");
    const learn = `learn${early.length === 1 ? "s" : ""} ${many} steps earlier than LoRA`;
    const starts = early.map(({ name }) => name);
    return shortest([3, 2], (n, at) => `${listed(starts, n)} ${learn}${at}.`, `${names[0]} leads.`);
  }
  if (kinds.includes("ahead")) {
    const trailing = kinds.flatMap((each, i) => (each === "ahead" ? [i + 1] : []));
    const isAhead = (/** @type {number} */ i) => trailing.every((j) => kind[i][j] === "ahead");
    const first = names.filter((_, i) => !trailing.includes(i) && isAhead(i));
    const last = trailing.map((i) => names[i]);
    const are = `${first.length > 1 ? "are" : "is"} ahead of`;
    const leads = seeds === 1 ? "did better in this run than" : are;
    const say = (/** @type {number} */ n, /** @type {string} */ at) =>
      `${listed(first, n)} ${leads} ${listed(last, n)}${at}.`;
    return shortest([3, 2], say, `${names[0]} leads.`);
  }
  if (kinds.includes("undecided") || count < LEAST_EXAMPLES) {
    const few = (/** @type {number} */ n) =>
      `${scores.slice(0, n).join(", ")} ${unit}: too few ${scarce} to tell.`;
    return short([few(3), few(2), `Too few ${scarce} to tell who leads.`]);
  }
  return shortest([4, 3, 2], (n, at) => `${listed(names, n)} end level${at}.`, "All end level.");
}

/** Say how sure the headline is. @param {Facts} facts */
function tagOf({ kind, isApart, early, seeds, isUnlearned, certainty }) {
  if (isUnlearned) return "not learned yet";
  const number = seeds === 1 ? "one seed" : `${seeds} seeds`;
  const isOrder = early.length > 0 || kind[0].some((each) => each === "ahead" || each === "behind");
  if (seeds > 1 && isOrder) return `${number}: likely`;
  if (certainty !== "level") return `${number}: could be luck`;
  return isApart ? "too small to matter" : "the same";
}

/** Ask what would make it surer; may be empty. @param {Facts} facts */
function questionOf({ kind, early, seeds, count, isUnlearned, certainty }) {
  if (isUnlearned) return "";
  if (seeds < LEAST_SEEDS) return LATER.seeds;
  if (count < LEAST_EXAMPLES) return "";
  if (early.length || kind[0].includes("ahead")) return LATER.rates;
  return certainty === "open" ? LATER.seeds : "";
}

/**
 * Return the verdict on lanes at one rate; null if fewer than two starts are whole.
 *
 * @param {Group[]} groups
 * @param {(Examples | null)[]} examples of each lane
 * @param {Point[]} points held-out losses from step 0 on
 * @param {string} rate
 * @param {number | null} guess accuracy of the best guess; null if it is never right
 * @returns {Verdict | null}
 */
export function verdict(groups, examples, points, rate, guess) {
  const whole = groups.filter(({ lanes }) => lanes.every((k) => examples[k] !== null));
  if (whole.length < 2) return null;
  const out = groups.filter((group) => !whole.includes(group)).map(({ name }) => name);
  const scored = whole.map((group) => {
    const of = group.lanes.map((k) => /** @type {Examples} */ (examples[k]));
    const [loss, right] = [of.map((each) => each.loss), of.map((each) => each.right)];
    return { group, each: { loss, right }, loss: mean(loss.flat()), share: mean(right.flat()) };
  });
  const shares = scored.map(({ share }) => share);
  const count = scored[0].each.loss[0].length;
  const isUnlearned = leastShare(Math.max(...shares), count) <= (guess ?? FLOOR);
  const byLoss = isUnlearned || count < LEAST_EXAMPLES || Math.min(...shares) >= CEILING;
  scored.sort((a, b) => (byLoss ? 0 : b.share - a.share) || a.loss - b.loss);
  const { kind, interval } = compareAll(
    scored.map(({ each }) => each),
    !byLoss,
  );
  const names = scored.map(({ group }) => group.name);
  const seeds = whole[0].lanes.length;
  const right = scored.map(({ share }, i) => `${names[i]} ${percent(share)}`);
  const lost = scored.map(({ loss }) => loss.toFixed(2));
  /** @type {Facts} */
  const facts = {
    ...{ names, kind, seeds, count, isUnlearned },
    scores: byLoss ? names.map((name, i) => `${name} ${lost[i]}`) : right,
    unit: byLoss ? "nats" : "right",
    isApart: kind[0].some(
      (each, j) => each === "level" && interval[0][j].low * interval[0][j].high > 0,
    ),
    early: sooner(
      scored.map(({ group }) => group),
      points,
    ),
    certainty: certaintyOf(kind[0].slice(1), seeds, count, isUnlearned),
  };
  const below = [
    facts.early.length ? intervals(facts.early) : "",
    `In the end: ${right.join(", ")} right${byLoss ? `; compared by loss: ${lost.join(", ")} nats` : ""}.`,
    out.length
      ? `${and(out)} ${out.length > 1 ? "are" : "is"} out of the race: a seed diverged.`
      : "",
    questionOf(facts),
  ];
  return {
    headline: headlineOf(facts, rate, guess),
    tag: tagOf(facts),
    certainty: facts.certainty,
    below: below.filter(Boolean).join(" "),
  };
}
