/**
 * A Worker for pages that are opened from a folder, where browsers refuse real ones: its script runs in a hidden
 * frame. Without this, the search would need a server.
 */
class FrameWorker extends EventTarget {
  /** @param {string | URL} url of the worker's script */
  constructor(url) {
    super();
    /** @type {Promise<Window & typeof globalThis>} */
    this.inside = this.open(`${url}`);
  }

  /**
   * Run a script in a frame of its own.
   *
   * @param {string} url
   */
  async open(url) {
    const frame = document.createElement("iframe");
    frame.hidden = true;
    frame.srcdoc = "<!doctype html><title>search</title>";
    const opened = once(frame);
    document.body.append(frame);
    await opened;
    const inside = /** @type {Window & typeof globalThis} */ (frame.contentWindow);
    // What the script posts is for this page; a window would post it to itself.
    inside.postMessage = (/** @type {unknown} */ data) =>
      this.dispatchEvent(new MessageEvent("message", { data }));
    const script = inside.document.createElement("script");
    script.src = url;
    const read = once(script);
    inside.document.body.append(script);
    await read;
    return inside;
  }

  /** @param {unknown} data for the script, which may not have been read yet */
  async postMessage(data) {
    const inside = await this.inside;
    inside.dispatchEvent(new inside.MessageEvent("message", { data }));
  }
}

/**
 * Wait until an element is loaded.
 *
 * @param {HTMLElement} element
 */
function once(element) {
  return new Promise((resolve) => element.addEventListener("load", resolve, { once: true }));
}

if (location.protocol === "file:") Object.assign(window, { Worker: FrameWorker });
