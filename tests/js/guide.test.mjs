// A guide's place stays within its steps, survives what a browser stores, and is done by doing alone.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  PACE,
  START,
  allDone,
  asksBet,
  begin,
  did,
  isHalf,
  isMet,
  isPast,
  linked,
  look,
  open,
  placeIn,
  press,
  read,
  turn,
} from "../../olora_viz/web/parts/guide_state.js";

/** @param {string} kind @param {number} [low] @param {number} [high] */
const wait = (kind, low = 0, high = 1) => ({ kind, words: "", of: "", low, high });

/** @param {Partial<import("../../olora_viz/web/parts/guide_state.js").Step>} [parts] */
const step = (parts) => ({
  wait: null,
  page: "race",
  opens: "",
  hides: false,
  answers: false,
  ...parts,
});
const EMPTY = { run: "", state: ["status", "ready"], enabled: true, bet: false, asksWhen: false };
const SEEN = { ...EMPTY, page: "race", value: NaN, step: 0, steps: 0 };
const RECORDED = { ...SEEN, run: "old", state: ["status", "recorded"], step: 60, steps: 60 };

/**
 * Look at the page again and again.
 *
 * @param {number} ms
 * @param {import("../../olora_viz/web/parts/guide_state.js").Playing} playing
 * @param {import("../../olora_viz/web/parts/guide_state.js").Step} step
 * @param {import("../../olora_viz/web/parts/guide_state.js").Seen} seen
 */
function watched(ms, playing, step, seen) {
  const looks = [look(playing, step, seen)];
  for (let at = PACE; at < ms; at += PACE)
    looks.push(look(looks[looks.length - 1].playing, step, seen));
  return { ...looks[looks.length - 1], looks };
}

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

test("a step that waits for a race's end goes on at the end of the next one, never at that of the one before", () => {
  const ends = step({ wait: wait("ended") });
  const racing = { ...SEEN, run: "new", state: ["status", "racing"], enabled: false };
  const ended = { ...RECORDED, run: "new", state: ["status", "finished"] };
  let playing = press(open(begin(START, ""), ends, RECORDED), "old");
  const late = watched(60_000, playing, ends, RECORDED);
  assert.equal(late.met, false, "however long it takes to begin");
  playing = watched(1000, late.playing, ends, racing).playing;
  assert.equal(look(playing, ends, ended).met, true);
  assert.equal(watched(1000, open(begin(START, ""), ends, SEEN), ends, ended).met, false);
  const long = watched(4000, open(begin(START, ""), ends, SEEN), ends, ended);
  assert.ok(
    long.looks.some(({ met }) => met),
    "one that nobody began is over for a while",
  );
});

test("a recorded race is shown from step 0, until it stands there or the reader races or bets", () => {
  const steps = step({ opens: "rewind", wait: wait("step", 0, 1) });
  const fresh = open(begin(START, ""), steps, RECORDED);
  const first = look(fresh, steps, RECORDED);
  assert.equal(first.toStart, true);
  assert.equal(first.met, false, "the page has taken it there, not the reader");
  const stood = watched(4000, first.playing, steps, { ...RECORDED, step: 0 });
  assert.equal(stood.playing.rewinds, false);
  assert.ok(stood.looks.every(({ toStart }) => !toStart));
  assert.equal(look(stood.playing, steps, RECORDED).toStart, false, "the reader's own step stays");
  for (const other of [{ bet: true }, { state: ["status", "racing"] }, { steps: 0 }])
    assert.equal(look(fresh, steps, { ...RECORDED, ...other }).toStart, false);
  assert.equal(open(begin(START, ""), steps, { ...RECORDED, bet: true }).rewinds, false);
});

test("the race of before a lesson counts for nothing: neither its bet nor its end", () => {
  const bets = step({ opens: "rewind", wait: wait("bet") });
  const seen = { ...RECORDED, bet: true };
  const other = open(begin(START, "old"), bets, seen);
  assert.equal(other.rewinds, true);
  assert.deepEqual([look(other, bets, seen).met, look(other, bets, seen).toStart], [false, false]);
  assert.equal(look(other, bets, { ...seen, run: "new" }).met, true);
});

test("an ended race is cleared once, and a race that has begun never", () => {
  const clears = step({ opens: "clear", wait: wait("pressed") });
  const playing = open(begin(START, ""), clears, RECORDED);
  const { resets, playing: after } = look(playing, clears, RECORDED);
  assert.equal(resets, true);
  assert.equal(look(after, clears, RECORDED).resets, false);
  const begun = look(playing, clears, { ...SEEN, state: ["status", "loading"] });
  assert.equal(begun.resets || look(begun.playing, clears, RECORDED).resets, false);
  const waits = look(playing, clears, { ...RECORDED, enabled: false });
  assert.equal(waits.resets, false, "its last results are on their way");
  assert.equal(look(waits.playing, clears, RECORDED).resets, true, "also one that comes later");
});

test("a bet of two questions is half placed until both are answered, and stays so in words", () => {
  const bets = step({ wait: wait("bet") });
  const playing = open(begin(START, ""), bets, SEEN);
  const half = { ...SEEN, bet: true, asksWhen: true };
  const looked = look(playing, bets, half);
  assert.deepEqual([looked.met, looked.playing.half], [false, true]);
  assert.equal(isHalf(playing, bets, half), true);
  assert.equal(look(looked.playing, bets, { ...half, asksWhen: false }).met, true);
  assert.equal(isHalf(playing, step({ wait: wait("ended") }), half), false);
});

test("what is done goes on, or is answered and then stays; on another page only a press counts", () => {
  for (const answers of [false, true]) {
    const presses = step({ wait: wait("pressed"), answers });
    const pressed = press(open(begin(START, ""), presses, SEEN));
    const { met, playing } = look(pressed, presses, { ...SEEN, page: "learn" });
    assert.deepEqual([met, playing.said], [true, answers]);
    if (answers) assert.equal(look(playing, presses, SEEN).met, false);
  }
  const moves = step({ wait: wait("value", 4, 6) });
  const playing = open(begin(START, ""), moves, SEEN);
  assert.equal(look(playing, moves, { ...SEEN, value: 5 }).met, true);
  assert.equal(look(playing, moves, { ...SEEN, value: 5, page: "learn" }).met, false);
});

test("a step that hides the results keeps what an earlier one began, any other begins anew", () => {
  const playing = open(begin(START, ""), step({ opens: "rewind" }), RECORDED);
  const clearing = { ...playing, clears: true, pressed: true, said: true, before: "old" };
  const kept = open(clearing, step({ hides: true }), RECORDED);
  assert.deepEqual(
    [kept.rewinds, kept.clears, kept.pressed, kept.said],
    [true, true, false, false],
  );
  const anew = open(clearing, step(), RECORDED);
  assert.deepEqual([anew.rewinds, anew.clears, anew.before], [false, false, "old"]);
});

test("no bet is asked for while the end of a race is shown and nothing is to come", () => {
  for (const opens of /** @type {const} */ (["clear", "rewind"])) {
    const bets = step({ wait: wait("bet"), opens, hides: true });
    const opened = open(begin(START, ""), bets, RECORDED);
    assert.equal(asksBet(opened, bets, RECORDED), true, "it is about to be cleared, or shown anew");
    const ready = { ...SEEN, steps: opens === "clear" ? 0 : 60 };
    const state = opens === "clear" ? EMPTY.state : RECORDED.state;
    const { playing } = watched(4000, opened, bets, { ...ready, state });
    assert.equal(asksBet(playing, bets, { ...ready, state }), true, opens);
    const later = watched(4000, playing, bets, RECORDED).playing; // raced without a bet, or dragged
    assert.equal(asksBet(later, bets, RECORDED), false, opens);
    assert.equal(asksBet(later, bets, { ...RECORDED, step: 0 }), true, "dragged back");
    assert.equal(asksBet(later, step({ wait: wait("ended") }), SEEN), false);
  }
});
