/**
 * Gives what the theme adds to a page its names for a screen reader, and frames that scroll a place among the keys.
 */
const name = () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  document.querySelectorAll(".md-code__nav").forEach((part, i) => {
    part.setAttribute("aria-label", `Code ${i + 1}`);
  });
  for (const frame of document.querySelectorAll(".md-typeset__scrollwrap"))
    frame.setAttribute("tabindex", "0");
};

new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
name();
