"""Measurements in the queue: their turns, their limits, and how they are stopped."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest
from support.measuring import LAYER, ROWS, asked, words
from support.queued import wait
from support.waiting import wait_until

from olora_viz.background.measurement import BackgroundMeasurement, Slicing
from olora_viz.measures import curvature as curvature_module
from olora_viz.web import conditioning as conditioning_view
from olora_viz.web import conditioning as measurement
from olora_viz.web.conditioning import cut, measure, view
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.export import adapter_zip

QUEUE = Limits(keep_races=2, max_waiting=2)


def test_a_lane_that_is_not_finite_has_no_eigenvalues_and_the_page_says_so(jobs: Jobs) -> None:
    rows = [*ROWS[1:2], ROWS[0] | {"alpha": "1e38"}]
    job = wait(measure(jobs, asked(lanes=rows)))
    assert job.state == "finished"
    assert not np.isfinite(job.result.hessian.lambda_max[1])
    shown = view(job, 0, last=True)
    for said in (shown.story, shown.numbers):
        assert re.search(rf"{re.escape(job.styles[1].label)}.* no eigenvalues", words(said))
    assert "nan" not in (shown.story + shown.numbers + shown.rates).lower()
    cutting = wait(cut(jobs, job, [0, 1]))
    assert cutting.state == "failed"
    assert "is not finite: nothing to slice" in words(view(cutting, 0, last=True).status)


def test_too_large_for_memory_says_how_much_and_offers_a_layer(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(needed: int, device: object, what: str) -> None:
        raise ValueError(f"{what} needs {needed / 2**30:.1f} GB, and 0.1 GB is free")

    monkeypatch.setattr(curvature_module, "check_memory", full)
    job = wait(measure(jobs, asked()))
    assert job.state == "failed"
    said = words(view(job, 0, last=True).status)
    assert re.search(r"the curvature of 3 lanes .* needs [\d.]+ GB, and 0.1 GB is free", said)
    assert f"or one layer, such as '{LAYER}'" in said
    assert view(job, 0, last=True).measure["interactive"]


def test_races_and_measurements_wait_for_each_other_in_one_queue(jobs: Jobs) -> None:
    first = jobs.start(asked())
    wait_until(lambda: first.steps)
    waiting = measure(jobs, asked())
    later = jobs.start(asked(steps=1))
    assert (waiting.state, jobs.before(waiting).places, jobs.before(later).places) == ("waiting", 1, 2)
    assert re.search(r"\b1\b", words(view(waiting, jobs.before(waiting), last=False).status))
    with pytest.raises(ValueError, match="already waiting"):
        measure(jobs, asked())
    jobs.stop(waiting)
    assert (waiting.state, waiting.complete) == ("stopped", True)
    jobs.stop(first)
    assert wait(later).state == "finished"
    assert jobs.get(waiting.id) is None
    assert jobs.find(waiting.id, BackgroundMeasurement) is waiting
    assert jobs.find(waiting.id, Slicing) is None
    assert jobs.find(first.id, BackgroundMeasurement) is None


def test_many_measurements_take_no_race_s_place(jobs: Jobs, monkeypatch) -> None:
    monkeypatch.setattr(BackgroundMeasurement, "run", lambda self: None)
    raced = wait(jobs.start(asked(steps=1)))
    made = [wait(measure(jobs, asked())) for _ in range(5)]
    assert jobs.get(raced.id) is raced
    assert adapter_zip(raced, 0).exists()
    assert [jobs.find(job.id, BackgroundMeasurement) is not None for job in made[:2]] == [False] * 2


def test_stop_during_a_race_s_look_at_the_curvature_does_not_wait_for_its_end(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, pressed = threading.Event(), threading.Event()
    told, products = curvature_module.track, []

    def slow(lanes, batch, progress):
        def tell(*what):
            products.append(what)
            looking.set()
            assert pressed.wait(60)
            progress(*what)

        return told(lanes, batch, tell)

    monkeypatch.setattr(curvature_module, "track", slow)
    job = jobs.start(asked(curvature="1"))
    assert looking.wait(60)
    jobs.stop(job)
    pressed.set()
    wait(job)
    # The step whose look was cut short is repeated whole, should the race go on.
    assert (job.state, job.steps) == ("stopped", [])
    assert len(products) == 1
    assert adapter_zip(job, 0).exists()


@pytest.mark.parametrize("value", [-1, 2001, 1.5, "often", None, True])
def test_how_often_to_look_is_checked_on_the_server(value: object) -> None:
    with pytest.raises(ValueError, match="steps between curvature measurements must be a whole"):
        asked(curvature=value)


def test_a_race_looks_as_often_as_it_was_told_and_never_by_itself() -> None:
    assert asked(curvature=" 7").curvature_every == 7
    assert asked().curvature_every == 0


def test_text_from_elsewhere_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    job = BackgroundMeasurement("id", asked(), Path(), (), state="failed", note=evil)
    assert "<img" not in conditioning_view.view(job, 0, last=True).status
    job.state = "measuring"
    assert "<img" not in conditioning_view.view(job, 0, last=True).status
    assert measurement.MAX_NAME < 1000
