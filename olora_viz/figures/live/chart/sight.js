// Draws a chart only in or near the viewport: a page has two dozen of them.

const NEAR = { rootMargin: "100% 0px" }; // one screen above and below

/**
 * Watch whether an element is near the viewport.
 *
 * @param {Element} element
 * @param {object} calls
 * @param {boolean} calls.eager treat it as always near
 * @param {() => void} calls.changed called when it comes near or moves away
 * @param {() => void} calls.print called before the page is printed
 */
export function watchSight(element, { eager, changed, print }) {
  let near = eager;
  const observer = new IntersectionObserver((entries) => {
    near = Boolean(entries.at(-1)?.isIntersecting);
    changed();
  }, NEAR);
  if (!eager) observer.observe(element);

  function beforePrint() {
    near = true;
    print();
  }
  window.addEventListener("beforeprint", beforePrint);

  return {
    isNear: () => near,
    stop() {
      observer.disconnect();
      window.removeEventListener("beforeprint", beforePrint);
    },
  };
}
