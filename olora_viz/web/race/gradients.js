// Triggers an event when the card of gradients comes into view: it is drawn then.
//
// Gradio runs this with `element` and `trigger`.
const card = /** @type {HTMLElement} */ (element.closest("#run-gradients"));
const observer = new IntersectionObserver(
  (entries) => {
    if (entries.some((entry) => entry.isIntersecting)) trigger("select", { index: 0, value: "" });
  },
  { rootMargin: "200px" },
);
observer.observe(card);
