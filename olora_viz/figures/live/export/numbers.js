// A chart's data as CSV and JSON.

/** @import { Layout, Meta, Trace } from "../types.d.ts" */

/** @typedef {string | number | null | undefined} Cell */
/** @typedef {{ header: string[], rows: Cell[][] }} Table */

/**
 * Return the numbers of a chart as rows, with units in the header.
 *
 * @param {Trace[]} data
 * @param {Pick<Layout, "xaxis" | "yaxis"> & { meta: Meta }} layout
 * @returns {Table}
 */
export function table(data, { meta, xaxis, yaxis }) {
  const x = xaxis?.title?.text || "x";
  const y = yaxis?.title?.text || "y";
  const maps = data.filter((trace) => trace.z);
  if (maps.length) {
    const header =
      meta.names || meta.rows ? ["layer", ...(meta.columns ? [x] : []), "value"] : [x, y, "value"];
    return { header, rows: maps.flatMap((trace) => cells(trace, meta)) };
  }
  const rows = data.flatMap((trace) =>
    [...(trace.y ?? [])].map((value, i) => [series(trace), trace.x?.[i] ?? i, value]),
  );
  return { header: ["curve", x, y], rows };
}

/**
 * Write a table as CSV. Text that a spreadsheet would read as a formula gets a leading apostrophe,
 * as in olora_viz/races/tables.py.
 *
 * @param {Table} table
 */
export function csv({ header, rows }) {
  return [header, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

/** @param {Cell} value */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * Return the name that a curve shares with the raw numbers behind it.
 *
 * @param {Trace} trace
 */
function series({ name = "", meta }) {
  return meta === "raw" ? `${name}, raw` : name;
}

/**
 * @param {Trace} trace a map
 * @param {Meta} meta
 * @returns {Cell[][]}
 */
function cells({ x, y, z, customdata }, { names, rows, columns }) {
  const all = (z ?? []).flatMap((row, i) =>
    [...row].map((shown, j) => {
      const value = customdata?.[i]?.[j] ?? shown; // the values before the logarithm
      if (names) return [names[i][j], value];
      if (rows) return [rows[y?.[i]] ?? y?.[i], ...(columns ? [columns[j]] : []), value];
      return [x?.[j] ?? j, y?.[i] ?? i, value];
    }),
  );
  return all.filter(([first]) => first !== null);
}
