// The page's links to itself, "?…": they keep hide=, class= and projector=, and one with start=1 starts its race
// each time that it is followed.
import { forget } from "../parts/address.js";

const KEPT = ["hide", "class", "projector"];

/** Gives a link the address's parameters that it does not name itself. @param {Event} event */
const keep = (event) => {
  const target = /** @type {Element} */ (event.target);
  const link = /** @type {HTMLAnchorElement | null} */ (target.closest?.("a[href^='?']"));
  if (!link) return null;
  const [query, ...page] = (link.getAttribute("href") ?? "").split("#");
  const named = new URLSearchParams(query);
  const missing = [...new URLSearchParams(window.location.search)]
    .filter(([name]) => KEPT.includes(name) && !named.has(name))
    .map(([name, value]) => `&${name}=${encodeURIComponent(value).replaceAll("%2C", ",")}`);
  if (missing.length) link.setAttribute("href", [query + missing.join(""), ...page].join("#"));
  return link;
};

/** @param {MouseEvent} event */
const follow = (event) => {
  const link = keep(event);
  const plain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  if (!link || !plain || link.target || !/[?&]start=1/.test(link.search)) return;
  forget();
  const { pathname, search } = window.location;
  if (link.pathname + link.search !== pathname + search) return;
  event.preventDefault(); // else the browser would only go to the fragment
  window.location.hash = link.hash;
  window.location.reload();
};

/** Watches over the page's links; called once. */
export function watchLinks() {
  document.addEventListener("pointerdown", keep, true); // its address may be copied then
  document.addEventListener("click", follow, true);
}
