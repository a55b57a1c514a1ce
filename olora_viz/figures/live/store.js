// The state of the page: one record of the document, for scripts that Gradio runs apart from each other.

/** The state of a page that has just been opened. */
const opened = () => ({
  page: document.documentElement.dataset.page ?? "", // the page in view
  tab: "", // the open one of the page Race
  hide: "", // the names of what the address hides, with spaces between them
  class: false, // whether class mode is on
  learner: false, // whether the page is one of a class, and not on its projector
  follows: false, // whether it shows the race on the teacher's screen
  workbench: false, // whether the page Race is laid out as the workbench, with all its cards
  run: "", // the race in view; empty without one
  question: "", // the key of what the card of the bet asks, or has asked; empty for nothing
  finished: /** @type {string[]} */ ([]), // the lessons that were finished on this page
  guided: false, // whether a guide plays
  guideOffered: false, // whether the line that offers the first guide is shown
  endGuide: () => {}, // ends the guide that plays, if one does
  veil: false, // whether the guide hides the results of the race
  veilAnswers: false, // whether it hides its answers
  rewinds: false, // whether it hides the charts until they show step 0
  betAsked: false, // whether it asks for a bet
  betSeen: false, // whether the card of the bet shows anything
  betPlaced: false, // whether who is ahead is bet on, in the race in view or the next one
  betLane: "", // the label of the lane that is bet on, in the race in view; empty for none
  betStep: 0, // the step that is bet on; 0 for none
});

/** What style sheets read of it, as attributes of the document's root. */
const IN_STYLES =
  "page tab hide class learner follows guided guideOffered veil veilAnswers rewinds betSeen".split(
    " ",
  );

/** @typedef {ReturnType<typeof opened>} PageState */
/** @typedef {{ state: PageState, changes: EventTarget }} Store */

/** @returns {Store} */
const store = () => (window.oloraVizStore ??= { state: opened(), changes: new EventTarget() });

/**
 * Return a part of the state.
 *
 * @template {keyof PageState} Key
 * @param {Key} key
 * @returns {PageState[Key]}
 */
export function get(key) {
  return store().state[key];
}

/**
 * Change parts of the state; whoever has subscribed to one that is another now is called at once.
 *
 * @param {Partial<PageState>} parts
 */
export function set(parts) {
  const { state, changes } = store();
  const keys = /** @type {(keyof PageState)[]} */ (Object.keys(parts));
  const detail = keys.filter((key) => state[key] !== parts[key]);
  Object.assign(state, parts);
  const { dataset } = document.documentElement;
  for (const key of detail.filter((key) => IN_STYLES.includes(key))) {
    if (state[key]) dataset[key] = state[key] === true ? "" : String(state[key]);
    else delete dataset[key];
  }
  if (detail.length) changes.dispatchEvent(new CustomEvent("change", { detail }));
}

/**
 * Call a function whenever some parts of the state have changed.
 *
 * @param {(keyof PageState)[]} keys
 * @param {() => void} act
 * @returns {() => void} ends it
 */
export function subscribe(keys, act) {
  const { changes } = store();
  /** @param {Event} event */
  const hear = (event) => {
    const { detail } = /** @type {CustomEvent<string[]>} */ (event);
    if (keys.some((key) => detail.includes(key))) act();
  };
  changes.addEventListener("change", hear);
  return () => changes.removeEventListener("change", hear);
}
