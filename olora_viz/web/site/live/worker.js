// Answers the questions of race.js about the lanes that live here, one question after the other.

import { defaultDevice, init } from "@jax-js/jax";

import { makeTrainer } from "./lanes.js";
import { movedSince, picture, pictured } from "./pictures.js";

/** @typedef {import("./types").Question} Question */
/** @typedef {import("./types").Answer} Answer */

const DEVICE = "wasm";

/**
 * Return what answers questions.
 *
 * @param {(answer: Answer) => void} post
 */
export function answering(post) {
  /** @type {import("./lanes.js").Trainer} */
  let trainer;
  /** @type {import("./types").Data} */
  let data;
  /** @type {import("./types").Task} */
  let task;
  /** @type {Map<number, import("./lanes.js").Lane>} */
  const lanes = new Map();
  const laneAt = (/** @type {number} */ k) =>
    /** @type {import("./lanes.js").Lane} */ (lanes.get(k));

  /** @param {Question} question @returns {Promise<unknown>} */
  async function answerTo(question) {
    switch (question.ask) {
      case "begin": {
        if (!(await init(DEVICE)).includes(DEVICE)) throw Error("WebAssembly is not available");
        defaultDevice(DEVICE);
        data = question.data;
        task = data.tasks[question.task];
        trainer = makeTrainer(data, question.task);
        return null;
      }
      case "add": {
        const lane = trainer.add(question.spec, question.start);
        lanes.set(question.lane, lane);
        const start = data.pictured.map((name) => [
          name,
          pictured(trainer.weights[name], lane.start[name], lane.spec.r),
        ]);
        return { pictures: Object.fromEntries(start), start: lane.start, scale: lane.scale };
      }
      case "weights": {
        const each = data.pictured.map((name) => {
          const { rows, columns } = trainer.weights[name];
          return [name, { picture: picture(trainer.weights[name]), shape: [rows, columns] }];
        });
        return Object.fromEntries(each);
      }
      case "train":
        return trainer.train(laneAt(question.lane), question.examples);
      case "evaluate":
        return trainer.evaluate(laneAt(question.lane), task[question.part]);
      case "picture": {
        const lane = laneAt(question.lane);
        const now = await trainer.now(lane, data.pictured);
        const moved = data.pictured.map((name) => {
          const { start, spec, scale } = lane;
          return [name, movedSince(trainer.weights[name], now[name], start[name], spec.r, scale)];
        });
        return Object.fromEntries(moved);
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
