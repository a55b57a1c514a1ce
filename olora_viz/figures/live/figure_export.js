// Takes a chart home: a picture, a page that stands alone, its numbers.
//
//   mount(element, { plotly, palette, menu: saveMenu({ plotly, module }) });   // see figure.js
//   save("loss.csv", text, "text/csv");
//   await standalone({ title, body, figures, palette, sources: { plotly, module } });
//
// `plotly` and `module` are the URLs of plotly.min.js and figure.js: a page that stands alone holds
// both of them, so that it opens from a disk, without a network, and draws as the live chart does.

const KINDS = [
  ["png", "Picture", "PNG, as you see it"],
  ["html", "Web page", "HTML that opens anywhere"],
  ["csv", "Numbers", "CSV for a spreadsheet"],
  ["json", "Numbers", "JSON"],
];
const HEAD = 52; // pixels above a picture's plot, for its words

// Return what figure.js calls with a chart's head: it puts the button and its menu there.
//
// A chart is { plot, Plotly(), value(), given(), colors(), palette }: the node that Plotly draws in,
// Plotly, the newest value, the same as it came, and the colours that are in use now.
export function saveMenu(sources) {
  return (head, chart) => {
    const frame = append(head, "div", "figure-save");
    const button = append(frame, "button", "quiet");
    button.type = "button";
    button.textContent = "↓";
    button.setAttribute("aria-haspopup", "menu");
    button.setAttribute("aria-expanded", "false");
    const menu = append(frame, "div", "menu");
    menu.setAttribute("role", "menu");
    menu.hidden = true;
    for (const [kind, name, words] of KINDS) {
      const item = append(menu, "button", "");
      item.type = "button";
      item.tabIndex = -1;
      item.setAttribute("role", "menuitem");
      item.dataset.kind = kind;
      append(item, "b", "").textContent = name;
      append(item, "span", "").textContent = words;
      item.addEventListener("click", () => take(kind));
    }
    const items = [...menu.children];
    const isOpen = () => !menu.hidden;

    function open(at = 0) {
      menu.hidden = false;
      button.setAttribute("aria-expanded", "true");
      items.at(at).focus({ preventScroll: true });
      document.addEventListener("pointerdown", outside, true);
    }

    function close(focus) {
      menu.hidden = true;
      button.setAttribute("aria-expanded", "false");
      document.removeEventListener("pointerdown", outside, true);
      if (focus) button.focus({ preventScroll: true });
    }

    function outside(event) {
      if (!frame.contains(event.target)) close(false);
    }

    async function take(kind) {
      close(true);
      button.disabled = true; // a page of five megabytes may take a moment
      try {
        await saveChart(chart, kind, sources);
        button.title = button.ariaLabel;
      } catch (error) {
        button.title = `could not be saved: ${error.message}`;
        button.textContent = "!";
        setTimeout(() => { button.textContent = "↓"; }, 4000);
      }
      button.disabled = false;
    }

    const moves = {
      ArrowDown: (at) => (at + 1) % items.length,
      ArrowUp: (at) => (at + items.length - 1) % items.length,
      Home: () => 0,
      End: () => items.length - 1,
    };
    button.addEventListener("click", () => (isOpen() ? close(true) : open()));
    frame.addEventListener("keydown", (event) => {
      if (!isOpen()) {
        if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
        open(event.key === "ArrowUp" ? -1 : 0);
      } else if (event.key === "Escape") close(true);
      else if (event.key === "Tab") {
        close(false);
        return;
      } else if (moves[event.key]) {
        items[moves[event.key](items.indexOf(document.activeElement))].focus();
      } else return;
      event.preventDefault();
      event.stopPropagation(); // the page has keys of its own
    });

    return {
      // Say what the menu is for, and show it only where there is something to save.
      show(meta, hasPoints) {
        frame.hidden = !hasPoints || Boolean(meta.message);
        button.ariaLabel = `save the chart ${meta.title}`;
        button.title = button.ariaLabel;
        if (frame.hidden && isOpen()) close(false);
      },
      destroy: () => close(false),
    };
  };
}

// Hand a text or a Blob to the reader as a file.
export function save(name, content, type) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function saveChart(chart, kind, sources) {
  const value = chart.value();
  const { title, unit } = value.layout.meta;
  const name = `${fileName(title)}.${kind}`;
  if (kind === "png") save(name, await picture(chart), "image/png");
  else if (kind === "csv") save(name, csv(table(chart.plot.data, value.layout)), "text/csv");
  else if (kind === "json") {
    const { header, rows } = table(chart.plot.data, value.layout);
    save(name, JSON.stringify({ title, unit, columns: header, rows }), "application/json");
  } else {
    const page = { title, body: '<div class="card" data-figure="chart"></div>',
      figures: { chart: chart.given() }, palette: chart.palette, sources };
    save(name, await standalone(page), "text/html");
  }
}

// Draw what is on the screen, with the words around it, in the colours in use.
async function picture({ plot, Plotly, value, colors }) {
  const { title, unit, badge } = value().layout.meta;
  const { card, ink, mute } = colors();
  const drawn = plot.layout;
  const small = `<span style="font-size:12px;color:${mute}">${unit}${badge ? ` · ${badge}` : ""}</span>`;
  const layout = {
    ...drawn,
    height: drawn.height + HEAD,
    margin: { ...drawn.margin, t: drawn.margin.t + HEAD },
    paper_bgcolor: card,
    plot_bgcolor: card,
    title: { text: `<b>${title}</b><br>${small}`, font: { size: 15, color: ink }, x: 0, xanchor: "left",
      xref: "container", y: 1, yref: "container", yanchor: "top", pad: { l: 14, t: 22 } },
  };
  const made = await Plotly().toImage({ data: plot.data, layout },
    { format: "png", width: layout.width, height: layout.height, scale: 2 });
  return (await fetch(made)).blob();
}

// Write a page that needs nothing but itself. `body` is HTML, whose elements data-figure="name" are
// where the figures go: values as figure.js draws them, by name.
export async function standalone({ title, body, figures, palette, style = "", sources }) {
  const [plotly, module] = await Promise.all([sources.plotly, sources.module].map(textOf));
  const given = JSON.stringify({ figures, palette }).replaceAll("<", "\\u003c");
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${variables(palette)}${STYLE}${style}</style></head><body><main>
${body}
</main>
<script>${plotly}</script>
<script type="module">
${module}
const { figures, palette } = ${given};
for (const place of document.querySelectorAll("[data-figure]")) {
  mount(place, { plotly: window.Plotly, palette, eager: true }).draw(figures[place.dataset.figure]);
}
</script></body></html>
`;
}

async function textOf(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return answer.text();
}

// The numbers of a chart, a row each, under names with units.
function table(data, { meta, xaxis, yaxis }) {
  const named = (axis, otherwise) => axis?.title?.text || otherwise;
  const x = named(xaxis, "x");
  const y = named(yaxis, "y");
  const maps = data.filter((trace) => trace.z);
  if (maps.length) {
    const words = meta.names || meta.rows ? ["layer", ...(meta.columns ? [x] : []), "value"] : [x, y, "value"];
    return { header: words, rows: maps.flatMap((trace) => cells(trace, meta)) };
  }
  const rows = data.flatMap((trace) => [...(trace.y ?? [])].map(
    (value, i) => [series(trace), trace.x?.[i] ?? i, value]));
  return { header: ["curve", x, y], rows };
}

// A curve and the raw numbers behind it have one name.
function series({ name = "", meta }) {
  return meta === "raw" ? `${name}, raw` : name;
}

function cells({ x, y, z, customdata }, { names, rows, columns }) {
  return z.flatMap((row, i) => [...row].map((shown, j) => {
    const value = customdata?.[i]?.[j] ?? shown; // what a logarithm was taken of
    if (names) return [names[i][j], value];
    if (rows) return [rows[y[i]] ?? y[i], ...(columns ? [columns[j]] : []), value];
    return [x?.[j] ?? j, y?.[i] ?? i, value];
  })).filter(([first]) => first !== null);
}

// A text that a spreadsheet would take for a formula gets an apostrophe in front, as in
// olora_viz/run_tables.py.
function csv({ header, rows }) {
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [header, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

function fileName(words) {
  return words.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "chart";
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function append(parent, tag, name) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  parent.append(node);
  return node;
}

function variables(palette) {
  const lines = (colors) => Object.entries(colors).map(([token, color]) => `--${token}:${color};`).join("");
  return `:root{color-scheme:light dark;${lines(palette.light)}}
@media (prefers-color-scheme: dark){:root{${lines(palette.dark)}}}
`;
}

// Nothing may be fetched, whatever is in the page.
const POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; " +
  "img-src data: blob:";

const STYLE = `
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
.js-plotly-plot .annotation-text-g{cursor:pointer}
.js-plotly-plot .modebar-group{background:var(--card)!important}
.js-plotly-plot .modebar-btn path{fill:var(--mute)!important}
`;
