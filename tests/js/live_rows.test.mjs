// Rows of the reader's own: what they are read as, and what is refused in one sentence.

import assert from "node:assert/strict";
import { test } from "node:test";

import { adapterFile } from "../../olora_viz/web/site/live/adapter_file.js";
import { rowsOf, taskOf } from "../../olora_viz/web/site/live/rows.js";

const many = Array.from({ length: 24 }, (_, i) => [`${i} and ${i} make`, String(2 * i)]);
const csv = many.map((row) => row.join()).join("\n");

test("CSV with and without names, quotes, tabs, JSON and JSON lines are the same rows", () => {
  const wanted = many.map(([prompt, answer]) => [prompt, ` ${answer}`]);
  const objects = many.map(([prompt, answer]) => ({ prompt, completion: answer }));
  const forms = [
    csv,
    `${csv}\r\n\r\n`,
    `answer,n,prompt\n${many.map(([prompt, answer], i) => `${answer},${i},"${prompt}"`).join("\n")}`,
    many.map((row) => row.join("\t")).join("\n"),
    JSON.stringify(objects),
    objects.map((row) => JSON.stringify(row)).join("\n"),
    `${csv}\n${csv}`,
  ];
  for (const form of forms) assert.deepEqual(rowsOf(form), wanted);
  const quoted = rowsOf(`"say ""a, b"" and",no\n${csv}`);
  assert.deepEqual(quoted[0], ['say "a, b" and', " no"]);
  assert.deepEqual(rowsOf(JSON.stringify([{ prompt: "a\n", answer: "b" }, ...objects]))[0], [
    "a\n",
    "b",
  ]);
});

test("what is no row is refused with its number", () => {
  /** @type {[string, RegExp][]} */
  const wrong = [
    [`${csv}\nwhat now,`, /Row 25 has no answer/],
    [`${csv}\n,7`, /Row 25 has no prompt/],
    [`${csv}\na,b,c`, /not 3 columns/],
    ["a,b", /20 to 2000 different rows, not 1\./],
    ["", /not 0\./],
    ["[{]", /no JSON/],
    [JSON.stringify([...many.map(() => 7)]), /Row 1 has no prompt/],
  ];
  for (const [text, words] of wrong) assert.throws(() => rowsOf(text), words);
});

const tokenizer = {
  example: (/** @type {string} */ prompt, /** @type {string} */ answer) => [
    prompt.length,
    ...[...(prompt + answer)].map((sign) => sign.charCodeAt(0)),
    3,
  ],
};
const model = { batchSize: 4, mostSteps: 30 };

test("a task holds a quarter out, whatever the order of the rows, and has an order for each seed", () => {
  const rows = rowsOf(csv);
  const task = taskOf(rows, tokenizer, model, 2);
  assert.deepEqual(task, taskOf([...rows].reverse(), tokenizer, model, 2));
  assert.deepEqual([task.train.length, task.heldOut.length, task.asked.length], [18, 6, 4]);
  assert.equal(new Set([...task.train, ...task.heldOut].map((e) => e.join())).size, 24);
  assert.equal(task.width % 4, 0);
  assert.notDeepEqual(task.orders[0], task.orders[1]);
  for (const order of task.orders) {
    assert.equal(order.length, 120);
    assert.deepEqual(
      [...order.slice(0, 18)].sort((a, b) => a - b),
      [...task.train.keys()],
    );
  }
});

test("a row that is too long is named", () => {
  const rows = rowsOf(`${"long ".repeat(12)},yes\n${csv}`);
  assert.throws(
    () => taskOf(rows, tokenizer, model, 1),
    /at most 48 tokens; “long long .*…” has 64/,
  );
});

test("an adapter that began at zero keeps its rank, another one has its start taken off", () => {
  const read = (/** @type {number[]} */ B0) => {
    const now = { W: { A: Float32Array.of(1, 2, 3), B: Float32Array.of(4, 5) } };
    const start = { W: { A: Float32Array.of(6, 7, 8), B: Float32Array.from(B0) } };
    const file = adapterFile({ now, start, scale: 2 }, { init: "olora", r: 1, lr: 1 });
    return Buffer.from(file).toString("latin1");
  };
  assert.match(read([0, 0]), /"r": 1,\n "lora_alpha": 2,/);
  assert.match(read([1, 0]), /"r": 2,\n "lora_alpha": 4,/);
});
