// Draws a figure of olora_viz.figures and keeps what its reader did to it.
//
//   const figure = mount(element, { plotly, palette });
//   figure.draw(value);    // any number of times; the newest value wins
//   figure.onPick((name) => …);  // a map's cell was clicked: meta.names[y][x] or meta.rows[y]
//   figure.destroy();
//
// `menu` is optional: called with the chart's head and the chart, see saveMenu in figure_export.js.
// `plotly` is Plotly itself or the URL of plotly.min.js, loaded once a page. `palette` is
// {light: {token: colour}, dark: {…}}: colours in a value read "@token". A value is Plotly's
// {data, layout} as olora_viz/live/packing.py writes it: x and y as text, "1.5,2,,3" (an empty place
// is null), so that a page is sent only what was appended, and all else as JSON. layout.meta holds
// the words around the chart.
// A chart is drawn only while it is within a screen of what is seen: a page has two dozen of them.
// With `eager`, and before the page is printed, it is drawn wherever it is.
// A zoom survives every draw until layout.uirevision changes, a hidden lane until meta.race does
// (by default the same); charts of one race hide a lane together, and those whose horizontal axis is
// the step (meta.x, and meta.steps on a map) show together the step that the reader points at.
// A logarithmic vertical axis can be made linear, and where meta.smoothing is given, the traces
// "smooth" are averaged anew from the traces "raw" (trace.meta); both choices stay.

const LABEL_GAP = 14;
const HIDE = "olora-viz-hide";
const STEP = "olora-viz-step";
const NEAR = { rootMargin: "100% 0px" };
const SMOOTHINGS = [0, 0.6, 0.85, 0.95];
const chosenIn = new Map(); // race → lane → what the reader chose, for charts that are yet to come
const loading = new Map();

export function mount(element, { plotly, palette, menu, eager = false }) {
  const { head, title, unit, badge, scale, smoothing, pointer, plot, message, lanes } =
    skeleton(element);
  const decode = decoder();
  let Plotly = null;
  let given = null; // the newest value, packed
  let value = null;
  let revision = null;
  let race = null;
  let resets = 0;
  let held = {}; // axis → the range that the reader chose
  let visible = new Map(); // lane, or index of a trace that has none → what the reader chose
  let timer = 0;
  let frame = 0;
  let width = 0; // that the chart was drawn with
  let near = eager; // whether the chart can be seen, or soon
  let idleFrom = 0; // when the chart may be drawn again because of new values
  let alive = true;
  let picked = null; // called with the name of a map's cell that was clicked
  let linear = false; // the reader wants no logarithmic axis
  let weight = null; // of the past in the average, where the reader chose one
  let pointed = null; // the step that the reader points at, in this chart or in another of its race
  let elsewhere = false; // in another
  let pointing = false;
  const colors = () => palette[isDark(element) ? "dark" : "light"];
  const saving = menu?.(head, { plot, palette, colors,
    value: () => value, given: () => given, Plotly: () => Plotly });

  function draw(next) {
    given = next;
    value = next && unpack(next);
    schedule();
  }

  // Draw because of new values: a chart may take a tenth of the time, as a browser often shares its
  // cores with the race.
  function schedule() {
    if (timer || frame) return;
    const rest = idleFrom - performance.now();
    if (rest > 0) timer = setTimeout(atOnce, rest);
    else atOnce();
  }

  // Draw because of what the reader did.
  function atOnce() {
    clearTimeout(timer);
    timer = 0;
    frame ||= requestAnimationFrame(render);
  }

  function render() {
    frame = 0;
    if (!alive || !Plotly || !value?.layout) return;
    const { meta, ...rest } = value.layout;
    if (rest.uirevision !== revision) {
      revision = rest.uirevision;
      held = {};
    }
    if ((meta.race ?? revision) !== race) {
      race = meta.race ?? revision;
      visible = new Map(chosenIn.get(race)); // also what was hidden before this chart was drawn
    }
    words(meta);
    saving?.show(meta, value.data.length > 0);
    const { t, b } = rest.margin;
    plot.style.height = `${meta.height + t + b}px`;
    if (!near || !plot.clientWidth) return;
    const begin = performance.now();
    const used = colors();
    const data = value.data.map((trace, i) => points(paint(trace, used), i, decode));
    const layout = paint(rest, used);
    if (weight !== null && weight !== meta.smoothing) average(data, layout, value.data, weight);
    data.forEach((trace, i) => {
      if (visible.has(group(trace, i))) trace.visible = visible.get(group(trace, i));
    });
    fit(layout, meta);
    layout.uirevision = `${revision}/${resets}`;
    const first = !plot._fullLayout;
    Plotly.react(plot, data, layout, config());
    if (first) listen();
    if (pointed !== null) point();
    const end = performance.now();
    idleFrom = end + Math.min(9 * (end - begin), 1500);
  }

  function words(meta) {
    title.textContent = meta.title;
    unit.textContent = meta.unit;
    badge.textContent = meta.badge;
    const logarithmic = value.layout.yaxis.type === "log";
    badge.hidden = !meta.badge || logarithmic;
    scale.hidden = !logarithmic;
    scale.textContent = linear ? "linear" : "log";
    scale.title = `vertical axis: ${scale.textContent}; make it ${linear ? "log" : "linear"}`;
    scale.setAttribute("aria-label", scale.title);
    smoothing.hidden = meta.smoothing === undefined;
    const chosen = weight ?? meta.smoothing;
    if (!smoothing.hidden && smoothing.control.value !== `${chosen}`) {
      if (!SMOOTHINGS.includes(chosen)) smoothing.control.add(new Option(chosen, chosen));
      smoothing.control.value = `${chosen}`;
    }
    message.textContent = meta.message;
    message.hidden = !meta.message;
    plot.setAttribute("aria-label", `${meta.title}: ${meta.unit}. ${meta.message}`);
  }

  // Fit the layout into the element: its size, the reader's zoom, and labels kept apart.
  function fit(layout, meta) {
    const narrow = plot.clientWidth < 420;
    layout.margin = { ...layout.margin };
    if (narrow) layout.margin.l -= 12;
    layout.width = width = plot.clientWidth;
    layout.height = meta.height + layout.margin.t + layout.margin.b;
    // A drag must scroll the page where a finger does it.
    layout.dragmode = touch() ? false : "zoom";
    if (meta.x === "step") {
      layout.xaxis.showspikes = false; // the pointer's line is the same in all
      layout.xaxis.unifiedhovertitle = { text: "step %{x}" };
    }
    if (linear && layout.yaxis.type === "log") straighten(layout);
    for (const axis of ["xaxis", "yaxis"]) {
      if (!held[axis]) continue;
      layout[axis].range = [...held[axis]];
      delete layout[axis].tickvals;
      delete layout[axis].ticktext;
      layout[axis].nticks = 6;
      if (layout[axis].type === "log") layout[axis].tickformat = "~g";
    }
    const hidden = hiddenLanes();
    const named = [];
    const [low, high] = layout.yaxis.range ?? [0, 1];
    const pixels = meta.height / (high - low);
    for (const kind of ["end ", "out "]) {
      const labels = (layout.annotations ?? []).filter((a) => a.name?.startsWith(kind));
      const shown = labels.filter((a) => a.y >= low && a.y <= high);
      const wanted = shown.map((a) => (a.y - low) * pixels);
      spread(wanted, LABEL_GAP, 0, meta.height).forEach((place, i) => {
        shown[i].yshift = place - wanted[i];
      });
      for (const label of labels) {
        if (label.captureevents) named.push(label.name.slice(4));
        label.visible = shown.includes(label) && inside(label.x, layout.xaxis.range);
        if (narrow) label.font.size = 11;
        if (hidden.has(label.name.slice(4))) {
          label.opacity = 0.45;
          label.text = `<s>${label.text}</s>`;
        }
      }
    }
    buttons(named, hidden);
  }

  // What a click on a lane's name does, for the keyboard: buttons that show while they have focus.
  function buttons(named, hidden) {
    const there = new Map([...lanes.children].map((button) => [button.dataset.lane, button]));
    if (named.join("\n") !== [...there.keys()].join("\n")) {
      const focused = document.activeElement;
      lanes.replaceChildren(...named.map((lane) => there.get(lane) ?? laneButton(lane)));
      if (lanes.contains(focused)) focused.focus({ preventScroll: true });
    }
    for (const button of lanes.children) {
      const { lane } = button.dataset;
      const words = `${hidden.has(lane) ? "show" : "hide"} ${lane}`;
      if (button.textContent !== words) button.textContent = words;
    }
  }

  function laneButton(lane) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.dataset.lane = lane;
    button.addEventListener("click", () => turn(lane));
    return button;
  }

  function hiddenLanes() {
    const chosen = [...visible].filter(([, choice]) => choice === "legendonly");
    return new Set(chosen.map(([lane]) => lane));
  }

  function hide(lane, away) {
    visible.set(lane, away ? "legendonly" : true);
    atOnce();
  }

  // Hide a lane, or show it again, in all charts of this race; with it the lanes that it is made of.
  function turn(lane) {
    const away = !hiddenLanes().has(lane);
    if (!chosenIn.has(race)) chosenIn.set(race, new Map());
    for (const name of [lane, ...(value.layout.meta.members?.[lane] ?? [])]) {
      chosenIn.get(race).set(name, away ? "legendonly" : true);
      document.dispatchEvent(new CustomEvent(HIDE, { detail: { race, lane: name, away } }));
    }
  }

  function reset() {
    held = {};
    resets += 1;
    atOnce();
  }

  // Tell the charts of this race at which step the reader points, null: at none any more.
  function tell(step) {
    if (value?.layout.meta.x !== "step" || (step === pointed && !elsewhere)) return;
    document.dispatchEvent(new CustomEvent(STEP, { detail: { race, step, from: plot } }));
  }

  function hear({ detail }) {
    if (detail.race !== race || value?.layout.meta.x !== "step") return;
    pointed = detail.step;
    elsewhere = detail.from !== plot;
    if (pointing) return;
    pointing = true;
    requestAnimationFrame(() => {
      pointing = false;
      if (alive && Plotly && plot._fullLayout?.xaxis) point();
    });
  }

  // Draw a line at the step, and where another chart is pointed at, say the values there as well.
  function point() {
    const { xaxis, yaxis } = plot._fullLayout;
    const { meta } = value.layout;
    const box = plot.getBoundingClientRect();
    const seen = box.width > 0 && box.bottom > 0 && box.top < window.innerHeight;
    const at = pointed === null ? NaN : xaxis.d2p(meta.steps ? nearest(meta.steps, pointed) : pointed);
    pointer.hidden = !(seen && at >= 0 && at <= xaxis._length);
    if (!pointer.hidden) {
      pointer.style.left = `${xaxis._offset + at}px`;
      pointer.style.top = `${yaxis._offset}px`;
      pointer.style.height = `${yaxis._length}px`;
    }
    if (!elsewhere || meta.steps) return; // a map has a value for each of its layers
    if (pointer.hidden) Plotly.Fx.unhover(plot);
    else Plotly.Fx.hover(plot, { xval: pointed });
  }

  scale.addEventListener("click", () => {
    linear = !linear;
    delete held.yaxis;
    resets += 1;
    atOnce();
  });
  smoothing.control.addEventListener("change", () => {
    weight = +smoothing.control.value;
    atOnce();
  });

  function config() {
    const icon = Plotly.Icons.home;
    return {
      displaylogo: false,
      displayModeBar: touch() ? false : "hover",
      doubleClick: false,
      modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d"],
        [{ name: "whole", title: "Show all", icon, click: reset }]],
    };
  }

  function listen() {
    plot.on("plotly_relayout", (change) => {
      for (const axis of ["xaxis", "yaxis"]) {
        if (change[`${axis}.autorange`]) delete held[axis];
        else if (Object.keys(change).some((key) => key.startsWith(`${axis}.range`))) {
          held[axis] = [...plot.layout[axis].range];
        }
      }
      atOnce();
    });
    plot.on("plotly_restyle", ([change, traces]) => {
      if (!("visible" in change)) return;
      const chosen = [].concat(change.visible);
      traces.forEach((at, i) => visible.set(group(plot.data[at], at), chosen[i % chosen.length]));
    });
    plot.on("plotly_doubleclick", reset);
    plot.on("plotly_hover", ({ points: [{ x }] }) => tell(value.layout.meta.steps?.[x] ?? x));
    plot.on("plotly_unhover", () => tell(null));
    plot.on("plotly_click", ({ points: [{ x, y }] }) => {
      const { names, rows } = value.layout.meta;
      const name = names?.[y]?.[x] ?? rows?.[y];
      if (name && picked) picked(name);
    });
    plot.on("plotly_clickannotation", ({ annotation }) => turn(annotation.name?.slice(4)));
  }

  const follow = ({ detail }) => detail.race === race && hide(detail.lane, detail.away);
  document.addEventListener(HIDE, follow);
  document.addEventListener(STEP, hear);
  const sight = new IntersectionObserver((entries) => {
    near = entries.at(-1).isIntersecting;
    atOnce();
  }, NEAR);
  if (!eager) sight.observe(plot);
  const print = () => {
    near = true;
    render();
  };
  window.addEventListener("beforeprint", print);
  const sizes = new ResizeObserver(() => plot.clientWidth !== width && atOnce());
  sizes.observe(plot);
  const themes = new MutationObserver(atOnce);
  for (const node of [document.documentElement, document.body]) {
    themes.observe(node, { attributeFilter: ["class", "data-jp-theme-light", "data-theme", "theme",
      "data-vscode-theme-kind"] });
  }
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", atOnce);

  const ready = loadPlotly(plotly).then((loaded) => {
    Plotly = loaded;
    schedule();
  });

  function destroy() {
    alive = false;
    sight.disconnect();
    window.removeEventListener("beforeprint", print);
    sizes.disconnect();
    themes.disconnect();
    media.removeEventListener("change", atOnce);
    document.removeEventListener(HIDE, follow);
    document.removeEventListener(STEP, hear);
    saving?.destroy();
    Plotly?.purge(plot);
    element.replaceChildren();
  }

  function onPick(call) {
    picked = call;
  }

  return { draw, resize: atOnce, onPick, destroy, ready };
}

function loadPlotly(source) {
  if (source?.react) return Promise.resolve(source);
  if (window.Plotly?.react) return Promise.resolve(window.Plotly);
  if (!loading.has("plotly")) {
    loading.set("plotly", new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = source;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => reject(new Error(`could not load ${source}`));
      document.head.append(script);
    }));
  }
  return loading.get("plotly");
}

function skeleton(element) {
  const make = (tag, name, parent) => {
    const node = document.createElement(tag);
    node.className = name;
    parent.append(node);
    return node;
  };
  element.replaceChildren();
  const head = make("div", "figure-head", element);
  const line = make("h2", "", head);
  const title = make("span", "", line);
  line.append(" ");
  const unit = make("span", "hint", line);
  const tools = make("span", "figure-tools", head);
  const smoothing = make("label", "hint", tools);
  smoothing.append("smoothing ", document.createElement("select"));
  smoothing.control.className = "badge";
  for (const weight of SMOOTHINGS) smoothing.control.add(new Option(weight, weight));
  smoothing.hidden = true;
  const scale = make("button", "badge", tools);
  scale.type = "button";
  scale.hidden = true;
  const badge = make("span", "badge", tools);
  const frame = make("div", "figure-frame", element);
  const plot = make("div", "figure-plot", frame);
  plot.setAttribute("role", "group"); // it holds buttons: no image to a screen reader
  const pointer = make("div", "figure-pointer", frame);
  pointer.hidden = true;
  const message = make("p", "figure-message", frame);
  const lanes = make("div", "figure-lanes", frame);
  return { head, title, unit, badge, scale, smoothing, pointer, plot, message, lanes };
}

function isDark(element) {
  if (element.closest(".dark")) return true;
  if (document.querySelector("gradio-app, .gradio-container")) return false; // it sets the class
  const jupyter = document.body.dataset.jpThemeLight;
  if (jupyter) return jupyter === "false";
  const code = document.body.dataset.vscodeThemeKind;
  if (code) return /dark|high-contrast$/.test(code);
  const colab = document.documentElement.getAttribute("theme");
  if (colab) return colab === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

// A lane's traces are hidden together, and stay so when their number or order changes.
function group(trace, index) {
  return trace.legendgroup ?? index;
}

// Undo pack() of olora_viz/live/packing.py, but for the points, which stay text.
function unpack({ data, layout }) {
  return {
    data: data.map(({ trace, ...points }) => ({ ...JSON.parse(trace), ...points })),
    layout: Object.fromEntries(Object.entries(layout).map(([key, part]) => [key, JSON.parse(part)])),
  };
}

// Copy a value with its "@tokens" replaced by colours.
function paint(node, colors) {
  if (typeof node === "string") return node[0] === "@" ? (colors[node.slice(1)] ?? "#888") : node;
  if (Array.isArray(node)) {
    const numbers = node.slice(0, 2).every((item) => item === null || typeof item === "number");
    return numbers ? [...node] : node.map((item) => paint(item, colors));
  }
  if (node === null || typeof node !== "object") return node;
  return Object.fromEntries(Object.entries(node).map(([key, v]) => [key, paint(v, colors)]));
}

// Give a trace arrays of numbers, always new ones: Plotly redraws what has changed identity.
function points(trace, index, decode) {
  for (const key of ["x", "y"]) {
    if (typeof trace[key] === "string") trace[key] = decode(`${index}${key}`, trace[key]);
  }
  if (!trace.x && trace.x0 !== undefined) {
    trace.x = trace.y.map((_, i) => trace.x0 + i * trace.dx);
    delete trace.x0;
    delete trace.dx;
  }
  return trace;
}

// Read "1.5,2,,3", each time only from where the text has grown.
function decoder() {
  const known = new Map();
  const read = (text) => (text === "" ? [] : text.split(",").map((t) => (t === "" ? null : +t)));
  return (key, text) => {
    const old = known.get(key);
    let numbers;
    if (old?.text && text === old.text) numbers = [...old.numbers];
    else if (old?.text && text.startsWith(`${old.text},`)) {
      numbers = [...old.numbers, ...read(text.slice(old.text.length + 1))];
    } else numbers = read(text);
    known.set(key, { text, numbers });
    return numbers;
  };
}

// Average the "raw" traces anew into the "smooth" ones, and move what stands at their ends.
function average(data, layout, given, weight) {
  const raw = new Map();
  data.forEach((trace, i) => trace.meta === "raw" && raw.set(trace.legendgroup, [trace.y, given[i].dx]));
  for (const trace of data) {
    const [values, every] = raw.get(trace.legendgroup) ?? [[], 1];
    if (trace.meta !== "smooth" || !values.length) continue;
    const past = weight ** (every ?? 1);
    let mean = values[0];
    trace.y = values.map((v) => (mean = v === null || mean === null ? null : past * mean + (1 - past) * v));
    const end = trace.y.findLast((v) => v > 0);
    if (!end) continue;
    for (const cross of data) {
      if (cross.meta === "out" && cross.legendgroup === trace.legendgroup) cross.y = [end];
    }
    for (const label of layout.annotations ?? []) {
      if (label.name?.slice(4) !== trace.legendgroup) continue;
      label.y = Math.min(Math.log10(end), layout.yaxis.range[1]);
    }
  }
}

// Make a logarithmic axis linear: from zero, with ticks of Plotly's choice, up to the same value.
function straighten(layout) {
  const top = 10 ** layout.yaxis.range[1];
  layout.yaxis.type = "linear";
  layout.yaxis.range = [-0.02 * top, top];
  layout.yaxis.nticks = 6;
  delete layout.yaxis.tickvals;
  delete layout.yaxis.ticktext;
  for (const label of layout.annotations ?? []) {
    if (["y", undefined].includes(label.yref)) label.y = 10 ** label.y;
  }
}

function nearest(numbers, wanted) {
  let best = 0;
  numbers.forEach((n, i) => {
    if (Math.abs(n - wanted) < Math.abs(numbers[best] - wanted)) best = i;
  });
  return best;
}

function touch() {
  return matchMedia("(pointer: coarse)").matches;
}

function inside(x, range) {
  return !range || (x >= range[0] && x <= range[1]);
}

// Move positions apart as little as needed (isotonic regression), within [low, high]: the same as
// spread() in olora_viz/curve_labels.py, which cannot know the reader's screen.
function spread(wanted, gap, low, high) {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]);
  const blocks = [];
  order.forEach((i, rank) => {
    blocks.push([wanted[i] - rank * gap, 1]);
    while (blocks.length > 1) {
      const [b, a] = [blocks.at(-1), blocks.at(-2)];
      if (a[0] / a[1] <= b[0] / b[1]) break;
      blocks.pop();
      a[0] += b[0];
      a[1] += b[1];
    }
  });
  const means = blocks.flatMap(([total, count]) => Array(count).fill(total / count));
  const top = Math.max(low, high - gap * (wanted.length - 1));
  const out = Array(wanted.length);
  order.forEach((i, rank) => {
    out[i] = Math.min(Math.max(means[rank], low), top) + rank * gap;
  });
  return out;
}
