// Fills the inputs of the event `load`: the first is the id of this tab's run ("" if it showed none,
// null in a new tab); the third has the query of the address, whether this tab wrote it, and the runs
// that other tabs show.
/** @param {any[]} values of the event's inputs */
async (...values) => {
  const query = window.location.search;
  const own = sessionStorage.getItem("olora-viz-link") === query;
  const kept = new URLSearchParams(query);
  if (kept.has("start")) {
    kept.delete("start"); // a reload does not start the race again
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
