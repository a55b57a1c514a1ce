// The bets of a browser: one for the next race, and one on each race that was bet on.

const MOST = 50; // races

/** @typedef {{ run: string, key: string, state: string, recorded?: boolean }} Shown the race on the page; key: its question */
/** @typedef {{ key: string, choice: string, seen: string }} Next seen: the race that was shown when it was placed */
/** @typedef {{ next: Next | null, runs: [string, string][] }} Bets */

/**
 * Return the bets that a text holds; none if it is not one of ours.
 *
 * @param {string | null} text
 * @returns {Bets}
 */
export function read(text) {
  try {
    const { next = null, runs } = JSON.parse(text ?? "");
    if (Array.isArray(runs)) return { next, runs };
  } catch {
    // another one's
  }
  return { next: null, runs: [] };
}

/**
 * Return the choice on a race; empty without a bet.
 *
 * @param {Bets} bets
 * @param {string} run
 */
export function choiceOf({ runs }, run) {
  return runs.find(([name]) => name === run)?.[1] ?? "";
}

/**
 * Return the bets with one more: on the shown race while that is open, else on the next race with the same question.
 *
 * @param {Bets} bets
 * @param {Shown | null} shown
 * @param {string} key of the question that was answered
 * @param {string} choice
 * @returns {Bets}
 */
export function place(bets, shown, key, choice) {
  if (shown?.state !== "open") return { ...bets, next: { key, choice, seen: shown?.run ?? "" } };
  return { ...bets, runs: put(bets.runs, shown.run, choice) };
}

/**
 * Return the bets after a race is seen: another one, with its question, takes the bet on the next race.
 *
 * @param {Bets} bets
 * @param {Shown | null} shown
 * @returns {Bets}
 */
export function follow(bets, shown) {
  const { next, runs } = bets;
  // An equal race that others have raced has ended when it is first seen.
  const another =
    shown && !shown.recorded && shown.run !== next?.seen && !choiceOf(bets, shown.run);
  if (!next || !another || next.key !== shown.key) return bets;
  return { next: null, runs: put(runs, shown.run, next.choice) };
}

/**
 * Return the bets after the set-up has changed: that on the next race stays, if its answer is still one.
 *
 * @param {Bets} bets
 * @param {string} key of the question now
 * @param {string[]} choices
 * @returns {Bets}
 */
export function ask(bets, key, choices) {
  const { next } = bets;
  if (!next || next.key === key) return bets;
  return { ...bets, next: choices.includes(next.choice) ? { ...next, key } : null };
}

/**
 * @param {[string, string][]} runs
 * @param {string} run
 * @param {string} choice
 * @returns {[string, string][]}
 */
function put(runs, run, choice) {
  /** @type {[string, string]} */
  const bet = [run, choice];
  return [...runs.filter(([name]) => name !== run), bet].slice(-MOST);
}
