// A page that stands alone: nothing in it can be taken for its markup.

import assert from "node:assert/strict";
import { test } from "node:test";

import { standalone } from "../../olora_viz/figures/live/export/standalone.js";

/** @param {string} text */
function url(text) {
  return `data:text/javascript,${encodeURIComponent(text)}`;
}

test("a page holds Plotly, the chart and its figures, and a figure cannot end its script", async () => {
  const text = await standalone({
    title: "<b>&",
    body: '<div data-figure="a"></div>',
    figures: { a: { data: [{ trace: '{"name":"</script><script>"}' }], layout: {} } },
    palette: { light: { ink: "#000" }, dark: { ink: "#fff" } },
    sources: { plotly: url("var plotly = 1;"), module: url("function mount() {}") },
  });
  assert.match(text, /<title>&lt;b>&amp;<\/title>/);
  assert.match(text, /default-src 'none'/);
  assert.match(text, /--ink:#000;/);
  const [, packed] = text.match(/id="plotly">([^<]*)</) ?? [];
  const plain = new Blob([Buffer.from(packed, "base64")])
    .stream()
    .pipeThrough(new DecompressionStream("gzip"));
  assert.equal(await new Response(plain).text(), "var plotly = 1;");
  assert.ok(text.indexOf(packed) < text.indexOf("function mount"));
  assert.equal(text.split("</script>").length, 3);
});
