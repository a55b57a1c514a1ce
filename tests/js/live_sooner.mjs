// Who learned sooner, for tests/web/test_live.py: node live_sooner.mjs ASKED ANSWERS, of races and of shares.

import { readFileSync, writeFileSync } from "node:fs";

import { headline, intervals, isLearned, sooner } from "../../olora_viz/web/site/live/sooner.js";

const [asked, answers] = process.argv.slice(2);
const { races, shares } = JSON.parse(readFileSync(asked, "utf8"));
const told = {
  races: races.map((/** @type {any} */ { groups, points, rate }) => {
    const starts = sooner(groups, points);
    const said = starts.length ? [headline(starts, rate), intervals(starts)] : [];
    return { starts: starts.map(({ name, gap }) => [name, gap]), said };
  }),
  learned: shares.map((/** @type {any} */ [share, examples, guess]) =>
    isLearned(share, examples, guess),
  ),
};
writeFileSync(answers, JSON.stringify(told));
