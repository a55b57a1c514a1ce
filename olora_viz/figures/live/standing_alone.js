// Draws the figures of a self-contained page, from the values in the page.

import { STYLE, variables } from "./export/standalone_style.js";
import { mount } from "./figure.js";

const text = /** @type {HTMLElement} */ (document.getElementById("given")).textContent ?? "";
const { figures, palette, style } = JSON.parse(text);
const sheet = document.createElement("style");
sheet.textContent = variables(palette) + STYLE + style;
document.head.append(sheet);
for (const place of /** @type {NodeListOf<HTMLElement>} */ (
  document.querySelectorAll("[data-figure]")
)) {
  const chart = mount(place, { plotly: /** @type {any} */ (window).Plotly, palette, eager: true });
  chart.draw(figures[place.dataset.figure ?? ""]);
}
