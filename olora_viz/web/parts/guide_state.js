// What a guide knows, and how it goes on: its place, what was done, when a step's wish is met, and what a look at the page
// changes. No page is needed here.

/** @typedef {{ at: number, done: number[] }} Place the step, from 0, and the steps that were done */
/** @typedef {{ places: Record<string, Place>, never: boolean }} Kept of a browser; never: not offered again */
/** @typedef {{ kind: string, words: string, of: string, low: number, high: number }} Wait */
/**
 * @typedef {object} Step
 * @property {Wait | null} wait what it waits for
 * @property {string} page on which it is done; empty for any
 * @property {string} opens clear, rewind or nothing
 * @property {boolean} hides whether the results of the race are hidden until it is done
 * @property {boolean} answers whether something is said when it was done
 */
/**
 * What is seen of the page.
 *
 * @typedef {object} Seen
 * @property {string} page in view
 * @property {string} run the race in view; empty without one
 * @property {readonly string[]} state words of the status of the race
 * @property {boolean} enabled whether a race can begin: the last results of one that has ended are there
 * @property {number} value of the control that the step waits for; NaN if there is none
 * @property {number} step of the race in view
 * @property {number} steps of the race so far; 0 without a race
 * @property {boolean} bet whether who is ahead is bet on
 * @property {boolean} asksWhen whether the second question of the bet is in view, and has no answer
 */
/** @typedef {Pick<Seen, "value" | "step" | "steps" | "bet"> & { pressed: boolean, ended: boolean }} Done */
/**
 * A guide that plays.
 *
 * @typedef {object} Playing
 * @property {Place} place
 * @property {string} former another race, in view as it began: a bet on it, or its end, is not that of the lesson
 * @property {boolean} pressed what was to be pressed, or a lane hidden, since the step began
 * @property {boolean} said whether the step was done, and its answer is shown
 * @property {boolean} half whether the first question of a bet is answered, and the second one is not
 * @property {boolean} rewinds whether a race is to be shown from step 0
 * @property {number} rewound for how many looks it has stood at step 0
 * @property {boolean} clears whether an ended race is to be cleared, also one that the page shows later
 * @property {number} over for how many looks the race has been over: that of before is, until the next one begins
 * @property {string} before the race in view as Race was pressed, until the next one begins, however long that takes
 */

/** Milliseconds between two looks at the page. */
export const PACE = 250;
const PATIENCE = 3000 / PACE;

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
 * Whether what a step waits for was done.
 *
 * @param {Wait} wait
 * @param {Done} done
 */
export function isMet({ kind, low, high }, done) {
  const within = (/** @type {number} */ x) => x >= low && x <= high;
  if (kind === "pressed" || kind === "hidden") return done.pressed;
  if (kind === "value") return within(done.value);
  if (kind === "step") return done.steps > 0 && within(done.step / done.steps);
  if (kind === "ended") return done.ended;
  return kind === "bet" && done.bet;
}

/**
 * Begin to play a guide.
 *
 * @param {Place} place
 * @param {string} former the race in view, if it is not that of the guide; else empty
 * @returns {Playing}
 */
export function begin(place, former) {
  const flags = { pressed: false, said: false, half: false, rewinds: false, clears: false };
  return { place, former, ...flags, rewound: 0, over: 0, before: "" };
}

/**
 * Open the step of a guide's place.
 *
 * @param {Playing} playing
 * @param {Step} step
 * @param {Seen} seen
 * @returns {Playing}
 */
export function open(playing, { opens, hides }, seen) {
  const { place, former, before } = playing;
  const mayRewind = opens === "rewind" && !hasBet(playing, seen); // who has bet may play it at once
  return {
    ...begin(place, former),
    before,
    clears: opens === "clear" || (hides && playing.clears), // a step was skipped before its race was there
    rewinds: mayRewind || (hides && playing.rewinds),
  };
}

/**
 * Note that what a step waits for was pressed.
 *
 * @param {Playing} playing
 * @param {string} [before] the race in view, if Race was pressed
 * @returns {Playing}
 */
export function press(playing, before = playing.before) {
  return { ...playing, pressed: true, before };
}

/**
 * Look at the page: what it shows goes on by itself, or the step is done.
 *
 * @param {Playing} playing
 * @param {Step} step
 * @param {Seen} seen
 * @returns {{ playing: Playing, toStart: boolean, resets: boolean, met: boolean }} toStart: the slider has to go to
 *   step 0; resets: the ended race has to be cleared
 */
export function look(playing, step, seen) {
  const { wait } = step;
  const is = (/** @type {string[]} */ ...words) => words.some((word) => seen.state.includes(word));
  const bet = hasBet(playing, seen);
  const isOver = seen.enabled && is("finished", "stopped", "diverged", "recorded");
  let { rewinds, rewound } = playing;
  let toStart = false;
  if (!isFormer(playing, seen)) {
    rewinds &&= !bet && !is("racing", "finished");
    if (rewinds && seen.steps && isOver) {
      rewound = seen.step ? 0 : rewound + 1; // the race of the lesson may come later, at its end
      rewinds = rewound < PATIENCE;
      toStart = rewound === 0;
    }
  }
  const clears = playing.clears && !bet && !is("waiting", "loading", "racing");
  const before = isOver ? playing.before : "";
  const over = before && seen.run === before ? 0 : isOver ? playing.over + 1 : PATIENCE;
  const half = playing.half || isHalf(playing, step, seen);
  const isElsewhere = !!step.page && !!seen.page && seen.page !== step.page;
  const isAway = isElsewhere && wait?.kind !== "pressed"; // going on would take the reader off the page
  const waits = !playing.said && !(rewinds && !rewound) && !isAway;
  const ended = over > PATIENCE;
  const done = { ...seen, pressed: playing.pressed, ended, bet: bet && !seen.asksWhen };
  const met = waits && wait !== null && isMet(wait, done);
  const next = { ...playing, rewinds, rewound, clears: clears && !isOver, before, over, half };
  return {
    playing: met ? { ...next, said: step.answers } : next,
    toStart,
    resets: clears && isOver,
    met,
  };
}

/**
 * Whether a step asks for a bet, and its first question alone is answered.
 *
 * @param {Playing} playing
 * @param {Step} step
 * @param {Seen} seen
 */
export function isHalf(playing, { wait }, seen) {
  return wait?.kind === "bet" && hasBet(playing, seen) && seen.asksWhen;
}

/**
 * Whether a step asks for a bet now: not while it shows the end of a race, after which nothing is to come.
 *
 * @param {Playing} playing
 * @param {Step} step
 * @param {Seen} seen
 */
export function asksBet({ rewinds, clears, over }, { wait }, { step, steps }) {
  const isEnd = over > PATIENCE && steps > 0 && step === steps && !rewinds && !clears;
  return wait?.kind === "bet" && !isEnd;
}

/** Whether the slider has just gone to step 0: the charts follow later. @param {Playing} playing */
export const isEarly = ({ rewound }) => rewound < 1000 / PACE;

/** @param {Playing} playing @param {Seen} seen */
const isFormer = ({ former }, { run }) => former !== "" && run === former;

/** @param {Playing} playing @param {Seen} seen */
const hasBet = (playing, seen) => seen.bet && !isFormer(playing, seen);

/**
 * Return whether a chart shows what comes after step 0; a level across it, such as that of guessing, is no lane's.
 *
 * @param {{ legendgroup?: string, x?: ArrayLike<number> }[]} traces
 */
export const isPast = (traces) =>
  traces.some(({ legendgroup, x = [] }) => legendgroup && Array.from(x).some((step) => step > 0));
