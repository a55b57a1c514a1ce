// Copies the links for a class, opens a class, and opens the plan where the address names it.
//
// Gradio runs this with `element`.
import { className, nameOf } from "./classroom/address.js";
import { forget } from "./parts/address.js";
import { copies } from "./parts/copy_button.js";

const { origin, pathname, search } = window.location;
const within = className(search);
const suffix = within && `class=${within}`;

for (const line of element.querySelectorAll(".class-link")) {
  const { link = "" } = /** @type {HTMLElement} */ (line).dataset;
  copies(line, () => ({ link: `${origin}${pathname}${link}${suffix && `&${suffix}`}` }));
}

const input = element.querySelector("input");
const sheets = /** @type {HTMLAnchorElement} */ (element.querySelector(".for-class a"));
if (suffix) sheets.href += `?${suffix}`;
const suggested = within || `class-${crypto.getRandomValues(new Uint16Array(1))[0]}`;
input.value = suggested;
const opens = /** @type {HTMLElement} */ (element.querySelector("[data-open-class]"));
opens.addEventListener("click", () => {
  const asked = window.location.search;
  // A class begins with the plans' first race, before its result is shown, or with what the teacher has in view.
  const query = new URLSearchParams(
    /[?&](lesson|lane)=/.test(asked) ? asked : opens.dataset.openClass,
  );
  query.set("class", nameOf(input.value) || suggested);
  query.set("projector", "1");
  forget();
  window.location.assign(`${pathname}?${query.toString().replaceAll("%2C", ",")}#race`);
});

const open = () => {
  if (window.location.hash !== "#teachers") return;
  element.querySelector("details")?.toggleAttribute("open", true);
  element.scrollIntoView();
};
window.addEventListener("hashchange", open);
open();
