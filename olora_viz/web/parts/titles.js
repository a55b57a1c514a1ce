// Gives buttons of Gradio, which have none, their tooltips.
//
// Gradio runs this with `props`; props.titles has a sentence for every id, and props.starts, where
// there are any, one for the label of every start that boxes offer.
import { whenThere } from "./when_there.js";

whenThere(props.titles, (button, title) => button.setAttribute("title", title));

/** @type {Record<string, string>} */
const boxes = props.starts ? { "decide-inits": "", "spectrum-starts": "" } : {};
whenThere(boxes, (group) => {
  for (const label of group.querySelectorAll("label"))
    label.title = props.starts[label.textContent?.trim() ?? ""] ?? "";
});
