// A handle on the axis of rates: the other charts of the race then show the runs at this rate alone.

/** @import { Fitted, Meta, Recall } from "../types.d.ts" */

import { append } from "../element.js";
import { hide } from "./hidden_lanes.js";
import { area } from "./step_pointer.js";

const THUMB = 18; // pixels, as in fragments.css

/** @type {Record<string, number>} */
const TURNS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -99, End: 99 };

/**
 * Return the index of the rate that is nearest by its ratio.
 *
 * @param {number[]} rates
 * @param {number} rate
 */
export function nearest(rates, rate) {
  const apart = rates.map((each) => Math.abs(Math.log(each / rate)));
  return apart.indexOf(Math.min(...apart));
}

/**
 * Return all rates of some curves, the lowest first.
 *
 * @param {{ rates: number[] }[]} curves
 */
export function ratesOf(curves) {
  return [...new Set(curves.flatMap(({ rates }) => rates))].sort((a, b) => a - b);
}

/**
 * Make the handle of a chart.
 *
 * @param {HTMLElement} frame around the plot
 * @param {HTMLElement} below gets the words and the buttons
 */
export function rateHandle(frame, below) {
  const line = append(frame, "div", "figure-rate-line");
  const range = append(frame, "input", "figure-rate");
  range.type = "range";
  range.step = "any";
  range.setAttribute("aria-label", "Show the runs at one learning rate");
  const words = append(below, "span", "hint");
  words.setAttribute("role", "status");
  const best = button("Each at its best");
  const all = button("All rates");
  let recall = /** @type {Recall | null} */ (null);
  let layout = /** @type {Fitted | null} */ (null);
  let picks = /** @type {number[] | null} */ (null); // of each curve its rate, by index; null: all rates
  let shared = NaN; // the rate of the handle

  /** @param {string} text */
  function button(text) {
    const made = append(below, "button", "quiet");
    made.type = "button";
    made.textContent = text;
    return made;
  }

  /** @param {Meta} meta @param {Fitted} now */
  function draw(meta, now) {
    if (meta.recall?.race !== recall?.race) [picks, shared] = [null, NaN];
    recall = meta.recall ?? null;
    layout = now;
    place();
  }

  function place() {
    range.hidden = below.hidden = !recall || !layout;
    line.hidden = range.hidden || !shared;
    if (!recall || !layout) return;
    const { left, top, width, height } = area(layout);
    const [first, last] = layout.xaxis.range ?? [0, 1];
    const at = Math.min(Math.max(Math.log10(shared || 10 ** last), first), last);
    Object.assign(range, { min: `${first}`, max: `${last}`, value: `${at}` });
    range.setAttribute("aria-valuetext", shared ? `${shared}` : "all rates");
    range.style.left = `${left - THUMB / 2}px`;
    range.style.top = `${top + height - THUMB}px`; // above the labels of the axis
    range.style.width = `${width + THUMB}px`;
    line.style.left = `${left + ((at - first) / (last - first)) * width}px`;
    line.style.top = `${top}px`;
    line.style.height = `${height}px`;
    const { curves } = recall;
    const runs = picks?.map((i, k) => `${curves[k].label} ${curves[k].words[i]}`);
    words.textContent = runs ? `shown: ${runs.join(", ")}` : "drag ● to show the runs at one rate";
    all.hidden = !runs;
  }

  /** @param {number[] | null} chosen */
  function show(chosen) {
    if (!recall || `${chosen}` === `${picks}`) return place();
    picks = chosen;
    const { race, curves } = recall;
    const every = curves.flatMap(({ lanes }) => lanes.flat());
    const seen = chosen ? chosen.flatMap((i, k) => curves[k].lanes[i]) : every;
    hide(
      race,
      every.filter((lane) => !seen.includes(lane)),
      true,
    );
    hide(race, seen, false);
    return place();
  }

  /** @param {number} rate */
  function move(rate) {
    const rates = ratesOf(recall?.curves ?? []);
    shared = rates[nearest(rates, rate)];
    show(recall?.curves.map((curve) => nearest(curve.rates, shared)) ?? null);
  }

  range.addEventListener("input", () => move(10 ** Number(range.value)));
  range.addEventListener("keydown", (event) => {
    const by = TURNS[event.key];
    if (!by || !recall) return;
    event.preventDefault();
    const rates = ratesOf(recall.curves);
    const at = shared ? nearest(rates, shared) : rates.length;
    move(rates[Math.min(Math.max(at + by, 0), rates.length - 1)]);
  });
  best.addEventListener("click", () => {
    shared = NaN;
    show(recall?.curves.map(({ best: rate, rates }) => nearest(rates, rate)) ?? null);
  });
  all.addEventListener("click", () => {
    shared = NaN;
    show(null);
  });
  range.hidden = line.hidden = below.hidden = true;
  return { draw };
}
