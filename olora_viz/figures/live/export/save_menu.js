// The save button above a chart, and its menu.

/** @import { Chart, Menu, Sources } from "../types.d.ts" */

import { append } from "../element.js";
import { saveChart } from "./save_chart.js";

const KINDS = [
  ["png", "Picture", "PNG, as you see it"],
  ["html", "Web page", "HTML, self-contained"],
  ["csv", "Numbers", "CSV for a spreadsheet"],
  ["json", "Numbers", "JSON"],
];

/** @type {Record<string, (at: number, count: number) => number>} */
const MOVES = {
  ArrowDown: (at, count) => (at + 1) % count,
  ArrowUp: (at, count) => (at + count - 1) % count,
  Home: () => 0,
  End: (_, count) => count - 1,
};

/**
 * Return the function that adds the button and its menu to the head of a chart.
 *
 * @param {Sources} sources
 * @returns {Menu}
 */
export function saveMenu(sources) {
  return (head, chart) => {
    const { frame, button, menu, items } = build(head);
    const isOpen = () => !menu.hidden;

    function open(at = 0) {
      menu.hidden = false;
      button.setAttribute("aria-expanded", "true");
      items.at(at)?.focus({ preventScroll: true });
      document.addEventListener("pointerdown", outside, true);
    }

    /** @param {boolean} focus */
    function close(focus) {
      menu.hidden = true;
      button.setAttribute("aria-expanded", "false");
      document.removeEventListener("pointerdown", outside, true);
      if (focus) button.focus({ preventScroll: true });
    }

    /** @param {PointerEvent} event */
    function outside({ target }) {
      if (!(target instanceof Node && frame.contains(target))) close(false);
    }

    /** @param {KeyboardEvent} event */
    function press(event) {
      const { key } = event;
      if (!isOpen()) {
        if (key !== "ArrowDown" && key !== "ArrowUp") return;
        open(key === "ArrowUp" ? -1 : 0);
      } else if (key === "Escape") close(true);
      else if (key === "Tab") {
        close(false);
        return;
      } else if (MOVES[key]) {
        const at = items.findIndex((item) => item === document.activeElement);
        items[MOVES[key](at, items.length)].focus();
      } else return;
      event.preventDefault();
      event.stopPropagation(); // the page has its own keyboard shortcuts
    }

    button.addEventListener("click", () => (isOpen() ? close(true) : open()));
    frame.addEventListener("keydown", press);
    for (const item of items) {
      item.addEventListener("click", () => {
        close(true);
        take(button, chart, item.dataset.kind ?? "", sources);
      });
    }

    return {
      // Name the menu after the chart, and show it only if there is something to save.
      show({ title, message }, hasPoints) {
        frame.hidden = !hasPoints || Boolean(message);
        button.ariaLabel = `save the chart ${title}`;
        button.title = button.ariaLabel;
        if (frame.hidden && isOpen()) close(false);
      },
      destroy: () => close(false),
    };
  };
}

/** @param {HTMLElement} head */
function build(head) {
  const frame = append(head, "div", "figure-save");
  const button = append(frame, "button", "quiet");
  button.type = "button";
  button.textContent = "↓";
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "false");
  const menu = append(frame, "div", "menu");
  menu.setAttribute("role", "menu");
  menu.hidden = true;
  const items = KINDS.map(([kind, name, words]) => {
    const item = append(menu, "button");
    item.type = "button";
    item.tabIndex = -1;
    item.setAttribute("role", "menuitem");
    item.dataset.kind = kind;
    append(item, "b").textContent = name;
    append(item, "span").textContent = words;
    return item;
  });
  return { frame, button, menu, items };
}

/**
 * Save a chart. Its button is disabled meanwhile: a page of five megabytes may take a moment.
 *
 * @param {HTMLButtonElement} button
 * @param {Chart} chart
 * @param {string} kind
 * @param {Sources} sources
 */
async function take(button, chart, kind, sources) {
  button.disabled = true;
  try {
    await saveChart(chart, kind, sources);
    button.title = button.ariaLabel ?? "";
  } catch (error) {
    button.title = `could not be saved: ${error instanceof Error ? error.message : error}`;
    button.textContent = "!";
    setTimeout(() => {
      button.textContent = "↓";
    }, 4000);
  }
  button.disabled = false;
}
