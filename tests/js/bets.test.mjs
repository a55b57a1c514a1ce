// A bet is on one race: the next one with its question, or the one that is still open.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, choiceOf, follow, place, read } from "../../olora_viz/web/race/bets.js";
import { scoreOf } from "../../olora_viz/web/race/when.js";

const none = read(null);
const KEY = "lora,olora 1e-3 60";

/** @param {string} run @param {string} state @param {string} [key] */
const race = (run, state, key = KEY) => ({ run, key, state });

test("whatever a browser has stored, there are bets to go on with", () => {
  for (const text of [null, "", "{", "[]", "7", '{"runs": 3}']) assert.deepEqual(read(text), none);
  const bets = place(none, null, KEY, "olora");
  assert.deepEqual(read(JSON.stringify(bets)), bets);
});

test("a bet before a race goes to the first race with its question, and to no other", () => {
  const bets = place(none, race("old", "ended"), KEY, "olora");
  assert.equal(choiceOf(bets, "old"), "");
  for (const other of [null, race("old", "ended"), race("b", "open", "lora,olora 3e-3 60")])
    assert.equal(follow(bets, other), bets);
  assert.equal(follow(bets, { ...race("first", "ended"), recorded: true }), bets);
  const begun = follow(bets, race("a", "open"));
  assert.equal(choiceOf(begun, "a"), "olora");
  assert.equal(choiceOf(follow(begun, race("b", "open")), "b"), "", "it is spent");
  for (const state of ["going", "ended"])
    assert.equal(
      choiceOf(follow(bets, race("a", state)), "a"),
      "olora",
      "also where it comes late",
    );
});

test("an open race is bet on itself, and the last answer counts", () => {
  const shown = race("a", "open");
  const bets = place(place(none, shown, KEY, "lora"), shown, KEY, "nobody");
  assert.deepEqual(bets, { next: null, runs: [["a", "nobody"]] });
});

test("old bets are forgotten, the newest never", () => {
  let bets = none;
  for (let i = 0; i < 200; i++) bets = place(bets, race(`${i}`, "open"), KEY, "lora");
  assert.ok(bets.runs.length < 200);
  assert.equal(choiceOf(bets, "199"), "lora");
  assert.equal(choiceOf(bets, "0"), "");
});

test("a bet on the next race follows the set-up while its answer is one", () => {
  const bets = place(none, null, KEY, "olora");
  assert.equal(ask(bets, KEY, ["olora"]), bets);
  assert.deepEqual(ask(bets, "other", ["lora", "olora"]).next, { ...bets.next, key: "other" });
  assert.equal(ask(bets, "other", ["lora", "pissa"]).next, null);
  assert.equal(ask(none, "other", []), none);
});

test("a dragged bet is right near the step, and never is right only where it never happened", () => {
  for (const [bet, met, words] of /** @type {const} */ ([
    [30, 30, "step 30: right"],
    [33, 30, "step 33: right"],
    [34, 30, "step 34: 4 steps too late"],
    [1, 30, "step 1: 29 steps too early"],
    [61, 61, "never: right"],
    [61, 60, "never: wrong"],
    [60, 61, "step 60: wrong"],
  ])) {
    const score = scoreOf(bet, met, 60);
    assert.equal(score.words, `Your bet, ${words}.`);
    assert.equal(score.kind, words.endsWith("right") ? "right" : "wrong");
  }
});
