// What the joined script does where it runs: in a page it offers a race, in a worker it answers.

import { startRace } from "./race.js";
import { answering } from "./worker.js";

/** @typedef {import("./types").Asked} Asked */
/** @typedef {import("./types").Heard} Heard */

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
  /** @type {import("./types").Host[]} of races that have ended */
  const idle = [];
  const newHost = () => {
    const known = idle.pop();
    if (known) return known;
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const worker = new Worker(address);
    URL.revokeObjectURL(address);
    return /** @type {import("./types").Host} */ (/** @type {unknown} */ (worker));
  };
  here.oloraLive = {
    /** @param {Asked} asked @param {(message: Heard) => void} heard */
    startRace: (asked, heard) =>
      startRace(asked, heard, { newHost, keep: (host) => idle.push(host) }),
  };
}
