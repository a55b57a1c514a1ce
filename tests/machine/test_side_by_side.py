"""Calls side by side: each on one core, in order of the calls, and none left behind."""

import signal
import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from olora_viz.machine.threads import before_forward, side_by_side


@pytest.fixture(autouse=True, params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Let torch have one thread, on which calls run in order, or three."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_each_call_has_one_thread_of_torch_and_all_others_keep_theirs(threads: int) -> None:
    assert side_by_side([lambda _: torch.get_num_threads()] * 5) == [1] * 5
    assert torch.get_num_threads() == threads
    seen: list[int] = []
    new = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert seen == [threads]


def test_results_come_in_the_order_of_the_calls_from_as_many_threads_as_torch_has(threads: int) -> None:
    def call(k: int) -> tuple[int, int]:
        time.sleep(0.01 * (7 - k))
        return k, threading.get_ident()

    results = side_by_side([lambda _, k=k: call(k) for k in range(7)])
    assert [k for k, _ in results] == list(range(7))
    assert 1 <= len({thread for _, thread in results}) <= threads


def test_an_error_comes_out_and_ends_the_calls_that_report() -> None:
    ended = []

    def endless(tell) -> None:
        try:
            while threads_run:
                tell(0.5, "on and on")
                time.sleep(0.001)
        finally:
            ended.append(True)

    def fails(_) -> None:
        raise OverflowError("too much")

    threads_run = torch.get_num_threads() > 1  # in order, it would never come to the second
    with pytest.raises(OverflowError, match="too much"):
        side_by_side([endless, fails])
    assert ended == [True]


@pytest.mark.parametrize("how", ["report", "interrupt"])
def test_what_the_report_raises_and_ctrl_c_come_out_once_all_calls_have_ended(how: str) -> None:
    running = []

    def endless(tell) -> None:
        running.append(True)
        try:
            while True:
                tell(0.5, "on and on")
                time.sleep(0.001)
        finally:
            running.pop()

    def report(parts, words) -> None:
        assert words == "on and on"
        assert max(parts) == 0.5
        if how == "report":
            raise OverflowError
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(OverflowError if how == "report" else KeyboardInterrupt):
            side_by_side([endless] * 3, report)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not running


def test_hooks_of_calls_side_by_side_see_the_forward_of_their_own_call_alone() -> None:
    layer = nn.Linear(1, 1)

    def call(k: int) -> set[float]:
        seen: set[float] = set()
        with before_forward([(layer, lambda _, given: seen.add(float(given[0][0])))]):
            for _ in range(20):
                layer(torch.full((1,), float(k)))
                time.sleep(0)
        return seen

    assert side_by_side([lambda _, k=k: call(k) for k in range(4)]) == [{0.0}, {1.0}, {2.0}, {3.0}]
    assert not layer._forward_pre_hooks
