"""SIGKILL at random moments, and before every change of a file: nothing half is read as whole."""

import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from reliability.kills import Kills
from reliability.victims import Say, victim
from support.nightly import at_night
from support.tiny import tiny

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.started_folder import start_folder
from olora_viz.machine.files import atomic_folder, is_free, read_tensors, write_tensors, write_text

CHANGES = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}
KILLED = 9


@pytest.fixture(scope="module")
def kills(tmp_path_factory: pytest.TempPathFactory) -> Kills:
    return Kills(tmp_path_factory.mktemp("kills"), seed=0)


@pytest.mark.parametrize("what", ["checkpoint", *at_night("race", "export")])
def test_a_kill_at_a_random_moment_leaves_nothing_half_and_the_run_goes_on_bitwise(kills: Kills, what: str) -> None:
    for _ in range(3):
        getattr(kills, what)()


def ends_before_change(number: int, work: Callable[[], object], temporary: Path) -> bool:
    """Do work in a process that is gone before it changes the disk so often; whether it was."""

    def until(say: Say) -> None:
        left = number

        def hook(event: str, _: object) -> None:
            nonlocal left
            left -= event in CHANGES
            if left < 0:
                os._exit(KILLED)

        sys.addaudithook(hook)
        work()

    with victim(until, temporary) as its:
        return its.wait() == KILLED


def fill(folder: Path, text: str) -> None:
    with atomic_folder(folder) as made:
        write_text(made / "a", text)
        write_text(made / "weights", 9 * text)


@pytest.mark.parametrize("before", ["empty", *at_night("absent")])
def test_a_start_on_a_folder_goes_on_bitwise_whenever_it_is_killed(tmp_path: Path, before: str) -> None:
    tiny("llama").save_pretrained(tmp_path / "model", max_shard_size="20KB")
    start = partial(start_folder, tmp_path / "model", Lane("olora", r=4, targets=("layers.1.*.q_proj",)))
    whole, begun, number, going = start(tmp_path / "whole", tmp_path / "whole-rest"), 0, 3 * (before == "empty"), True
    while going:
        out, rest = tmp_path / f"{number}", tmp_path / f"{number}-rest"
        if before == "empty":
            out.mkdir()
            rest.mkdir()
        going = ends_before_change(number, lambda out=out, rest=rest: start(out, rest), tmp_path / "tmp")
        assert going or (out / "adapter_model.safetensors").is_file()
        if going:
            begun += bool(list(tmp_path.rglob("*.partial")))
            start(out, rest)
        for ours, theirs in ((out, whole.out), (rest, whole.residual)):
            names = {file.name for file in theirs.iterdir()}
            assert {file.name for file in ours.iterdir()} == names
            for name in names - {"adapter_config.json", "start.json"}:  # which name the folders
                assert (ours / name).read_bytes() == (theirs / name).read_bytes()
        assert not list(tmp_path.rglob("*.partial"))
        number += 11
    assert begun > 3


@pytest.mark.parametrize("before", ["full", *at_night("absent", "empty")])
def test_a_folder_is_whole_or_absent_whenever_its_writer_is_killed(tmp_path: Path, before: str) -> None:
    seen, number, going = set(), 0, True
    while going:
        folder = tmp_path / f"{number}"
        if before == "empty":
            folder.mkdir()
        if before == "full":
            fill(folder, "old")
        going = ends_before_change(number, lambda at=folder: fill(at, "new"), tmp_path / "tmp")
        if (folder / "weights").is_file():
            text = (folder / "a").read_text()
            assert (folder / "weights").read_text() == 9 * text
            seen.add(text)
        else:
            assert is_free(folder) or before == "empty"
        fill(folder, "again")
        assert sorted(path.name for path in folder.iterdir()) == ["a", "weights"]
        assert not list(tmp_path.rglob("*.partial"))
        number += 1
    assert number > 8
    assert seen == ({"old", "new"} if before == "full" else {"new"})


def test_a_kill_in_the_middle_of_a_file_of_tensors_leaves_nothing_after_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.parent.mkdir()
    write_tensors(path, {"x": torch.zeros(1)})

    def large(say: Say) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which kills at the thousandth byte
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        write_tensors(path, {"x": torch.ones(10_000)})

    with victim(large, tmp_path / "tmp") as its:
        assert its.wait() == -signal.SIGXFSZ
    assert torch.equal(read_tensors(path)["x"], torch.zeros(1))
    assert len(list(path.parent.iterdir())) == 2
    write_tensors(path, {"x": torch.ones(2)})
    assert list(path.parent.iterdir()) == [path]
