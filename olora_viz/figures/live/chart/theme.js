// Follows the light or dark theme of the page.

/** @import { Colors } from "../types.d.ts" */

/** The attributes by which Gradio, JupyterLab, VS Code, Colab, marimo and mkdocs mark themes, and class mode. */
const ATTRIBUTES = [
  "class",
  "data-class",
  "data-jp-theme-light",
  "data-md-color-scheme",
  "data-theme",
  "theme",
  "data-vscode-theme-kind",
];

/**
 * Whether the page around an element is dark.
 *
 * @param {Element} element
 */
export function isDark(element) {
  if (within(element, ".dark")) return true;
  if (document.querySelector("gradio-app, .gradio-container")) return false; // it sets the class
  const jupyter = document.body.dataset.jpThemeLight;
  if (jupyter) return jupyter === "false";
  const code = document.body.dataset.vscodeThemeKind;
  if (code) return /dark|high-contrast$/.test(code);
  const marimo = document.body.dataset.theme;
  if (marimo) return marimo === "dark";
  const mkdocs = document.body.dataset.mdColorScheme;
  if (mkdocs) return mkdocs === "slate";
  const colab = document.documentElement.getAttribute("theme");
  if (colab) return colab === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/**
 * Whether an element, or one around it, matches; shadow roots, such as marimo's, hide nothing.
 *
 * @param {Element} element
 * @param {string} selector
 */
function within(element, selector) {
  for (let at = /** @type {Element | null} */ (element); at;) {
    if (at.closest(selector)) return true;
    const root = at.getRootNode();
    at = root instanceof ShadowRoot ? root.host : null;
  }
  return false;
}

/**
 * Call a function whenever the page may have changed its theme.
 *
 * @param {() => void} changed
 * @returns {() => void} ends it
 */
export function watchTheme(changed) {
  const attributes = new MutationObserver(changed);
  for (const node of [document.documentElement, document.body]) {
    attributes.observe(node, { attributeFilter: ATTRIBUTES });
  }
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", changed);
  return () => {
    attributes.disconnect();
    media.removeEventListener("change", changed);
  };
}

/**
 * Copy a value with its "@tokens" replaced by colours.
 *
 * @template T
 * @param {T} node
 * @param {Colors} colors
 * @returns {T}
 */
export function paint(node, colors) {
  return /** @type {T} */ (painted(node, colors));
}

/**
 * @param {unknown} node
 * @param {Colors} colors
 * @returns {unknown}
 */
function painted(node, colors) {
  if (typeof node === "string") return node[0] === "@" ? (colors[node.slice(1)] ?? "#888") : node;
  if (Array.isArray(node)) {
    const numbers = node.slice(0, 2).every((item) => item === null || typeof item === "number");
    return numbers ? [...node] : node.map((item) => painted(item, colors));
  }
  if (node === null || typeof node !== "object") return node;
  return Object.fromEntries(Object.entries(node).map(([key, v]) => [key, painted(v, colors)]));
}
