// Draws the figure of a page that needs no other file, from the values in it.

import { inflated } from "./export/inflated.js";

const place = /** @type {HTMLElement} */ (document.getElementById("plot"));
const held = /** @type {HTMLElement} */ (document.getElementById("given")).textContent ?? "";
const { data, layout } = JSON.parse(held);
const plotly = await inflated("plotly");
plotly.react(place, data, layout, { responsive: true });
