// Delays the Spectrum page until the first chart of the Race page is drawn, unless the address opens
// the Spectrum page itself.
/** @param {unknown[]} values */
async (...values) => {
  const isDrawn = () => document.querySelector("#loss-figure .main-svg");
  while (location.hash !== "#spectrum" && !isDrawn()) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return values;
};
