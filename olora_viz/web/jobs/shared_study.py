"""Equal studies are one: a decision, or a test of claims, that shows what an equal one of another page comes to.

A plan follows from a timing, so two decisions on one set-up would hardly race the same lanes: the later one is not
computed, but shows the earlier one. Where that one is stopped by its owner, the first page that still looks goes on
with it from a copy of its folder, and the others follow that page's. So does whoever asks for it again: its plan and
its races are taken, bitwise what they would come to again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar

from olora_viz.background.decision import BackgroundStudy
from olora_viz.background.elsewhere import moved
from olora_viz.background.record import FAILED
from olora_viz.background.work import STAYS
from olora_viz.machine.files import link_or_copy
from olora_viz.races.step import FINISHED, STOPPED


@dataclass(eq=False)
class SharedStudy(BackgroundStudy):
    """A study of the server, which computes or follows an equal one."""

    key: str = field(default="", metadata=STAYS)
    """See `olora_viz.web.jobs.shared.study_key`."""
    FINDINGS: ClassVar[tuple[str, ...]] = ("known", "_learnt", "part")
    """What it takes over from its source."""

    def __post_init__(self) -> None:
        """Follow nobody yet; all this is of the server alone, and does not travel with the study."""
        super().__post_init__()
        self.page = ""
        """Whose it is, see `Visitor.page`."""
        self.began = 0.0
        """When it began to be computed, in seconds since 1970; 0 before."""
        self.asked = 0.0
        """When a page asked for it, in seconds since 1970, if it was there already; else 0."""
        self.source: SharedStudy | None = None
        """The study that it follows."""
        self.resumed_at = 0
        """The number of lanes after which the study was stopped from which it goes on; 0 for none."""
        self._shown = -1

    @property
    def can_be_followed(self) -> bool:
        """Whether an equal study can do without computing what this one has, or will have."""
        if self.source is not None or self.stopping.is_set() or self.state == FAILED:
            return False
        return not self.complete or (self.state == FINISHED and self.folder.is_dir())

    @property
    def timed_out(self) -> bool:
        """Whether it ended at the server's limit."""
        return self.why == self.overtime != ""

    def follow(self, source: SharedStudy) -> None:
        """Show what an equal study comes to."""
        self.source, self.asked, self._shown = source, self.asked or time.time(), -1
        self.catch_up()

    def see(self) -> None:
        """Note that a page asks for it, and so for the source that computes for it."""
        source = self.source
        if source is not None and not source.complete:
            source.see()
        super().see()
        self.catch_up()

    def catch_up(self) -> None:
        """Take over what the source has come to."""
        with self.changed:
            source = self.source
            if source is None or source.version == self._shown:
                return
            self._shown, ended = source.version, source.complete  # read first: what follows is at least as new
            self.began = source.began
            self._learn_from(source)
            if not ended:
                self._change(state=source.state, note=source.note)
                return
            if source.state in (FINISHED, FAILED) or source.timed_out:
                self._end_with(source)
                return
        self.host.take_over(self)

    def _learn_from(self, source: SharedStudy) -> None:
        for name in self.FINDINGS:
            setattr(self, name, getattr(source, name))

    def _end_with(self, source: SharedStudy) -> None:
        try:
            self.keep_files()
        except OSError as error:
            self.end(FAILED, self.sentence_on(error))
            return
        self.source = None
        self._change(state=source.state, note=source.note, complete=True)

    def keep_files(self) -> None:
        """Have the source's files in a folder of its own; what is only ever replaced as a whole has two names.

        Raises:
            OSError: the disk is full.
        """
        source = self.source
        if source is None:
            return
        for file in sorted(source.folder.rglob("*")):
            to = self.folder / file.relative_to(source.folder)
            if file.is_file() and not file.name.endswith((".partial", ".lock")):
                with suppress(FileNotFoundError):  # it was replaced meanwhile
                    if file.suffix == ".jsonl":
                        to.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(file, to)
                    else:
                        link_or_copy(file, to)
        self.known = moved(self.known, source.folder, self.folder)

    def compute_instead(self) -> None:
        """Become a study that computes, from what its source knew on.

        Raises:
            OSError: its files cannot be written.
        """
        source = self.source
        assert source is not None
        with self.changed:
            self.keep_files()
            self.source, self.asked = None, 0.0
            self.left = min(self.left, source.left)

    def go_on_from(self, stopped: SharedStudy) -> None:
        """Begin with all that a study had come to when it was stopped; anew, if its files cannot be had."""
        self.source = stopped
        self._learn_from(stopped)
        try:
            self.keep_files()
        except OSError:
            self.known = None
            shutil.rmtree(self.folder, ignore_errors=True)
        self.source, self.resumed_at = None, self.known.lanes if self.known else 0

    def stop_here(self) -> None:
        """Follow nobody, and end with what is known.

        Raises:
            OSError: its files cannot be written.
        """
        if self.source is not None:
            self.keep_files()
            self.source = None
            self.end(STOPPED, self.without)

    def leave(self) -> None:
        """Make way, with what is known."""
        with suppress(OSError):
            self.keep_files()
        super().leave()

    def compute(self) -> None:
        """Compute, and note when that began."""
        self.began = self.began or time.time()
        super().compute()

    def end(self, state: str, note: str = "") -> None:
        """Follow nobody, and enter the final state."""
        self.source = None
        super().end(state, note)


def find_equal(study: SharedStudy, others: Iterable[SharedStudy]) -> SharedStudy | None:
    """Return what a study follows of the equal ones: one that is being computed, else one that has ended.

    There is none for a page that shows the end of an equal one already: it asks for another.
    """
    alike = _equal(study, others)
    if any(other.state == FINISHED and other.page == study.page != "" for other in alike):
        return None
    return min((other for other in alike if other.can_be_followed), key=lambda other: other.complete, default=None)


def find_stopped(study: SharedStudy, others: Iterable[SharedStudy]) -> SharedStudy | None:
    """Return the equal study from which a new one goes on: of those that were stopped in their time, the farthest."""
    stopped = [
        other for other in _equal(study, others) if other.complete and other.state == STOPPED and not other.timed_out
    ]
    return max(stopped, key=lambda other: other.known.lanes if other.known else 0, default=None)


def _equal(study: SharedStudy, others: Iterable[SharedStudy]) -> list[SharedStudy]:
    return [other for other in others if study.key and other.key == study.key and other is not study]
