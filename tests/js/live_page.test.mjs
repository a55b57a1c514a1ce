import assert from "node:assert/strict";
import { test } from "node:test";

import { accuracyFigure, verdict } from "../../olora_viz/web/site/live/page.js";

test("the verdict names the best lane first and says who diverged", () => {
  const words = verdict(["LoRA", "OLoRA", "PiSSA"], [0.5, 0.97, null], "Step 5");
  assert.match(words, /Step 5: OLoRA 97%, LoRA 50%, PiSSA diverged right/);
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
    { step: 0, accuracy: [0, 0] },
    { step: 5, accuracy: [0.25, null] },
  ];
  const of = {
    inits: ["lora", "olora"],
    names: ["LoRA", "OLoRA"],
    steps: 60,
    baseline: false,
    examples: 64,
  };
  const { data, layout } = accuracyFigure(like, of, evaluated);
  assert.deepEqual(Object.keys(data), ["lora", "olora"]);
  assert.deepEqual([data.lora.x, data.lora.y, data.olora.x], ["0,5", "0,0.25", "0"]);
  const [first, second] = JSON.parse(layout.annotations);
  assert.deepEqual([first.x, first.y, second.x], [5, 0.25, 0]);
  assert.equal(JSON.parse(layout.meta).title, "Held-out accuracy");
  assert.equal(JSON.parse(layout.meta).members, undefined);
});
