// The card of the bet: shows the question, keeps the answer in the browser, and shows how it ended.
//
// Gradio runs this with `element`, the question of the set-up. The server writes the bets on the race
// that is shown into #bet-score: its question while it is open, later a sentence for each answer.
import { get, set, subscribe } from "../../figures/live/store.js";
import { whenThere } from "../parts/when_there.js";
import { betsAt } from "./bet_store.js";
import { ask as asked, choiceOf, follow, place } from "./bets.js";
import { drags } from "./when.js";

const { load, save } = betsAt("olora-viz-bets");
let wanted = false; // the reader has pressed Bet
let past = { run: "", html: "" }; // how the bets on the shown race ended, also for an earlier step

const scoreOf = () =>
  /** @type {HTMLElement | null} */ (document.querySelector("#bet-score .bet-run"));

/** @param {HTMLElement | null} part @returns {import("./bets.js").Shown | null} */
const shownIn = (part) => {
  const { run = "", key = "", state = "", recorded } = part?.dataset ?? {};
  return part && { run, key, state, recorded: recorded !== undefined };
};

/** @param {Element | null | undefined} part @param {string} selector */
const all = (part, selector) => [
  .../** @type {NodeListOf<HTMLElement>} */ (part?.querySelectorAll(selector) ?? []),
];

const when = drags(() => shownIn(scoreOf()));

const show = () => {
  const part = scoreOf();
  const shown = shownIn(part);
  const before = load();
  const bets = follow(before, shown);
  if (bets !== before) {
    save(bets);
    wanted = false;
  }
  const open = shown?.state === "open";
  const choice = shown ? choiceOf(bets, shown.run) : "";
  const ask = (open ? part : element)?.querySelector(".bet");
  const coming = bets.next?.key === ask?.dataset.key ? (bets.next?.choice ?? "") : "";
  const asks = wanted || get("betAsked") || (get("learner") && (open || !get("follows")));
  if (part && shown?.state === "ended") past = { run: shown.run, html: part.innerHTML };
  else if (part && shown?.state === "going" && past.run === shown.run && !part.dataset.past) {
    part.dataset.past = "shown"; // once: this calls `show` again
    part.innerHTML = past.html;
  }
  for (const chip of all(ask, "[data-choice]"))
    chip.setAttribute("aria-pressed", `${chip.dataset.choice === (open ? choice : coming)}`);
  for (const line of all(part, "p[data-choice]"))
    line.toggleAttribute("hidden", line.dataset.choice !== choice);
  ask?.querySelector("[data-coming]")?.toggleAttribute("hidden", open || !coming);
  const going = shown?.state === "going" && !wanted;
  when.show(shown, ask, part);
  element.toggleAttribute("hidden", open || !(asks || coming) || going);
  part?.toggleAttribute("hidden", !choice && !(open && asks));
  const seen = !element.hidden || (part && !part.hidden);
  document.getElementById("bet-button")?.setAttribute("aria-expanded", `${seen}`);
  const label = choice ? (JSON.parse(part?.dataset.labels ?? "{}")[choice] ?? "") : "";
  const placed = shown && shown.state !== "ended" ? choice : coming;
  const ofSetUp = element.querySelector(".bet")?.dataset.key;
  set({
    run: shown?.run ?? "",
    question: (element.hidden ? (shown?.key ?? ofSetUp) : (ofSetUp ?? shown?.key)) ?? "",
    betPlaced: placed !== "",
    betSeen: !!seen,
    betLane: label,
  });
};

document.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  const chip = /** @type {HTMLElement | null} */ (
    target.closest?.("#bet-card [data-choice]:is(button)")
  );
  if (chip) {
    const shown = shownIn(scoreOf());
    const { key = "" } = /** @type {HTMLElement} */ (chip.closest(".bet")).dataset;
    save(place(load(), shown, key, chip.dataset.choice ?? ""));
    show();
  } else if (target.closest?.("#bet-button")) {
    wanted = !wanted;
    show();
    document.getElementById("bet-card")?.scrollIntoView({ block: "nearest" });
  }
});

whenThere({ "bet-score": "" }, (score) => {
  const attributeFilter = ["data-run", "data-state"]; // what differs is all that Gradio changes
  new MutationObserver(show).observe(score, { childList: true, subtree: true, attributeFilter });
  show();
});
subscribe(["betAsked", "learner", "follows"], show);
// The set-up has another question: `watch` would be called before it is there.
new MutationObserver(() => {
  const { key } = element.querySelector(".bet")?.dataset ?? {};
  const choices = all(element, "[data-choice]").map(({ dataset }) => dataset.choice ?? "");
  if (key) save(asked(load(), key, choices));
  show();
}).observe(element, { childList: true, subtree: true, attributeFilter: ["data-key"] });
