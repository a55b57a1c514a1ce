// Imports the modules that serving.py serves, in the script of a component.
//
// Such a script has no address of its own to import from; bundle.py puts these functions into it.

/** @typedef {{ url: string }} ServedFile as Gradio completes it */

/**
 * Return the URL of a served file. The protocol and the port of the page replace those that the
 * server assumes, since it may run behind a proxy.
 *
 * @param {ServedFile} file
 */
export function here(file) {
  const url = new URL(file.url, window.location.href);
  if (url.hostname === window.location.hostname) {
    url.protocol = window.location.protocol;
    url.port = window.location.port;
  }
  return url.href;
}

/**
 * Return the URL of another path on the same server.
 *
 * @param {ServedFile} file
 * @param {string} path
 */
export function beside(file, path) {
  return here({ url: file.url.split("/gradio_api/")[0] + path });
}

/**
 * Import a served module.
 *
 * @param {ServedFile} file
 * @returns {Promise<any>}
 */
export function load(file) {
  return import(here(file));
}
