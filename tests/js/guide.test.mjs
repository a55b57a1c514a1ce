// A guide's place stays within its steps, survives what a browser stores, and is done by doing alone.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  START,
  allDone,
  did,
  isMet,
  isPast,
  linked,
  placeIn,
  read,
  turn,
} from "../../olora_viz/web/parts/guide_state.js";

/** @param {string} kind @param {number} [low] @param {number} [high] */
const wait = (kind, low = 0, high = 1) => ({ kind, words: "", of: "", low, high });
const NOTHING = { pressed: false, value: NaN, step: 0, steps: 0, ended: false, bet: false };

test("whatever a browser has stored, the place is a step of the guide", () => {
  const texts = [null, "", "{", "7", "[]", '{"places": 3}', '{"places": {"a": 5}}'];
  for (const at of ["-1", "9", "1.5", '"x"', "null", "2"])
    texts.push(`{"places": {"a": {"at": ${at}, "done": [0, -1, 99, "x", 2]}}}`);
  for (const text of texts) {
    const { at, done } = placeIn(read(text), "a", 3);
    assert.ok([0, 1, 2].includes(at), String(text));
    assert.ok(done.every((i) => [0, 1, 2].includes(i)));
  }
  const kept = { places: { a: { at: 2, done: [0, 2] } }, never: true };
  assert.deepEqual(read(JSON.stringify(kept)), kept);
  assert.deepEqual(placeIn(kept, "a", 3), kept.places.a);
  assert.deepEqual(placeIn(kept, "b", 3), START);
});

test("a link names a step from one on, and never one that there is not", () => {
  for (const [search, at] of /** @type {const} */ ([
    ["?guide=first&at=1", 0],
    ["?at=3&guide=first", 2],
    ["?at=99", 5],
    ["?at=0", null],
    ["?at=-2", null],
    ["?at=two", null],
    ["", null],
  ]))
    assert.equal(linked(search, 6), at, search);
});

test("skipping on or back does nothing, and stays within the guide", () => {
  let place = START;
  for (let i = 0; i < 9; i++) place = turn(place, 1, 4);
  assert.deepEqual(place, { at: 3, done: [] });
  assert.equal(allDone(place, [wait("bet"), null, wait("ended"), null]), false);
  for (let i = 0; i < 9; i++) place = turn(place, -1, 4);
  assert.deepEqual(place, START);
});

test("a guide is done when all that it waits for was done, in any order, and reading is no doing", () => {
  const waits = [wait("bet"), null, wait("ended")];
  let place = did(turn(turn(START, 1, 3), 1, 3));
  assert.equal(allDone(place, waits), false);
  place = did(did(turn(turn(place, -1, 3), -1, 3)));
  assert.deepEqual(place.done, [2, 0]);
  assert.equal(allDone(place, waits), true);
});

test("each wish is met by what it names and by nothing else", () => {
  const met = {
    pressed: { pressed: true },
    ended: { ended: true },
    bet: { bet: true },
    value: { value: 0.5 },
    step: { step: 5, steps: 10 },
  };
  for (const kind of Object.keys(met)) {
    assert.equal(isMet(wait(kind), NOTHING), false, `${kind} on an empty page`);
    for (const [other, seen] of Object.entries(met))
      assert.equal(isMet(wait(kind), { ...NOTHING, ...seen }), kind === other, `${kind}, ${other}`);
  }
});

test("a value and a step count within their range, ends included", () => {
  for (const [value, met] of /** @type {const} */ ([
    [3.9, false],
    [4, true],
    [6, true],
    [6.1, false],
  ]))
    assert.equal(isMet(wait("value", 4, 6), { ...NOTHING, value }), met);
  for (const [step, met] of /** @type {const} */ ([
    [0, false],
    [3, true],
    [30, true],
    [31, false],
  ]))
    assert.equal(isMet(wait("step", 0.05, 0.5), { ...NOTHING, step, steps: 60 }), met);
});

test("a chart is past step 0 with a step of a lane, and not by the level of guessing", () => {
  const guess = { x: [0, 60] };
  const lane = (/** @type {ArrayLike<number>} */ x) => ({ legendgroup: "OLoRA", x });
  assert.equal(isPast([]), false);
  assert.equal(isPast([guess, { legendgroup: "LoRA" }, lane([0, 0])]), false);
  assert.equal(isPast([guess, lane(new Float64Array([0, 5]))]), true);
});
