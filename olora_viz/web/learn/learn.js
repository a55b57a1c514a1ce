// Lets the visitor choose, open and close lessons.
//
// Gradio runs this with `element`, `props`, `trigger` and `watch`. The address keeps the lesson's
// name, so that a reload, or a copied link, comes back to it.
const KEY = "olora-viz-link"; // see share.js: the query that this tab wrote itself

/** @param {string | undefined} name of a lesson; nothing: none */
const remember = (name) => {
  const query = window.location.search.replace(/([?&])lesson=[^&]*&?/g, "$1").replace(/[?&]$/, "");
  const said = name ? `${query}${query ? "&" : "?"}lesson=${name}` : query;
  window.history.replaceState(
    window.history.state,
    "",
    window.location.pathname + said + window.location.hash,
  );
  sessionStorage.setItem(KEY, window.location.search);
};

element.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  /** @param {string} name */
  const found = (name) => /** @type {HTMLElement | null} */ (target.closest(`[data-${name}]`));
  const chosen = found("lesson");
  const opened = found("open");
  if (chosen) {
    remember(chosen.dataset.lesson);
    trigger("select", { index: 0, value: { lesson: chosen.dataset.lesson, open: false } });
    window.scrollTo({ top: 0 });
  } else if (opened) {
    remember(opened.dataset.open);
    trigger("select", { index: 0, value: { lesson: opened.dataset.open, open: true } });
    window.location.hash = opened.dataset.page ?? "";
    window.scrollTo({ top: 0 });
  } else if (found("close")) {
    remember("");
    found("close")?.closest("section")?.remove();
  } else if (found("show")) {
    document
      .getElementById(found("show")?.dataset.show ?? "")
      ?.scrollIntoView({ block: "center", behavior: "smooth" });
  } else if (found("glossary")) {
    event.preventDefault(); // the fragment names the page
    document.querySelector("#lesson-glossary")?.scrollIntoView();
  }
});

// A link to a lesson shows the page that the lesson is about, unless it names one itself.
watch("value", () => {
  const page = element.querySelector(".guided")?.dataset.page;
  if (page && !window.location.hash) window.location.hash = page;
});
