import assert from "node:assert/strict";
import { test } from "node:test";

import { lanesOf, refusal } from "../../olora_viz/web/site/live/page.js";
import {
  accuracyFigure,
  answerText,
  answersCard,
  soFar,
} from "../../olora_viz/web/site/live/told.js";
import { verdict } from "../../olora_viz/web/site/live/verdict.js";

/** @param {number} seeds */
const groupsOf = (seeds) =>
  [
    ["lora", "LoRA"],
    ["olora", "OLoRA"],
    ["pissa", "PiSSA"],
  ].map(([init, name], i) => ({
    ...{ init, name },
    lanes: Array.from({ length: seeds }, (_, seed) => i * seeds + seed),
  }));

test("the verdict names the best lane first and says who diverged", () => {
  const words = soFar(groupsOf(1), [0.5, 0.97, null], 5);
  assert.match(words, /Step 5: OLoRA 97%, LoRA 50% right; PiSSA diverged\..*One seed/);
  const lost = soFar(groupsOf(1), [null, null, null], 5);
  assert.match(lost, /Step 5: LoRA, OLoRA, PiSSA diverged\..*Try a lower rate\. Trained/);
});

test("of several seeds the verdict has the means", () => {
  const words = soFar(groupsOf(2), [0.5, 0.6, 0.9, 0.9, 0.7, null], 5);
  assert.match(words, /OLoRA 90%, PiSSA 70% \(1 of 2 seeds diverged\), LoRA 55% right/);
  assert.match(words, /Means of 2 seeds\. Trained/);
});

test("at the end a start of which a seed has diverged is out, and of one start alone nothing is said", () => {
  const results = (/** @type {number} */ loss) => ({
    loss: Array.from({ length: 30 }, (_, i) => loss + i / 100),
    right: Array.from({ length: 30 }, (_, i) => Number(i % 4 > 0)),
  });
  const lanes = [0.9, 0.9, 0.5, 0.5, 0.4, NaN].map((loss) => (loss ? results(loss) : null));
  const points = [0, 60].map((step) => ({ step, values: lanes.map(() => 1) }));
  const found = verdict(groupsOf(2), lanes, points, "1e-3", 0.3);
  assert.match(found?.below ?? "", /right\. PiSSA is out of the race: a seed diverged\./);
  assert.ok(!found?.headline.includes("PiSSA"));
  const alone = lanes.map((each, k) => (k < 2 ? each : null));
  assert.equal(verdict(groupsOf(2), alone, points, "1e-3", 0.3), null);
});

test("answers are right or wrong where the right one is known, and text is no markup", () => {
  const decode = (/** @type {number[]} */ tokens) => tokens.map((t) => ["<b>", "yes"][t]).join("");
  const questions = [
    { prompt: "own <i>", right: [] },
    { prompt: "q", right: [1] },
  ];
  const card = answersCard(
    { groups: groupsOf(2).slice(0, 1), questions, decode },
    [[0], [0]],
    [
      [[1], [1]],
      [[0], [0]],
    ],
    "step 5",
  );
  assert.ok(!card.includes("<b><") && !card.includes("<i>"));
  assert.match(card, /own &#60;i&#62;/);
  assert.match(card, /yes <span role="img" title="right".* 1 of 2/);
  assert.match(card, /&#60;b&#62;… <span role="img" title="wrong"/);
});

test("a wrong answer ends with the text, with its line, or where the right one would have", () => {
  const words = ["", " yes", "\n", "no"];
  const decode = (/** @type {number[]} */ tokens) => tokens.map((t) => words[t]).join("");
  assert.equal(answerText([1, 3], [1], decode), "yes");
  assert.equal(answerText([3, 3], [1], decode), "no…");
  assert.equal(answerText([3, 0], [1, 0], decode), "no");
  assert.equal(answerText([3, 2, 1], [1, 1, 1], decode), "no");
  assert.equal(answerText([0], [1], decode), "");
  assert.equal(answerText([1, 3], [], decode), "yesno…");
});

test("each start has a lane for each seed", () => {
  const lanes = lanesOf([{ init: "olora", r: "8", lr: "1e-3", alpha: "16" }], 2);
  const lane = { init: "olora", r: 8, lr: 1e-3, alpha: 16 };
  assert.deepEqual(lanes, [
    { ...lane, seed: 0 },
    { ...lane, seed: 1 },
  ]);
});

test("the chart has the points that each lane has, and a label at its last one", () => {
  const like = {
    data: { 0: { x: "0,60", y: "0.6,0.6", trace: "{}" } },
    layout: {
      meta: '{"title":"Held-out accuracy","members":{}}',
      xaxis: '{"title":"step"}',
      margin: '{"l":5}',
    },
  };
  const evaluated = [
    { step: 0, values: [0, 0] },
    { step: 5, values: [0.25, null] },
  ];
  const of = { groups: groupsOf(1).slice(0, 2), steps: 60, baseline: false, examples: 64 };
  const { data, layout } = accuracyFigure(like, of, evaluated);
  assert.deepEqual(Object.keys(data), ["lora", "olora"]);
  assert.deepEqual([data.lora.x, data.lora.y, data.olora.x], ["0,5", "0,0.25", "0"]);
  const [first, second] = JSON.parse(layout.annotations);
  assert.deepEqual([first.x, first.y, second.x], [5, 0.25, 0]);
  assert.equal(JSON.parse(layout.meta).title, "Held-out accuracy");
  assert.equal(JSON.parse(layout.meta).members, undefined);
});

test("a browser that cannot train says why, one that can says nothing", () => {
  const here = /** @type {any} */ (globalThis);
  const [wasm, workers] = [here.WebAssembly, here.Worker];
  const memory = (/** @type {number | undefined} */ deviceMemory) =>
    Object.defineProperty(here, "navigator", { value: { deviceMemory }, configurable: true });
  try {
    delete here.Worker;
    assert.match(refusal(), /no workers.*the recorded race stays/);
    here.Worker = class {};
    memory(undefined);
    assert.equal(refusal(), "");
    memory(8);
    assert.equal(refusal(), "");
    memory(1);
    assert.match(refusal(), /1 GB of memory, and a race needs 2/);
    here.WebAssembly = { validate: () => false };
    assert.match(refusal(), /no SIMD/);
    here.WebAssembly = undefined;
    assert.match(refusal(), /no WebAssembly/);
  } finally {
    [here.WebAssembly, here.Worker] = [wasm, workers];
    delete here.navigator;
  }
});
