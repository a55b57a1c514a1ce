"""SIGKILL at random moments: of a race, of a checkpoint, of an export, of a server."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import httpx
from support.races import small
from support.served import Visitor, launched

from olora_viz.lanes.peft import write_merged, write_peft
from olora_viz.machine.files import is_free
from olora_viz.races import run as runs
from olora_viz.races.race import Race
from olora_viz.web import page
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.job import ASIDE
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.export import adapter_zip
from reliability.laws import check_goes_on, check_nothing_half, contents, numbers
from reliability.tally import Tally
from reliability.victims import Say, apart, victim

STEPS = 12
CONFIG = small(task="addition", steps=STEPS, eval_every=5)
VISITORS = 3
LANES = [{"init": init, "r": 2, "alpha": "", "lr": "1e-3", "seed": 0} for init in ("lora", "olora")]
SERVED_STEPS = 60
EXPORT_SECONDS = 0.3
"""A merged model takes about half as long, and an adapter a tenth."""


def race_with_checkpoints(folder: Path, every: int, say: Say) -> None:
    """Race into a folder; say when a checkpoint begins."""
    say("begun")
    run = runs.start(CONFIG, folder)
    for step in run:
        if step.step % every == 0:
            say("checkpoint")
            run.checkpoint()


class Kills:
    """An uninterrupted run, and what is killed and compared with it.

    Args:
        home: an empty folder.
        seed: of the moments.
    """

    def __init__(self, home: Path, seed: int) -> None:
        self.home, self.drawn = home, random.Random(seed)
        self.whole = home / "whole"
        list(runs.start(CONFIG, home / "first"))  # which loads the model
        before = time.monotonic()
        run = runs.start(CONFIG, self.whole)
        list(run)
        self.seconds = time.monotonic() - before
        before = time.monotonic()
        run.checkpoint()
        self.checkpoint_seconds = time.monotonic() - before
        self.number = 0
        self._race: Race | None = None
        self._served: dict[int, list[dict]] = {}

    def place(self) -> Path:
        """Return a new folder."""
        self.number += 1
        return self.home / str(self.number)

    def race(self) -> str:
        """Kill a race somewhere between its beginning and its end."""
        return self._race_killed(every=4, of=None)

    def checkpoint(self) -> str:
        """Kill a race while it writes a checkpoint, or just before or after."""
        return self._race_killed(every=1, of=self.drawn.randint(1, STEPS))

    def _race_killed(self, every: int, of: int | None) -> str:
        folder = self.place()
        with victim(partial(race_with_checkpoints, folder, every), self.home / "tmp") as its:
            its.heard("checkpoint" if of else "begun", of or 1)
            most = 2 * self.checkpoint_seconds if of else 1.1 * self.seconds
            time.sleep(self.drawn.uniform(0, most))
            its.kill()
        check_nothing_half(folder, self.whole)
        made = len(runs.read_steps(folder)) if (folder / "config.json").exists() else 0
        check_goes_on(folder, self.whole, CONFIG)
        shutil.rmtree(folder)
        return "before the first step" if not made else ("in the middle" if made < STEPS else "after the last step")

    def export(self) -> str:
        """Kill what writes adapters over each other, or a merged model."""
        racing = self._race = self._race or runs.restored(self.whole)
        lanes = racing.lanes
        merged = self.drawn.random() < 0.3
        write: Callable[[int, Path], object] = (
            (lambda k, out: write_merged(lanes, 0, racing.tokenizer, out))
            if merged else (lambda k, out: write_peft(lanes, k, out, form="lora"))
        )  # fmt: skip
        kind = "merged" if merged else "peft"
        wholes = [self.home / f"{kind}-{k}" for k in range(2)]
        for k, whole in enumerate(wholes):
            if not whole.exists():
                write(k, whole)
        folder = self.place()

        def work(say: Say) -> None:
            say("begun")
            for k in islice(cycle(range(2)), 1 if merged else 200):
                write(k, folder)

        with victim(work, self.home / "tmp") as its:
            its.heard("begun")
            time.sleep(self.drawn.uniform(0, EXPORT_SECONDS))
            its.kill()
        found = None if is_free(folder) else contents(folder)
        assert found is None or found in map(contents, wholes), f"half an export: {sorted(found)}"
        if merged and found is not None:
            return "merged model, whole"
        write(1, folder)
        assert contents(folder) == contents(wholes[1])
        assert not list(self.home.glob(f".{folder.name}*")), "something is left behind"
        shutil.rmtree(folder)
        return f"{kind}, {'absent' if found is None else 'whole'}"

    def server(self) -> str:
        """Kill a server whose three visitors race, and let the next one finish the races."""
        if not self._served:
            folder = self.place()
            done = self._visited(folder, 600)
            self._served = {seed: numbers(folder / job) for seed, job in done.items()}
            assert all(len(lines) == SERVED_STEPS for lines in self._served.values())
        folder = self.place()
        started = self._visited(folder, self.drawn.uniform(0, 4))
        said = apart(partial(self._all_go_on, folder, started), folder / "tmp")
        shutil.rmtree(folder)
        return f"{len(started)} races, {said.split()[0]} of them unfinished"

    def _visited(self, folder: Path, seconds: float) -> dict[int, str]:
        """Serve until the kill; return the races that visitors were told of, by their seeds."""
        started: dict[int, str] = {}
        with victim(partial(serve_until_killed, folder), folder / "tmp") as its:
            url = its.lines.readline().strip()
            assert url.startswith("http"), url + its.lines.read()
            end = time.monotonic() + seconds
            with suppress(httpx.HTTPError):
                visitors = [Visitor(url, f"visitor{k}") for k in range(VISITORS)]
                for k, one in enumerate(visitors):
                    if time.monotonic() < end:
                        started[k] = one.race(steps=SERVED_STEPS, lanes=LANES, seed=k)
                if seconds > 60:
                    for k, one in enumerate(visitors):
                        one.finished(started[k])
                else:
                    time.sleep(max(0, end - time.monotonic()))
            its.kill()
        return started

    def _all_go_on(self, folder: Path, started: dict[int, str], say: Say) -> None:
        with closing(Jobs(folder=folder)) as jobs:
            assert not (folder / ASIDE).exists(), "a run was set aside"
            unfinished = 0
            for seed, name in started.items():
                job = jobs.get(name)
                assert job is not None, f"the race of visitor {seed} is lost"
                assert job.state in ("paused", "finished"), job.state
                unfinished += len(job.steps) < SERVED_STEPS
                if job.state == "paused":
                    jobs.resume(job)
                assert job.wait(120)
                assert job.state == "finished", job.note
                assert numbers(job.folder) == self._served[seed], f"visitor {seed}'s race differs"
                assert adapter_zip(job, 1).is_file()
            say(str(unfinished))


def serve_until_killed(folder: Path, say: Say) -> None:
    """Serve the pages with a runs folder."""
    limits = Limits(models=("glassllm",))
    with launched(page.build(limits, Jobs(Limits(keep_races=20), folder=folder))) as url:
        say(url)
        time.sleep(3600)


SHARES = ("race", "checkpoint", "export", "race", "checkpoint", "export", "server")
"""What is killed in turn: a server takes as long as several of the others."""


def campaign(tally: Tally, home: Path, count: int, seed: int) -> None:
    """Kill so often."""
    kills = Kills(home, seed)
    for kind in islice(cycle(SHARES), count):
        if tally.is_over:
            return
        with tally.trying(f"kills of a {kind}"):
            tally.seen[f"{kind}: {getattr(kills, kind)()}"] += 1
