// What a guide knows: its place, what was done, and when a step's wish is met. No page is needed here.

/** @typedef {{ at: number, done: number[] }} Place the step, from 0, and the steps that were done */
/** @typedef {{ places: Record<string, Place>, never: boolean }} Kept of a browser; never: not offered again */
/** @typedef {{ kind: string, words: string, of: string, low: number, high: number }} Wait */
/**
 * What is seen of the page.
 *
 * @typedef {object} Seen
 * @property {boolean} pressed what was to be pressed, or a lane hidden, since the step began
 * @property {number} value of the control; NaN if there is none
 * @property {number} step of the race in view
 * @property {number} steps of the race so far; 0 without a race
 * @property {boolean} ended whether the race has ended
 * @property {boolean} bet whether a bet is placed
 */

/** @type {Place} */
export const START = { at: 0, done: [] };

/**
 * Return what a browser has stored; nothing if it is not ours.
 *
 * @param {string | null} text
 * @returns {Kept}
 */
export function read(text) {
  try {
    const { places, never } = JSON.parse(text ?? "");
    if (places && typeof places === "object") return { places, never: never === true };
  } catch {
    // another one's
  }
  return { places: {}, never: false };
}

/**
 * Return a stored place, within the steps that there are.
 *
 * @param {Kept} kept
 * @param {string} name of the guide
 * @param {number} steps
 * @returns {Place}
 */
export function placeIn({ places }, name, steps) {
  const { at = 0, done = [] } = places[name] ?? START;
  const whole = (/** @type {unknown} */ n) =>
    Number.isInteger(n) && Number(n) >= 0 && Number(n) < steps;
  return { at: whole(at) ? at : 0, done: Array.isArray(done) ? done.filter(whole) : [] };
}

/**
 * Return the step that an address names, from 0: `at=` counts from 1; null if it names none.
 *
 * @param {string} search
 * @param {number} steps
 */
export function linked(search, steps) {
  const at = new URLSearchParams(search).get("at") ?? "";
  return /^[1-9]\d{0,2}$/.test(at) ? Math.min(Number(at), steps) - 1 : null;
}

/**
 * Return the place some steps on or back, within the guide.
 *
 * @param {Place} place
 * @param {number} by
 * @param {number} steps
 * @returns {Place}
 */
export function turn(place, by, steps) {
  return { ...place, at: Math.min(Math.max(place.at + by, 0), steps - 1) };
}

/**
 * Return the place after its step was done.
 *
 * @param {Place} place
 * @returns {Place}
 */
export function did({ at, done }) {
  return { at, done: done.includes(at) ? done : [...done, at] };
}

/**
 * Whether all was done that there is to do, and nothing skipped.
 *
 * @param {Place} place
 * @param {(Wait | null)[]} waits of all steps
 */
export function allDone({ done }, waits) {
  return waits.every((wait, i) => wait === null || done.includes(i));
}

/**
 * Whether the page shows what a step waits for.
 *
 * @param {Wait} wait
 * @param {Seen} seen
 */
export function isMet({ kind, low, high }, seen) {
  const within = (/** @type {number} */ x) => x >= low && x <= high;
  if (kind === "pressed" || kind === "hidden") return seen.pressed;
  if (kind === "value") return within(seen.value);
  if (kind === "step") return seen.steps > 0 && within(seen.step / seen.steps);
  if (kind === "ended") return seen.ended;
  return kind === "bet" && seen.bet;
}

/**
 * Return whether a chart shows what comes after step 0; a level across it, such as that of guessing, is no lane's.
 *
 * @param {{ legendgroup?: string, x?: ArrayLike<number> }[]} traces
 */
export const isPast = (traces) =>
  traces.some(({ legendgroup, x = [] }) => legendgroup && Array.from(x).some((step) => step > 0));
