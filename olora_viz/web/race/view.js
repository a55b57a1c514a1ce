// The two layouts of the page Race: the first screen, whose set-up is a sentence, and the workbench,
// with all its cards. The address says which, view=workbench, or else what the browser remembers.
//
// Gradio runs this with `element`.
import { get, set, subscribe } from "../../figures/live/store.js";
import { readable } from "../classroom/address.js";
import { write } from "../parts/address.js";
import { keep, recall } from "../parts/kept.js";

const KEY = "olora-viz-view";
const WORKBENCH = "workbench";
const button = element.querySelector("button");

const query = () => new URLSearchParams(window.location.search);

// Of the column of all pages: Gradio repeats each rule of a style sheet for what is inside of its page.
const all = /** @type {HTMLElement} */ (element.closest("main > .column"));

const show = () => {
  all.toggleAttribute("data-first", !get("workbench") && !get("class") && get("page") === "race");
  button.textContent = get("workbench") ? "less" : "more";
  button.title = get("workbench")
    ? "The first screen: one line of set-up, one chart, the adapters"
    : "All settings, lanes, charts and tables";
};

button.addEventListener("click", () => {
  const workbench = !get("workbench");
  const asked = query();
  asked.delete("view");
  if (workbench) asked.set("view", WORKBENCH);
  write(readable(asked));
  keep("localStorage", KEY, workbench ? WORKBENCH : "");
  set({ workbench });
  window.dispatchEvent(new Event("resize")); // charts have another size
});

document.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  for (const [part, name] of [
    [".why-button", "why"],
    ["#menu-button", "menu"],
  ]) {
    const pressed = target.closest?.(part);
    if (!pressed) continue;
    const open = all.toggleAttribute(`data-${name}`);
    pressed.setAttribute("aria-expanded", `${open}`);
  }
});
subscribe(["workbench", "class", "page"], show);

set({ workbench: (query().get("view") ?? recall("localStorage", KEY)) === WORKBENCH });
show();
