// A panel as an anywidget.
//
// A view requests what it shows and receives it in custom messages, so that the notebook does not
// store it: {tree, values, charts, palette, serial}, then {values, charts, serial} with what has
// changed since serial − 1, and {tools} once per page for all panels.

/** @import { Packed, Palette } from "../../figures/live/types.d.ts" */
/** @import { Mark } from "../../figures/live/lane_table.js" */
/** @import { Model } from "../../figures/live/jupyter/tools.js" */
/** @import { Message, Panel } from "./types.d.ts" */

import { isDark, watchTheme } from "../../figures/live/chart/theme.js";
import { append } from "../../figures/live/element.js";
import { changed } from "../../figures/live/jupyter/change.js";
import { build } from "./build.js";

const LOST = "The kernel was restarted: run the cell again.";
/** Milliseconds in which a living kernel answers. */
const PATIENCE = 1500;

/**
 * Keep the keys of a control from JupyterLab, which looks for this mark on the element in focus.
 *
 * @param {FocusEvent} event
 */
function keepKeys({ target }) {
  if (target instanceof HTMLElement) target.dataset.lmSuppressShortcuts = "true";
}

/** @param {{ model: Model, el: HTMLElement }} view */
function render({ model, el }) {
  el.classList.add("olora-viz");
  el.addEventListener("focusin", keepKeys);
  append(el, "p", "lost").textContent = LOST;
  const body = append(el, "div", "panel");
  body.textContent = "The panel appears when the kernel has time to send it.";
  const palette = /** @type {Palette} */ ({ light: {}, dark: {} });
  /** @type {Map<string, Packed>} */
  const charts = new Map();
  /** @type {Map<string, (marks: Mark[]) => void>} */
  const waiting = new Map();
  /** @type {ReturnType<typeof build> | null} */
  let parts = null;
  let lost = 0;
  let serial = -1;
  let turns = 0;
  const view = Math.random().toString(36).slice(2); // marks are for the view that asked

  /** @type {Panel} */
  const panel = {
    model,
    palette,
    send: (message) => model.send(message),
    set(name, value) {
      if (model.get(name) === undefined) model.send({ set: [name, value] });
      else {
        model.set(name, value); // a trait: whatever is linked to it follows
        model.save_changes();
      }
    },
    chart: (name) => charts.get(name),
    marks(rows) {
      turns += 1;
      const turn = `${view} ${turns}`;
      model.send({ rows, turn });
      return new Promise((resolve) => waiting.set(turn, resolve));
    },
  };

  // The live panel hides the saved picture, which is for readers without a kernel.
  const hideStill = () => el.closest(".jp-Cell")?.classList.add("olora-viz-live");

  function paint() {
    const theme = isDark(el) ? "dark" : "light";
    el.style.colorScheme = theme;
    for (const [name, color] of Object.entries(palette[theme])) {
      el.style.setProperty(`--${name}`, color);
    }
    if (el.dataset.theme === theme) return;
    el.dataset.theme = theme;
    model.send({ theme });
  }

  // JupyterLab tells that a kernel is gone, or is back: only a living one answers.
  function probe() {
    clearTimeout(lost);
    lost = window.setTimeout(() => el.classList.add("olora-viz-lost"), PATIENCE);
    try {
      model.send({ want: "panel" });
    } catch {
      // the panel has no kernel to send to
    }
  }

  /** @param {Message} message */
  function take(message) {
    clearTimeout(lost);
    el.classList.remove("olora-viz-lost");
    if (message.marks) {
      const { turn = "", marks } = message;
      waiting.get(turn)?.(marks);
      waiting.delete(turn);
    } else if (message.tree) {
      hideStill();
      update(message);
      parts ??= build(body, message.tree, panel);
      for (const [name, value] of Object.entries(message.values ?? {})) parts.show(name, value);
      for (const name of charts.keys()) parts.draw(name);
    } else if (message.serial && parts && message.serial > serial) {
      if (message.serial > serial + 1) {
        model.send({ want: "panel" });
        return;
      }
      update(message);
      for (const name of Object.keys(message.charts ?? {})) parts.draw(name);
      for (const [name, value] of Object.entries(message.values ?? {})) parts.show(name, value);
    }
  }

  /** @param {Message} message */
  function update(message) {
    serial = message.serial ?? serial;
    if (message.palette) {
      Object.assign(palette.light, message.palette.light);
      Object.assign(palette.dark, message.palette.dark);
      paint();
    }
    for (const [name, { whole, change }] of Object.entries(message.charts ?? {})) {
      const before = charts.get(name);
      if (whole) charts.set(name, whole);
      else if (change && before) charts.set(name, changed(before, change));
    }
  }

  // marimo runs the cells that read a trait again when a page has set one, not when the kernel has.
  function reread() {
    model.set("seen", model.get("state"));
    model.save_changes();
  }

  model.on("change:state", reread);
  model.on("msg:custom", take);
  model.on("comm_live_update", probe);
  model.send({ want: "panel" });
  const endTheme = watchTheme(paint);
  requestAnimationFrame(hideStill);
  return () => {
    model.off("change:state", reread);
    model.off("msg:custom", take);
    model.off("comm_live_update", probe);
    clearTimeout(lost);
    endTheme();
    el.removeEventListener("focusin", keepKeys);
    parts?.destroy();
  };
}

export default { render };
