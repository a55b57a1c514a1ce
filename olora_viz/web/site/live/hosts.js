// Workers as functions that answer questions; one that is lost fails what was asked.

/** @typedef {import("./types").Host} Host */
/** @typedef {import("./types").Device} Device */
/** @typedef {import("./types").Question} Question */

const LOST = "A worker of the race was lost: the browser may be short of memory.";

/** @param {unknown} error */
export const sentence = (error) => {
  const text = error instanceof Error ? error.message : String(error);
  if (/memory|allocation|ArrayBuffer/i.test(text)) return `There is not enough memory: ${text}`;
  return text;
};

/**
 * Make a worker answer; it answers in the order in which it is asked.
 *
 * @param {Device} device
 * @param {(device: Device) => Host} newHost
 */
export function connected(device, newHost) {
  /** @type {{ resolve: (answer: any) => void, reject: (error: Error) => void }[]} */
  const waiting = [];
  const host = newHost(device);
  let lost = "";
  /** @param {string} error */
  const fail = (error) => {
    lost = error;
    waiting.splice(0).forEach(({ reject }) => reject(Error(error)));
  };
  host.onmessage = ({ data }) => {
    const asked = waiting.shift();
    if ("error" in data) asked?.reject(Error(data.error));
    else asked?.resolve(data.answer);
  };
  host.onerror = ({ message }) => fail(message ? `${LOST} (${message})` : LOST);
  return {
    device,
    /** @param {Question} question @returns {Promise<any>} */
    ask: (question) =>
      new Promise((resolve, reject) => {
        if (lost) return reject(Error(lost));
        waiting.push({ resolve, reject });
        host.postMessage(question);
      }),
    /** Hand the worker on, once it has answered everything. */
    leave: () => {
      host.onmessage = host.onerror = null;
      return host;
    },
    end: () => {
      host.terminate();
      fail("The race was stopped.");
    },
  };
}
