"""What a lesson's reader changes by hand has the numbers of its recorded race, and links that race what they say."""

from dataclasses import replace

import pytest

from olora_viz.learn.gallery import load_recording
from olora_viz.learn.lessons import LESSONS
from olora_viz.learn.pictures import HANDS, MORE_SEEDS, hand
from olora_viz.races.race import race
from olora_viz.web import learn
from olora_viz.web.guard.limits import from_environment
from olora_viz.web.race import arrival


def test_a_lesson_with_a_hand_asks_for_it_and_no_other_does() -> None:
    assert {*HANDS} == {lesson.name for lesson in LESSONS.values() if lesson.by_hand}
    assert hand(LESSONS["export"]) is None


@pytest.mark.parametrize("name", HANDS)
def test_its_links_race_what_they_say(name: str) -> None:
    what, limits = hand(LESSONS[name]), from_environment()
    given = learn.by_hand(limits, LESSONS[name])
    assert what
    assert given
    for config, link in zip(what.races, given["live"], strict=True):
        asked = arrival.read(limits, link)
        assert (asked.notes, asked.start) == ((), True)
        assert asked.setup
        assert [lane.scale for lane in asked.setup.lanes] == [lane.scale for lane in config.lanes]
        assert [lane.seed for lane in asked.setup.lanes] == [lane.seed for lane in config.lanes]


def test_the_differences_are_those_of_the_recorded_seeds() -> None:
    what, recording = hand(LESSONS["fair-rates"]), load_recording("fair-rates")
    assert what
    final = dict(zip(recording.config.lanes, recording.steps[-1].eval_loss, strict=True))
    rates = sorted({lane.lr for lane in final})
    for lr, pairs in zip(rates, what.given["pairs"], strict=True):
        assert float(pairs["rate"]) == lr
        for seed, gap in enumerate(pairs["differences"]):
            of = {lane.init: loss for lane, loss in final.items() if (lane.lr, lane.seed) == (lr, seed)}
            assert gap == pytest.approx(of["olora"] - of["lora"], abs=1e-4)
    assert 2 / 2**MORE_SEEDS < 0.05, "that many seeds can be surer than one in twenty"


def test_the_first_gradient_is_proportional_to_the_scaling() -> None:
    what = hand(LESSONS["one-rate"])
    assert what
    lanes = [config.lanes[-1] for config in what.races]  # OLoRA with each α
    assert {lane.init for lane in lanes} == {"olora"}
    config = replace(what.races[0], lanes=tuple(lanes), steps=1, batch_size=2, eval_size=4)
    step = next(race(config))
    assert (step.grad_norm / step.grad_norm[0]).tolist() == pytest.approx(what.given["shares"], rel=1e-4)
