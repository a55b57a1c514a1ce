"""A schedule is a name or a function of the step; a function is in no file."""

import math

import numpy as np
import pytest
from support.races import small, steps_of

import olora_viz as ov
from olora_viz.races import run as runs
from olora_viz.races.config import SCHEDULES, Settings
from olora_viz.races.script import olora_viz_script, peft_script


def named(name: str):
    """The function of a named schedule without a warm-up."""
    return {
        "constant": lambda step, steps: 1,
        "linear": lambda step, steps: 1 - (step - 1) / steps,
        "cosine": lambda step, steps: 0.5 * (1 + math.cos(math.pi * (step - 1) / steps)),
    }[name]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_function_trains_bitwise_as_the_named_schedule_of_its_values(name):
    assert list(ov.race(small(schedule=named(name)))) == steps_of(small(schedule=name))


def test_a_page_has_no_place_for_a_function():
    with pytest.raises(ValueError, match=r"^a schedule that is a Python function cannot be shown"):
        Settings.of(small(schedule=named("linear")))


def test_the_rates_are_those_of_the_function_after_the_warm_up():
    config = small(schedule=lambda step, steps: step / steps, steps=8, warmup=2)
    factors = [config.rates(number)[0] / 1e-3 for number in range(1, 9)]
    np.testing.assert_allclose(factors, [1 / 2, 1, *(n / 8 for n in range(3, 9))])


def cyclic(step: int, steps: int) -> float:
    return 1.0 if step % 2 else 0.1


def test_a_function_is_written_to_no_file_and_nothing_is_left_behind(tmp_path):
    config = small(schedule=cyclic)
    for write in (
        config.to_json,
        lambda: runs.start(config, tmp_path / "run"),
        lambda: olora_viz_script(config),
        lambda: peft_script(config),
    ):
        with pytest.raises(ValueError, match="Python function cannot be written to a run folder"):
            write()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        (lambda step, steps: math.nan, "the schedule gives nan at step 1: it must be a finite"),
        (lambda step, steps: 2 - step, "the schedule gives -1 at step 3"),
        (lambda step, steps: None, "the schedule gives None at step 1"),
        ("cosin", "unknown schedule 'cosin'; did you mean 'cosine'"),
    ],
)
def test_a_schedule_that_is_none_gets_a_sentence(schedule, sentence):
    with pytest.raises(ValueError, match=sentence):
        small(schedule=schedule)
