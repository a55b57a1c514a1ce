"""Ctrl-C in a loop over a race: the step becomes whole, and a second loop goes on bitwise."""

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from races import PAIR, small, steps_of

import olora_viz as ov
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


@pytest.mark.parametrize(
    ("method", "number", "seen"), [("update", 1, 0), ("update", 3, 2), ("evaluate", 2, 3)]
)
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


def test_a_handler_of_the_users_own_is_called_after_the_step_and_kept(monkeypatch):
    racing, told = ov.race(CONFIG), []
    signal.signal(signal.SIGINT, mine := lambda *_: told.append((racing.done, racing.torn)))
    after(monkeypatch, interrupt, "update", 2)
    assert list(racing) == steps_of(CONFIG)
    assert told == [(2, False)]
    assert signal.getsignal(signal.SIGINT) is mine
