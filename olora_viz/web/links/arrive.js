// What a page is opened with: the first input of the event `load` is the id that this tab has held, ""
// where it showed no run and null in a new tab; the third one what the address asks for, whether this
// tab has written it, and the runs that other tabs show.
/** @param {any[]} values of the event's inputs */
async (...values) => {
  const query = window.location.search;
  const own = sessionStorage.getItem("olora-viz-link") === query;
  const kept = new URLSearchParams(query);
  if (kept.has("start")) {
    kept.delete("start"); // a reload does not begin the race once more
    const rest = query.replace(/([?&])start=[^&]*&?/g, "$1").replace(/[?&]$/, "");
    history.replaceState(history.state, "", window.location.pathname + rest + window.location.hash);
  }
  sessionStorage.setItem("olora-viz-link", window.location.search);
  const locks = (await navigator.locks?.query())?.held ?? [];
  const elsewhere = locks.map(({ name = "" }) => name.replace("olora-viz ", ""));
  values[0] = sessionStorage.getItem("olora-viz-run");
  values[2] = { query, own, elsewhere };
  return values;
};
