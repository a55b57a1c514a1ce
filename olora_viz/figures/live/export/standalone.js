// A self-contained page.

/** @import { Packed, Palette, Sources } from "../types.d.ts" */

import { deflated, inflated } from "./inflated.js";
import { STYLE, variables } from "./standalone_style.js";

// The content security policy blocks every request.
const POLICY =
  "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:";

/**
 * Return a self-contained page.
 *
 * @param {object} page
 * @param {string} page.title
 * @param {string} page.body HTML; each figure goes into the element with its data-figure="name"
 * @param {Record<string, Packed>} page.figures by name
 * @param {Palette} page.palette
 * @param {string} [page.style] additional CSS
 * @param {Sources} page.sources
 */
export async function standalone({ title, body, figures, palette, style = "", sources }) {
  const [plotly, module] = await Promise.all([sources.plotly, sources.module].map(textOf));
  const given = JSON.stringify({ figures, palette }).replaceAll("<", "\\u003c");
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${variables(palette)}${STYLE}${style}</style></head><body><main>
${body}
</main>
<script type="text/plain" id="plotly">${await deflated(plotly)}</script>
<script type="module">
${module}
const { figures, palette } = ${given};
const plotly = await (${inflated})("plotly");
for (const place of document.querySelectorAll("[data-figure]")) {
  mount(place, { plotly, palette, eager: true }).draw(figures[place.dataset.figure]);
}
</script></body></html>
`;
}

/** @param {string} url */
async function textOf(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return answer.text();
}

/** @param {string} text */
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
