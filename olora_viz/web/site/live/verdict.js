// A finished race in at most 15 words, with how sure they are, as studies/verdict_line.py says them.

import { LEAST_EXAMPLES, compareAll, leastShare, mean } from "./statistics.js";
import { sooner } from "./sooner.js";

/** @import { Group } from "./told.js" */
/** @import { Point } from "./sooner.js" */
/** @import { Examples } from "./types.d.ts" */
/** @typedef {{ headline: string, tag: string, certainty: string, below: string }} Verdict */

const MOST_WORDS = 15;
const LEAST_SEEDS = 3;
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
  const scored = whole.map((group) => {
    const of = group.lanes.map((k) => /** @type {Examples} */ (examples[k]));
    const [loss, right] = [of.map((each) => each.loss), of.map((each) => each.right)];
    return { group, scores: { loss, right }, loss: mean(loss.flat()), share: mean(right.flat()) };
  });
  const shares = scored.map(({ share }) => share);
  const count = scored[0].scores.loss[0].length;
  const isUnlearned = leastShare(Math.max(...shares), count) <= (guess ?? FLOOR);
  const byLoss = isUnlearned || count < LEAST_EXAMPLES || Math.min(...shares) >= CEILING;
  scored.sort((a, b) => (byLoss ? 0 : b.share - a.share) || a.loss - b.loss);
  const { kind, interval } = compareAll(
    scored.map(({ scores }) => scores),
    !byLoss,
  );
  const ranked = scored.map(({ group }) => group);
  const [names, kinds] = [ranked.map(({ name }) => name), kind[0].slice(1)];
  const seeds = ranked[0].lanes.length;
  const written = scored.map((each) =>
    byLoss ? each.loss.toFixed(2) : `${round(100 * each.share)}%`,
  );
  const unit = byLoss ? "nats" : "right";
  const scarce = count < LEAST_EXAMPLES || seeds === 1 ? "examples" : "seeds or examples";
  const early = sooner(ranked, points);
  const isOrdered = kinds.includes("ahead");
  let certainty = "level";
  if (seeds < 2) certainty = "one-run";
  else if (kinds.includes("undecided") || count < LEAST_EXAMPLES) certainty = "open";
  else if (isOrdered) certainty = seeds >= LEAST_SEEDS && !isUnlearned ? "clear" : "open";

  const at = [` at rate ${rate}`, ""];
  /** @param {number[]} most @param {(most: number, at: string) => string} say @param {string} least */
  const shortest = (most, say, least) =>
    short([...at.flatMap((where) => most.map((n) => say(n, where))), least]);
  const trailing = kinds.flatMap((each, i) => (each === "ahead" ? [i + 1] : []));
  const ahead = names.flatMap((_, i) =>
    !trailing.includes(i) && trailing.every((j) => kind[i][j] === "ahead") ? [i] : [],
  );
  const scores = names.map((name, i) => `${name} ${written[i]}`);
  let headline;
  if (isUnlearned) {
    const lane = guess === null ? "has learned the task" : "is clearly better than guessing";
    headline = `No lane ${lane}: train for more steps.`;
  } else if (early.length) {
    const steps = early.map(({ gap }) => round(gap.mean)).sort((a, b) => a - b);
    const many = [...new Set([steps[0], steps[steps.length - 1]])].join(" to ");
    const learn = `learn${early.length === 1 ? "s" : ""} ${many} steps earlier than LoRA`;
    const starts = early.map(({ name }) => name);
    headline = shortest(
      [3, 2],
      (n, where) => `${listed(starts, n)} ${learn}${where}.`,
      `${learn}.`,
    );
  } else if (trailing.length) {
    const is = ahead.length > 1 ? "are" : "is";
    const leads = seeds === 1 ? "did better in this run than" : `${is} ahead of`;
    const [first, last] = [ahead.map((i) => names[i]), trailing.map((i) => names[i])];
    headline = shortest(
      [3, 2],
      (n, where) => `${listed(first, n)} ${leads} ${listed(last, n)}${where}.`,
      `${names[0]} leads.`,
    );
  } else if (kinds.includes("undecided") || count < LEAST_EXAMPLES) {
    const few = (/** @type {number} */ n) =>
      `${scores.slice(0, n).join(", ")} ${unit}: too few ${scarce} to tell.`;
    headline = short([few(3), few(2), `Too few ${scarce} to tell who leads.`]);
  } else {
    headline = shortest(
      [4, 3, 2],
      (n, where) => `${listed(names, n)} end level${where}.`,
      "All end level.",
    );
  }

  const number = seeds === 1 ? "one seed" : `${seeds} seeds`;
  const isApart = kinds.some(
    (each, i) => each === "level" && interval[0][i + 1].low * interval[0][i + 1].high > 0,
  );
  let tag = isApart ? "too small to matter" : "the same";
  if (isUnlearned) tag = "not learned yet";
  else if (seeds > 1 && (early.length || isOrdered || kinds.includes("behind")))
    tag = `${number}: likely`;
  else if (certainty !== "level") tag = `${number}: could be luck`;

  let next = "";
  if (isUnlearned) next = "";
  else if (seeds < LEAST_SEEDS) next = LATER.seeds;
  else if (count < LEAST_EXAMPLES) next = "";
  else if (early.length || isOrdered) next = LATER.rates;
  else if (certainty === "open") next = LATER.seeds;
  const right = scored.map((each) => `${each.group.name} ${round(100 * each.share)}%`);
  const lost = byLoss ? `; compared by loss: ${written.join(", ")} nats` : "";
  const below = [
    early.length ? intervals(early) : "",
    `In the end: ${right.join(", ")} right${lost}.`,
    next,
  ];
  return { headline, tag, certainty, below: below.filter(Boolean).join(" ") };
}
