// Any number of charts. Gradio runs this with `element`, `props` and `watch`; props.value is what
// pack_all of gradio_figure.py returns.

import { mounting } from "./mounting.js";

mounting().then((mount) => {
  const list = element.querySelector(".live-figures");
  const charts = new Map();

  /** @param {string} name */
  const added = (name) => {
    const place = document.createElement("div");
    place.className = "live-figure";
    place.dataset.figure = name;
    list.append(place);
    return { place, figure: mount(place) };
  };

  const draw = () => {
    const figures = props.value?.figures;
    if (!figures) return;
    for (const [name, { place, figure }] of charts) {
      if (name in figures) continue;
      figure.destroy();
      place.remove();
      charts.delete(name);
    }
    for (const [name, value] of Object.entries(figures)) {
      if (!charts.has(name)) charts.set(name, added(name));
      charts.get(name).figure.draw(value);
    }
  };
  draw();
  watch("value", draw);
});
