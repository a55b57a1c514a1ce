"""Ctrl-C in a loop over a race: no step is lost, and a second loop goes on bitwise."""

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.races import PAIR, raced, small, steps_of

import olora_viz as ov
from olora_viz.machine import process as progress
from olora_viz.races.trainer import Trainer

PACKAGE = str(Path(ov.__file__).parent)
CONFIG = small(PAIR, steps=4, eval_every=2)


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    """Handle SIGINT as Python does; a shell makes its background jobs deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def after(monkeypatch, act: Callable[[], None], method: str, number: int) -> None:
    """Act in the middle of a step: after the `number`-th call of a method of the trainer."""
    run, calls = getattr(Trainer, method), iter(range(1, 1000))

    def watched(*given, **more):
        found = run(*given, **more)
        if next(calls) == number:
            act()
        return found

    monkeypatch.setattr(Trainer, method, watched)


def interrupt(times: int = 1) -> None:
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)


def loop_over(racing: ov.Race, steps: list[ov.Step]) -> None:
    for step in racing:
        steps.append(step)


@pytest.mark.parametrize(("method", "number", "seen"), [("update", 1, 0), ("update", 3, 2), ("evaluate", 2, 3)])
def test_looping_again_after_an_interrupt_goes_on_bitwise(monkeypatch, method, number, seen):
    whole = steps_of(CONFIG)
    after(monkeypatch, interrupt, method, number)
    racing, steps = ov.race(CONFIG), []
    with pytest.raises(KeyboardInterrupt) as caught:
        loop_over(racing, steps)
    assert len(steps) == seen
    assert not racing.torn
    ours = [
        frame.filename
        for frame in traceback.extract_tb(caught.value.__traceback__)
        if frame.filename.startswith(PACKAGE)
    ]
    assert len(ours) == 1
    loop_over(racing, steps)
    assert steps == whole


def test_a_second_interrupt_ends_the_step_at_once(monkeypatch):
    after(monkeypatch, lambda: interrupt(2), "update", 2)
    racing = ov.race(CONFIG)
    saved = racing.snapshot()
    with pytest.raises(KeyboardInterrupt):
        list(racing)
    assert racing.torn
    racing.restore(saved)
    monkeypatch.undo()
    assert list(racing) == steps_of(CONFIG)


def test_an_interrupt_is_not_lost_when_the_step_fails(monkeypatch):
    def failing():
        interrupt()
        raise RuntimeError("out of memory")

    after(monkeypatch, failing, "update", 1)
    with pytest.raises(KeyboardInterrupt) as caught:
        next(ov.race(CONFIG))
    assert "out of memory" in str(caught.value.__context__)


@pytest.mark.parametrize(("number", "done"), [(1, 1), (2, 1)])
def test_a_handler_of_the_users_own_is_called_where_nothing_is_lost_and_kept(monkeypatch, number, done):
    racing, told = ov.race(CONFIG), []
    signal.signal(signal.SIGINT, mine := lambda *_: told.append((racing.done, racing.torn)))
    after(monkeypatch, interrupt, "update", number)  # the second step has an evaluation
    assert list(racing) == steps_of(CONFIG)
    assert told == [(done, False)]
    assert signal.getsignal(signal.SIGINT) is mine


# In an evaluation ---------------------------------------------------------------------------

MEASURED = replace(
    CONFIG, steps=5, lanes=(*PAIR, ov.Lane("lora", lr=0.3, r=2, seed=1)),
    gradients_every=1, curvature_every=2, keep_best=True, patience=1,
)  # fmt: skip
"""Held-out evaluations of four blocks at the steps 2, 4 and 5, and then a test of twice four."""


def in_evaluation(racing: ov.Race, number: int, act: Callable[[], None]) -> list[int]:
    """Act before the `number`-th block that a race evaluates; return the blocks, which grows."""
    blocks = []

    def before(*_: object) -> None:
        if not torch.is_grad_enabled():
            blocks.append(racing.done + 1)
            if len(blocks) == number:
                act()

    for block in racing.model.model.layers:
        block.register_forward_pre_hook(before)
    return blocks


@pytest.fixture(scope="module")
def counted() -> list[int]:
    """The steps in whose evaluation the blocks of an uninterrupted race run."""
    racing = ov.race(MEASURED)
    blocks = in_evaluation(racing, 0, lambda: None)
    list(racing)
    return blocks


@pytest.mark.parametrize(("step", "block"), [(2, 1), (2, 4), (5, 2), (5, 6), (5, 12)])
def test_ctrl_c_in_an_evaluation_waits_for_one_block_and_a_second_loop_repeats_it(counted, step, block):
    at = counted.index(step) + block
    racing, steps = ov.race(MEASURED), []
    blocks = in_evaluation(racing, at, interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop_over(racing, steps)
    assert len(blocks) <= at + 1
    assert (len(steps), racing.torn) == (step - 1, False)
    loop_over(racing, steps)
    assert steps == steps_of(MEASURED)
    assert racing.summary()["lanes"] == raced(MEASURED)[0].summary()["lanes"]


@pytest.mark.parametrize("at", ["first", "curvature", "held-out at the end", "test"])
def test_a_race_that_is_closed_in_an_evaluation_goes_on_bitwise_from_its_snapshot(counted, monkeypatch, at):
    whole = raced(MEASURED)[0]
    racing = ov.race(MEASURED)
    if at == "curvature":
        after(monkeypatch, racing.close, "evaluate", 1)
    number = {"first": 3, "held-out at the end": counted.index(5) + 3, "test": len(counted)}
    blocks = in_evaluation(racing, number.get(at, 0), racing.close)
    steps = list(racing)
    assert len(blocks) <= number.get(at, counted.count(2)) + 1
    assert (racing.status, racing.torn) == ("stopped", False)
    assert racing.updates == racing.done + 1 == len(steps) + 1
    monkeypatch.undo()
    again = ov.race(MEASURED)
    again.restore(racing.snapshot())
    assert [*steps, *again] == steps_of(MEASURED)
    assert again.summary()["lanes"] == whole.summary()["lanes"]
    assert torch.equal(again.lanes.theta, whole.lanes.theta)


def test_what_the_callers_progress_raises_in_an_evaluation_loses_nothing(monkeypatch):
    monkeypatch.setattr(progress, "LONG", 0.0)

    class MineError(Exception):
        pass

    def show(part: float, words: str) -> None:
        if words == "evaluating 4 held-out examples" and not raised:
            raised.append(part)
            raise MineError

    raised: list[float] = []
    racing, steps = ov.race(CONFIG, progress=show), []
    with pytest.raises(MineError):
        loop_over(racing, steps)
    assert (len(steps), racing.torn) == (1, False)
    loop_over(racing, steps)
    assert steps == steps_of(CONFIG)
