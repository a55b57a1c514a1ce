"""A chain of races in the background: fine-tune, merge, start again on the next task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from olora_viz.background.record import LOADING
from olora_viz.background.work import BackgroundWork
from olora_viz.races.chain import Chain, chain
from olora_viz.races.fields import link_words
from olora_viz.races.step import FINISHED, RACING
from olora_viz.tasks.task import task_words


@dataclass(eq=False)
class BackgroundChain(BackgroundWork):
    """Races on one task after the other; its set-up is that of the first one."""

    as_steps = None
    called = "chain"

    then: tuple[tuple[str, str], ...] = ()
    """The tasks and the objectives of the later links."""
    results: Mapping[str, Any] = field(default_factory=dict)
    """Set-up and results of the links that have ended, as `Chain.to_json` returns them; empty before it begins."""

    @property
    def races(self) -> float:
        """The number of links, each by the answers that it reads in a step: the first one is 1."""
        later = (replace(self.config, objective=objective).answers_read for _, objective in self.then)
        return 1 + sum(later) / self.config.answers_read

    @property
    def chain(self) -> Chain | None:
        """What is known of the chain; None before its first link."""
        return Chain.from_json(self.results) if self.results else None

    def run(self) -> None:
        """Race link after link; what has ended stays when it is stopped."""
        self.become(LOADING, f"loading {self.config.model}")
        raced = self.raced
        tasks, objectives = zip((raced.task, raced.objective), *self.then, strict=True)
        racing = chain(raced, tasks, objectives=objectives, progress=lambda _, words: self.progress(self.part, words))
        try:
            for link in racing:
                self._keep(racing)
                self.become(RACING)
                what = link_words(task_words(link.task), link.race.config.objective)
                for step in link:
                    part = (link.number - 1 + step.step / raced.steps) / len(tasks)
                    where = f"link {link.number} of {len(tasks)}, {what}: step {step.step} of {raced.steps}"
                    self.progress(part, where)
        finally:
            self._keep(racing)
            racing.release()
        self.become(FINISHED)

    def _keep(self, racing: Chain) -> None:
        """Keep what is known; a visitor's own file has its name there, not its path."""
        text = json.dumps(racing.to_json())
        for path in self.own_files.values():
            text = text.replace(json.dumps(str(path)), json.dumps(path.name))
        self.results = json.loads(text)
