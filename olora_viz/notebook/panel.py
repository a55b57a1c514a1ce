"""A panel: a widget that shows and controls work in the background."""

from __future__ import annotations

import base64
import secrets
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.core.getipython import get_ipython
from IPython.display import publish_display_data

from olora_viz.background.record import READY
from olora_viz.background.work import BackgroundWork
from olora_viz.figures.layout import Figure
from olora_viz.figures.live.bundle import bundle
from olora_viz.figures.live.notebook_feed import Feed, heard_while_a_cell_runs, style, tools
from olora_viz.figures.live.standing_alone import plotly_source
from olora_viz.figures.png import png_bytes
from olora_viz.figures.theme import THEMES
from olora_viz.machine.checks import unknown
from olora_viz.machine.version import versions
from olora_viz.notebook.setup import SETUP_TEXTS, ConfigTrait, Node, PanelSetUp, lanes_or_problems
from olora_viz.races.config import RaceConfig
from olora_viz.views.runs import Mark, lane_marks


class UpdatePace:
    """At most about four updates per second and a tenth of the time."""

    def __init__(self) -> None:
        self._next = 0.0

    def is_due(self) -> bool:
        """Whether the next update is due."""
        return time.monotonic() >= self._next

    def took(self, began: float) -> None:
        """Record the start time of the update that has just ended."""
        now = time.monotonic()
        self._next = now + max(0.22, (now - began) / 0.1)


def place() -> tuple[Any, Any]:
    """Return which cell is running, and which of its runs this is."""
    return _in_marimo() or _in_ipython() or (object(), "")


def _in_ipython() -> tuple[Any, str] | None:
    shell = get_ipython()
    if shell is None:
        return None
    parent = getattr(shell, "get_parent", dict)() or {}  # a plain IPython has no messages
    cell = parent.get("metadata", {}).get("cellId")
    code = shell.user_ns.get("In", [""])[-1]
    return (("cell", cell) if cell else ("code", code)), str(shell.execution_count)


def _in_marimo() -> tuple[Any, Any] | None:
    """Return marimo's cell, after which it names the code of the cell, and its run."""
    frame = sys._getframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if "__marimo__cell_" in name:
            run = getattr(sys.modules.get("marimo._messaging.context"), "RUN_ID_CTX", None)
            return ("marimo", name), (run and run.get(None)) or frame
        frame = frame.f_back
    return None


HIDE_LOST = (
    '<style class="olora-viz-still">.jp-OutputArea-child:has(style.olora-viz-still),'
    ".jp-OutputArea-child:not(:has(.olora-viz)):has(+ .jp-OutputArea-child style.olora-viz-still)"
    "{display:none}</style>"
)
"""Hides, in a reopened notebook, what JupyterLab writes in place of a panel without a kernel."""

_panels: weakref.WeakSet[Panel] = weakref.WeakSet()


class Panel(anywidget.AnyWidget):
    """A panel, identified by its cell, so that running the cell again replaces it, or by its `name` anywhere."""

    _esm = bundle(Path(__file__).parent / "widget" / "panel.js")
    _css = style()

    state = traitlets.Unicode(READY, read_only=True).tag(sync=True)
    """What it is doing, in a word."""

    _job: BackgroundWork | None = None
    """What it computes in a thread, the latest."""

    _shown: tuple[str, bool] | None = None
    """The phase of the computation that was shown last, see `_phase`."""

    replaced: list[Panel]
    """The panels that this one replaced."""

    was_busy = False
    """Whether it was running when a newer panel replaced it."""

    def __init__(self, name: str | None) -> None:
        super().__init__()
        self._feed, self._problem = Feed(), ""
        self._shown_traits: dict[str, Any] = {}  # those that say what was shown last, such as the state
        self._theme = THEMES[0]
        self.on_msg(self._heard)
        heard_while_a_cell_runs(self)
        self._still_id = f"olora-viz-{secrets.token_hex(8)}"
        self._still: dict[str, Any] | None = None
        self._last_shown: tuple[Sequence[Figure], str] | None = None
        self._pace, self._drawing = UpdatePace(), threading.RLock()
        self._soon: threading.Timer | None = None
        self._place = place() if name is None else (("name", name), object())
        cell, run = self._place
        self.replaced = [other for other in list(_panels) if other._place[0] == cell and other._place[1] != run]
        for panel in self.replaced:
            _panels.discard(panel)
            panel.was_busy = panel.is_busy
            panel.end("a newer panel of this cell replaced it")
        _panels.add(self)

    @property
    def is_busy(self) -> bool:
        """Whether its computation has not ended."""
        return bool(self._job and not self._job.complete)

    def stop(self) -> None:
        """Stop the computation after its current step; what is known by then stays available."""
        if self._job:
            self._job.stop()

    def end(self, why: str) -> None:
        """Stop the computation, and close the panel."""
        if self._job:
            self._job.stop(why)
            self._job.wait(10)
        self.close()

    @property
    def _phase(self) -> tuple[str, bool]:
        """The state of the latest computation, and whether it has ended."""
        return (self._job.state, self._job.complete) if self._job else (READY, False)

    def _follow(self) -> None:
        """Show what is new; called in the computation's thread after every change."""
        if self._phase != self._shown or self._pace.is_due():
            self._show()

    def _set_traits(self) -> None:
        """Set the traits to what was shown last; another thread may have shown something newer meanwhile."""
        while any(getattr(self, name) != value for name, value in self._shown_traits.items()):
            with self.hold_sync():
                for name, value in self._shown_traits.items():
                    self.set_trait(name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute that there is; a mistyped one is an error."""
        declared = (name in vars(part).get("__annotations__", {}) for part in type(self).__mro__)
        if not name.startswith("_") and not hasattr(type(self), name) and not any(declared):
            known = [each for each in dir(type(self)) if not each.startswith("_")]
            raise AttributeError(unknown(f"attribute of {type(self).__name__}", name, known))
        super().__setattr__(name, value)

    def set_state(self, sync_data: Mapping[str, Any]) -> None:
        """Take what a front end has set, or say what is wrong; what the panel alone sets stays."""
        synced = self.traits(sync=True)
        settable = {n: value for n, value in sync_data.items() if n in synced and not synced[n].read_only}
        try:
            super().set_state(settable)
        except traitlets.TraitError as error:
            self._problem = str(error)
            self._show()

    # What its parts are ------------------------------------------------------------------------

    def _tree(self) -> Node:
        """Return its parts."""
        raise NotImplementedError

    def _changed(self, _: Any) -> None:
        """Show what follows from a trait that was set."""
        self._problem = ""
        self._show()

    def _act(self, button: str) -> None:
        """Do what a button says; a ValueError is shown as its sentence."""

    def _set(self, name: str, value: Any) -> None:
        """Take what the reader chose in a control; a ValueError is shown as its sentence."""

    def _open(self, section: str, is_open: bool) -> None:
        """Draw a section while it is open."""

    def _picked(self, charts: str, name: str) -> None:
        """Take a click on a map's cell, given the name of its layer."""

    def _marks(self, rows: Any) -> list[dict[str, str]]:
        """Return the marks of the lanes in the table."""
        return []

    def _show(self) -> None:
        """Show what is new, at once."""
        began = time.monotonic()
        with self._drawing:  # so that what is older is not shown last
            self._shown = self._phase
            self._shown_traits = {"state": self._shown[0]}
            self._draw()
        self._set_traits()
        self._pace.took(began)

    def _draw(self) -> None:
        """Draw what is new, while no other thread does."""
        raise NotImplementedError

    def _words(self) -> str:
        """Return the panel's state in one line."""
        raise NotImplementedError

    def _origin(self) -> str:
        """Return the set-up of what is shown, in lines from which a reader of the saved notebook can repeat it."""
        return ""

    # Messages ----------------------------------------------------------------------------------

    def _tell(self, values: Mapping[str, Any], figures: Mapping[str, Figure] | None = None) -> None:
        """Show values and charts by the names of their parts; can be called from any thread."""
        with self._feed.lock:
            if message := self._feed.news(values, figures):
                self.send(message)

    def _heard(self, _: Any, message: Any, __: Any) -> None:
        """Answer a view of the panel; other messages from a browser are ignored."""
        if not isinstance(message, dict):
            return
        if message.get("want") == "panel":
            with self._feed.lock:
                self.send({"tree": self._tree(), **self._feed.whole()})
        elif message.get("want") == "tools":
            self.send({"tools": tools()}, buffers=[plotly_source()])
        elif message.get("theme") in THEMES:
            self._theme = message["theme"]
            if self._last_shown:
                self._keep_soon(*self._last_shown)
        elif "rows" in message and isinstance(message.get("turn"), str):
            self.send({"marks": self._marks(message["rows"]), "turn": message["turn"]})
        else:
            self._obey(message)

    def _obey(self, message: dict[str, Any]) -> None:
        """Do what the reader asked for; a wrong value gets a sentence in the panel."""
        match message:
            case {"press": str(button)}:
                act = partial(self._act, button)
            case {"set": [str(name), value]}:
                act = partial(self._set, name, value)
            case {"open": [str(section), bool(is_open)]}:
                act = partial(self._open, section, is_open)
            case {"picked": [str(charts), str(name)]}:
                act = partial(self._picked, charts, name)
            case _:
                return
        self._problem = ""
        try:
            act()
        except ValueError as error:
            self._problem = str(error)
        self._show()

    # The picture -------------------------------------------------------------------------------

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
        publish_display_data({"text/html": HIDE_LOST, "text/plain": ""})
        still = self._still or {"text/plain": ""}
        publish_display_data(still, transient={"display_id": self._still_id})

    def _keep_soon(self, figures: Sequence[Figure], text: str) -> None:
        """Call `_keep_still` after 0.4 s without changes, since a picture takes a while."""
        if self._soon:
            self._soon.cancel()
        self._soon = threading.Timer(0.4, self._keep_still, (figures, text))
        self._soon.daemon = True
        self._soon.start()

    def _keep_still(self, figures: Sequence[Figure], text: str) -> None:
        """Store the last state in the notebook as a picture and as text, from any thread."""
        if self._soon:
            self._soon.cancel()
        self._last_shown = figures, text
        origin = "\n".join(filter(None, [self._origin(), ", ".join(map(" ".join, versions("torch").items()))]))
        picture = png_bytes(figures, below=origin, theme_name=self._theme, width=780, sharpness=1.5)
        self._still = {"image/png": base64.b64encode(picture).decode("ascii"), "text/plain": f"{text}\n{origin}"}
        if get_ipython() is not None:
            publish_display_data(self._still, transient={"display_id": self._still_id}, update=True)


class ConfiguredPanel(Panel):
    """A panel with the controls of a set-up."""

    config = ConfigTrait()
    """The set-up of the controls; once it is used, the one that was used, until another is used or set. Setting it
    fills in the controls."""

    def __init__(self, config: RaceConfig, name: str | None) -> None:
        self._setup, self._first = PanelSetUp(config), config
        self._used = self._setting = False
        self._setting_lock = threading.RLock()
        super().__init__(name)
        self._keep_config(config, used=False)
        self.observe(self._assigned, "config")

    def _set(self, name: str, value: Any) -> None:
        if self._setup.set(name, value) and not self._used:
            with suppress(ValueError):  # what is wrong is said when it is used
                self._keep_config(self._setup.config, used=False)

    def _marks(self, rows: Any) -> list[Mark]:
        return lane_marks(lanes_or_problems(rows))

    def _keep_config(self, config: RaceConfig, *, used: bool = True) -> None:
        """Let `config` be a set-up that the controls show."""
        with self._setting_lock:
            self._setting = True
            try:
                self._used = used
                self.config = config
            finally:
                self._setting = False

    def _assigned(self, change: Any) -> None:
        """Show a set-up that was assigned or came from a link."""
        if self._setting:
            return
        self._used = False
        self._setup.show(change["new"])
        self._changed(change)

    def _of_setup(self) -> dict[str, Any]:
        """Return what the controls of the set-up show."""
        return self._setup.values | SETUP_TEXTS
