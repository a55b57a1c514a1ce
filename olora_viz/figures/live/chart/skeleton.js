// The elements of a chart and their text.

/** @import { Meta, PlotElement } from "../types.d.ts" */

import { append } from "../element.js";
import { SMOOTHINGS } from "./smoothing.js";

/** @typedef {ReturnType<typeof skeleton>} Parts */

/**
 * Fill an element with the parts of a chart.
 *
 * @param {Element} element
 */
export function skeleton(element) {
  element.replaceChildren();
  const head = append(element, "div", "figure-head");
  const line = append(head, "h2");
  const title = append(line, "span");
  line.append(" ");
  const unit = append(line, "span", "hint");
  const tools = append(head, "span", "figure-tools");
  const smoothing = append(tools, "label", "hint");
  smoothing.append("smoothing ");
  const weight = append(smoothing, "select", "badge");
  for (const each of SMOOTHINGS) offer(weight, each);
  smoothing.hidden = true;
  const scale = append(tools, "button", "badge");
  scale.type = "button";
  scale.hidden = true;
  const badge = append(tools, "span", "badge");
  const ask = append(tools, "button", "badge");
  ask.type = "button";
  ask.textContent = "?";
  ask.title = "How to read this chart";
  ask.setAttribute("aria-expanded", "false");
  const how = append(element, "p", "hint figure-how");
  how.hidden = true;
  ask.addEventListener("click", () => {
    how.hidden = !how.hidden;
    ask.setAttribute("aria-expanded", `${!how.hidden}`);
  });
  const frame = append(element, "div", "figure-frame");
  const plot = /** @type {PlotElement} */ (
    /** @type {unknown} */ (append(frame, "div", "figure-plot"))
  );
  plot.setAttribute("role", "group"); // it contains buttons, so it is not an image to a screen reader
  const pointer = append(frame, "div", "figure-pointer");
  pointer.hidden = true;
  const message = append(frame, "p", "figure-message");
  const lanes = append(frame, "div", "figure-lanes");
  lanes.setAttribute("role", "toolbar");
  const recall = append(element, "p", "figure-recall");
  const texts = { title, unit, badge, how, message };
  return { head, ...texts, scale, smoothing, weight, ask, pointer, frame, plot, lanes, recall };
}

/**
 * Write the text around a chart.
 *
 * @param {Parts} parts
 * @param {Meta} meta
 * @param {object} axis
 * @param {boolean} axis.logarithmic whether the vertical axis is logarithmic by default
 * @param {boolean} axis.linear whether the reader made it linear
 * @param {number | undefined} axis.weight of the past in the curves that are smoothed
 */
export function write(parts, meta, { logarithmic, linear, weight }) {
  const { badge, scale, smoothing, message } = parts;
  parts.title.textContent = meta.title;
  parts.unit.textContent = meta.unit;
  parts.how.textContent = meta.how ?? "";
  parts.ask.hidden = !meta.how;
  badge.textContent = meta.badge;
  badge.hidden = !meta.badge || logarithmic;
  scale.hidden = !logarithmic;
  scale.textContent = linear ? "linear" : "log";
  scale.title = `vertical axis: ${scale.textContent}; make it ${linear ? "log" : "linear"}`;
  scale.setAttribute("aria-label", scale.title);
  smoothing.hidden = meta.smoothing === undefined;
  if (!smoothing.hidden && weight !== undefined) select(parts.weight, weight);
  message.textContent = meta.message;
  message.hidden = !meta.message;
  parts.plot.setAttribute("aria-label", `${meta.title}: ${meta.unit}. ${meta.message}`);
  parts.lanes.setAttribute("aria-label", `lanes of ${meta.title}`);
}

/**
 * @param {HTMLSelectElement} control
 * @param {number} weight
 */
function select(control, weight) {
  if (control.value === `${weight}`) return;
  if (!SMOOTHINGS.includes(weight)) offer(control, weight);
  control.value = `${weight}`;
}

/**
 * @param {HTMLSelectElement} control
 * @param {number} weight
 */
function offer(control, weight) {
  control.add(new Option(`${weight}`, `${weight}`));
}
