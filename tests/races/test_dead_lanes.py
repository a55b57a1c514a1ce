"""A lane that cannot learn any more is out of the race; one that has learned everything is not."""

import math
from dataclasses import replace

import numpy as np
import pytest
from support.races import raced, resumed, small, steps_of

from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import ready_race
from olora_viz.cli.race import print_summary
from olora_viz.lanes.lane import Lane
from olora_viz.races.race import race
from olora_viz.races.step import NO_GRADIENT, NOT_FINITE, out_at, whys_out
from olora_viz.races.tables import last_figures
from olora_viz.races.trainer import RaceState
from olora_viz.studies.story import story_of
from olora_viz.tasks.evaluation import Evaluation
from olora_viz.views.race import race_view
from olora_viz.views.results import without_verdict

BASE = 3.0
LANES = (Lane("lora", r=2), Lane("olora", r=2, lr=1e6))


def config(*lanes: Lane):
    return small(lanes or LANES, task="addition", steps=5)


def out_after(*steps: tuple[float, float]) -> list[bool]:
    """Whether a lane of these losses and gradient norms is out, step for step."""
    start = Evaluation.of_totals(np.array([BASE]), np.array([0.0]))
    state, found = RaceState.at_start(start), []
    for number, (loss, norm) in enumerate(steps, start=1):
        state.trained(number, np.array([loss]), np.array([norm]), BASE)
        found.append(bool(state.out[0]))
    return found


@pytest.mark.parametrize(
    ("steps", "out"),
    [
        ([(4.0, 1.0), (7.0, 0.0), (7.0, 0.0), (7.0, 0.0)], [False, False, True, True]),
        ([(4.0, 1.0), (7.0, 0.0), (7.0, 1e-9), (7.0, 0.0)], [False] * 4),  # it moves again
        ([(4.0, 1.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)], [False] * 4),  # it has learned all
        ([(4.0, 1.0), (2.9, 0.0), (3.1, 0.0), (2.9, 0.0)], [False] * 4),  # about the base's loss
        ([(4.0, 1.0), (7.0, 1e-30), (7.0, 1e-30), (7.0, 1e-30)], [False] * 4),  # tiny is not zero
        ([(4.0, 0.0), (4.0, 0.0), (4.0, 0.0), (4.0, 0.0)], [False] * 4),  # nothing ever moved
        ([(4.0, 1.0), (math.nan, 1.0), (7.0, 0.0), (7.0, 0.0)], [False, True, True, True]),
    ],
)
def test_two_steps_without_a_gradient_and_a_loss_above_the_bases_are_the_end(steps, out):
    assert out_after(*steps) == out


def test_it_is_out_with_a_reason_and_the_others_go_on_bitwise():
    running, steps = raced(config())
    assert [step.grad_norm[1] for step in steps][1] == 0.0
    assert steps[1].loss[1] == pytest.approx(math.log(1024), rel=1e-6)
    assert steps[1].loss[1] > running.baseline.loss[0]
    assert [step.status[1] for step in steps] == ["racing"] * 2 + ["diverged"] * 3
    healthy = steps_of(config(LANES[0], Lane("olora", r=2)))
    for step, other in zip(steps, healthy, strict=True):
        assert (step.loss[0], step.grad_norm[0]) == (other.loss[0], other.grad_norm[0])
    summary = running.summary()
    lora, olora = summary["lanes"].values()
    assert (lora["status"], lora["diverged_at"], lora["diverged_why"]) == ("finished", None, None)
    assert (olora["status"], olora["diverged_at"]) == ("diverged", 3)
    assert olora["diverged_why"] == NO_GRADIENT
    assert olora["final_loss"] is olora["test_loss"] is None


def test_status_and_reason_are_read_from_the_steps_as_from_the_state(capsys):
    lanes = (*LANES, Lane("olora", r=2, lr=1e30))
    running, steps = raced(config(*lanes))
    whys = ["", NO_GRADIENT, NOT_FINITE]
    assert whys_out(steps, 3) == whys
    assert all(out_at(steps, 3)[1:])
    labels = running.lanes.labels
    from_steps = last_figures(labels, steps, status=running.status)
    from_state = running.summary()["lanes"]
    for label in labels:
        for name in ("status", "diverged_why"):
            assert from_steps[label][name] == from_state[label][name]
    print_summary(running.summary())
    told = capsys.readouterr().out
    assert f"{labels[1]} is out of the race: its {NO_GRADIENT}" in told
    assert f"{labels[2]} is out of the race: its {NOT_FINITE}" in told


def test_every_reason_is_told_of_the_lanes_that_it_put_out():
    lanes = (*LANES, Lane("olora", r=2, lr=1e30))
    running, steps = raced(config(*lanes))
    names = running.lanes.labels
    text = " ".join(map(str, story_of(lanes, names, steps)))
    assert f"{names[2]} (step 2) is out of the race: its {NOT_FINITE}." in text
    assert f"So is {names[1]} (step 3): its {NO_GRADIENT}. The others are not affected." in text


def test_the_table_the_words_and_the_status_say_why():
    alone = config(LANES[1])
    race = BackgroundRace("id", alone, None, ready_race(alone).styles)
    race.run()
    assert (race.state, len(race.steps)) == ("diverged", 3)
    assert race.note == f"no lane is left: at step 3 OLoRA's {NO_GRADIENT}"
    view = race_view(race.record())
    assert "DNF at step 3: gradient zero" in view.results
    assert NO_GRADIENT.replace("'", "&#39;") in view.results
    rivals = without_verdict(replace(view.race, state="finished", config=config(), steps=view.steps * 2), (), ())
    assert "No two lanes can be compared." in rivals
    assert f"out at step 3, its {NO_GRADIENT}" in view.text
    assert f"its {NO_GRADIENT}" in view.story.unescape()


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_resumed_race_has_the_same_steps_and_the_same_reason(at):
    again = resumed(config(), at)
    rest = list(again)
    assert rest == steps_of(config())[at:]
    theirs, ours = race(config()), again.summary()["lanes"]
    list(theirs)
    assert ours == theirs.summary()["lanes"]
