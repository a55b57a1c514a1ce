// Shows one page, the one that the URL's fragment names, and marks its link.
//
// Gradio writes a <base href> into the page, so that following "#spectrum" would leave the address
// without its query, or reload the page: links to pages are followed here.
import { set } from "../figures/live/store.js";

const links = [...element.querySelectorAll("a")];
const names = links.map((link) => (link.getAttribute("href") ?? "").slice(1));
const show = () => {
  const named = window.location.hash.slice(1);
  const wanted = named === "teachers" ? "learn" : named; // the plan is a part of that page
  const page = names.includes(wanted) ? wanted : names[0];
  set({ page });
  links.forEach((link, i) => {
    if (names[i] === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
};
document.addEventListener("click", (event) => {
  const plain =
    event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  const target = /** @type {Element} */ (event.target);
  const name = target.closest?.("a[href^='#']")?.getAttribute("href")?.slice(1) ?? "";
  if (!plain || event.defaultPrevented || !names.includes(name)) return;
  event.preventDefault();
  window.location.hash = name; // of the address as it is, query and all
});
// Going back to an address whose query differs as well, Chromium says so by the latter alone.
for (const kind of ["hashchange", "popstate"]) window.addEventListener(kind, show);
show();
