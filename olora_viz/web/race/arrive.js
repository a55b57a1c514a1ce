// Fills the inputs of the event `load`: the first is the key of this tab's run ("" if it showed none,
// null in a new tab); the second the runs of this browser; the third has the query of the address,
// whether this tab wrote it, the key of the run that it asks for, the runs that other tabs show, and
// the visitor's own files, which the tab keeps: examples and a text to keep.
async () => {
  const { hash, pathname, search } = window.location;
  /** @param {string} query @param {string} name */
  const without = (query, name) =>
    query.replace(new RegExp(`([?&])${name}=[^&]*&?`, "g"), "$1").replace(/[?&]$/, "");
  const query = without(search, "run"); // the address follows the set-up; the tab holds the key
  // The address keeps start=, so that a copy of it starts the race; a reload does not start it again.
  const rest = without(query, "start");
  const last = sessionStorage.getItem("olora-viz-link");
  const own = last !== null && without(last, "start") === rest;
  if (query !== search) history.replaceState(history.state, "", pathname + query + hash);
  sessionStorage.setItem("olora-viz-link", query);
  const locks = await navigator.locks?.query().catch(() => null); // denied in some frames
  const elsewhere = (locks?.held ?? []).map(({ name = "" }) => name.replace("olora-viz ", ""));
  let visit = [];
  try {
    visit = JSON.parse(localStorage.getItem("olora-viz-visit") ?? "[]");
  } catch {
    // not a list of ours
  }
  const [file, text] = ["olora-viz-file", "olora-viz-text"].map((key) =>
    JSON.parse(sessionStorage.getItem(key) ?? "null"),
  );
  const run = new URLSearchParams(search).get("run");
  const address = { query: own ? rest : query, own, run, elsewhere, file, text };
  return [sessionStorage.getItem("olora-viz-run"), visit, address];
};
