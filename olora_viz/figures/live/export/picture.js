// Saves a chart as a picture.

/** @import { Chart } from "../types.d.ts" */

const HEAD = 52; // pixels above the plot, for the text around it

/**
 * Draw the chart as it is on the screen, with its title, in the current theme.
 *
 * @param {Chart} chart
 * @returns {Promise<Blob>} a PNG, at twice the size
 */
export async function picture({ plot, Plotly, value, colors }) {
  const { title, unit, badge } = value().layout.meta;
  const { card, ink, mute } = colors();
  const drawn = plot.layout;
  const words = `${unit}${badge ? ` · ${badge}` : ""}`;
  const small = `<span style="font-size:12px;color:${mute}">${words}</span>`;
  const { width } = drawn;
  const height = drawn.height + HEAD;
  const layout = {
    ...drawn,
    height,
    margin: { ...drawn.margin, t: drawn.margin.t + HEAD },
    paper_bgcolor: card,
    plot_bgcolor: card,
    title: {
      text: `<b>${title}</b><br>${small}`,
      font: { size: 15, color: ink },
      x: 0,
      xanchor: "left",
      xref: "container",
      y: 1,
      yref: "container",
      yanchor: "top",
      pad: { l: 14, t: 22 },
    },
  };
  const size = { format: "png", width, height, scale: 2 };
  const made = await Plotly().toImage({ data: plot.data, layout }, size);
  return (await fetch(made)).blob();
}
