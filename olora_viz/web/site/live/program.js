// What the joined script does where it runs: in a page it offers a race, in a worker it answers.

import { gpuHere } from "./devices.js";
import { startRace } from "./race.js";
import { answering } from "./worker.js";

/** @typedef {import("./types").Asked} Asked */
/** @typedef {import("./devices.js").GpuKnown} GpuKnown */
/** @typedef {import("./types").Heard} Heard */
/** @typedef {import("./types").Host} Host */
/** @typedef {import("./types").Device} Device */

/**
 * Begin here.
 *
 * @param {string} source of the whole script, for the workers
 */
export function begin(source) {
  const here = /** @type {any} */ (globalThis);
  if (typeof document === "undefined") {
    const answer = answering((message) => here.postMessage(message));
    here.onmessage = (/** @type {MessageEvent} */ { data }) => answer(data);
    return;
  }
  /** @type {Record<Device, Host[]>} of races that have ended */
  const idle = { wasm: [], webgpu: [] };
  const newHost = (/** @type {Device} */ device) => {
    const known = idle[device].pop();
    if (known) return known;
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const worker = new Worker(address);
    URL.revokeObjectURL(address);
    return /** @type {Host} */ (/** @type {unknown} */ (worker));
  };
  const known = gpuHere();
  /** @param {Asked} asked @param {(message: Heard) => void} heard @param {GpuKnown} [gpu] */
  const begun = (asked, heard, gpu = known) =>
    startRace(asked, heard, { newHost, keep: (host, device) => idle[device].push(host), gpu });
  here.oloraLive = {
    startRace: begun,
    /** Let workers compile what a race like this needs: by one step, of a lane for each. @param {Asked} asked */
    compile: (asked) =>
      new Promise((done) => {
        const lanes = asked.lanes.slice(0, navigator.hardwareConcurrency || 2);
        begun({ ...asked, lanes, steps: 1 }, ({ kind }) => {
          if (kind === "done" || kind === "error") done(null);
        });
      }),
  };
}
