// A race in the browser: bases, pictures, what is refused, and the order of steps with workers that only count.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decoded } from "../../olora_viz/figures/live/adapter.js";
import { bySeed, refusal } from "../../olora_viz/web/site/live/asked.js";
import { dot, orthonormal, triplets } from "../../olora_viz/web/site/live/matrices.js";
import { movedSince, picture } from "../../olora_viz/web/site/live/pictures.js";
import { startRace } from "../../olora_viz/web/site/live/race.js";
import { fromHalf } from "../../olora_viz/web/site/live/weights.js";

/** @typedef {import("../../olora_viz/web/site/live/types").Heard} Heard */
/** @typedef {import("../../olora_viz/web/site/live/types").Host} Host */
/** @typedef {import("../../olora_viz/web/site/live/types").Question} Question */

const close = (/** @type {number} */ a, /** @type {number} */ b) =>
  assert.ok(Math.abs(a - b) < 1e-6, `${a} is not ${b}`);
const drawn = (/** @type {number} */ count) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(7 * i + 1) + 0.1 * Math.cos(i * i));

test("a basis is orthonormal whatever its columns, and completed where they depend on others", () => {
  const x = Float64Array.of(3, 4, 0);
  const basis = orthonormal([x, x, new Float64Array(3)]);
  basis.forEach((u, i) => basis.forEach((v, j) => close(dot(u, v), i === j ? 1 : 0)));
  assert.deepEqual([...basis[0]], [0.6, 0.8, 0]);
});

test("triplets are those of the matrix, tall or wide", () => {
  for (const [rows, columns] of [
    [5, 3],
    [3, 5],
  ]) {
    const values = drawn(15);
    const each = triplets({ values, rows, columns });
    values.forEach((value, i) => {
      const [y, x] = [Math.floor(i / columns), i % columns];
      close(
        each.reduce((sum, { s, u, v }) => sum + s * u[y] * v[x], 0),
        value,
      );
    });
    assert.ok(each[0].s >= each[1].s && each[1].s >= each[2].s);
  }
});

test("a picture is read back by the figure, up to half a level, and a large one is pooled", () => {
  const matrix = { values: drawn(12), rows: 3, columns: 4 };
  const { values } = decoded(picture(matrix));
  const half = picture(matrix).scale / 62;
  values.forEach((value, i) => assert.ok(Math.abs(value - matrix.values[i]) <= half + 1e-6));
  const wide = picture({ values: new Float32Array(341).fill(2), rows: 1, columns: 341 });
  assert.deepEqual([wide.columns, new Set(wide.text)], [128, new Set("+")]);
});

test("the singular values of a lane's update are those of s (BA − B⁰A⁰)", () => {
  const [W, r, s] = [{ rows: 6, columns: 5 }, 2, 0.5];
  const [start, now] = [
    { A: drawn(10), B: drawn(12) },
    { A: drawn(10).reverse(), B: drawn(12).map((x) => x / 2) },
  ];
  const delta = new Float32Array(30);
  for (let i = 0; i < 30; i++)
    for (let k = 0; k < r; k++) {
      const of = (/** @type {typeof now} */ { A, B }) =>
        B[Math.floor(i / 5) * r + k] * A[k * 5 + (i % 5)];
      delta[i] += s * (of(now) - of(start));
    }
  const { sigma } = movedSince(W, now, start, r, s);
  const whole = triplets({ values: delta, ...W });
  sigma.forEach((value, i) => assert.ok(Math.abs(value - whole[i].s) < 1e-3 * whole[0].s));
});

test("float16 is read exactly", () => {
  const bytes = Uint8Array.of(0x00, 0x3c, 0x00, 0xc1, 0x01, 0x00, 0x00, 0x7c);
  assert.deepEqual([...fromHalf(bytes)], [1, -2.5, 2 ** -24, Infinity]);
});

const TASK = { train: [[1, 5, 6]], heldOut: [], test: [], orders: [new Array(99).fill(0)] };
const data = /** @type {any} */ ({ tasks: { one: TASK }, mostSteps: 9, batchSize: 1 });
const lane = { init: "olora", r: 4, lr: 1e-3 };
const asked = { data, lanes: [lane, lane, lane], steps: 3, evalEvery: 2, task: "one" };

test("what cannot be raced is refused in one sentence", () => {
  assert.equal(refusal(asked), "");
  /** @type {[object, RegExp][]} */
  const wrong = [
    [{ task: "toString" }, /one of one/],
    [{ lanes: [] }, /1 to 12 lanes, not 0/],
    [{ lanes: new Array(13).fill(lane) }, /not 13/],
    [{ lanes: [{ ...lane, r: 65 }] }, /Lane 1: the rank must be from 1 to 64, not 65/],
    [{ lanes: [{ ...lane, init: "eva" }] }, /a start here is one of/],
    [{ lanes: [{ ...lane, lr: NaN }] }, /learning rate/],
    [{ lanes: [{ ...lane, alpha: 0 }] }, /alpha/],
    [{ lanes: [lane, { ...lane, seed: 1 }] }, /seeds 0 to 0, not for 1/],
    [{ steps: 10 }, /1 to 9 steps, not 10/],
    [{ evalEvery: -1 }, /evaluations/],
  ];
  for (const [change, words] of wrong) assert.match(refusal({ ...asked, ...change }), words);
  assert.ok(
    !bySeed([
      { ...lane, init: "lora" },
      { ...lane, init: "lora", seed: 1 },
    ]),
  );
});

const reply = () => ({ loss: 1, gradNorm: 1, evalLoss: 1, evalAccuracy: 0 });

/**
 * Race with workers that answer at once, and count.
 *
 * @param {object} change of what is asked
 * @param {(message: Heard, running: ReturnType<typeof startRace>) => void} [then]
 * @param {(question: Question, host: Host) => any} [answer]
 * @param {(host: Host) => void} [keep]
 * @param {import("../../olora_viz/web/site/live/devices.js").GpuKnown} [gpu]
 */
function counted(change, then = () => {}, answer = () => ({ answer: reply() }), keep, gpu) {
  /** @type {Host[]} */
  const hosts = [];
  /** @type {(Question & { host: number })[]} */
  const questions = [];
  const newHost = () => {
    /** @type {Host} */
    const host = {
      postMessage(question) {
        questions.push({ ...question, host: hosts.indexOf(host) });
        const data = answer(question, host);
        if (data) setTimeout(() => host.onmessage?.({ data }), data.after);
      },
      terminate() {},
      onmessage: null,
      onerror: null,
    };
    hosts.push(host);
    return host;
  };
  return new Promise((/** @type {(all: any) => void} */ resolve) => {
    /** @type {any[]} */
    const messages = [];
    const running = startRace(
      { ...asked, ...change },
      (message) => {
        messages.push(message);
        then(message, running);
        if (message.kind === "done" || message.kind === "error")
          resolve({ messages, questions, hosts, last: message });
      },
      { newHost, keep, cores: 2, gpu },
    );
  });
}

test("at most as many workers as cores, and all lanes make a step before any makes the next", async () => {
  const { messages, questions, hosts } = await counted({ lanes: [lane, lane, lane, lane] });
  assert.equal(hosts.length, 2);
  const trained = questions.filter((/** @type {any} */ { ask }) => ask === "train");
  assert.deepEqual(
    trained.map((/** @type {any} */ each) => [each.lane, each.host]),
    [0, 1, 2].flatMap(() => [
      [0, 0],
      [1, 1],
      [2, 0],
      [3, 1],
    ]),
  );
  const steps = messages.filter((/** @type {Heard} */ { kind }) => kind === "step");
  assert.deepEqual(
    steps.map((/** @type {any} */ each) => [each.step, !!each.evalLoss]),
    [
      [1, false],
      [2, true],
      [3, true],
    ],
  );
});

test("workers that have answered everything are kept for the next race, others are not", async () => {
  /** @type {Host[]} */
  const kept = [];
  const keep = (/** @type {Host} */ host) => kept.push(host);
  const { hosts } = await counted({}, undefined, undefined, keep);
  assert.deepEqual(kept, hosts);
  assert.ok(kept.every(({ onmessage }) => onmessage === null));
  kept.length = 0;
  await counted({}, undefined, () => ({ error: "no" }), keep);
  assert.deepEqual(kept, []);
});

test("each worker computes the start in its share of the layers, once for lanes that share it", async () => {
  const { questions } = await counted({ lanes: [lane, { ...lane, lr: 1e-4 }] });
  const asked = questions.filter((/** @type {any} */ { ask }) => ask === "start");
  assert.deepEqual(
    asked.map((/** @type {any} */ { host, share, of }) => [host, share, of]),
    [
      [0, 0, 2],
      [1, 1, 2],
    ],
  );
});

test("a race that rests makes one step at a time, and stops as it is", async () => {
  const { last, messages } = await counted({ steps: 9 }, (message, running) => {
    if (message.kind !== "step") return;
    running.pause();
    setTimeout(message.step < 3 ? running.step : running.stop, 20);
  });
  assert.deepEqual([last.status, last.step], ["stopped", 3]);
  assert.equal(messages.filter((/** @type {Heard} */ { kind }) => kind === "step").length, 3);
});

test("a lane whose loss is not finite trains no more, and the others go on", async () => {
  const { questions, last } = await counted({}, undefined, (question) => ({
    answer: { loss: "lane" in question && question.lane === 1 ? NaN : 1, gradNorm: 1 },
  }));
  const of = (/** @type {number} */ k) =>
    questions.filter((/** @type {any} */ each) => each.ask === "train" && each.lane === k).length;
  assert.deepEqual([of(0), of(1), of(2), last.kind], [3, 1, 3, "done"]);
});

test("a lost worker, lack of memory and a bad set-up each end the race with one sentence", async () => {
  const { last: lost } = await counted({}, undefined, (question, host) => {
    if (question.ask !== "train") return { answer: {} };
    setTimeout(() => host.onerror?.({ message: "" }));
  });
  assert.match(lost.error, /was lost/);
  const memory = { error: "WebAssembly.Memory.grow(): Maximum memory size exceeded" };
  const { last: full } = await counted({}, undefined, () => memory);
  assert.match(full.error, /not enough memory/);
  const { last: bad, hosts } = await counted({ lanes: [] });
  assert.match(bad.error, /1 to 12 lanes/);
  assert.equal(hosts.length, 0);
});

/** @param {{ loss?: number, after?: number, error?: string, isSilent?: boolean }} gpu what the GPU's worker answers */
async function tried({ loss = 1, after = 0, error, isSilent }) {
  const gpu = { use: Promise.resolve(true), isTried: false };
  let other = /** @type {Host | null} */ (null);
  const { messages, questions, last, hosts } = await counted(
    {},
    undefined,
    (question, host) => {
      if (question.ask === "begin" && question.device === "webgpu") other = host;
      const answer = { ...reply(), loss: host === other ? loss : 1, gradNorm: 1 };
      if (host === other && isSilent) return null;
      if (host === other && error) return { error };
      return { answer, after: question.ask === "train" ? (host === other ? after : 300) : 0 };
    },
    undefined,
    gpu,
  );
  const { device } = messages.find((/** @type {Heard} */ { kind }) => kind === "ready");
  const trained = questions.filter((/** @type {any} */ { ask }) => ask === "train");
  const on = trained.slice(-9).map((/** @type {any} */ { host }) => hosts[host] === other);
  return { device, gpu, last, isOnGpu: [...new Set(on)], trained: on.length };
}

test("the GPU trains all lanes if its first step is WebAssembly's and its next one sooner", async () => {
  const { device, gpu, last, isOnGpu, trained } = await tried({});
  assert.deepEqual([device, gpu, last.kind], ["webgpu", { use: true, isTried: true }, "done"]);
  assert.deepEqual([isOnGpu, trained], [[true], 9]);
});

for (const [why, answers] of Object.entries({
  "computes another loss": { loss: 1.01 },
  "is slower": { after: 900 },
  "cannot compute it": { error: "no such device" },
  "does not answer": { isSilent: true },
})) {
  test(`WebAssembly trains all lanes if the GPU ${why}`, async () => {
    const { device, gpu, last, isOnGpu, trained } = await tried(answers);
    assert.deepEqual([device, gpu, last.kind], ["wasm", { use: false, isTried: true }, "done"]);
    assert.deepEqual([isOnGpu, trained], [[false], 9]);
  });
}

test("a GPU that is lost in a race ends it with a sentence, and is not asked by the next one", async () => {
  const gpu = { use: true, isTried: true };
  const lost = (/** @type {Question} */ { ask }, /** @type {Host} */ host) => {
    if (ask !== "train") return { answer: reply() };
    setTimeout(() => host.onerror?.({ message: "" }));
  };
  const { last, hosts } = await counted({}, undefined, lost, undefined, gpu);
  assert.match(last.error, /was lost/);
  assert.equal(hosts.length, 3);
  assert.equal(gpu.use, false);
});
