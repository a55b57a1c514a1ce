"""Checks of a machine: each holds here, one that is made to fail says so, and a run of them ends with all lines."""

import dataclasses
import json
import math
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import olora_viz as ov
from olora_viz.checks import races, speed, starts
from olora_viz.checks.check import CPU, RACED, Bench, Check, Outcome, are_same
from olora_viz.checks.run import CHECKS, SUMMARY, Checking, latest
from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.peft import ReadBack
from olora_viz.machine.devices import device_words
from olora_viz.machine.files import cache_folder
from olora_viz.races.trainer import Trainer

BY_NAME = {check.name: check for check in CHECKS}
TOLD = {"waits", "a lane's step", "share of peak", "presets"}
"""The lines in which nothing has to hold on a CPU."""


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    on_cpu = Bench(CPU)
    yield on_cpu
    on_cpu.close()


@pytest.fixture
def alone() -> Iterator[Bench]:
    """A bench that has raced nothing yet."""
    on_cpu = Bench(CPU)
    yield on_cpu
    on_cpu.close()


@pytest.fixture(scope="module")
def plain(bench: Bench) -> starts.Made:
    return starts.made(bench, CPU)


@pytest.fixture(scope="module")
def moved(bench: Bench) -> starts.Made:
    return starts.made(bench, CPU, moved=starts.LAST_BITS)


@pytest.mark.parametrize("name", BY_NAME)
def test_every_line_holds_on_this_cpu_or_tells_a_time(name: str, bench: Bench) -> None:
    found = BY_NAME[name].find(bench)
    assert found.holds is (None if name in TOLD else True), found.words
    assert found.words
    json.dumps(found.numbers, allow_nan=False)


def test_names_are_distinct_and_every_line_says_what_must_hold() -> None:
    assert len(BY_NAME) == len(CHECKS)
    assert all(check.must and check.seconds > 0 for check in CHECKS)


def test_the_whole_table_is_two_minutes() -> None:
    assert sum(check.seconds for check in CHECKS) <= 120


def registered(start: Any, **settings: Any) -> ov.Initializer:
    entry = ov.Initializer("mine", "Mine", start, "Is wrong.", "a test", **settings)
    ov.register(entry)
    return entry


@pytest.fixture
def unregistering() -> Iterator[None]:
    yield
    ov.unregister("mine")


@pytest.mark.usefixtures("unregistering")
def test_a_start_that_is_another_one_each_time_is_named(bench: Bench) -> None:
    registered(lambda W, r: ov.Start(A=torch.rand(r, W.shape[1]), B=torch.zeros(len(W), r)))
    found = BY_NAME["every start"].find(bench)
    assert found.holds is False
    assert found.numbers["other"] == ["mine"]
    starts = len(ov.INITIALIZERS)
    assert f"{starts - 1} of {starts} starts; mine: another start than on the CPU" in found.words


@pytest.mark.usefixtures("unregistering")
def test_a_start_that_changes_the_function_although_it_says_that_it_keeps_it_is_named(bench: Bench) -> None:
    # Its products overflow: what is subtracted of them is not a number.
    registered(lambda W, r: ov.Start(A=torch.full((r, W.shape[1]), 1e38), B=torch.full((len(W), r), 1e38)))
    found = BY_NAME["every start"].find(bench)
    assert found.holds is False
    assert found.numbers["changed"] == ["mine"]
    assert "mine: another function" in found.words


def test_a_lane_that_is_not_its_base_at_step_0_falls_short(alone: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Lanes.__init__

    def moved(self: Lanes, *given: Any) -> None:
        made(self, *given)
        with torch.no_grad():
            self.theta += 1e-3

    monkeypatch.setattr(Lanes, "__init__", moved)
    found = BY_NAME["step 0"].find(alone)
    assert found.holds is False
    assert found.words == "differs in float32 and bfloat16"


def test_a_race_that_is_another_one_each_time_falls_short(alone: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    update, calls = Trainer.update, iter(range(10**6))

    def moving(self: Trainer, *given: Any) -> Any:
        with torch.no_grad():
            self._lanes.theta += 1e-4 * next(calls)
        return update(self, *given)

    monkeypatch.setattr(Trainer, "update", moving)
    assert BY_NAME["20 steps"].find(alone).holds is False
    assert BY_NAME["K lanes"].find(alone).holds is False
    assert BY_NAME["pause, resume"].find(alone).holds is False


def test_a_process_that_cannot_race_is_no_process_that_was_killed(
    alone: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(races, "race_until_killed", max)
    found = BY_NAME["kill, resume"].find(alone)
    assert (found.holds, found.words) == (False, "the process that was to be killed ended by itself")


def test_ctrl_c_in_a_terminal_leaves_the_process_that_is_to_be_killed_to_its_parent() -> None:
    victim = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), daemon=True)
    with races.uninterrupted():
        victim.start()
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGINT)
    victim.join(1.0)
    alive = victim.is_alive()
    victim.kill()
    victim.join()
    assert alive
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "it reaches this process as before"


def test_a_curvature_that_is_off_falls_short(alone: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def off(*given: Any, **settings: Any) -> ov.Curvature:
        found = ov.curvature(*given, **settings)
        return dataclasses.replace(found, lambda_max=1.01 * found.lambda_max)

    monkeypatch.setattr(starts, "curvature", off)
    assert BY_NAME["curvature"].find(alone).holds is False


def test_an_export_that_peft_refuses_falls_short_and_without_peft_nothing_is_said_to_hold(
    alone: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "read_back", lambda *_: ReadBack("PEFT 9", None, "refuses it"))
    found = BY_NAME["export"].find(alone)
    assert found.holds is False
    assert "lora: PEFT 9 refuses it" in found.words
    monkeypatch.setattr(starts, "read_back", lambda *_: ReadBack("olora_viz", 0.0))
    found = BY_NAME["export"].find(alone)
    assert found.holds is None
    assert found.words.startswith("not tried: PEFT is not installed")
    monkeypatch.setattr(speed, "find_spec", lambda _: None)
    monkeypatch.setattr(speed, "_milliseconds", lambda *_: 1.0)
    assert BY_NAME["a lane's step"].find(alone).words.endswith("PEFT is not installed")


@pytest.mark.parametrize(("factor", "holds"), [(0.1, False), (1.0, True), (10.0, False)])
def test_an_estimate_of_memory_must_suffice_and_not_waste(
    factor: float, holds: bool, alone: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = speed.Footprint.of

    class Other:
        @staticmethod
        def of(*given: Any, **settings: Any) -> Any:
            training = of(*given, **settings).training
            return dataclasses.make_dataclass("F", ["training"])(
                type("C", (), {"bytes": staticmethod(lambda size: factor * training.bytes(size))})
            )

    monkeypatch.setattr(speed, "Footprint", Other)
    assert BY_NAME["memory"].find(alone).holds is holds


def test_waits_are_values_that_python_reads_and_what_is_copied_to_the_host() -> None:
    X = torch.ones(4)
    with speed.WaitCounter(CPU) as counted:
        Y = 2 * X + 1
        assert counted.count == 0
        assert Y.sum().item() == 12.0
        assert len((Y > 0).nonzero()) == 4
        Y.double()
    assert counted.count == 3
    with speed.WaitCounter(torch.device("meta")) as elsewhere:
        assert X.sum().item() == 4.0
    assert elsewhere.count == 0, "what lies on the CPU needs no wait for another device"


def test_the_distance_of_starts_does_not_see_the_signs_of_singular_vectors() -> None:
    seeded = torch.Generator().manual_seed(0)
    A, B = (torch.randn(*shape, generator=seeded, dtype=torch.float64) for shape in ((3, 8), (6, 3)))
    signs = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    start, flipped = ov.Start(A, B), ov.Start(signs[:, None] * A, B * signs)
    assert starts.distance([start], [flipped]) < 1e-15
    assert starts.distance([start], [ov.Start(A, 1.01 * B)]) == pytest.approx(0.01 / 1.01)
    assert starts.distance([ov.Start(A, 0 * B)], [ov.Start(1.1 * A, 0 * B)]) == pytest.approx(1 - 1 / 1.21)


def test_the_last_bits_of_weights_decide_on_few_starts(plain: starts.Made, moved: starts.Made) -> None:
    free = {name for name in plain if starts.TIMES * starts.distance(moved[name], plain[name]) >= 1.0}
    assert free <= {"lora_null", "lora_da"}
    for name in ("lora", "olora", "pissa", "eva"):
        assert starts.distance(moved[name], plain[name]) < 1e-3, name


@pytest.mark.parametrize(("off", "holds"), [(1e-4, True), (3e-2, False)])
def test_starts_of_another_device_are_compared_by_distance(
    off: float, holds: bool, plain: starts.Made, moved: starts.Made, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(_: Bench, device: torch.device, changed: Any = None, **more: float) -> starts.Made:
        if changed is None:
            return moved if more else plain
        return {name: [ov.Start((1 + off) * each.A, each.B) for each in its] for name, its in plain.items()}

    monkeypatch.setattr(Bench, "on_cpu", False)
    monkeypatch.setattr(starts, "made", made)
    found = BY_NAME["every start"].find(bench)
    assert found.holds is holds
    assert ("lora" in found.numbers["other"]) is not holds
    assert "full" not in found.numbers["other"], "it starts at zero"


def test_a_race_of_another_device_is_compared_up_to_rounding(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "on_cpu", False)
    assert BY_NAME["20 steps"].find(bench).words == "losses within 0 of the CPU's, at most 0.0001"
    counted = BY_NAME["waits"].find(bench).numbers
    assert counted.keys() == {"waits", "of_4_lanes"}


def out_of_memory(bench: Bench) -> Outcome:
    raise MemoryError


def broken(bench: Bench) -> Outcome:
    raise ValueError(f"cannot read '{bench.folder}/theta.safetensors'")


ROWS = (
    Check("good", "it is good", lambda bench: Outcome(True, "good", {"loss": math.nan, "steps": [1]})),
    Check("bad", "it is good too", lambda bench: Outcome(False, "bad")),
    Check("full", "it fits", out_of_memory),
    Check("broken", "it can be read", broken),
    Check("told", "told: nothing", lambda bench: Outcome(None, "2 s")),
)


def test_a_run_tries_every_check_and_its_progress_never_falls() -> None:
    told: list[tuple[float, str]] = []
    checking = Checking(CPU, ROWS)
    lines = list(checking.run(lambda part, words: told.append((part, words))))
    assert [line["holds"] for line in lines] == [True, False, False, False, None]
    assert lines[0]["numbers"] == {"loss": None, "steps": [1]}
    assert lines[2]["words"] == "out of memory"
    assert lines[3]["words"] == "ValueError: cannot read a file"
    assert checking.falls_short == ["bad", "full", "broken"]
    assert told == sorted(told, key=lambda each: each[0])
    assert told[-1] == (1.0, "done")


def test_the_latest_result_is_kept_whole_or_not_at_all_and_names_no_place(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path))
    assert latest() is None
    checking = Checking(CPU, ROWS)
    lines = list(checking.run(lambda part, words: None))
    checking.keep()
    assert tuple(checking.summary()) == SUMMARY
    assert [file.name for file in cache_folder().iterdir()] == ["check.json"]
    kept = latest()
    assert kept is not None
    assert kept["lines"] == lines
    assert kept["device"] == device_words(CPU)
    assert kept["falls_short"] == ["bad", "full", "broken"]
    assert not re.search(r"/\w+/", (tmp_path / "check.json").read_text("utf-8"))
    (tmp_path / "check.json").write_text('{"when": 3, "lines": [{"nam')
    assert latest() is None
    (tmp_path / "check.json").write_text('{"when": 3, "lines": []}')
    assert latest() is None


def test_a_bench_leaves_nothing_behind() -> None:
    bench = Bench(CPU)
    folder = bench.folder
    assert folder.is_dir()
    bench.close()
    assert not folder.exists()


def test_equal_steps_are_equal_in_every_bit(bench: Bench) -> None:
    steps = bench.raced()
    assert len(steps) == RACED.steps
    assert are_same(steps, steps)
    assert not are_same(steps, steps[:-1])
