// The chart as an anywidget; figure.js stands above this text, in the same module.
//
// A view asks for what it needs and is told by custom messages, so that nothing of it is saved in
// the notebook: {whole, palette, serial}, then {change, serial} for what is new since serial − 1,
// and once a page, for all its charts, {tools} with Plotly (compressed, as a buffer), figure.js and
// figure_export.js.

function toolsOf(model) {
  if (!globalThis.oloraViz) {
    globalThis.oloraViz = new Promise((resolve, reject) => {
      const take = async (message, buffers) => {
        if (!message.tools) return;
        model.off("msg:custom", take);
        try {
          resolve(await loaded(message.tools, buffers[0]));
        } catch (error) {
          globalThis.oloraViz = undefined;
          reject(error);
        }
      };
      model.on("msg:custom", take);
      model.send({ want: "tools" });
    });
  }
  return globalThis.oloraViz;
}

async function loaded({ module, exporter }, packed) {
  const url = (text) => URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const sources = { plotly: url(await new Response(plain).text()), module: url(module) };
  const before = globalThis.Plotly;
  await import(/* webpackIgnore: true */ sources.plotly);
  const { Plotly } = globalThis;
  if (before) globalThis.Plotly = before; // the notebook may have one of its own
  const { saveMenu } = await import(/* webpackIgnore: true */ url(exporter));
  return { Plotly, menu: saveMenu(sources) };
}

function changed(value, change) {
  const data = value.data.map((trace, i) => {
    const made = { ...trace };
    for (const [key, news] of Object.entries(change.data[i] ?? {})) {
      made[key] = news?.more === undefined ? news : `${made[key]}${news.more}`;
    }
    return made;
  });
  return { data, layout: { ...value.layout, ...change.layout } };
}

function render({ model, el }) {
  el.classList.add("olora-viz", "olora-viz-figure");
  // What is saved beside the panel, for readers without a kernel, is not for this page.
  const cell = () => el.closest(".jp-Cell")?.classList.add("olora-viz-live");
  const chart = document.createElement("div");
  chart.className = "olora-viz-chart";
  chart.textContent = "The chart appears when the kernel has time to send it.";
  el.append(chart);
  let figure = null;
  let value = null;
  let serial = -1;
  let alive = true;

  async function begin(palette) {
    const { Plotly, menu } = await toolsOf(model);
    if (!alive || figure) return;
    figure = mount(chart, { plotly: Plotly, palette, menu });
    figure.onPick((name) => model.send({ picked: name }));
    figure.draw(value);
  }

  function take(message) {
    if (message.whole) {
      value = message.whole;
      serial = message.serial;
      cell();
      if (figure) figure.draw(value);
      else begin(message.palette);
    } else if (message.change && serial >= 0) {
      if (message.serial <= serial) return;
      if (message.serial > serial + 1) {
        model.send({ want: "figure" });
        return;
      }
      value = changed(value, message.change);
      serial = message.serial;
      figure?.draw(value);
    }
  }

  model.on("msg:custom", take);
  model.send({ want: "figure" });
  requestAnimationFrame(cell);
  return () => {
    alive = false;
    model.off("msg:custom", take);
    figure?.destroy();
  };
}

export default { render };
