"""Run the notebooks and write an HTML page of each: ``python -m notebooks.build``, in a checkout.

A page contains its outputs and one copy of Plotly, and loads nothing from other hosts.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import plotly.io
from jupyter_client.manager import KernelManager, start_new_kernel
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from plotly.offline import get_plotlyjs

FOLDER = Path(__file__).parent

NOTEBOOKS = tuple(sorted(FOLDER.glob("[0-9]*.ipynb")))
"""All of them, the first lesson first."""

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
OUTSIDE = ("mathjax_url", "require_js_url", "jquery_url", "mermaid_js_url", "widget_renderer_url")
"""What an exporter would fetch from other hosts; the pages do not need it."""

TIMEOUT = 1800
"""Timeout of one cell in seconds, long enough for a busy machine: it only ends hangs."""


def parameters_of(notebook: NotebookNode) -> int:
    """Return the index of the cell that is tagged ``parameters``.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    if len(found) != 1:
        raise ValueError(f"one cell must be tagged parameters, not {len(found)}")
    return found[0]


@contextmanager
def kernel() -> Iterator[KernelManager]:
    """Start a kernel with this checkout's package in the notebooks' folder, and end it."""
    found = [str(FOLDER.parent), os.environ.get("PYTHONPATH")]
    env = os.environ | {"PLOTLY_RENDERER": "plotly_mimetype", "PYTHONPATH": os.pathsep.join(filter(None, found))}
    manager, client = start_new_kernel(env=env, cwd=str(FOLDER))
    try:
        yield manager
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def executed(path: Path, running: KernelManager, values: Mapping[str, Any] | None = None) -> NotebookNode:
    """Run a notebook from top to bottom and return it with its outputs.

    Args:
        path: of the notebook, which is not changed.
        running: a kernel, which forgets all names of the notebook before.
        values: new values of some of its parameters.

    Raises:
        ValueError: a value's name is not a parameter of the notebook.
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    at = parameters_of(notebook)
    for name in values or ():
        if f"\n{name} = " not in f"\n{notebook.cells[at].source}":
            raise ValueError(f"{name} is not a parameter of {path.name}")
    lines = [f"{name} = {value!r}" for name, value in (values or {}).items()]
    if lines:
        notebook.cells.insert(at + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    for its in (nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%reset -f")]), notebook):
        execute(NotebookClient(its, km=running, timeout=TIMEOUT))
    return notebook


def execute(client: NotebookClient) -> None:
    """Run a notebook in a kernel that goes on, and close the connection to it, which nbclient leaves open."""
    try:
        client.execute()
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
            client.kc = None


def page(notebook: NotebookNode, title: str) -> str:
    """Return an executed notebook as one self-contained HTML page."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)  # a page has no kernel
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            data.pop(WIDGET, None)
            if PLOTLY in data:
                data["text/html"] = plotly.io.to_html(
                    data.pop(PLOTLY), full_html=False, include_plotlyjs=False, validate=False,
                    config={"displaylogo": False, "responsive": True},
                )  # fmt: skip
    exporter = HTMLExporter()
    for name in OUTSIDE:
        setattr(exporter, name, "")
    text, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return text.replace("<head>", f"<head>\n<script>{get_plotlyjs()}</script>", 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named notebooks, or all of them, and write their pages."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.build", description=__doc__)
    parser.add_argument("numbers", nargs="*", help="of the notebooks, such as 1 3; all by default")
    parser.add_argument("--out", type=Path, default=FOLDER.parent / "build" / "notebooks")
    chosen = parser.parse_args(arguments)
    known = {path.name.partition("-")[0]: path for path in NOTEBOOKS}
    for number in chosen.numbers:
        if number not in known:
            parser.error(f"there is no notebook {number!r}, only {', '.join(known)}")
    chosen.out.mkdir(parents=True, exist_ok=True)
    with kernel() as running:
        for number in chosen.numbers or known:
            path = known[number]
            print(f"{path.name} …", file=sys.stderr, flush=True)
            target = chosen.out / f"{path.stem}.html"
            target.write_text(page(executed(path, running), path.stem), encoding="utf-8")
            print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
