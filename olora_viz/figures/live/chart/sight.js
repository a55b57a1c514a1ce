// A chart is drawn only while it can be seen, or soon: a page has two dozen of them.

const NEAR = { rootMargin: "100% 0px" }; // within a screen of what is seen

/**
 * Watch whether an element is near what the reader sees.
 *
 * @param {Element} element
 * @param {object} calls
 * @param {boolean} calls.eager take it as always near
 * @param {() => void} calls.changed it came near or went away
 * @param {() => void} calls.print the page is about to be printed, with all that is on it
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
