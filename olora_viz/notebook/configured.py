"""A panel whose reader sets up a race."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

from olora_viz.notebook.lane_rows import understood
from olora_viz.notebook.panel import Panel
from olora_viz.notebook.setup import TEXTS, SetUp
from olora_viz.notebook.traits import ConfigTrait
from olora_viz.races.config import RaceConfig
from olora_viz.views.lane_marks import Mark, lane_marks


class ConfiguredPanel(Panel):
    """A panel with the controls of a set-up.

    Parameters
    ----------
    config : the initial set-up.
    name : see `Panel`.
    """

    config = ConfigTrait()
    """The set-up of the controls; once it is used, the one that was used, until another is used or
    set. Setting it fills in the controls."""

    def __init__(self, config: RaceConfig, name: str | None) -> None:
        self._setup, self._first = SetUp(config), config
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
        return lane_marks(understood(rows))

    def _keep_config(self, config: RaceConfig, *, used: bool = True) -> None:
        """Let `config` be a set-up that the controls show."""
        with self._quietly():
            self._used = used
            self.config = config

    @contextmanager
    def _quietly(self) -> Generator[None]:
        with self._setting_lock:
            self._setting = True
            try:
                yield
            finally:
                self._setting = False

    def _assigned(self, change: Any) -> None:
        """Show a set-up that was assigned or came from a link."""
        if self._setting:
            return
        self._used = False
        self._setup.show(change["new"])
        self._problem = ""
        self._show()

    def _of_setup(self) -> dict[str, Any]:
        """Return what the controls of the set-up show."""
        return self._setup.values | TEXTS
