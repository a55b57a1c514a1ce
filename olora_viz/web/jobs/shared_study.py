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

from olora_viz.background.elsewhere import moved
from olora_viz.background.host import Seat
from olora_viz.background.record import FAILED
from olora_viz.background.study import BackgroundStudy
from olora_viz.background.work import BackgroundWork
from olora_viz.machine.files import link_or_copy
from olora_viz.races.step import FINISHED, STOPPED
from olora_viz.web.jobs.shared import equal


class StudySeat(Seat):
    """How a study of the server shows what an equal one comes to.

    Args:
        page: whose it is, see `Visitor.page`.
    """

    def __init__(self, study: BackgroundStudy, key: str, page: str) -> None:
        super().__init__(study, key)
        self.page = page

    @property
    def can_be_followed(self) -> bool:
        """Whether an equal study can do without computing what this one has, or will have."""
        study = self.work
        if self.source is not None or study.stopping.is_set() or study.state == FAILED:
            return False
        return not study.complete or (study.state == FINISHED and study.folder.is_dir())

    def find_source(self, others: Iterable[BackgroundWork]) -> BackgroundStudy | None:
        """Return what it can follow: one that is being computed, else one that has ended.

        There is none for a page that shows the end of an equal one already: it asks for another.
        """
        alike = equal(self, others)
        if any(other.state == FINISHED and other.seat.page == self.page != "" for other in alike):
            return None
        there = [other for other in alike if other.seat.can_be_followed]
        return min(there, key=lambda other: other.complete) if there else None

    def follow(self, source: BackgroundStudy) -> None:
        """Show what an equal study comes to."""
        self.asked = self.asked or time.time()
        super().follow(source)

    def follow_another(self, others: Iterable[BackgroundWork]) -> bool:
        """Follow another one than the source, which does not go on; return whether there is one."""
        other = self.find_source(others)
        if other is not None:
            self.follow(other)
        return other is not None

    def catch_up(self) -> None:
        """Take over what the source has come to."""
        study = self.work
        with study.changed:
            source = self.source
            if source is None or source.version == self._shown:
                return
            self._shown, ended = source.version, source.complete  # read first: what follows is at least as new
            self.began = source.seat.began
            study.learn_from(source)
            if not ended:
                study.become(source.state, source.note)
                return
            if source.state in (FINISHED, FAILED) or source.timed_out:
                self.end()
                return
        study.host.take_over(study)

    def keep_files(self) -> None:
        """Have the source's files in a folder of its own; what is only ever replaced as a whole has two names."""
        study, source = self.work, self.source
        if source is None:
            return
        for file in sorted(source.folder.rglob("*")):
            to = study.folder / file.relative_to(source.folder)
            if file.is_file() and not file.name.endswith((".partial", ".lock")):
                with suppress(FileNotFoundError):  # it was replaced meanwhile
                    if file.suffix == ".jsonl":
                        to.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(file, to)
                    else:
                        link_or_copy(file, to)
        study.known = moved(study.known, source.folder, study.folder)

    def leave_files(self) -> None:
        """Before its folder is deleted, let those who follow it have its end, or go on."""
        for other in list(self.followers):
            other.seat.catch_up()

    def compute_instead(self) -> None:
        """Let the study compute, from what its source knew on."""
        study, source = self.work, self.source
        with study.changed:
            self.keep_files()
            self.let_go()
            self.asked = 0.0
            study.left = min(study.left, source.left)

    def begin(self, others: Iterable[BackgroundWork]) -> None:
        """Go on from the equal study that came farthest of those that were stopped in their time.

        It begins with all that this one had come to; anew, if its files cannot be had.
        """
        stopped = [each for each in equal(self, others) if each.complete and each.state == STOPPED]
        farthest = max((each for each in stopped if not each.timed_out), key=lambda each: each.size, default=None)
        if farthest is None:
            return
        study, self.source = self.work, farthest
        study.learn_from(farthest)
        try:
            self.keep_files()
        except OSError:
            study.known = None
            shutil.rmtree(study.folder, ignore_errors=True)
        self.source, self.resumed_at = None, study.size

    def stop_here(self) -> None:
        """Follow nobody, and end with what is known."""
        if self.source is not None:
            self.keep_files()
            self.work.end(STOPPED, self.work.without)
