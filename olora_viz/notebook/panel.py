"""Shared by all panels: the frame, the picture for readers without a kernel, one run per cell."""

from __future__ import annotations

import base64
import secrets
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from IPython.display import publish_display_data

from olora_viz.figures.layout import Figure
from olora_viz.figures.live.subshells import heard_while_a_cell_runs
from olora_viz.figures.png import png_bytes
from olora_viz.machine.naming import unknown

STILL_WIDTH = 780
"""Width of the picture in pixels, before it is doubled."""

SOON = 0.4
"""Seconds without a change before a picture is made of a state that may be temporary."""

_panels: weakref.WeakSet[Panel] = weakref.WeakSet()


class Panel(widgets.VBox):
    """A panel, identified by its cell or its `name`: a newer one replaces it.

    Parameters
    ----------
    children : its widgets.
    name : panels with the same name replace each other, wherever they were created. By default the
        cell identifies its panels: running it again ends the earlier ones.
    """

    replaced: list[Panel]
    """The panels that this one replaced."""

    def __init__(self, children: Sequence[widgets.Widget], name: str | None) -> None:
        super().__init__(children)
        for widget in _below(self):
            heard_while_a_cell_runs(widget)
        self.add_class("olora-viz")
        self._still_id = f"olora-viz-{secrets.token_hex(8)}"
        self._still: dict[str, Any] | None = None
        self._was_busy = False
        self._soon: threading.Timer | None = None
        self._place = place() if name is None else (("name", name), secrets.token_hex(8))
        self.replaced = [panel for panel in list(_panels) if self._replaces(panel)]
        for panel in self.replaced:
            _panels.discard(panel)
            panel._was_busy = panel.is_busy
            panel.end("a newer panel of this cell replaced it")
        _panels.add(self)

    @property
    def is_busy(self) -> bool:
        """Whether its thread is running."""
        return False

    def end(self, why: str) -> None:
        """Stop the computation, release the model, and close the panel."""
        raise NotImplementedError

    @property
    def was_busy(self) -> bool:
        """Whether it was running when a newer panel replaced it."""
        return self._was_busy

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute that there is; a mistyped one is an error."""
        declared = (name in vars(part).get("__annotations__", {}) for part in type(self).__mro__)
        if not name.startswith("_") and not hasattr(type(self), name) and not any(declared):
            known = [each for each in dir(type(self)) if not each.startswith("_")]
            raise AttributeError(unknown(f"attribute of {type(self).__name__}", name, known))
        super().__setattr__(name, value)

    def _replaces(self, other: Panel) -> bool:
        return self._place[0] == other._place[0] and self._place[1] != other._place[1]

    def _words(self) -> str:
        """Return the panel's state in one line."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Return the panel's state, for readers without widgets."""
        return self._words() if hasattr(self, "_still") else type(self).__name__

    def _ipython_display_(self, **_: Any) -> None:
        """Show the live panel, and below it the picture, which a page with a kernel hides."""
        bundle = {
            "text/plain": f"{type(self).__name__}, last state:",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self.model_id,
            },
        }  # fmt: skip
        publish_display_data(bundle)
        still = self._still or {"text/plain": ""}
        publish_display_data(still, transient={"display_id": self._still_id})

    def _keep_soon(self, figures: Sequence[Figure], text: str) -> None:
        """Call `_keep_still` after a moment without changes, since a picture takes a while."""
        if self._soon:
            self._soon.cancel()
        self._soon = threading.Timer(SOON, self._keep_still, (figures, text))
        self._soon.daemon = True
        self._soon.start()

    def _keep_still(self, figures: Sequence[Figure], text: str) -> None:
        """Store the last state in the notebook as a picture and as text, from any thread."""
        if self._soon:
            self._soon.cancel()
        picture = base64.b64encode(png_bytes(figures, width=STILL_WIDTH, sharpness=1.5))
        self._still = {"image/png": picture.decode("ascii"), "text/plain": text}
        if get_ipython() is not None:
            publish_display_data(self._still, transient={"display_id": self._still_id}, update=True)


def _below(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    """Return a widget and all widgets inside it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _below(child)


def place() -> tuple[Any, str]:
    """Return which cell is running, and which of its runs this is."""
    shell = get_ipython()
    if shell is None:
        return object(), ""
    parent = getattr(shell, "get_parent", dict)() or {}  # a plain IPython has no messages
    cell = parent.get("metadata", {}).get("cellId")
    code = shell.user_ns.get("In", [""])[-1]
    return (("cell", cell) if cell else ("code", code)), str(shell.execution_count)
