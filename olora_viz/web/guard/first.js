// The first script of the page: it runs before Gradio's, in the HTML itself.
(() => {
  const { hash, origin, pathname, search } = window.location;

  // Everything is fetched relative to the page, so its address must end in a slash.
  if (!pathname.endsWith("/")) {
    window.location.replace(`${pathname}/${search}${hash}`);
    return;
  }

  // A proxy may serve the page under a path that the server does not know, but the page does.
  const { root } = window.gradio_config;
  const own = `${origin}${pathname.slice(0, -1)}`;
  if (root !== own) {
    const config = JSON.stringify(window.gradio_config).replaceAll(`"${root}/`, `"${own}/`);
    window.gradio_config = { ...JSON.parse(config), root: own };
  }

  // Plotly is large, and wanted only when the page stands: it is fetched meanwhile.
  const link = Object.assign(document.createElement("link"), { rel: "preload", as: "script" });
  link.href = `${own}${files.plotly}`;
  document.head.append(link);

  // When the page is left, the browser ends its requests. Gradio would abort its stream before, and then report this
  // as a lost connection; a page that is not left after all, of a download or a dialog, would have none any more.
  window.addEventListener("beforeunload", (event) => event.stopImmediatePropagation(), true);

  // If a browser denies storage (a frame of another site, a private window), reading it throws.
  // Stored values then last as long as the page.
  /** @returns {Storage} */
  const memory = () => {
    const kept = new Map();
    return {
      get length() {
        return kept.size;
      },
      clear: () => kept.clear(),
      getItem: (name) => kept.get(String(name)) ?? null,
      key: (i) => [...kept.keys()][i] ?? null,
      removeItem: (name) => kept.delete(String(name)),
      setItem: (name, value) => kept.set(String(name), String(value)),
    };
  };
  for (const name of /** @type {const} */ (["localStorage", "sessionStorage"])) {
    try {
      window[name].getItem(name);
    } catch {
      Object.defineProperty(window, name, { value: memory(), configurable: true });
      document.documentElement.dataset.storage = "none";
    }
  }

  // A sandbox without this permission may not even load the page's scripts.
  if (window.origin !== "null") return;
  const show = () => {
    const line = document.createElement("p");
    line.style.cssText = "margin: 2em; font: 16px/1.5 system-ui, sans-serif";
    const link = document.createElement("a");
    link.href = window.location.href;
    link.target = "_blank";
    link.textContent = "Open it in a new tab";
    line.append(
      "This page cannot run here: its frame has a sandbox without the permission ",
      "allow-same-origin. ",
      link,
      ".",
    );
    document.body.replaceChildren(line);
  };
  window.addEventListener("DOMContentLoaded", show);
})();
