// Hides how a lesson's race ended until the reader has bet on it, or wants to see it anyway.
//
// Gradio runs this with `element`, the text of the lesson.
import { betsAt } from "./race/bet_store.js";
import { choiceOf } from "./race/bets.js";

/** @type {Set<string>} */
const revealed = new Set(); // races
const { load } = betsAt("olora-viz-bets");

const veil = () => {
  const article = /** @type {HTMLElement | null} */ (element.querySelector("article"));
  const { race = "" } = article?.dataset ?? {};
  const hidden = race !== "" && !revealed.has(race) && !choiceOf(load(), race);
  article?.classList.toggle("veiled", hidden);
};

element.addEventListener("click", ({ target }) => {
  if (!(/** @type {Element} */ (target).closest("[data-tell]"))) return;
  revealed.add(element.querySelector("article")?.dataset.race ?? "");
  veil();
});
const attributeFilter = ["class", "data-race"]; // what differs is all that Gradio changes
new MutationObserver(veil).observe(element, { childList: true, subtree: true, attributeFilter });
window.addEventListener("hashchange", veil); // back from the race
veil();
