// The lane that the reader has bet on, marked at the end of its curve.

const EVENT = "olora-viz-bet"; // the page has set data-bet-on of the document to the lane's name

/** @param {() => void} changed called when the chart has to be redrawn */
export function readersBet(changed) {
  document.addEventListener(EVENT, changed);
  return {
    lane: () => document.documentElement.dataset.betOn ?? "",
    stop: () => document.removeEventListener(EVENT, changed),
  };
}
