"""Live charts in Gradio: one node for life, fed with what is new."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
import plotly

from olora_viz.figures import theme
from olora_viz.figures.layout import Figure
from olora_viz.figures.live.bundle import bundle
from olora_viz.figures.live.packing import pack

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1]
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"

IMPORT = """
const here = (file) => {
  const url = new URL(file.url, window.location.href);
  if (url.hostname === window.location.hostname) {
    url.protocol = window.location.protocol;
    url.port = window.location.port;
  }
  return url.href;
};
const beside = (file, path) => here({ url: file.url.split("/gradio_api/")[0] + path });
const load = (file) => import(here(file));
"""
"""JavaScript for `js_on_load`: load(file) imports a module that `installed` serves, and
beside(file, path) is the URL of another path on the same server.

The page's own protocol and port win over those that the server believes in, as behind a proxy.
"""

_MOUNT = (
    IMPORT
    + """
const sources = { plotly: here(props.plotly), module: here(props.module) };
const mounting = Promise.all([load(props.module), load(props.exporter)]).then(
  ([{ mount }, { saveMenu }]) => (place) => mount(place, {
    plotly: sources.plotly, palette: JSON.parse(props.palette), menu: saveMenu(sources),
  }),
);
"""
)

_ONE = (
    _MOUNT
    + """
mounting.then((mounted) => {
  const figure = mounted(element.querySelector(".live-figure"));
  figure.draw(props.value);
  watch("value", () => figure.draw(props.value));
  if (props.picks) figure.onPick((name) => trigger("select", { index: 0, value: name }));
});
"""
)

_MANY = (
    _MOUNT
    + """
mounting.then((mounted) => {
  const list = element.querySelector(".live-figures"), places = new Map();
  const draw = () => {
    const figures = props.value?.figures;
    if (!figures) return;
    for (const [name, { place, figure }] of places) {
      if (name in figures) continue;
      figure.destroy();
      place.remove();
      places.delete(name);
    }
    for (const [name, value] of Object.entries(figures)) {
      if (!places.has(name)) {
        const place = document.createElement("div");
        place.className = "live-figure";
        place.dataset.figure = name;
        list.append(place);
        places.set(name, { place, figure: mounted(place) });
      }
      places.get(name).figure.draw(value);
    }
  };
  draw();
  watch("value", draw);
});
"""
)


def live_figure(
    value: dict[str, Any] | None = None, *, elem_id: str, picks: bool = False, **more: Any
) -> gr.HTML:
    """Make the component; its values, here and from events, are packed figures (see `pack`).

    It is a function, not a subclass: Gradio writes a stub file beside every subclass's source.

    Parameters
    ----------
    value : a figure of `olora_viz.figures.race`, or None.
    elem_id : id of the element that Plotly's node is inside of.
    picks : a click on a map's cell is the event ``select`` of value ``layout.meta.names[y][x]``,
        or ``layout.meta.rows[y]`` where a whole row has one name.
    more : goes to `gr.HTML`.
    """
    return _charts(
        _ONE, "live-figure", pack(value) if value else None, elem_id=elem_id, picks=picks, **more
    )


def live_figures(*, elem_id: str) -> gr.HTML:
    """Make a component of any number of charts; its values are of `pack_all`."""
    return _charts(_MANY, "live-figures", pack_all({}), elem_id=elem_id)


def pack_all(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Pack figures by name, under one key: Gradio's page leaves keys of its own beside it."""
    return {"figures": {name: pack(figure) for name, figure in figures.items()}}


def _charts(script: str, classes: str, value: Any, **more: Any) -> gr.HTML:
    return gr.HTML(
        value=value,
        html_template=f'<div class="{classes}"></div>',
        js_on_load=script,
        apply_default_css=False,
        module=installed(HERE / "figure.js"),
        exporter=installed(HERE / "figure_export.js"),
        plotly=installed(PLOTLY),
        palette=json.dumps({name: theme.palette(name) for name in theme.THEMES}),
        **more,
    )


@cache
def installed(path: Path) -> dict[str, Any]:
    """Serve an installed file, and name it in the form whose URL Gradio completes.

    Gradio puts its root, such as the sub-path of a Space, in front of ``url``. A module of this
    package is served together with all that it imports, as one file: one request, and a browser
    cannot mix the modules of two versions.

    Parameters
    ----------
    path : of a JavaScript file of this package, or of any file of another one.
    """
    if path.is_relative_to(PACKAGE):
        text = bundle(path).encode()
        version = hashlib.sha256(text).hexdigest()[:16]
        path = Path(_bundles().name) / f"{path.stem}-{version}.js"
        path.write_bytes(text)
    else:
        version = str(path.stat().st_mtime_ns)
    gr.set_static_paths([path])
    url = f"{served(path)}?v={version}"
    return {"path": str(path), "url": url, "meta": {"_type": "gradio.FileData"}}


@cache
def _bundles() -> tempfile.TemporaryDirectory[str]:
    """Make the folder of the modules that are served; it goes with the server."""
    return tempfile.TemporaryDirectory(prefix="olora_viz-")


def served(path: Path) -> str:
    """Return the address of a file that Gradio serves, below the page's root."""
    return f"/gradio_api/file={quote(path.as_posix())}"
