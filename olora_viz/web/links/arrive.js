// Fills the inputs of the event `load`: the first is the id of this tab's run ("" if it showed none,
// null in a new tab); the third has the query of the address, whether this tab wrote it, the runs that
// other tabs show, and the visitor's own file, which the tab keeps.
/** @param {any[]} values of the event's inputs */
async (...values) => {
  const query = window.location.search;
  const rest = query.replace(/([?&])start=[^&]*&?/g, "$1").replace(/[?&]$/, "");
  // A reload does not start the race again, not even in a frame, where it brings start= back.
  const own = sessionStorage.getItem("olora-viz-link") === rest;
  if (rest !== query) {
    history.replaceState(history.state, "", window.location.pathname + rest + window.location.hash);
  }
  sessionStorage.setItem("olora-viz-link", rest);
  const locks = await navigator.locks?.query().catch(() => null); // denied in some frames
  const elsewhere = (locks?.held ?? []).map(({ name = "" }) => name.replace("olora-viz ", ""));
  values[0] = sessionStorage.getItem("olora-viz-run");
  const file = JSON.parse(sessionStorage.getItem("olora-viz-file") ?? "null");
  values[2] = { query: own ? rest : query, own, elsewhere, file };
  return values;
};
