// Keeps the Share button and the address bar in step with the page's set-up.
//
// Gradio runs this with `element`, `props` and `watch`; props.value is the query that the server
// wrote for the set-up, whose parameters props.names lists. hide=, lesson=, start= and all other
// parameters of the address are kept.
import { set } from "../../figures/live/store.js";
import { forOthers } from "../classroom/address.js";
import { write } from "../parts/address.js";
import { copies } from "../parts/copy_button.js";
import { watchLinks } from "./own_links.js";

let timer = 0;

const query = () => {
  const kept = new URLSearchParams(window.location.search);
  for (const name of props.names) kept.delete(name);
  return [props.value, kept.toString().replaceAll("%2C", ",")].filter(Boolean).join("&");
};

const follow = () => {
  clearTimeout(timer);
  timer = window.setTimeout(() => write(query()), 250);
};

copies(element, () => {
  write(query());
  const { hash, origin, pathname } = window.location;
  return {
    link: `${origin}${pathname}?${forOthers(window.location.search)}${hash}`,
    note: /=your-file(&|$)/.test(props.value) ? ", without your file" : "",
  };
});

let changed = false; // an unchanged page has a short address
watch("value", () => {
  changed = true;
  follow();
});
// Going back or forward may restore the address of an older set-up.
window.addEventListener("popstate", () => changed && follow());

watchLinks();

const hidden = (new URLSearchParams(window.location.search).get("hide") ?? "").split(",");
set({ hide: hidden.map((name) => name.trim()).join(" ") });
