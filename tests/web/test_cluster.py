"""On a Ray cluster races are bitwise those of this process, several at once, also where a machine is lost."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from support.machines import lose_a_machine, two_machines
from support.races import small
from support.waiting import wait_until

from olora_viz.__main__ import main
from olora_viz.background.race import BackgroundRace
from olora_viz.races import run as runs
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.cluster import Cluster
from olora_viz.web.jobs.queue import Jobs

CONFIG = small(task="addition", steps=150, eval_every=50, eval_size=8)


pytestmark = pytest.mark.usefixtures("ray")


@pytest.fixture(scope="module")
def machines(ray: ModuleType, head: Any) -> Iterator[Any]:
    with two_machines(ray, head) as made:
        yield made


@pytest.fixture(scope="module")
def jobs(machines: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    patient = Limits(grace_seconds=3600)  # no page watches, and on a busy machine Ray takes minutes to begin
    made = Jobs(patient, folder=tmp_path_factory.mktemp("jobs"), executor=Cluster(machines.address))
    yield made
    made.close()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the race in this process."""
    folder = tmp_path_factory.mktemp("here") / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    list(runs.start(CONFIG, folder))
    torch.set_num_threads(threads)
    return folder


def check_same(race: BackgroundRace, here: Path) -> None:
    """Check that a race has ended as the one of a folder, and left the same."""
    assert race.wait(120), (race.state, race.note, len(race.steps))
    assert race.state == "finished", race.note
    assert race.steps == runs.read_steps(race.run_folder) == runs.read_steps(here)
    for file in here.glob("adapters/*/*.safetensors"):
        assert (race.run_folder / file.relative_to(here)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [("127.0.0.1:1", "no Ray cluster to join at '127.0.0.1:1'"), ("auto", "need Ray, which is not installed: pip")],
)
def test_without_its_cluster_the_server_does_not_start(
    address: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if address == "auto":
        monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("OLORA_VIZ_RAY", address)
    assert main(["serve"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert sentence in error


def test_a_race_that_no_machine_has_the_cores_for_is_a_sentence(machines: Any) -> None:
    with pytest.raises(ValueError, match="a race takes 64 cores, and no machine of the Ray cluster at"):
        Cluster(machines.address, threads=64)


def test_a_lost_machine_costs_no_step_and_the_page_says_so(jobs: Jobs, machines: Any, here: Path) -> None:
    races, notes = two_at_once(jobs)
    lose_a_machine(machines)
    for race in races:
        check_same(race, here)
    lost = "its worker was lost: it goes on elsewhere from step 3"
    assert sorted(any(note.startswith(lost) for note in heard) for heard in notes) == [False, True]


def two_at_once(jobs: Jobs) -> tuple[list[BackgroundRace], list[list[str]]]:
    """Start two races until both compute, a machine each: one may end before the other has loaded.

    Returns:
        The races, each past its checkpoint at step 3; and of each the notes that follow.
    """
    for _ in range(5):
        races = [jobs.start(CONFIG, goal=3) for _ in range(2)]
        notes = [list[str](), list[str]()]
        for race, heard in zip(races, notes, strict=True):
            race.wait_for_pause()
            assert len(race.steps) == 3, (race.state, race.note)
            race.listen = lambda race=race, heard=heard: heard.append(race.record().note)
            jobs.resume(race)
        wait_until(lambda races=races: all(len(race.steps) > 5 for race in races), 240)
        if not any(race.state == "finished" for race in races):
            return races, notes
    pytest.fail("five times one of two races had ended before the other began")
