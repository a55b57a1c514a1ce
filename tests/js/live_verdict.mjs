// Verdicts for tests/web/test_live.py: node live_verdict.mjs ASKED ANSWERS, of races, guesses and t.

import { readFileSync, writeFileSync } from "node:fs";

import { guessOf } from "../../olora_viz/web/site/live/page.js";
import { critical, twoSided } from "../../olora_viz/web/site/live/statistics.js";
import { verdict } from "../../olora_viz/web/site/live/verdict.js";

const [asked, answers] = process.argv.slice(2);
const { races, tasks, t } = JSON.parse(readFileSync(asked, "utf8"));
const told = {
  verdicts: races.map((/** @type {any} */ { groups, examples, points, rate, guess }) =>
    verdict(groups, examples, points, rate, guess),
  ),
  guesses: tasks.map(guessOf),
  twoSided: t.map((/** @type {[number, number]} */ [value, freedom]) => twoSided(value, freedom)),
  critical: t.map((/** @type {[number, number]} */ [, freedom]) => critical(freedom)),
};
writeFileSync(answers, JSON.stringify(told));
