// One chart. Gradio runs this with `element`, `props`, `watch` and `trigger`; props.value is a packed
// figure or null.

import { mounting } from "./mounting.js";

mounting().then((mount) => {
  const place = element.querySelector(".live-figure");
  const figure = mount(place);
  figure.draw(props.value);
  watch("value", () => figure.draw(props.value));
  /** @param {string} name */
  const pick = (name) => trigger("select", { index: 0, value: name });
  if (place.classList.contains("picks")) figure.onPick(pick);
});
