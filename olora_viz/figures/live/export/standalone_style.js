// The style of a self-contained page.

/** @import { Colors, Palette } from "../types.d.ts" */

/**
 * Return the palette as CSS variables, for the theme of the reader's system.
 *
 * @param {Palette} palette
 */
export function variables({ light, dark }) {
  return `:root{color-scheme:light dark;${declared(light)}}
@media (prefers-color-scheme: dark){:root{${declared(dark)}}}
`;
}

/** @param {Colors} colors */
function declared(colors) {
  return Object.entries(colors)
    .map(([token, color]) => `--${token}:${color};`)
    .join("");
}

/** The rules of the page and of the charts in it. */
export const STYLE = `
body{margin:0;background:var(--bg);color:var(--ink);font:14px/1.5 system-ui,'Segoe UI','DejaVu Sans',sans-serif}
main{max-width:1120px;margin:0 auto;padding:24px 20px;display:grid;grid-template-columns:minmax(0,1fr);gap:14px}
h1{font-size:20px;margin:0}h2{font-size:14px;font-weight:650;margin:0}p{margin:0}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:13px 15px;min-width:0}
.hint{color:var(--mute);font-size:12.5px;font-weight:400}
.badge{flex:none;font-size:11.5px;color:var(--mute);border:1px solid var(--line);border-radius:99px;padding:1px 9px}
.figure-tools{display:flex;flex:none;align-items:center;gap:8px;white-space:nowrap}
.figure-tools :is(button,select){font:inherit;font-size:11.5px;background:var(--card);color:var(--mute)}
.figure-tools [hidden],.figure-pointer[hidden],.badge[hidden],.figure-message[hidden]{display:none}
.figure-pointer{position:absolute;width:1px;margin-left:-.5px;background:var(--mute);opacity:.7;pointer-events:none}
.figure-head{display:flex;justify-content:space-between;align-items:baseline;gap:10px;margin-bottom:4px}
.figure-frame{position:relative}.figure-message{position:absolute;inset:40% 0 auto;text-align:center;color:var(--mute)}
.figure-lanes button{position:absolute;top:0;left:50%;opacity:0;pointer-events:none}.figure-lanes button:focus{opacity:1}
.figure-lanes button:not(:only-child)::after{content:" ← →" / ""}
.js-plotly-plot .annotation-text-g{cursor:pointer}
.js-plotly-plot .modebar-group{background:var(--card)!important}
.js-plotly-plot .modebar-btn path{fill:var(--mute)!important}
.js-plotly-plot .plotly .modebar-btn:focus-visible{outline:2px solid var(--accent)}
.js-plotly-plot .plotly .modebar-btn:focus-visible::before,.js-plotly-plot .plotly .modebar-btn:focus-visible::after{display:block;opacity:1}
`;
