// The page's links to itself, "?…": they keep hide=, and one with start=1 starts its race each time
// that it is followed.
const KEY = "olora-viz-link"; // see arrive.js: without it the page is opened as by a new link

/** Gives a link the address's hide=, unless it has its own. @param {Event} event on the link */
const keep = (event) => {
  const target = /** @type {Element} */ (event.target);
  const link = /** @type {HTMLAnchorElement | null} */ (target.closest?.("a[href^='?']"));
  const hide = new URLSearchParams(window.location.search).get("hide");
  const href = link?.getAttribute("href") ?? "";
  if (!link || !hide || /[?&]hide=/.test(href)) return link;
  const [query, ...page] = href.split("#");
  const hidden = encodeURIComponent(hide).replaceAll("%2C", ",");
  link.setAttribute("href", [`${query}&hide=${hidden}`, ...page].join("#"));
  return link;
};

/** @param {MouseEvent} event */
const follow = (event) => {
  const link = keep(event);
  const plain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  if (!link || !plain || link.target || !/[?&]start=1/.test(link.search)) return;
  sessionStorage.removeItem(KEY);
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
