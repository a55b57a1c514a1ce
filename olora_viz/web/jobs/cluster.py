"""Races, measurements and studies of visitors on the machines of a Ray cluster; this process only serves.

A job is a task: it goes to a worker as plain values, and its steps, checkpoints and files come back, see
`olora_viz.background.elsewhere`. Wishes reach the worker through a box. A worker may be lost at any time, with its
machine: the job then goes on elsewhere from what has come back.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import threading
import time
from contextlib import suppress
from functools import cached_property
from typing import Any

import torch

from olora_viz.background.elsewhere import Ended, Parcel, compute_there, prepare_there, take
from olora_viz.background.record import LOADING
from olora_viz.background.wishes import Wishes
from olora_viz.background.work import BackgroundWork
from olora_viz.machine.on_ray import RETRIES, connect
from olora_viz.machine.process import StoppedEarlyError
from olora_viz.machine.wording import counted
from olora_viz.races.config import RaceConfig
from olora_viz.web.jobs.job import Executor

log = logging.getLogger(__name__)

ADDRESS = "OLORA_VIZ_RAY"
"""The environment variable with the address of a running cluster: HOST:PORT, or auto."""

WISHES_EVERY, REPEAT = 0.05, 1.0
"""Seconds between two looks at what a job's visitor wishes, and after which it is told again: a box may be lost."""

LATEST = 5.0
"""Seconds for which the number of places is not counted again."""


class Cluster(Executor[BackgroundWork]):
    """A running Ray cluster.

    Args:
        address: ``HOST:PORT``, or ``auto`` for the one of this machine.
        threads: cores of a job. Results depend on it in the last bits, so it is the same on all machines.

    Raises:
        ValueError: Ray is not installed, there is no cluster, or no machine has the cores.
    """

    def __init__(self, address: str, threads: int = 1) -> None:
        self._ray, self._threads = connect(address), threads
        atexit.register(self.leave)
        self._errors = self._ray.exceptions
        here = self._ray.get_runtime_context().get_node_id()
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=True)
        box = self._ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=strategy)(Wishes)
        self.places = self._count()
        """How many jobs compute at once, as many as the machines have cores for by now."""
        if not self.places:
            self.leave()
            cores = counted(threads, "core")
            raise ValueError(f"a race takes {cores}, and no machine of the Ray cluster at {address!r} has as many")
        self._box = box.options(max_concurrency=10_000).remote()
        self._task = self._ray.remote(num_cpus=threads, max_retries=0, num_returns="streaming")(compute_there)
        threading.Thread(target=self._keep_counting, name="cluster", daemon=True).start()

    def _count(self) -> int:
        machines = [machine["Resources"] for machine in self._ray.nodes() if machine["Alive"]]
        return sum(int(machine.get("CPU", 0)) // self._threads for machine in machines)

    def _keep_counting(self) -> None:
        while self._ray.is_initialized():
            with suppress(Exception):  # its head does not answer
                self.places = self._count()
            time.sleep(LATEST)

    @cached_property
    def _has_gpus(self) -> bool:
        return self._ray.cluster_resources().get("GPU", 0) >= 1

    def leave(self) -> None:
        """Leave the cluster, which ends what it still computes for this server."""
        self._ray.shutdown()

    def takes(self, work: BackgroundWork) -> bool:
        """Whether it needs no files of this machine."""
        return work.travels

    def prepare(self, config: RaceConfig) -> None:
        """Let as many workers as there are places load a set-up, so that the first races start at once."""
        load = self._ray.remote(num_cpus=self._threads)(prepare_there)
        for _ in range(self.places):
            load.remote(config)

    def compute(self, work: BackgroundWork) -> bool | None:
        """Compute a job there, in place of `BackgroundWork.run`; where its worker is lost, go on elsewhere.

        Raises:
            ValueError: it has failed; or its workers are lost again and again, without anything new.
            StoppedEarlyError: it was stopped.
        """
        lost, note = 0, ""
        while True:
            before = work.size
            try:
                return self._take_turn(work, note)
            except self._errors.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, Exception) else error) from None
            except self._errors.RayError as error:
                log.warning("the worker of %s was lost: %s", work.name, type(error).__name__)
                lost = 1 if work.size > before else lost + 1
                if lost > RETRIES:
                    raise ValueError(f"its worker was lost {lost} times in a row: try again") from None
                note = f"its worker was lost: it goes on elsewhere from {work.goes_on_from}"

    def _take_turn(self, work: BackgroundWork, note: str) -> bool | None:
        work.restore()
        name, wish = secrets.token_hex(8), work.wish()
        work.become(LOADING, note or "waiting for a machine of the cluster")
        gpus = int(self._has_gpus and work.config.device != "cpu")
        news = self._task.options(num_gpus=gpus).remote(Parcel.of(work, self._threads, wish), self._box, name)
        try:
            ended = self._follow(work, news, name, note)
        finally:
            self._box.forget.remote(name)
        if ended.trace:
            log.error("%s failed:\n%s", work.name, ended.trace)
        if ended.problem:
            raise ValueError(ended.problem)
        if ended.stopped:
            raise StoppedEarlyError
        if ended.paused:
            work.rest()
        return ended.paused

    def _follow(self, work: BackgroundWork, news: Any, name: str, note: str) -> Ended:
        """Take over the news of a turn, and tell it what is wished."""
        latest, due, begun = None, 0.0, False
        while True:
            wish = work.wish()
            if not begun and (wish.stop or wish.pause):
                self._ray.cancel(news)
                return Ended(stopped=wish.stop, paused=not wish.stop)
            if wish != latest or time.monotonic() > due:
                self._box.put.remote(name, wish)
                latest, due = wish, time.monotonic() + REPEAT
            ready, _ = self._ray.wait([news], timeout=WISHES_EVERY)
            if not ready:
                continue
            ended, begun = take(work, self._ray.get(next(news)), note), True
            if ended is not None:
                return ended


def of_environment() -> Cluster | None:
    """Return the cluster that the environment names, None if it names none.

    Raises:
        ValueError: it cannot be used.
    """
    address = os.environ.get(ADDRESS, "").strip()
    threads = torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else 1
    return Cluster(address, threads) if address else None
