// A race in the browser: lanes in workers, step by step.

import { bySeed, refusal, startKey } from "./asked.js";
import { isBetter } from "./devices.js";
import { connected, sentence } from "./hosts.js";

/** @typedef {import("./types").Asked} Asked */
/** @typedef {import("./types").Heard} Heard */
/** @typedef {import("./types").Host} Host */
/** @typedef {import("./types").Device} Device */
/** @typedef {import("./types").FactorsByLayer} FactorsByLayer */
/** @typedef {import("./devices.js").GpuKnown} GpuKnown */
/** @typedef {ReturnType<typeof connected>} Connected */

/** @template V @param {V} value */
const orNull = (value) => (typeof value === "number" && !Number.isFinite(value) ? null : value);

/**
 * Begin a race. Lane k lives in worker k modulo their number; there are at most as many as
 * cores, as each takes some 180 MB. All lanes make a step before any makes the next.
 *
 * @param {Asked} asked
 * @param {(message: Heard) => void} heard
 * @param {{ newHost: (device: Device) => Host, keep?: (host: Host, device: Device) => void, cores?: number, gpu?: GpuKnown }} where
 *   `keep` takes workers after a race: what they have compiled is there for the next one
 */
export function startRace(asked, heard, where) {
  const { newHost, keep, cores = navigator.hardwareConcurrency || 2, gpu } = where;
  const { data, lanes, steps, evalEvery, task, prompts = [] } = asked;
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  const atOnce = Math.min(lanes.length, Math.max(1, cores));
  /** @type {Connected[]} */
  let workers = [];
  let [done, goal, isOver] = [0, steps, false];
  let wake = () => {};
  /** @type {Set<number>} */
  const out = new Set();

  /** @param {Heard} message */
  const end = (message) => {
    if (isOver) return;
    isOver = true;
    workers.forEach(message.kind === "done" ? leave : (worker) => worker.end());
    heard(message);
  };
  /** @param {Connected} worker */
  const leave = (worker) => (keep ? keep(worker.leave(), worker.device) : worker.end());
  /** @param {unknown} error */
  const fail = (error) => {
    if (gpu && workers[0]?.device === "webgpu") gpu.use = false; // the next race does without it
    end({ kind: "error", error: sentence(error) });
  };

  /**
   * Ask about every lane that still trains; null for the others.
   *
   * @template V
   * @param {(k: number) => import("./types").Question} question
   * @returns {Promise<(V | null)[]>}
   */
  const ofLanes = (question) =>
    Promise.all(lanes.map((_, k) => (out.has(k) ? null : workerOf(k).ask(question(k)))));
  /** @param {number} k */
  const workerOf = (k) => workers[k % workers.length];

  /** @param {Connected} worker */
  const begun = (worker) => {
    const { tasks, ...model } = data;
    return worker.ask({ ask: "begin", device: worker.device, model, task: tasks[task] });
  };

  async function begin() {
    for (let i = 0; i < atOnce; i++) workers.push(connected("wasm", newHost));
    await Promise.all(workers.map(begun));
    /** @type {Map<string, Promise<FactorsByLayer>>} */
    const known = new Map();
    if (gpu && (await gpu.use)) {
      const first = startOf(lanes[0]);
      known.set(startKey(lanes[0]), first);
      await tryGpu(gpu, await first);
    }
    const added = await Promise.all(
      lanes.map(async (spec, lane) => {
        const start = known.get(startKey(spec)) ?? startOf(spec);
        known.set(startKey(spec), start);
        const value = await workerOf(lane).ask({ ask: "add", lane, spec, start: await start });
        if (!isOver) heard({ kind: "starting", lane });
        return value;
      }),
    );
    /** @type {[import("./types").Measured, any]} */
    const [{ answers, factors, ...base }, weights] = await Promise.all([
      workers[0].ask({ ask: "measure", lane: 0, prompts }),
      workers[0].ask({ ask: "weights" }),
    ]);
    if (isOver) return;
    const [start, scales] = [added.map((each) => each.pictures), added.map((each) => each.scale)];
    const { device } = workers[0];
    heard({ kind: "ready", device, base, answers, weights, start, scales, seconds: seconds() });
  }

  /** Let the GPU train all lanes, if it is the better one. @param {GpuKnown} known @param {FactorsByLayer} start of lane 0 */
  async function tryGpu(known, start) {
    const [wasm, other] = [workers[0], connected("webgpu", newHost)];
    /** @param {Connected} worker */
    const ready = async (worker) => {
      if (worker === other) await begun(other);
      return worker.ask({ ask: "add", lane: 0, spec: lanes[0], start });
    };
    const each = lanes.length / Math.ceil(lanes.length / atOnce);
    let use = true;
    try {
      if (known.isTried) await begun(other);
      else use = await isBetter(other, wasm, ready, updateOf(0, 1), each);
    } catch {
      use = false; // lost, or without a device that can compute this
    }
    if (isOver) return other.end();
    Object.assign(known, { use, isTried: true });
    if (!use) return other.end();
    workers.splice(0, workers.length, other).forEach(leave);
  }

  /** Every worker computes the start in its share of the layers. @param {import("./types").Lane} spec */
  async function startOf(spec) {
    const of = workers.length;
    const shares = await Promise.all(
      workers.map((worker, share) => worker.ask({ ask: "start", spec, share, of })),
    );
    return Object.assign({}, ...shares);
  }

  /** @param {number} lane @param {number} number from 1 @returns {import("./types").Question} */
  function updateOf(lane, number) {
    const { orders, train } = data.tasks[task];
    const [from, to] = [(number - 1) * data.batchSize, number * data.batchSize];
    const order = orders[bySeed(lanes) ? (lanes[lane].seed ?? 0) : 0];
    return { ask: "train", lane, examples: order.slice(from, to).map((at) => train[at]) };
  }

  /** @param {number} number from 1 */
  async function update(number) {
    /** @type {(import("./types").Trained | null)[]} */
    const trained = await ofLanes((lane) => updateOf(lane, number));
    const diverged = lanes.flatMap((_, k) => {
      const each = trained[k];
      return each && !Number.isFinite(each.loss + each.gradNorm) ? [k] : [];
    });
    diverged.forEach((k) => out.add(k));
    const isDue = number === steps || (evalEvery > 0 && number % evalEvery === 0);
    const measured = isDue ? await measure() : {};
    if (isOver) return;
    heard({
      kind: "step",
      step: number,
      loss: trained.map((each) => orNull(each?.loss ?? null)),
      gradNorm: trained.map((each) => orNull(each?.gradNorm ?? null)),
      ...measured,
      diverged,
      seconds: seconds(),
    });
  }

  async function measure() {
    /** @type {(import("./types").Measured | null)[]} */
    const measured = await ofLanes((lane) => ({ ask: "measure", lane, prompts }));
    return {
      evalLoss: measured.map((each) => orNull(each?.evalLoss ?? null)),
      evalAccuracy: measured.map((each) => each?.evalAccuracy ?? null),
      examples: measured.map((each) => each?.examples ?? null),
      answers: measured.map((each) => each?.answers ?? null),
      factors: measured.map((each) => each?.factors ?? null),
    };
  }

  /** @param {"finished" | "stopped"} status */
  async function finish(status) {
    const results = await Promise.all(
      lanes.map((_, lane) => workerOf(lane).ask({ ask: "result", lane })),
    );
    end({
      kind: "done",
      status,
      step: done,
      lanes: results,
      seconds: seconds(),
    });
  }

  let isStopping = false;
  async function run() {
    const wrong = refusal(asked);
    if (wrong) throw Error(wrong);
    await begin();
    while (!isOver && !isStopping && done < steps) {
      if (done >= goal) await new Promise((go) => (wake = () => go(null)));
      else await update(done + 1).then(() => done++);
    }
    if (!isOver) await finish(isStopping ? "stopped" : "finished");
  }
  run().catch(fail);

  /** @param {number} to */
  const until = (to) => {
    goal = Math.min(steps, to);
    wake();
  };
  return {
    /** Rest after the step that is being made. */
    pause: () => until(0),
    resume: () => until(steps),
    /** Make one step, and rest. */
    step: () => until(done + 1),
    /** End after the step that is being made, with the lanes as they are. */
    stop: () => {
      isStopping = true;
      wake();
    },
    /** End at once, without a message. */
    reset: () => {
      isOver = true;
      workers.forEach((worker) => worker.end());
    },
  };
}
