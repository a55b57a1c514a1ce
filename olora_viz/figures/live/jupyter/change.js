/** @import { Packed } from "../types.d.ts" */

/** @typedef {string | { more: string }} News a new text, or what was appended to the old one */
/** @typedef {{ data: Record<string, Record<string, News>>, layout: Record<string, string> }} Change */

/**
 * Return a packed figure with what is new in it: the inverse of `difference` in notebook_feed.py.
 *
 * @param {Packed} value
 * @param {Change} change by the index of a trace
 * @returns {Packed}
 */
export function changed(value, change) {
  const data = value.data.map((trace, i) => {
    const made = /** @type {Record<string, string>} */ ({ ...trace });
    for (const [key, news] of Object.entries(change.data[i] ?? {})) {
      made[key] = typeof news === "string" ? news : `${made[key]}${news.more}`;
    }
    return /** @type {typeof trace} */ (/** @type {unknown} */ (made));
  });
  return { data, layout: { ...value.layout, ...change.layout } };
}
