// Verdicts for tests/web/test_live.py: node live_verdict.mjs ASKED ANSWERS, of races, of stopped ones, guesses and t.

import { readFileSync, writeFileSync } from "node:fs";

import { guessOf } from "../../olora_viz/web/site/live/page.js";
import { critical, twoSided } from "../../olora_viz/web/site/live/statistics.js";
import { teller } from "../../olora_viz/web/site/live/told.js";
import { verdict } from "../../olora_viz/web/site/live/verdict.js";

const [asked, answers] = process.argv.slice(2);
const { races, stopped, tasks, t } = JSON.parse(readFileSync(asked, "utf8"));
const LIKE = { data: {}, layout: { meta: "{}", xaxis: "{}", margin: "{}" } };

/** What the page says in the end of what it has heard. @param {any} of */
function lastWords({ setUp, messages }) {
  /** @type {import("../../olora_viz/web/site/live/told.js").Frame[]} */
  let frames = [];
  const decode = () => "";
  const tell = teller({ accuracy: LIKE }, { ...setUp, decode }, (now) => (frames = [...now]));
  messages.forEach(tell);
  return frames.at(-1)?.texts.verdict;
}

const told = {
  verdicts: races.map((/** @type {any} */ { groups, examples, points, rate, guess }) =>
    verdict(groups, examples, points, rate, guess),
  ),
  stopped: stopped.map(lastWords),
  guesses: tasks.map(guessOf),
  twoSided: t.map((/** @type {[number, number]} */ [value, freedom]) => twoSided(value, freedom)),
  critical: t.map((/** @type {[number, number]} */ [, freedom]) => critical(freedom)),
};
writeFileSync(answers, JSON.stringify(told));
