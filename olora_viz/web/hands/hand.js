// What a lesson lets its reader change by hand.
//
// Gradio runs this with `element`, `props` and `watch`; props.value says what, see learn/pictures.py, or is null.
import { alpha } from "./alpha.js";
import { luck } from "./luck.js";
import { plane } from "./plane.js";

/** @type {Record<string, (place: HTMLElement, given: any) => void>} */
const HANDS = { alpha, luck, plane };

let shown = "";
const show = () => {
  const text = JSON.stringify(props.value ?? null);
  if (text === shown) return;
  shown = text;
  const place = /** @type {HTMLElement} */ (element.querySelector(".hand"));
  place.replaceChildren();
  HANDS[props.value?.kind]?.(place, props.value);
};
show();
watch("value", show);
