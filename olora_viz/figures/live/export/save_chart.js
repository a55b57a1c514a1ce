// Saves a chart as a file of one of four kinds.

/** @import { Chart, Sources } from "../types.d.ts" */

import { csv, table } from "./numbers.js";
import { picture } from "./picture.js";
import { save } from "./save.js";
import { standalone } from "./standalone.js";

/**
 * Save a chart.
 *
 * @param {Chart} chart
 * @param {string} kind png, html, csv or json
 * @param {Sources} sources
 */
export async function saveChart(chart, kind, sources) {
  const { layout } = chart.value();
  const { title, unit } = layout.meta;
  const name = `${fileName(title)}.${kind}`;
  if (kind === "png") save(name, await picture(chart), "image/png");
  else if (kind === "csv") save(name, csv(table(chart.plot.data, layout)), "text/csv");
  else if (kind === "json") {
    const { header, rows } = table(chart.plot.data, layout);
    save(name, JSON.stringify({ title, unit, columns: header, rows }), "application/json");
  } else {
    const body = '<div class="card" data-figure="chart"></div>';
    const figures = { chart: chart.given() };
    const page = await standalone({ title, body, figures, palette: chart.palette, sources });
    save(name, page, "text/html");
  }
}

/**
 * Turn a title into a file name.
 *
 * @param {string} words
 */
export function fileName(words) {
  const plain = words.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  return plain.replace(/^-+|-+$/g, "").slice(0, 60) || "chart";
}
