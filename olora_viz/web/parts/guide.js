// Plays a guide: shows one step, opens its page and tab, frames what it speaks of, and goes on when
// that was done, however it was done.
//
// The steps are in the page, see guide.py; the place is kept in the browser, and the tab that plays.

import { get, set } from "../../figures/live/store.js";
import { START, allDone, did, isMet, isPast, linked, placeIn, read, turn } from "./guide_state.js";

/** @import { Kept, Wait } from "./guide_state.js" */

const KEY = "olora-viz-guide";
const BEGUN = "olora-viz-guide"; // the event: another guide of this page stops
const PACE = 250; // ms between two looks at the page
const PATIENCE = 3000 / PACE;
const SETTLING = 6000 / PACE; // a page that opens grows, and moves what is framed
const root = document.documentElement;

/** @returns {Kept} */
export const load = () => {
  try {
    return read(localStorage.getItem(KEY));
  } catch {
    return read(null); // denied
  }
};

/** @param {Kept} kept */
export const save = (kept) => {
  try {
    localStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // denied, or full
  }
};

/** The guide that this tab plays; a reload goes on with it. */
export const playing = () => {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
};

/** @param {string} name */
const remember = (name) => {
  try {
    sessionStorage.setItem(KEY, name);
  } catch {
    // denied
  }
};

/** Opens the tab of a part of the page. @param {string} id */
export const revealed = (id) => {
  const part = document.getElementById(id);
  const tabs = /** @type {NodeListOf<HTMLElement>} */ (
    document.querySelectorAll("[data-tab-name]")
  );
  for (const { dataset } of tabs)
    if (part?.closest(`.tab-${dataset.tabName}`)) set({ tab: dataset.tabName });
  return part;
};

const slider = () =>
  /** @type {HTMLInputElement | null} */ (document.querySelector("#scrubber input"));
const state = () => document.querySelector("#status .status")?.classList;
/** Whether a chart in view still shows a race that the slider has taken back to step 0: on a busy machine for seconds. */
const chartsLag = () => {
  const charts = document.querySelectorAll(
    "#race-page :is(#accuracy-figure, #loss-figure) .js-plotly-plot",
  );
  return [...charts].some((chart) => isPast(/** @type {any} */ (chart).data ?? []));
};
/** Whether the second question of the bet is in view, and has no answer. */
const asksWhen = () => {
  const open = document.querySelectorAll("#bet-card [data-when]:not([data-placed])");
  return [...open].some((slider) => slider.getClientRects().length);
};
/** Whether the race has ended, and its last results are there. */
const isOver = () =>
  !(/** @type {HTMLButtonElement | null} */ (document.getElementById("race-button"))?.disabled) &&
  ["finished", "stopped", "diverged", "recorded"].some((word) => state()?.contains(word));

/**
 * Play the guide of a section.
 *
 * @param {HTMLElement} section
 * @param {object} how
 * @param {boolean} [how.resumes] whether it goes on where it was left
 * @param {() => void} [how.finished] called when all was done and nothing skipped
 * @param {() => void} [how.left] called when it is closed
 */
export function play(section, { resumes = false, finished = () => {}, left = () => {} }) {
  const name = section.dataset.guide ?? "";
  const steps = /** @type {HTMLElement[]} */ ([...section.querySelectorAll(".step")]);
  /** @type {(Wait | null)[]} */
  const waits = steps.map(({ dataset }) => JSON.parse(dataset.waits || "null"));
  const part = (/** @type {string} */ one) =>
    /** @type {HTMLElement} */ (section.querySelector(one));
  const [back, on, close] = ["[data-back]", "[data-on]", "[data-close]"].map(part);
  let place = resumes ? placeIn(load(), name, steps.length) : START;
  if (!resumes) place = { ...place, at: linked(window.location.search, steps.length) ?? 0 };
  let pressed = false;
  let said = false; // the step was done, and its answer is shown
  let half = false; // the first question of a bet is answered, and the second one is not
  let rewinds = false;
  let rewound = 0; // for how many looks it has stood at step 0
  let clears = false; // an ended race, also one that the page shows later
  let follows = 0; // for how many looks what is framed is kept in view
  let over = 0; // for how many looks the race has been over: that of before is, until the next one begins
  let before = ""; // the race in view as Race was pressed, until the next one begins, however long that takes
  /** @type {Element | null} */
  let framed = null;
  const { race = "" } = section.dataset;
  const former = race && !resumes && get("run") !== race ? get("run") : "";
  /** Whether the race of before is in view: a bet on it, or its end, is not that of the lesson. */
  const isFormer = () => former !== "" && get("run") === former;

  /** Whether who is ahead is bet on; the second question may still be open. */
  const hasBet = () => get("betPlaced") && !isFormer();

  const keep = () => {
    const kept = load();
    save({ ...kept, places: { ...kept.places, [name]: place } });
    remember(name);
  };

  const seen = () => {
    const control = /** @type {HTMLInputElement | null} */ (
      waits[place.at]?.of ? document.querySelector(waits[place.at]?.of ?? "") : null
    );
    const at = slider();
    return {
      pressed,
      value: control?.value ? Number(control.value) : NaN,
      step: Number(at?.value ?? 0),
      steps: at?.disabled ? 0 : Number(at?.max ?? 0),
      ended: over > PATIENCE,
      bet: hasBet() && !asksWhen(),
    };
  };

  const frame = () => {
    const where = document.getElementById(steps[place.at].dataset.where ?? "");
    if (where === framed) return;
    framed?.removeAttribute("data-framed");
    where?.setAttribute("data-framed", "");
    framed = where;
  };

  /** What is hidden until the step is done, and whether it asks for a bet. */
  const veil = () => {
    const { hides } = steps[place.at].dataset;
    const veiled = hides !== undefined && !said;
    root.toggleAttribute("data-veil", veiled);
    root.toggleAttribute("data-veil-answers", veiled && !!state()?.contains("recorded")); // `:has` of the page is dear
    set({ betAsked: waits[place.at]?.kind === "bet" });
  };

  /** Shows a recorded race from step 0; any other one begins there. */
  const rewind = () => {
    const at = slider();
    if (isFormer()) return;
    if (hasBet() || ["racing", "finished"].some((word) => state()?.contains(word))) rewinds = false;
    if (!rewinds || !at || at.disabled || !isOver()) return;
    rewound = Number(at.value) ? 0 : rewound + 1; // the race of the lesson may come later, at its end
    rewinds = rewound < PATIENCE;
    if (rewound) return;
    at.value = "0";
    at.dispatchEvent(new Event("input", { bubbles: true }));
  };

  /** Whether the reader has opened another page than that of the step: going on would take them off it. */
  const isAway = () => {
    const { page } = steps[place.at].dataset;
    const isElsewhere = !!page && !!get("page") && get("page") !== page;
    return isElsewhere && waits[place.at]?.kind !== "pressed";
  };

  /** Keeps what is framed in view until the reader does something. */
  const follow = () => {
    if (follows > 0 && !framed?.closest("#top-bar")) framed?.scrollIntoView({ block: "nearest" });
    follows -= 1;
  };

  const show = () => {
    const { where = "", page = "", opens, hides } = steps[place.at].dataset;
    const wait = waits[place.at];
    said = half = pressed = false;
    over = 0;
    steps.forEach((step, i) => step.toggleAttribute("hidden", i !== place.at));
    write();
    section.hidden = false;
    back.toggleAttribute("disabled", place.at === 0);
    part(".at").textContent = `${place.at + 1} of ${steps.length}`;
    part(".waits").textContent = wait ? `waiting: ${wait.words}` : "";
    if (page && get("page") !== page) window.location.hash = page;
    const waited = hides !== undefined; // a step was skipped before the race that it begins with was there
    clears = opens === "clear" || (waited && clears);
    rewinds = (opens === "rewind" && !hasBet()) || (waited && rewinds); // who has bet may play it at once
    rewound = 0;
    root.toggleAttribute("data-rewinds", rewinds);
    veil();
    const shown = revealed(where);
    frame();
    follows = shown ? SETTLING : 0;
    requestAnimationFrame(follow);
    keep();
  };

  /** The words of the step, or what is said when it was done. */
  const write = () => {
    const step = steps[place.at];
    step.querySelector(".now")?.toggleAttribute("hidden", said);
    step.querySelector(".then")?.toggleAttribute("hidden", !said);
    const isLast = place.at === steps.length - 1;
    const goesOn = said || half || !waits[place.at];
    on.textContent = goesOn ? (isLast ? "done" : "next ›") : "skip";
    on.classList.toggle("primary", goesOn);
    if (said) part(".waits").textContent = "";
    if (half) part(".waits").textContent = "waiting: the second bet";
  };

  /** @param {number} by */
  const turned = (by) => {
    place = turn(place, by, steps.length);
    show();
  };

  const forward = () => {
    if (isHalf()) finish(); // the second question is a gift
    if (place.at === steps.length - 1) stop(true);
    else turned(1);
  };

  /** Whether the step asks for a bet, and its first question alone is answered. */
  const isHalf = () => waits[place.at]?.kind === "bet" && hasBet() && asksWhen();

  const finish = () => {
    place = did(place);
    keep();
    if (allDone(place, waits)) finished();
  };

  const look = () => {
    if (!section.isConnected) return stop(false);
    if (!isOver()) before = "";
    if (before && get("run") === before) over = 0;
    else over = isOver() ? over + 1 : PATIENCE;
    rewind();
    if (hasBet() || ["waiting", "loading", "racing"].some((word) => state()?.contains(word)))
      clears = false;
    if (clears && isOver()) {
      clears = false;
      document.getElementById("reset-button")?.click();
    }
    const early = rewound < 1000 / PACE; // charts follow the slider later
    root.toggleAttribute("data-rewinds", rewinds && (early || chartsLag()));
    frame(); // what Gradio has added since
    follow();
    veil();
    const wait = waits[place.at];
    if (isHalf() && !half) {
      half = true;
      write();
    }
    if (said || (rewinds && !rewound) || !wait || isAway() || !isMet(wait, seen()))
      return undefined;
    finish();
    if (!steps[place.at].querySelector(".then")) return forward();
    said = true;
    write();
    return veil();
  };

  /** @param {Event} event */
  const press = (event) => {
    const target = /** @type {Element} */ (event.target);
    const wait = waits[place.at];
    if (wait?.kind !== "pressed" || !target.closest?.(wait.of)) return;
    pressed = true;
    if (target.closest("#race-button")) before = get("run");
    setTimeout(look); // after what the press does
  };

  /** Whoever moves the step has the last word. @param {Event} event */
  const moved = ({ isTrusted, target }) => {
    if (isTrusted && /** @type {Element} */ (target).closest?.("#scrubber")) rewinds = false;
  };

  /** A lane was hidden in a chart, see hidden_lanes.js. */
  const hide = () => {
    if (waits[place.at]?.kind !== "hidden") return;
    pressed = true;
    look();
  };

  /** @param {boolean} closed by the reader */
  function stop(closed) {
    clearInterval(timer);
    alive.abort();
    framed?.removeAttribute("data-framed");
    for (const mark of ["data-veil", "data-veil-answers", "data-rewinds"])
      root.removeAttribute(mark);
    set({ betAsked: false });
    section.hidden = true;
    if (closed) remember("");
  }

  document.dispatchEvent(new Event(BEGUN));
  const alive = new AbortController();
  const { signal } = alive;
  back.addEventListener("click", () => turned(-1), { signal });
  on.addEventListener("click", forward, { signal });
  close.addEventListener("click", () => (stop(true), left()), { signal });
  document.addEventListener(BEGUN, () => stop(false), { signal });
  document.addEventListener("click", press, { signal, capture: true });
  for (const kind of ["input", "click"]) document.addEventListener(kind, moved, { signal });
  document.addEventListener("olora-viz-hide", hide, { signal });
  for (const kind of ["wheel", "touchmove", "pointerdown", "click", "keydown", "hashchange"])
    window.addEventListener(kind, () => (follows = 0), { signal, capture: true, passive: true });
  window.addEventListener("pagehide", () => pressed && look(), { signal }); // the press has left the page
  const timer = window.setInterval(look, PACE);
  show();
  return { stop };
}
