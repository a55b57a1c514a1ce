// A page without a server: its charts, its slider, the guide of a lesson on its race, and what a lesson's
// reader has finished.
//
// The page holds the numbers of its charts, and `frames`: what its slider changes, see frames.py.

/** @import { Packed } from "../../figures/live/types.d.ts" */
/** @import { Inside } from "../../figures/live/adapter.js" */
/**
 * @typedef {object} Frame
 * @property {number} at
 * @property {Record<string, string>} [texts]
 * @property {Record<string, any>} [figures]
 * @property {Record<string, Omit<Inside, "lanes"> & { lanes: Record<string, any> }>} [inside]
 */

import { mount as mountAdapters } from "../../figures/live/adapter.js";
import { mount } from "../../figures/live/figure.js";
import { play, playing } from "../parts/guide.js";
import { finish, mark, watchAnswers } from "../progress.js";
import { live } from "./live/page.js";

const own = /** @type {HTMLScriptElement} */ (document.currentScript);
const plotly = new URL("plotly.min.js", own.src).href;

/** @type {{ figures: Record<string, Packed>, frames: Frame[] }} */
const given = { figures: {}, frames: [] };
for (const { textContent } of document.querySelectorAll(".olora-viz-numbers")) {
  const { figures, frames } = JSON.parse(textContent ?? "{}");
  Object.assign(given.figures, figures);
  given.frames.push(...frames);
}

const scrub = document.getElementById("scrubber");
/** @type {Record<string, ReturnType<typeof mount>>} */
const charts = {};
for (const place of /** @type {NodeListOf<HTMLElement>} */ (
  document.querySelectorAll("[data-figure]")
)) {
  const name = place.dataset.figure ?? "";
  charts[name] = mount(place, { plotly, palette });
  if (given.figures[name]) charts[name].draw(given.figures[name]);
}

const adapters = document.querySelector("#adapter-figure .inside");
const inside = adapters && mountAdapters(adapters);
const layer = /** @type {HTMLSelectElement | null} */ (document.getElementById("adapter-layer"));

/**
 * Return an object with what another changes of it: "key+" appends to a text, null takes a value away.
 *
 * @param {any} below
 * @param {any} above
 * @returns {any}
 */
const over = (below, above) => {
  if (!(below instanceof Object && above instanceof Object) || Array.isArray(above)) return above;
  const now = { ...below };
  for (const [key, value] of Object.entries(above)) {
    if (key.endsWith("+")) now[key.slice(0, -1)] += value;
    else if (value === null) delete now[key];
    else now[key] = over(below[key], value);
  }
  return now;
};

/** Shows a position of the slider. @param {number} at */
const show = (at) => {
  const past = given.frames.filter((frame) => frame.at <= at);
  const { texts = {}, figures = {}, inside: within = {} } = past.reduce(over, {});
  for (const [id, html] of Object.entries(texts)) {
    const place = document.getElementById(id);
    if (place && place.innerHTML !== html) place.innerHTML = html;
  }
  for (const [name, { data, layout }] of Object.entries(figures))
    charts[name]?.draw({ data: Object.values(data), layout });
  const seen = layer && within[layer.value];
  if (seen) inside?.show({ ...seen, lanes: Object.values(seen.lanes) });
};

let last = given.frames.at(-1)?.at ?? 0;
if (scrub && last) {
  show(last);
  const props = { value: { run: "", steps: last, total: last, at: last, seconds: 0 } };
  /** @type {() => void} */
  let changed = () => {};
  scrubber(
    scrub,
    props,
    (_, call) => (changed = call),
    (_, { value }) => {
      const at = Math.min(value, last);
      show(at);
      props.value = { ...props.value, at };
      queueMicrotask(() => changed());
    },
  );
  layer?.addEventListener("change", () => show(props.value.at));
  const offer = document.getElementById("live-offer")?.textContent;
  const recorded = given.frames;
  if (offer)
    live({
      offer: JSON.parse(offer),
      assets: new URL(".", own.src).href,
      like: recorded[0].figures ?? {},
      show(others, steps) {
        const { run, at } = props.value;
        const [frames, total] = [others ?? recorded, others ? steps : recorded.length - 1];
        const follows = !others || run !== "live" || at === last || frames.length === 1;
        given.frames = frames;
        last = frames[frames.length - 1].at;
        const shown = follows ? last : at;
        props.value = { run: others ? "live" : "", steps: last, total, at: shown, seconds: 0 };
        show(shown);
        changed();
      },
    });
}

for (const label of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".ranks"))) {
  const slider = /** @type {HTMLInputElement} */ (label.querySelector("input"));
  const ranks = (slider.dataset.ranks ?? "").split(",").map(Number);
  const output = /** @type {HTMLOutputElement} */ (label.querySelector("output"));
  label.hidden = false;
  const turn = () => {
    const rank = ranks[Number(slider.value)];
    output.textContent = String(rank);
    slider.setAttribute("aria-valuetext", `rank ${rank}`);
    show(rank);
  };
  slider.addEventListener("input", turn);
  turn();
}

const view = document.getElementById("view");
if (view) views(view);
const ask = document.getElementById("bet-ask");
if (ask) bets(ask);
const lesson = new URLSearchParams(window.location.search).get("lesson") ?? playing();
/** @type {NodeListOf<HTMLElement>} */
const guides = document.querySelectorAll("#lesson-card .guide");
for (const guide of guides)
  if (guide.dataset.guide === lesson)
    play(guide, {
      resumes: playing() === lesson,
      finished: () => finish(lesson.replace(/-here$/, "")),
    });

watchAnswers(document);
mark();
