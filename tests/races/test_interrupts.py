"""Ctrl-C in a loop over a race, or any other end of a step: nothing is lost, and another loop goes on bitwise."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from support.nightly import at_night
from support.races import PAIR, raced, small, steps_of

import olora_viz as ov
from olora_viz.lanes import groups
from olora_viz.machine import process as progress
from olora_viz.races.trainer import BEST, Trainer

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


def test_a_second_interrupt_ends_the_step_at_once_and_the_next_loop_repeats_it(monkeypatch):
    after(monkeypatch, lambda: interrupt(2), "update", 2)
    racing, steps = ov.race(CONFIG), []
    with pytest.raises(KeyboardInterrupt):
        loop_over(racing, steps)
    assert (len(steps), racing.done, racing.updates, racing.torn) == (1, 1, 1, False)
    loop_over(racing, steps)
    assert steps == steps_of(CONFIG)


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


@pytest.mark.parametrize(("step", "block"), [(2, 1), (5, 12), *at_night((2, 4), (5, 2), (5, 6))])
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


@pytest.mark.parametrize("at", ["first", *at_night("curvature", "held-out at the end", "test")])
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
    monkeypatch.setattr(progress, "LONG_AFTER", 0.0)

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


# At any point of a step ---------------------------------------------------------------------

ALL = replace(
    MEASURED,
    lanes=(
        *MEASURED.lanes, ov.Lane("mica", r=2, dropout=0.3), ov.Lane("olora", r=2, dim=9, replay=0.1),
        ov.Lane("lora", r=2, opt="sgd"), ov.Lane("olora", r=2, opt="lora_fa"), ov.Lane("olora", r=2, dora=True),
        ov.Lane("loftq", r=2, start_from="residual"), ov.Lane("pissa", r=2, rank_by="gradient"),
    ),
    steps=3, eval_every=1, curvature_every=0, keep="auto", base="nf4",
)  # fmt: skip
"""A race whose second step evaluates, measures and keeps all that is soon measured."""


@pytest.fixture
def own_measure() -> Iterator[None]:
    """A measurement of the user's own, in every step."""
    measure = ov.Measure(
        key="hardest", title="Hardest", unit="nats", scale="log",
        compute=lambda race: race.data.evaluate(race.lanes.count).example_loss.max(axis=1),
    )  # fmt: skip
    ov.register_measure(measure)
    yield
    ov.unregister_measure("hardest")


def lines(at: int, run: Callable[[], object]) -> int:
    """Count the lines of the package that run in this thread; before the `at`-th one comes a Ctrl-C.

    Not those of `machine`: a trace, unlike a signal, can come between the end of a block and the end of its lock.
    """
    count = 0

    def trace(frame, event, _):
        nonlocal count
        file = frame.f_code.co_filename
        if not file.startswith(PACKAGE) or file.startswith(f"{PACKAGE}/machine/"):
            return None
        count += event == "line"
        if event == "line" and count == at:
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(None)
    return count


def test_whatever_line_of_a_step_is_interrupted_the_race_goes_on_bitwise(own_measure):
    whole, racing = ov.race(ALL), ov.race(ALL)
    steps = [next(whole), next(whole)]
    theta = whole.lanes.theta.detach().clone()
    hooks = [len(module._forward_pre_hooks) for module in whole.model.modules()]
    next(racing)
    saved = racing.snapshot()
    count = lines(0, lambda: next(racing))
    undone = 0
    for at in range(1, count, count // 19):
        racing.restore(saved)
        with pytest.raises(KeyboardInterrupt):
            lines(at, lambda: next(racing))
        assert not racing.torn
        undone += racing.updates == 1
        if racing.updates == 1:
            assert torch.equal(racing.lanes.theta.cpu(), saved["theta"])
        assert next(racing) == steps[1]  # also one that was whole, but that nobody had got
        assert racing.steps == steps
        assert torch.equal(racing.lanes.theta, theta)
        assert [len(module._forward_pre_hooks) for module in racing.model.modules()] == hooks
    assert 3 < undone < 17
    assert list(racing) == list(whole)
    assert torch.equal(racing.lanes.theta, whole.lanes.theta)
    assert racing.summary()["lanes"] == whole.summary()["lanes"]


@pytest.fixture
def on_threads(monkeypatch) -> Iterator[None]:
    """Four groups of lanes on two threads, however small the race."""
    monkeypatch.setattr(groups, "SIDE_BY_SIDE", {4: 0})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@cache
def steps_on_threads() -> list[ov.Step]:
    """Return the steps of a race on these threads, made once."""
    return list(ov.race(ALL))


@pytest.mark.usefixtures("on_threads")
@pytest.mark.parametrize("where", ["backward", *at_night("forward", "optimizer")])
def test_an_error_on_the_threads_of_a_step_undoes_it(monkeypatch, where):
    whole, racing = steps_on_threads(), ov.race(ALL)
    steps = [next(racing)]
    fails = iter([False, True])  # one of the groups

    def fail(*_: object) -> None:
        if next(fails, False):
            raise MemoryError("no room")

    def watch(_: object, given: tuple[torch.Tensor, ...]) -> None:
        if given[0].requires_grad:
            given[0].register_hook(fail)

    block = racing.model.model.layers[1]
    step = torch.optim.AdamW.step
    if where == "forward":
        block.register_forward_pre_hook(fail)
    elif where == "backward":
        block.register_forward_pre_hook(watch)
    else:
        next(fails)
        monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (step(self), fail()))
    before = racing.snapshot()
    with pytest.raises(MemoryError):
        next(racing)
    now = racing.snapshot()
    for name, tensor in before.items():
        if name != BEST:  # of which a step begins by keeping what the last one found
            np.testing.assert_array_equal(now[name], tensor)
    loop_over(racing, steps)
    assert steps == whole


@pytest.mark.usefixtures("on_threads")
def test_two_interrupts_while_threads_compute_wait_for_them_and_lose_nothing():
    whole, racing, steps = steps_on_threads(), ov.race(ALL), []

    def twice(*_: object) -> None:
        if racing.done == 1 and torch.is_grad_enabled() and not pressed:
            pressed.append(1)
            interrupt()
            time.sleep(0.2)
            interrupt(3)
            time.sleep(0.2)

    pressed: list[int] = []
    racing.model.model.layers[1].register_forward_pre_hook(twice)
    with pytest.raises(KeyboardInterrupt):
        loop_over(racing, steps)
    assert (len(steps), racing.updates, racing.torn) == (1, 1, False)
    loop_over(racing, steps)
    assert steps == whole


def test_what_is_written_after_an_interrupt_is_the_last_whole_step(monkeypatch, tmp_path):
    racing = ov.race(CONFIG)
    step = torch.optim.AdamW.step
    next(racing)
    answers, theta = racing.answers(1), racing.lanes.theta.detach().clone()

    def cut(self) -> None:
        step(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", cut)
    with pytest.raises(KeyboardInterrupt):
        next(racing)
    assert racing.answers(1) == answers
    assert torch.equal(racing.lanes.theta, theta)
    racing.save(tmp_path / "run")
    monkeypatch.undo()
    assert list(ov.resume_run(tmp_path / "run")) == steps_of(CONFIG)[1:]
