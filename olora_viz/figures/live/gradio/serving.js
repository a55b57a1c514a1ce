// The files that serving.py serves, in the script of a component.
//
// Such a script has no address of its own to import from; bundle.py puts these functions into it.

/**
 * Return the URL of a path below the page's root. The protocol and the port of the page replace
 * those that the server assumes, since it may run behind a proxy.
 *
 * @param {string} path
 */
export function here(path) {
  const url = new URL(`${window.gradio_config.root}${path}`, window.location.href);
  if (url.hostname === window.location.hostname) {
    url.protocol = window.location.protocol;
    url.port = window.location.port;
  }
  return url.href;
}

/**
 * Import a served module.
 *
 * @param {string} path
 * @returns {Promise<any>}
 */
export function load(path) {
  return import(here(path));
}
