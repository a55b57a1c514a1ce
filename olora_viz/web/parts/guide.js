// Plays a guide: shows one step, opens its page and tab, frames what it speaks of, and goes on when
// that was done, however it was done.
//
// The steps are in the page, see guide.py; the place is kept in the browser, and the tab that plays.

import { get, set } from "../../figures/live/store.js";
import {
  PACE,
  START,
  allDone,
  asksBet,
  begin,
  did,
  isEarly,
  isHalf,
  isPast,
  linked,
  look,
  open,
  placeIn,
  press,
  read,
  turn,
} from "./guide_state.js";
import { keep, recall } from "./kept.js";

/** @import { Kept, Seen, Step } from "./guide_state.js" */

const KEY = "olora-viz-guide";
const SETTLING = 6000 / PACE; // a page that opens grows, and moves what is framed

export const load = () => read(recall("localStorage", KEY));

/** @param {Kept} kept */
export const save = (kept) => keep("localStorage", KEY, JSON.stringify(kept));

/** The guide that this tab plays; a reload goes on with it. */
export const playing = () => recall("sessionStorage", KEY) ?? "";

/** Opens the workbench if only that shows a part of the page, see first.css. @param {HTMLElement} step that speaks of it */
const reveal = ({ dataset: { where = "" } }) => {
  const part = document.getElementById(where);
  if (part && getComputedStyle(part).getPropertyValue("--left-out")) set({ workbench: true });
};

/** Opens the tab of a part of the page. @param {string} id */
const tabbed = (id) => {
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
/** The words of the status of the race. */
const state = () => [...(document.querySelector("#status .status")?.classList ?? [])];
/** Whether a chart in view still shows a race that the slider has taken back to step 0: on a busy machine for seconds. */
const chartsLag = () => {
  const charts = document.querySelectorAll(
    "#race-page :is(#accuracy-figure, #loss-figure) .js-plotly-plot",
  );
  const inView = [...charts].filter((chart) => chart.checkVisibility());
  return inView.some((chart) => isPast(/** @type {any} */ (chart).data ?? []));
};
/** Whether the second question of the bet is in view, and has no answer. */
const asksWhen = () => {
  const open = document.querySelectorAll("#bet-card [data-when]:not([data-placed])");
  return [...open].some((slider) => slider.getClientRects().length);
};

/** @param {HTMLElement} step @returns {Step} */
const stepOf = (step) => {
  const { waits, page = "", opens = "", hides } = step.dataset;
  const answers = step.querySelector(".then") !== null;
  return { wait: JSON.parse(waits || "null"), page, opens, hides: hides !== undefined, answers };
};

/** @param {Step} step @returns {Seen} */
const see = ({ wait }) => {
  const control = /** @type {HTMLInputElement | null} */ (
    wait?.of ? document.querySelector(wait.of) : null
  );
  const button = /** @type {HTMLButtonElement | null} */ (document.getElementById("race-button"));
  const at = slider();
  return {
    page: get("page"),
    run: get("run"),
    state: state(),
    enabled: !button?.disabled,
    value: control?.value ? Number(control.value) : NaN,
    step: Number(at?.value ?? 0),
    steps: at?.disabled ? 0 : Number(at?.max ?? 0),
    bet: get("betPlaced"),
    asksWhen: get("betPlaced") && asksWhen(),
  };
};

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
  const elements = /** @type {HTMLElement[]} */ ([...section.querySelectorAll(".step")]);
  const steps = elements.map(stepOf);
  const part = (/** @type {string} */ one) =>
    /** @type {HTMLElement} */ (section.querySelector(one));
  const [back, on, close] = ["[data-back]", "[data-on]", "[data-close]"].map(part);
  const { race = "" } = section.dataset;
  const former = race && !resumes && get("run") !== race ? get("run") : "";
  const linkedPlace = { ...START, at: linked(window.location.search, steps.length) ?? 0 };
  let now = begin(resumes ? placeIn(load(), name, steps.length) : linkedPlace, former);
  let follows = 0; // for how many looks what is framed is kept in view
  /** @type {Element | null} */
  let framed = null;
  const step = () => steps[now.place.at];
  const isLast = () => now.place.at === steps.length - 1;

  const keepPlace = () => {
    const kept = load();
    save({ ...kept, places: { ...kept.places, [name]: now.place } });
    keep("sessionStorage", KEY, name);
  };

  const frame = () => {
    const where = document.getElementById(elements[now.place.at].dataset.where ?? "");
    if (where === framed) return;
    framed?.removeAttribute("data-framed");
    where?.setAttribute("data-framed", "");
    framed = where;
  };

  /** What is hidden until the step is done, and whether it asks for a bet. */
  const veil = () => {
    const veiled = step().hides && !now.said;
    set({
      guided: true,
      veil: veiled,
      veilAnswers: veiled && state().includes("recorded"), // `:has` of the page is dear
      rewinds: now.rewinds && (isEarly(now) || chartsLag()),
      betAsked: asksBet(now, step(), see(step())),
    });
  };

  /** Keeps what is framed in view until the reader does something. */
  const follow = () => {
    if (follows > 0) elements.forEach(reveal); // at once for all steps: no page jumps in the middle of a lesson
    if (follows > 0 && !framed?.closest("#top-bar")) framed?.scrollIntoView({ block: "nearest" });
    follows -= 1;
  };

  const show = () => {
    now = open(now, step(), see(step()));
    const { page, wait } = step();
    elements.forEach((one, i) => one.toggleAttribute("hidden", i !== now.place.at));
    write();
    section.hidden = false;
    back.toggleAttribute("disabled", now.place.at === 0);
    part(".at").textContent = `${now.place.at + 1} of ${steps.length}`;
    part(".waits").textContent = wait ? `waiting: ${wait.words}` : "";
    if (page && get("page") !== page) window.location.hash = page;
    veil();
    elements.forEach(reveal);
    tabbed(elements[now.place.at].dataset.where ?? "");
    frame();
    follows = SETTLING;
    requestAnimationFrame(follow);
    keepPlace();
  };

  /** The words of the step, or what is said when it was done. */
  const write = () => {
    const { said, half, place } = now;
    elements[place.at].querySelector(".now")?.toggleAttribute("hidden", said);
    elements[place.at].querySelector(".then")?.toggleAttribute("hidden", !said);
    const goesOn = said || half || !step().wait;
    on.textContent = goesOn ? (isLast() ? "done" : "next ›") : "skip";
    on.classList.toggle("primary", goesOn);
    if (said) part(".waits").textContent = "";
    if (half) part(".waits").textContent = "waiting: the second bet";
  };

  /** @param {number} by */
  const turned = (by) => {
    now = { ...now, place: turn(now.place, by, steps.length) };
    show();
  };

  const forward = () => {
    if (isHalf(now, step(), see(step()))) finish(); // the second question is a gift
    if (isLast()) stop(true);
    else turned(1);
  };

  const finish = () => {
    now = { ...now, place: did(now.place) };
    keepPlace();
    const waits = steps.map(({ wait }) => wait);
    if (allDone(now.place, waits)) finished();
  };

  const update = () => {
    if (!section.isConnected) return stop(false);
    const { half } = now;
    const { playing, toStart, resets, met } = look(now, step(), see(step()));
    now = playing;
    const at = slider();
    if (at && toStart) {
      at.value = "0";
      at.dispatchEvent(new Event("input", { bubbles: true }));
    }
    if (resets) document.getElementById("reset-button")?.click();
    frame(); // what Gradio has added since
    follow();
    veil();
    if (met) finish();
    if (met && !now.said) return forward();
    if (met || now.half !== half) write();
    return undefined;
  };

  /** @param {Event} event */
  const pressed = (event) => {
    const target = /** @type {Element} */ (event.target);
    const { wait } = step();
    if (wait?.kind !== "pressed" || !target.closest?.(wait.of)) return;
    now = press(now, target.closest("#race-button") ? get("run") : undefined);
    setTimeout(update); // after what the press does
  };

  /** Whoever moves the step has the last word. @param {Event} event */
  const moved = ({ isTrusted, target }) => {
    if (isTrusted && /** @type {Element} */ (target).closest?.("#scrubber"))
      now = { ...now, rewinds: false };
  };

  /** A lane was hidden in a chart, see hidden_lanes.js. */
  const hide = () => {
    if (step().wait?.kind !== "hidden") return;
    now = press(now);
    update();
  };

  /** @param {boolean} closed by the reader */
  function stop(closed) {
    clearInterval(timer);
    alive.abort();
    framed?.removeAttribute("data-framed");
    set({ guided: false, veil: false, veilAnswers: false, rewinds: false, betAsked: false });
    section.hidden = true;
    if (closed) keep("sessionStorage", KEY, "");
  }

  get("endGuide")();
  set({ endGuide: () => stop(false) });
  const alive = new AbortController();
  const { signal } = alive;
  back.addEventListener("click", () => turned(-1), { signal });
  on.addEventListener("click", forward, { signal });
  close.addEventListener("click", () => (stop(true), left()), { signal });
  document.addEventListener("click", pressed, { signal, capture: true });
  for (const kind of ["input", "click"]) document.addEventListener(kind, moved, { signal });
  document.addEventListener("olora-viz-hide", hide, { signal });
  for (const kind of ["wheel", "touchmove", "pointerdown", "click", "keydown"])
    window.addEventListener(kind, () => (follows = 0), { signal, capture: true, passive: true });
  window.addEventListener("pagehide", () => now.pressed && update(), { signal }); // the press has left the page
  const timer = window.setInterval(update, PACE);
  show();
  return { stop };
}
