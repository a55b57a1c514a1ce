// Buttons and inputs: native ones, whose changes are sent and whose state comes from the kernel.

/** @import { Node, Panel, Part, State } from "./types.d.ts" */

import { append } from "../../figures/live/element.js";

/**
 * @param {Node} node
 * @param {Panel} panel
 * @returns {Part}
 */
export function button({ name, label = "", title = "" }, panel) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.title = title;
  made.addEventListener("click", () => panel.send({ press: name }));
  return {
    node: made,
    /** @param {State} state */
    show(state) {
      made.textContent = state.label ?? label;
      made.disabled = Boolean(state.disabled);
      made.hidden = Boolean(state.hidden);
    },
  };
}

/**
 * A line of text or a number, with suggestions.
 *
 * @param {Node} node
 * @param {Panel} panel
 * @returns {Part}
 */
export function field({ name = "", label = "", title = "", type = "text" }, panel) {
  const frame = labelled(label, title);
  const input = append(frame, "input");
  Object.assign(input, { type, autocomplete: "off", spellcheck: false });
  const list = append(frame, "datalist");
  list.id = `olora-viz-${Math.random().toString(36).slice(2)}`;
  input.setAttribute("list", list.id);
  input.addEventListener("input", () => panel.set(name, input.value));
  return {
    node: frame,
    /** @param {State} state */
    show({ value, options = [] }) {
      list.replaceChildren(...options.map(([words]) => new Option(words)));
      if (!isTyping(input)) input.value = `${value}`;
    },
  };
}

/**
 * @param {Node} node
 * @param {Panel} panel
 * @returns {Part}
 */
export function select({ name = "", label = "", title = "" }, panel) {
  const frame = labelled(label, title);
  frame.hidden = true; // until there is something to choose
  const made = append(frame, "select");
  made.addEventListener("change", () => panel.set(name, made.value));
  let known = "";
  return {
    node: frame,
    /** @param {State} state */
    show({ value, options = [] }) {
      const now = JSON.stringify(options);
      if (now !== known)
        made.replaceChildren(...options.map(([words, one]) => new Option(words, one)));
      known = now;
      frame.hidden = !options.length;
      made.value = value;
    },
  };
}

/**
 * A slider over whole numbers from `min` to `max`, or over the values of its options.
 *
 * @param {Node} node
 * @param {Panel} panel
 * @returns {Part}
 */
export function range({ name = "", label = "", title = "" }, panel) {
  const frame = labelled(label, title);
  frame.hidden = true;
  const input = append(frame, "input");
  input.type = "range";
  const number = append(frame, "output");
  /** @type {any[] | null} */
  let values = null;
  const chosen = () => (values ? values[+input.value] : +input.value);
  const write = () => {
    number.textContent = `${chosen() ?? ""}`;
    input.setAttribute("aria-valuetext", number.textContent);
  };
  input.addEventListener("input", write);
  input.addEventListener("change", () => panel.set(name, chosen()));
  return {
    node: frame,
    /** @param {State} state */
    show({ value, options, min = 0, max = 0 }) {
      frame.hidden = false;
      values = options?.map(([, one]) => one) ?? null;
      input.min = `${values ? 0 : min}`;
      input.max = `${values ? values.length - 1 : max}`;
      if (!input.matches(":active")) input.value = `${values ? values.indexOf(value) : value}`;
      write();
    },
  };
}

/**
 * Boxes to check; the value is the list of those that are checked.
 *
 * @param {Node} node
 * @param {Panel} panel
 * @returns {Part}
 */
export function checks({ name = "", label = "", title = "" }, panel) {
  const frame = document.createElement("fieldset");
  frame.title = title;
  append(frame, "legend").textContent = label;
  const list = append(frame, "div", "boxes");
  let known = "";
  /** @type {HTMLInputElement[]} */
  let boxes = [];
  const tell = () =>
    panel.set(
      name,
      boxes.filter((box) => box.checked).map((box) => box.value),
    );

  /** @param {[string, any, string?]} option */
  function box([words, value, meaning = ""]) {
    const one = append(list, "label", "box");
    one.title = meaning;
    const input = append(one, "input");
    input.type = "checkbox";
    input.value = value;
    input.addEventListener("change", tell);
    one.append(words);
    return input;
  }

  return {
    node: frame,
    /** @param {State} state */
    show({ value = [], options = [] }) {
      const now = JSON.stringify(options);
      if (now !== known) {
        list.replaceChildren();
        boxes = options.map(box);
      }
      known = now;
      for (const one of boxes) one.checked = value.includes(one.value);
    },
  };
}

/** @param {string} words @param {string} title */
function labelled(words, title) {
  const frame = document.createElement("label");
  frame.className = "field";
  frame.title = title;
  append(frame, "span").textContent = words;
  return frame;
}

/**
 * Whether the reader is typing in an input, which keeps what is typed.
 *
 * @param {HTMLElement} input
 */
function isTyping(input) {
  const root = input.getRootNode();
  return root instanceof ShadowRoot
    ? root.activeElement === input
    : document.activeElement === input;
}
