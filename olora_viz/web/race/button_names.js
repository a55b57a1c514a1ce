// Sets the accessible names of the icon buttons.
//
// Gradio runs this with `props`; props.names has a name for every id.
import { whenThere } from "../parts/when_there.js";

whenThere(props.names, (button, name) => {
  button.setAttribute("aria-label", name);
  button.setAttribute("title", name);
});
