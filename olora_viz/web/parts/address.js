// The page's own address: what the page writes there is no new link, see arrive.js.
const KEY = "olora-viz-link"; // the query that this tab wrote last

/** @param {string} query without its question mark */
export function write(query) {
  const { hash, pathname } = window.location;
  const search = query && `?${query}`;
  window.history.replaceState(window.history.state, "", pathname + search + hash);
  sessionStorage.setItem(KEY, window.location.search);
}

/** Lets the address be opened as a new link, also if it is the same once more. */
export function forget() {
  sessionStorage.removeItem(KEY);
}
