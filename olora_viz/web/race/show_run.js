// Copies the link that shows a run to others.
//
// Gradio runs this with `element`, `props` and `watch`; props.value is the key of its readers, "" without
// a run that can be shown.
import { className } from "../classroom/address.js";
import { copies } from "../parts/copy_button.js";

const button = element.querySelector("button");
const show = () => {
  button.hidden = !props.value;
  button.dataset.key = props.value ?? "";
};
copies(element, () => {
  const { origin, pathname, search } = window.location;
  const query = new URLSearchParams({ run: props.value });
  const hide = new URLSearchParams(search).get("hide"); // whoever watches sees the same parts
  if (hide) query.set("hide", hide);
  if (className(search)) query.set("class", className(search));
  return { link: `${origin}${pathname}?${query.toString().replaceAll("%2C", ",")}` };
});
watch("value", show);
show();
