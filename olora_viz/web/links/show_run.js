// Copies the link that shows a run to others.
//
// Gradio runs this with `element`, `props` and `watch`; props.value is the key of its readers, "" without
// a run that can be shown.
import { copies } from "./copy_button.js";

const button = element.querySelector("button");
const show = () => {
  button.hidden = !props.value;
};
const { origin, pathname } = window.location;
copies(element, () => ({ link: `${origin}${pathname}?run=${props.value}`, note: "" }));
watch("value", show);
show();
