// Keeps the Share button and the address bar in step with the page's set-up.
//
// Gradio runs this with `element`, `props` and `watch`; props.value is the query that the server
// wrote for the set-up. hide=, lesson= and all other parameters of the address are kept.
const KEY = "olora-viz-link"; // the query that this tab wrote itself: a reload is no new link
const OF_SETUP = ["model", "task", "steps", "batch", "seed", "lane", "curvature", "start"];
const button = element.querySelector("button");
const said = element.querySelector("[role=status]");
const words = button.textContent;
let timer = 0;
let back = 0;

const query = () => {
  const kept = new URLSearchParams(window.location.search);
  for (const name of OF_SETUP) kept.delete(name);
  return [props.value, kept.toString().replaceAll("%2C", ",")].filter(Boolean).join("&");
};
const link = () => `${window.location.origin}${window.location.pathname}?${query()}`;

const follow = () => {
  clearTimeout(timer);
  timer = window.setTimeout(() => {
    window.history.replaceState(window.history.state, "", `?${query()}${window.location.hash}`);
    sessionStorage.setItem(KEY, window.location.search);
  }, 250);
};

/** @param {string} text */
const copied = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // not a secure page, or not permitted: the address bar shows it as well
  }
};

button.addEventListener("click", async () => {
  const text = link() + window.location.hash;
  window.history.replaceState(window.history.state, "", text);
  sessionStorage.setItem(KEY, window.location.search);
  const done = await copied(text);
  const without = props.value.includes("task=your-file") ? ", without your file" : "";
  said.textContent = `The link is ${done ? "copied" : "in the address bar"}${without}.`;
  button.textContent = `${done ? "Link copied" : "See address bar"}${without}`;
  clearTimeout(back);
  back = window.setTimeout(() => {
    button.textContent = words;
    said.textContent = "";
  }, 2500);
});

let changed = false; // an unchanged page has a short address
watch("value", () => {
  changed = true;
  follow();
});
// Going back or forward may restore the address of an older set-up.
window.addEventListener("popstate", () => changed && follow());

const hidden = (new URLSearchParams(window.location.search).get("hide") ?? "").split(",");
document.documentElement.dataset.hide = hidden.map((name) => name.trim()).join(" ");
