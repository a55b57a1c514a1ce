// Where a browser keeps bets of one kind.

/** @import { Bets } from "./bets.js" */

import { keep, recall } from "../parts/kept.js";
import { read } from "./bets.js";

/**
 * Return how they are read and written.
 *
 * @param {string} key
 */
export function betsAt(key) {
  let kept = ""; // where nothing can be stored
  return {
    /** The bet on the next race is this tab's, those on races are the browser's. */
    load() {
      const { next } = read(recall("sessionStorage", key) ?? kept);
      return { ...read(recall("localStorage", key) ?? kept), next };
    },
    /** @param {Bets} bets */
    save(bets) {
      kept = JSON.stringify(bets);
      keep("sessionStorage", key, kept);
      keep("localStorage", key, JSON.stringify({ ...bets, next: null }));
    },
  };
}
