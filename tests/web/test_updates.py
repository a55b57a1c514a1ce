"""What a page is sent while a long race runs: what is new, not what it has already."""

import ctypes
import gc
import json
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio.utils import diff
from support.races import small
from support.verbs import resident

from olora_viz.background.record import ready_race
from olora_viz.figures.layers import COLUMNS, MOST_VALUES
from olora_viz.figures.live.bundle import pack
from olora_viz.figures.race import RaceCurves, loss_figure
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.lane import Lane
from olora_viz.machine.memory import give_back, keep_all
from olora_viz.races.race import Race
from olora_viz.races.step import Step
from olora_viz.views.layers import gradients_view, spectra_view
from olora_viz.views.race import RaceView, race_view
from olora_viz.web.parts.card import Board
from olora_viz.web.race.cards import CARDS

LANES = tuple(Lane("lora", lr=1e-3 + k * 1e-4, r=2) for k in range(20))
CONFIG = small(LANES, task="addition", steps=2000, gradients_every=1, spectra_every=1)
MOST_BYTES = 20_000


def view(steps: Sequence[Step]) -> RaceView:
    """Return the view of the race after some steps."""
    return race_view(replace(ready_race(CONFIG), steps=tuple(steps), state="racing"))


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    """The steps of a long race: those of a short one, again and again."""
    race = Race(CONFIG)
    made = [next(race) for _ in range(3)]
    race.lanes.detach()
    return [replace(made[i % 3], step=i + 1, seconds=i / 10) for i in range(1000)]


@pytest.fixture(scope="module")
def row_of() -> Callable[[RaceView], list[Any]]:
    """Return a function that draws a view on all cards with charts of the steps."""
    board = Board()
    for card in CARDS:
        if card.name in ("accuracy", "loss", "norms"):
            board.add(card, [card.name])
    return board.row


def sent(old: Any, new: Any) -> int:
    """Return the bytes of what Gradio sends for a value after another one."""
    return len(json.dumps(diff(old, new)))


def test_late_in_a_race_an_update_is_as_small_as_early(
    steps: list[Step], row_of: Callable[[RaceView], list[Any]]
) -> None:
    def update(made: int) -> int:
        """Return the bytes of the update after a beat without news and two more steps."""
        views = [view(steps[:made]), view(steps[: made + 2])]
        before, after = map(row_of, views)
        nothing = [gr.skip()] * len(before)
        board = Board()
        beat = board.sent_again(nothing, before)
        last = board.sent_again(after, beat)
        return sent(before, beat) + sent(beat, last)

    early, late = update(10), update(990)
    assert late < MOST_BYTES
    assert late < 2 * early


def test_points_are_only_added_while_a_race_goes_on(steps: list[Step]) -> None:
    lanes = tuple(Lane("lora", lr=1e-5 * (k + 1), r=2) for k in range(64))
    of_64 = [
        replace(step, measures={key: np.resize(step.measures[key], 64) for key in ("loss",)}, status=("racing",) * 64)
        for step in steps
    ]
    for few, more in ((10, 12), (936, 940)):
        old, new = (
            pack(loss_figure(RaceCurves(lane_styles(lanes), of_64[:count], total=2000))) for count in (few, more)
        )
        for before, after in zip(old["data"][:128], new["data"][:128], strict=True):
            assert after["y"].startswith(before["y"])
            assert after["trace"] == before["trace"]


def test_maps_and_curves_over_a_long_run_are_thinned_and_keep_its_ends(steps: list[Step]) -> None:
    record = replace(ready_race(CONFIG), steps=tuple(steps[:50]))
    found = gradients_view(record)
    spectra = spectra_view(record)
    assert found
    assert spectra
    for figure in (found.map, spectra.map):
        assert len(figure["layout"]["meta"]["steps"]) <= COLUMNS
        assert figure["layout"]["meta"]["steps"][-1] == 50
        assert len(json.dumps(pack(figure))) < MOST_BYTES
    for figure in (found.of_A, found.of_B):
        curve = figure["data"][0]
        assert (curve["x"][0], curve["x"][-1]) == (1, 50)
        assert len(curve["x"]) <= MOST_VALUES / len(LANES) + 2
        assert len(json.dumps(pack(figure))) < MOST_BYTES


def test_memory_that_was_freed_goes_back_to_the_system() -> None:
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):
        give_back()  # another C library than glibc: nothing happens
        return
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    blocks = [library.malloc(4096) for _ in range(20_000)]
    for block in blocks:
        ctypes.memset(block, 1, 4096)
    full = resident()
    for block in blocks[:-1]:  # the last one keeps the system from taking back all the others
        library.free(block)
    give_back()
    assert full - resident() > 50 * 2**20
    library.free(blocks[-1])


def test_garbage_is_looked_for_soon_and_among_what_came_after_the_start_of_a_server() -> None:
    before = gc.get_threshold()
    keep_all()
    try:
        knot: list[Any] = [set()]
        knot.append(knot)
        gone = weakref.ref(knot[0])
        gc.collect(1)  # it has lived for a while
        del knot
        others = [[] for _ in range(200_000)]
        assert gone() is None
        assert len(gc.get_objects()) < len(others) + 10_000
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def test_what_trains_uses_freed_memory_again_and_then_gives_it_back() -> None:
    # As a race of many lanes allocates in each step. In a process of its own, whose memory stays.
    code = """
import resource, torch
from pathlib import Path
from olora_viz.machine.memory import keeping_freed
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
before = resident()
def faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with keeping_freed():
    with keeping_freed():
        print(faults_of_a_step())
    print(faults_of_a_step())
    print(resident() - before)
print(resident() - before)
torch.ones(1 << 24)
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second, kept, *left = map(int, done.stdout.split())
    if hasattr(ctypes.CDLL(None), "mallopt"):
        assert second < first / 100
        assert kept > 60 * 2**20  # the block of 64 MiB
        assert max(left) < 10 * 2**20
