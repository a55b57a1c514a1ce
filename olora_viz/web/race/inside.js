// Draws the adapters of a race, see figures/live/adapter.js.
//
// Gradio runs this with `element`, `props` and `watch`; props.value is what views/inside.py returns.
import { mount } from "../../figures/live/adapter.js";

const figure = mount(element.querySelector(".inside"));
const show = () => props.value?.W && figure.show(props.value);
watch("value", show);
show();
