// The parts of a panel, made from the tree that the kernel sends.

/** @import { Node, Panel, Part } from "./types.d.ts" */

import { append } from "../../figures/live/element.js";
import { charts } from "./charts.js";
import { button, checks, field, range, select } from "./controls.js";
import { inside } from "./inside.js";
import { lanes } from "./lanes.js";
import { code, html, section } from "./words.js";

/** @type {Record<string, (node: Node, panel: Panel) => Part>} */
const KINDS = { button, charts, checks, code, field, html, inside, lanes, range, section, select };

/**
 * Fill an element with the parts of a tree.
 *
 * @param {HTMLElement} element
 * @param {Node} tree
 * @param {Panel} panel
 */
export function build(element, tree, panel) {
  /** @type {Map<string, Part>} */
  const parts = new Map();

  /** @param {HTMLElement} parent @param {Node} node */
  function add(parent, node) {
    const make = KINDS[node.kind];
    const part = make?.(node, panel) ?? { node: document.createElement("div") };
    part.node.className = [part.node.className, node.class ?? ""].join(" ").trim();
    if (node.name) {
      part.node.dataset.part = node.name;
      parts.set(node.name, part);
    }
    parent.append(part.node);
    const within = part.node.querySelector(":scope > .folded") ?? part.node;
    for (const item of node.items ?? []) add(/** @type {HTMLElement} */ (within), item);
  }

  element.replaceChildren();
  add(append(element, "div", "root"), tree);
  return {
    /** @param {string} name @param {any} value */
    show: (name, value) => parts.get(name)?.show?.(value),
    /** @param {string} name of a chart */
    draw(name) {
      for (const part of parts.values()) part.draw?.(name);
    },
    destroy() {
      for (const part of parts.values()) part.destroy?.();
    },
  };
}
