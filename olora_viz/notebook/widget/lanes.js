// The table of lanes, which the page has too.

/** @import { Row } from "../../figures/live/lane_table.js" */
/** @import { Node, Panel, Part, State } from "./types.d.ts" */

import { mount } from "../../figures/live/lane_table.js";

/**
 * @param {Node} node
 * @param {Panel} panel
 * @returns {Part}
 */
export function lanes({ name = "", blank = {}, starts = {}, meanings = {}, most = 64 }, panel) {
  const place = document.createElement("div");
  place.className = "lane-table";
  /** @type {ReturnType<typeof mount> | null} */
  let table = null;
  let known = "";

  /** @param {Row[]} rows */
  function changed(rows) {
    known = JSON.stringify(rows);
    panel.set(name, rows);
  }

  return {
    node: place,
    /** @param {State} state */
    show({ value: rows }) {
      const now = JSON.stringify(rows);
      if (now === known) return;
      known = now;
      if (table) table.replace(rows);
      else
        table = mount(place, { rows, blank, starts, meanings, most, seen: panel.marks, changed });
    },
  };
}
