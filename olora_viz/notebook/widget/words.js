// Text in a panel: fragments of HTML, code to copy, and parts that are opened by the reader.

/** @import { Node, Panel, Part, State } from "./types.d.ts" */

import { append } from "../../figures/live/element.js";

/** @returns {Part} */
export function html() {
  const place = document.createElement("div");
  return {
    node: place,
    /** @param {string} text a fragment that views/ has escaped */
    show(text) {
      const folded = () => [...place.querySelectorAll("details")];
      const open = folded().map((one) => one.open);
      place.innerHTML = text;
      folded().forEach((one, i) => {
        one.open = open[i] ?? one.open;
      });
    },
  };
}

/**
 * @param {Node} node
 * @returns {Part}
 */
export function code({ label = "" }) {
  const place = document.createElement("div");
  place.className = "code";
  const head = append(place, "div", "code-head");
  append(head, "h2").textContent = label;
  const copy = append(head, "button", "quiet");
  copy.type = "button";
  copy.textContent = "Copy";
  const text = append(place, "pre");
  text.tabIndex = 0;
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent ?? "");
      copy.textContent = "Copied";
    } catch {
      getSelection()?.selectAllChildren(text); // where the browser allows no copying by script
      copy.textContent = "Press Ctrl+C";
    }
    setTimeout(() => {
      copy.textContent = "Copy";
    }, 2000);
  });
  return {
    node: place,
    /** @param {string} words */
    show(words) {
      text.textContent = words;
    },
  };
}

/**
 * A part that is drawn while it is open.
 *
 * @param {Node} node
 * @param {Panel} panel
 * @returns {Part}
 */
export function section({ name, title = "" }, panel) {
  const place = document.createElement("details");
  place.className = "section";
  place.hidden = true;
  append(place, "summary").textContent = title;
  append(place, "div", "folded");
  let isOpen = false; // as the kernel knows it
  place.addEventListener("toggle", () => {
    if (place.open === isOpen) return;
    isOpen = place.open;
    panel.send({ open: [name, isOpen] });
  });
  return {
    node: place,
    /** @param {State} state */
    show({ hidden, open }) {
      place.hidden = Boolean(hidden);
      isOpen = Boolean(open);
      place.open = isOpen;
    },
  };
}
