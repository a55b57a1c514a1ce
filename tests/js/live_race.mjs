// Races for tests/web/test_live.py: node live_race.mjs ASKED ANSWERS. A race may rest after a step, `rest`.

import { readFileSync, writeFileSync } from "node:fs";

import { adapterFile } from "../../olora_viz/web/site/live/adapter_file.js";
import { startRace } from "../../olora_viz/web/site/live/race.js";
import { answering } from "../../olora_viz/web/site/live/worker.js";

/** @typedef {import("../../olora_viz/web/site/live/types").Host} Host */
/** @typedef {import("../../olora_viz/web/site/live/types").Heard} Heard */

/** A worker in this thread. @returns {Host} */
function newHost() {
  const answer = answering((data) => host.onmessage?.({ data }));
  /** @type {Host} */
  const host = { postMessage: answer, terminate() {}, onmessage: null, onerror: null };
  return host;
}

/** @param {any} asked @returns {Promise<Heard[]>} */
function race(asked) {
  /** @type {Heard[]} */
  const all = [];
  return new Promise((resolve) => {
    const running = startRace(
      asked,
      (message) => {
        all.push(message);
        if (message.kind === "step" && message.step === asked.rest) {
          running.pause();
          setTimeout(running.step, 50);
          setTimeout(running.resume, 400);
        }
        if (message.kind === "done" || message.kind === "error") resolve(all);
      },
      { newHost, cores: asked.cores },
    );
  });
}

const [asked, answers] = process.argv.slice(2);
const { data, races } = JSON.parse(readFileSync(asked, "utf8"));
const heard = [];
for (const each of races) {
  const messages = await race({ data, ...each });
  const done = /** @type {any} */ (messages.at(-1));
  done.lanes = done.lanes.map((/** @type {any} */ lane, /** @type {number} */ k) => ({
    ...lane,
    adapter: Buffer.from(adapterFile(lane, each.lanes[k])).toString("base64"),
  }));
  heard.push(messages);
}
const plain = (/** @type {string} */ _, /** @type {unknown} */ value) =>
  ArrayBuffer.isView(value) ? Array.from(/** @type {Float32Array} */ (value)) : value;
writeFileSync(answers, JSON.stringify(heard, plain));
