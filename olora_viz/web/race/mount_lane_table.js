// Mounts the table of lanes in its component, and the same lanes in a line.
//
// Gradio runs this with `element`, `props`, `server` and `watch`; props.value is the list of
// rows.
/** @import { Row } from "../../figures/live/lane_table.js" */

import { mount as mountLine } from "./lane_line.js";
import { load } from "../../figures/live/gradio/serving.js";

/** The glossary's terms behind the heads of the columns, see terms.js. */
const TERMS = /** @type {Record<string, string>} */ ({
  start: "initialization",
  r: "rank",
  α: "alpha",
  seeds: "seed",
});

load(files.module).then(({ mount }) => {
  const table = mount(element.querySelector(".lane-table"), {
    rows: props.value,
    blank: props.blank,
    starts: props.starts,
    meanings: props.meanings,
    most: props.most,
    terms: TERMS,
    /** @param {Row[]} rows */
    seen: (rows) => server.seen(rows),
    /** @param {Row[]} rows */
    changed: (rows) => {
      line.replace(rows);
      props.value = rows;
    },
  });
  const line = mountLine(element.querySelector(".lane-line"), {
    rows: props.value,
    starts: props.starts,
    meanings: props.meanings,
    /** @param {Row[]} rows */
    changed: (rows) => {
      table.replace(rows);
      props.value = rows;
    },
  });
  watch("value", () => {
    table.replace(props.value);
    line.replace(props.value);
  });
});
