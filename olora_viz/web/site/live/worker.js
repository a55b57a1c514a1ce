// Answers the questions of race.js about the lanes that live here, one question after the other.

import { defaultDevice, init } from "@jax-js/jax";

import { makeTrainer } from "./lanes.js";
import { movedSince, picture, pictured } from "./pictures.js";
import { matricesOf } from "./weights.js";

/** @typedef {import("./types").Question} Question */
/** @typedef {import("./types").Answer} Answer */

const NAMES = { wasm: "WebAssembly", webgpu: "WebGPU" };

/**
 * Return what answers questions.
 *
 * @param {(answer: Answer) => void} post
 */
export function answering(post) {
  /** @type {import("./types").Model} */
  let model;
  /** @type {import("./types").Task} */
  let task;
  /** @type {Record<string, import("./types").Matrix>} */
  let weights;
  /** @type {import("./lanes.js").Trainer} */
  let trainer;
  /** @type {Map<string, import("./lanes.js").Trainer>} by the size of a batch, for which it is compiled */
  const trainers = new Map();
  /** @type {Map<number, import("./lanes.js").Lane>} */
  const lanes = new Map();
  const laneAt = (/** @type {number} */ k) =>
    /** @type {import("./lanes.js").Lane} */ (lanes.get(k));

  /** @param {Question} question @returns {Promise<unknown>} */
  async function answerTo(question) {
    switch (question.ask) {
      case "begin": {
        const { device } = question;
        if (!(await init(device)).includes(device))
          throw Error(`${NAMES[device]} is not available`);
        defaultDevice(device);
        lanes.forEach((lane) => trainer.drop(lane));
        lanes.clear();
        ({ model, task } = question);
        weights ??= matricesOf(model);
        const { width, supervised } = task;
        const size = { rows: model.batchSize, width, supervised };
        const key = Object.values(size).join();
        trainer = trainers.get(key) ?? makeTrainer(weights, model.shape, size);
        trainers.set(key, trainer);
        return null;
      }
      case "start": {
        const { spec, share, of } = question;
        const names = trainer.names.filter((_, i) => i % of === share);
        return trainer.startOf(spec, names);
      }
      case "add": {
        const [known, lane] = [laneAt(question.lane), trainer.add(question.spec, question.start)];
        if (known) trainer.drop(known);
        lanes.set(question.lane, lane);
        const start = model.pictured.map((name) => [
          name,
          pictured(weights[name], lane.start[name], lane.spec.r),
        ]);
        return { pictures: Object.fromEntries(start), scale: lane.scale };
      }
      case "weights": {
        const each = model.pictured.map((name) => {
          const { rows, columns } = weights[name];
          return [name, { picture: picture(weights[name]), shape: [rows, columns] }];
        });
        return Object.fromEntries(each);
      }
      case "train":
        return trainer.train(laneAt(question.lane), question.examples);
      case "measure": {
        const [lane, { heldOut }] = [laneAt(question.lane), task];
        const { start, spec, scale } = lane;
        const answers = await trainer.answer(lane, question.prompts, {
          end: model.tokenizer.end,
          most: Math.max(...heldOut.map(([from, ...tokens]) => tokens.length - from)),
        });
        const now = await trainer.now(lane, model.pictured);
        const moved = model.pictured.map((name) => [
          name,
          movedSince(weights[name], now[name], start[name], spec.r, scale),
        ]);
        const evaluation = await trainer.evaluate(lane, heldOut);
        return { ...evaluation, answers, factors: Object.fromEntries(moved) };
      }
      case "result": {
        const lane = laneAt(question.lane);
        return { now: await trainer.now(lane), start: lane.start, scale: lane.scale };
      }
    }
  }

  /** @type {Promise<void>} */
  let before = Promise.resolve();
  return (/** @type {Question} */ question) => {
    before = before.then(async () => {
      try {
        post({ answer: await answerTo(question) });
      } catch (error) {
        post({ error: error instanceof Error ? error.message : String(error) });
      }
    });
  };
}
