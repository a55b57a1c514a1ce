// Decides when a chart is drawn: at once for the reader's actions, and at a limited rate for new values.

/**
 * Make the clock of a chart.
 *
 * @param {() => boolean} render draws, and returns whether there was anything to draw
 */
export function paced(render) {
  let timer = 0;
  let frame = 0;
  let idleFrom = 0; // earliest time to draw new values

  // For new values. Drawing may take a tenth of the time, since the browser often shares its cores
  // with the race.
  function schedule() {
    if (timer || frame) return;
    const rest = idleFrom - performance.now();
    if (rest > 0) timer = window.setTimeout(atOnce, rest);
    else atOnce();
  }

  // For the reader's actions.
  function atOnce() {
    clearTimeout(timer);
    timer = 0;
    frame ||= requestAnimationFrame(now);
  }

  function now() {
    frame = 0;
    const begin = performance.now();
    if (!render()) return;
    const end = performance.now();
    idleFrom = end + Math.min(9 * (end - begin), 1500);
  }

  return { schedule, atOnce, now };
}
