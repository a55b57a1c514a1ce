// A race in the browser: lanes in workers, step by step.

import { bySeed, refusal, startKey } from "./asked.js";
import { connected, sentence } from "./hosts.js";

/** @typedef {import("./types").Asked} Asked */
/** @typedef {import("./types").Heard} Heard */
/** @typedef {import("./types").Host} Host */
/** @typedef {ReturnType<typeof connected>} Connected */

/** @template V @param {V} value */
const orNull = (value) => (typeof value === "number" && !Number.isFinite(value) ? null : value);

/**
 * Begin a race. Lane k lives in worker k modulo their number; there is one more than cores at most,
 * so that no core waits where lanes do not divide among them. All lanes make a step before any makes
 * the next.
 *
 * @param {Asked} asked
 * @param {(message: Heard) => void} heard
 * @param {{ newHost: () => Host, keep?: (host: Host) => void, cores?: number }} where `keep` takes
 *   workers after a race: what they have compiled is there for the next one
 */
export function startRace(asked, heard, where) {
  const { newHost, keep, cores = navigator.hardwareConcurrency || 2 } = where;
  const { data, lanes, steps, evalEvery, task, prompts = [] } = asked;
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
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
    workers.forEach((worker) =>
      keep && message.kind === "done" ? keep(worker.leave()) : worker.end(),
    );
    heard(message);
  };
  /** @param {unknown} error */
  const fail = (error) => end({ kind: "error", error: sentence(error) });

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

  async function begin() {
    for (let i = 0; i < Math.min(lanes.length, Math.max(1, cores) + 1); i++)
      workers.push(connected(newHost));
    const { tasks, ...model } = data;
    await Promise.all(
      workers.map((worker) => worker.ask({ ask: "begin", model, task: tasks[task] })),
    );
    /** @type {Map<string, Promise<import("./types").FactorsByLayer>>} */
    const known = new Map();
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
    heard({ kind: "ready", base, answers, weights, start, scales, seconds: seconds() });
  }

  /** Every worker computes the start in its share of the layers. @param {import("./types").Lane} spec */
  async function startOf(spec) {
    const of = workers.length;
    const shares = await Promise.all(
      workers.map((worker, share) => worker.ask({ ask: "start", spec, share, of })),
    );
    return Object.assign({}, ...shares);
  }

  /** @param {number} number from 1 */
  async function update(number) {
    const { orders, train } = data.tasks[task];
    const own = bySeed(lanes);
    const [from, to] = [(number - 1) * data.batchSize, number * data.batchSize];
    /** @type {(import("./types").Trained | null)[]} */
    const trained = await ofLanes((lane) => {
      const order = orders[own ? (lanes[lane].seed ?? 0) : 0];
      const examples = order.slice(from, to).map((at) => train[at]);
      return { ask: "train", lane, examples };
    });
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
