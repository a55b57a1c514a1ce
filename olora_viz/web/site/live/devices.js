// Which device trains: the GPU, if its steps are WebAssembly's and are made sooner.

/** @typedef {ReturnType<typeof import("./hosts.js").connected>} Connected */
/** @typedef {import("./types").Question} Question */
/** Whether a race may use the GPU of this page; a race that has tried it writes down what it found. @typedef {{ use: Promise<boolean> | boolean, isTried: boolean }} GpuKnown */

const SAME = 1e-3; // relative
const PATIENCE = 5000; // milliseconds that the GPU may take longer for its first steps, which compile

/** Return whether this page has a GPU: one that is not the processor in disguise. @returns {GpuKnown} */
export function gpuHere() {
  const gpu = /** @type {any} */ (globalThis).navigator?.gpu;
  const found = async () => {
    const adapter = await gpu?.requestAdapter();
    return Boolean(adapter && !adapter.info?.isFallbackAdapter);
  };
  return { use: found().catch(() => false), isTried: false };
}

/**
 * Return whether one worker makes the first step of a lane as the other does, and its next ones sooner.
 *
 * @param {Connected} gpu
 * @param {Connected} wasm
 * @param {(worker: Connected) => Promise<unknown>} ready gives a worker the lane
 * @param {Question} update of the lane
 * @param {number} lanes that the GPU trains while WebAssembly trains one
 */
export async function isBetter(gpu, wasm, ready, update, lanes) {
  const of = (/** @type {Connected} */ worker) => ready(worker).then(() => timed(worker, update));
  const ofWasm = of(wasm);
  const late = ofWasm.then(() => new Promise((done) => setTimeout(done, PATIENCE, null)));
  const ofGpu = of(gpu).catch(() => null);
  const [theirs, ours] = await Promise.all([Promise.race([ofGpu, late]), ofWasm]);
  if (!theirs) return false;
  const isSame = (/** @type {"loss" | "gradNorm"} */ key) =>
    Math.abs(theirs[key] - ours[key]) <= SAME * Math.abs(ours[key]);
  return isSame("loss") && isSame("gradNorm") && lanes * theirs.seconds < ours.seconds;
}

/** Make an update twice: the first one compiles. @param {Connected} worker @param {Question} update */
async function timed(worker, update) {
  /** @type {import("./types").Trained} */
  const first = await worker.ask(update);
  const began = performance.now();
  await worker.ask(update);
  return { ...first, seconds: (performance.now() - began) / 1000 };
}
