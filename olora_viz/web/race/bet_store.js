// Where a browser keeps bets of one kind.

/** @import { Bets } from "./bets.js" */

import { read } from "./bets.js";

/**
 * Return how they are read and written.
 *
 * @param {string} key
 */
export function store(key) {
  let kept = ""; // where nothing can be stored
  return {
    /** The bet on the next race is this tab's, those on races are the browser's. */
    load() {
      try {
        const { next } = read(sessionStorage.getItem(key) ?? kept);
        return { ...read(localStorage.getItem(key) ?? kept), next };
      } catch {
        return read(kept); // denied
      }
    },
    /** @param {Bets} bets */
    save(bets) {
      kept = JSON.stringify(bets);
      try {
        sessionStorage.setItem(key, kept);
        localStorage.setItem(key, JSON.stringify({ ...bets, next: null }));
      } catch {
        // denied, or full
      }
    },
  };
}
