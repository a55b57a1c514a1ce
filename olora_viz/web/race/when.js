// The bet that is dragged: after how many steps one start is where another ends. A line in the charts shows it.

/** @import { Shown } from "./bets.js" */

import { set } from "../../figures/live/store.js";
import { betsAt } from "./bet_store.js";
import { choiceOf, follow, place } from "./bets.js";

const NEAR = 0.05; // of the steps of the race: that near a bet is right

/**
 * Say how a bet ended.
 *
 * @param {number} bet a step; after the last one: never
 * @param {number} met the step at which it happened, likewise
 * @param {number} steps of the race
 * @returns {{ kind: string, words: string }}
 */
export function scoreOf(bet, met, steps) {
  const off = bet - met;
  const said = bet > steps ? "never" : `step ${bet}`;
  const right = met > steps || bet > steps ? off === 0 : Math.abs(off) <= NEAR * steps;
  const far = `${Math.abs(off)} step${Math.abs(off) === 1 ? "" : "s"} too ${off > 0 ? "late" : "early"}`;
  const how = right ? "right" : met > steps || bet > steps ? "wrong" : far;
  return { kind: right ? "right" : "wrong", words: `Your bet, ${said}: ${how}.` };
}

/**
 * Keep the dragged bets of the card.
 *
 * @param {() => Shown | null} shownNow the race on the page
 */
export function drags(shownNow) {
  const { load, save } = betsAt("olora-viz-bets-when");

  /** @param {HTMLInputElement} slider @param {string} choice */
  const write = (slider, choice) => {
    if (choice) slider.value = choice;
    const words = Number(choice) > Number(slider.dataset.when) ? "never" : `step ${choice}`;
    const output = slider.parentElement?.querySelector("output");
    if (output) output.value = choice ? words : "drag";
    slider.setAttribute("aria-valuetext", choice ? words : "no bet yet");
    slider.toggleAttribute("data-placed", choice !== "");
  };

  document.addEventListener("input", ({ target }) => {
    const slider = /** @type {HTMLInputElement} */ (target);
    if (!slider.matches?.("#bet-card [data-when]")) return;
    const { key = "" } = /** @type {HTMLElement} */ (slider.closest(".bet")).dataset;
    save(place(load(), shownNow(), key, slider.value));
    write(slider, slider.value);
    set({ betStep: Number(slider.value) });
  });

  /**
   * Show what is bet, and how it ended.
   *
   * @param {Shown | null} shown the race on the page
   * @param {Element | null | undefined} ask the question
   * @param {Element | null} part what the page knows of the bets on the race
   */
  const show = (shown, ask, part) => {
    const before = load();
    const bets = follow(before, shown);
    if (bets !== before) save(bets);
    const choice = shown ? choiceOf(bets, shown.run) : "";
    const { key } = /** @type {HTMLElement | undefined} */ (ask)?.dataset ?? {};
    const coming = bets.next?.key === key ? (bets.next?.choice ?? "") : "";
    const slider = /** @type {HTMLInputElement | null | undefined} */ (
      ask?.querySelector("[data-when]")
    );
    const open = shown?.state === "open";
    if (slider) write(slider, open ? choice : coming);
    set({ betStep: Number(open || shown?.state !== "ended" ? choice || coming : choice) });
    const line = /** @type {HTMLElement | null | undefined} */ (part?.querySelector(".met"));
    line?.toggleAttribute("hidden", !choice);
    const lead = line?.querySelector("b");
    if (!line || !lead || !choice) return;
    const { kind, words } = scoreOf(
      Number(choice),
      Number(line.dataset.met),
      Number(line.dataset.steps),
    );
    if (lead.textContent === words) return; // this is called again for every change
    lead.textContent = words;
    line.className = `met scored ${kind}`;
  };
  return { show };
}
