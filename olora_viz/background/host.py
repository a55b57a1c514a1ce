"""Who is around a long computation: whoever has it computed, and equal work that it follows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from olora_viz.background.record import FAILED, Copied

if TYPE_CHECKING:
    from olora_viz.background.work import BackgroundWork
    from olora_viz.races.data import ModelCache


class Host:
    """Whoever has work computed: by itself a thread of this process, that waits for nobody and hides nothing."""

    @property
    def models(self) -> ModelCache | None:
        """The models that races before it in the same thread have loaded, for races with a folder; None for none."""
        return None

    def compute(self, work: BackgroundWork) -> bool | None:
        """Compute work until its end or a pause, see `BackgroundWork.run`."""
        return work.run()

    def yields(self) -> bool:
        """Whether to make way for others, who then compute first."""
        return False

    def before_news(self) -> None:
        """Note a change before anybody else hears of it."""

    def without_paths(self, sentence: str) -> str:
        """Remove private information from a sentence."""
        return sentence

    def clear_disk(self, needed: int) -> None:
        """Make room for so many bytes, which work needs and the disk lacks."""

    def take_over(self, work: BackgroundWork) -> None:
        """Go on with work that followed an equal one, which does not go on."""


class Seat:
    """How work shows what equal work computes, its source; by default it has none, and computes by itself."""

    began = 0.0
    """When it was begun to be computed, by the work or by its source, in seconds since 1970; 0 before."""
    copied = False
    """Whether what it shows was computed by other work."""
    asked = 0.0
    """When a page asked for it, in seconds since 1970, if it was there already; else 0."""
    resumed_at = 0
    """The number of lanes after which the study was stopped from which it goes on; 0 for none."""

    def __init__(self, work: Any, key: str = "") -> None:
        self.work, self.key = work, key
        """The key is what equal work has in common; it is empty if it shares nothing."""
        self.source: Any = None
        self.followers: list[Any] = []
        self._shown = -1
        """The source's version that it has caught up with."""

    @property
    def steps_of(self) -> Copied | None:
        """Where the steps of a race are from; None for its own."""
        return None

    @property
    def is_behind(self) -> bool:
        """Whether there is more than is shown, or will be elsewhere."""
        return False

    def kept(self) -> dict[str, Any] | None:
        """Return what a restarted server has to show of it; None for nothing."""

    def find_source(self, others: Iterable[BackgroundWork]) -> Any:
        """Return what it can follow; None for nothing."""

    def follow_another(self, others: Iterable[BackgroundWork]) -> bool:
        """Follow another one than the source, which does not go on; return whether there is one."""
        return False

    def begin(self, others: Iterable[BackgroundWork]) -> None:
        """Take over what others of the kind have left, before the work computes."""

    def follow(self, source: Any) -> None:
        """Show what equal work comes to.

        Raises:
            OSError: the folder of what has ended is gone.
        """
        self.let_go()
        self.source, self._shown = source, -1
        source.seat.followers.append(self.work)
        self.catch_up()

    def begin_turn(self) -> None:
        """Note when the work was begun to be computed."""
        self.began = self.began or time.time()

    def let_go(self) -> None:
        """Follow nobody any more."""
        source, self.source = self.source, None
        if source is not None and self.work in source.seat.followers:
            source.seat.followers.remove(self.work)

    def see(self) -> None:
        """Note that a page asks for it, and so for a source that computes for it."""
        if self.source is not None and not self.source.complete:
            self.source.see()
        self.catch_up()

    def catch_up(self) -> None:
        """Take over what the source has come to, as far as it is shown by now."""

    def until_next(self) -> float:
        """Return the seconds until there is more to show."""
        return math.inf if self.source is None or self.source.version == self._shown else 0.0

    def go_on(self) -> None:
        """Go on to show what a source computes, after a pause."""

    def show_at(self, speed: float) -> None:
        """Show the steps of a race at a speed from here on."""

    def keep_files(self) -> None:
        """Have the source's files in a folder of its own.

        Raises:
            OSError: the disk is full, or the source's folder is gone.
        """

    def leave_files(self) -> None:
        """Before its folder is deleted, leave the files to those who follow it."""

    def end(self) -> None:
        """End as the source has."""
        source = self.source
        try:
            self.keep_files()
        except OSError as error:
            self.work.end(FAILED, self.work.sentence_on(error))
        else:
            self.work.end(source.state, source.note)

    def stop_here(self) -> None:
        """Follow nobody, and come to rest with what is shown.

        Raises:
            OSError: its files cannot be written.
        """

    def compute_instead(self) -> None:
        """Let the work compute, from what it shows on.

        Raises:
            OSError: its files cannot be written.
        """
