// Draws the figures of a self-contained page, from the values in the page.

import { inflated } from "./export/inflated.js";
import { STYLE, variables } from "./export/standalone_style.js";
import { mount } from "./figure.js";

const text = /** @type {HTMLElement} */ (document.getElementById("given")).textContent ?? "";
const { figures, palette, style } = JSON.parse(text);
const sheet = document.createElement("style");
sheet.textContent = variables(palette) + STYLE + style;
document.head.append(sheet);
const plotly = await inflated("plotly");
for (const place of /** @type {NodeListOf<HTMLElement>} */ (
  document.querySelectorAll("[data-figure]")
)) {
  const chart = mount(place, { plotly, palette, eager: true });
  chart.draw(figures[place.dataset.figure ?? ""]);
}
