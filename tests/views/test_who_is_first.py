"""Ranking, verdict and star name the same lane first, and what is first is no lucky seed."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from support.steps import a_step, judged

from olora_viz.background.record import ready_race
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_spec import parse_lanes
from olora_viz.learn.gallery import GALLERY
from olora_viz.races.config import DEFAULT_LANES, RaceConfig
from olora_viz.studies.contest import contests_of, latest_examples
from olora_viz.studies.statistics import LEAST_EXAMPLES
from olora_viz.tasks.evaluation import HeldOut
from olora_viz.views.race import RaceView, race_view

RACES = {
    "the default race": DEFAULT_LANES,
    "one rate": tuple(Lane(init, seed=seed) for init in ("lora", "olora", "pissa") for seed in range(3)),
    "two seeds": tuple(Lane(init, seed=seed) for init in ("lora", "olora") for seed in range(2)),
    "one seed": (Lane("lora"), Lane("olora"), Lane("olora", lr=3e-3)),
    "one start": tuple(parse_lanes("olora:lr=1e-3/3e-3,alpha=8/16,seed=0-2")),
    "ranks": tuple(parse_lanes("olora:lr=1e-3/3e-3,r=4/8,seed=0-2") + parse_lanes("lora:r=4/8,seed=0-2")),
    "one that is not compared": (*parse_lanes("lora:lr=1e-3/3e-3"), *parse_lanes("olora"), Lane("pissa", r=64)),
}


def made(lanes: tuple[Lane, ...], examples: int, skill: float, noise: float, seed: int) -> RaceView:
    """Return the view of a finished race of lanes with some skill, ties where the noise is 0."""
    rng, shape = np.random.default_rng(seed), (len(lanes), examples)
    ease = skill + noise * rng.normal(size=(len(lanes), 1)) + noise * rng.normal(size=shape)
    right = (ease + (noise > 0) * rng.normal(size=examples) > 0).astype(float)
    loss = np.log1p(np.exp(-ease)) + 0.01
    step = judged(a_step(1, loss.mean(1)), loss, right)
    record = replace(
        ready_race(RaceConfig(lanes=lanes, steps=1)), state="finished", complete=True, steps=(step,),
        held_out=HeldOut(examples, None, "", 80, 80),
    )  # fmt: skip
    return race_view(record)


def views() -> Iterator[RaceView]:
    for record in GALLERY.values():
        for step in [step.step for step in record.steps if step.eval_examples is not None]:
            yield race_view(record, upto=step)
    for lanes in RACES.values():
        for examples in (4, 12, 30, 64):
            for skill, noise in ((0.5, 1.0), (-4.0, 1.0), (4.0, 0.5), (0.5, 0.0), (0.1, 0.3)):
                for seed in range(2):
                    yield made(lanes, examples, skill, noise, seed)


EVERY = list(views())


def plain(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html.replace("\N{NO-BREAK SPACE}", " "))


def test_the_star_is_the_median_seed_of_what_is_first_in_the_ranking() -> None:
    for view in EVERY:
        group, rows = view._groups[view._places[0].lane], {row.lane: row for row in view._rows}
        star, *others = view.order
        assert sorted(view.order) == list(range(len(view.styles)))
        assert star in group.lanes
        ranks = sorted(rows[k].rank(view.metric.by_loss) for k in group.lanes if not rows[k].out_at)
        mine = rows[star].rank(view.metric.by_loss)
        better, worse = sum(rank < mine for rank in ranks), sum(rank > mine for rank in ranks)
        assert better - worse in (0, 1), "of two in the middle, the worse one"
        assert set(others[: len(group.lanes) - 1]) == set(group.lanes) - {star}
        assert (f"the median of {len(group.lanes)} seeds" in view.star) == (len(group.lanes) > 1)


def test_the_verdict_names_first_what_is_first_in_the_ranking() -> None:
    named = 0
    for view in EVERY:
        first = view.styles[view.order[0]]
        verdict = view._verdict
        if verdict is None:
            continue
        settings = {(lane.r, lane.scale, lane.targets) for lane in view.race.config.lanes}
        if len(verdict.compared) == 1 and view.order[0] in verdict.compared[0]:
            named += 1
            assert set(view._groups[view._places[0].lane].lanes) >= set(verdict.compared[0][:1])
        if verdict.leader and len(settings) == 1:
            assert first.init == verdict.leader
    assert named > 200


def test_a_lane_that_is_not_compared_keeps_its_place() -> None:
    for seed in range(20):
        view = made(RACES["one that is not compared"], 64, 0.5, 1.0, seed)
        alone = [place for place in view._places if view._group_styles[place.lane].init == "pissa"]
        best = min(view._places, key=lambda place: place.rank(view.metric.by_loss))
        assert (best in alone) <= (view._places[0] in alone)


def test_below_twenty_examples_and_where_nothing_is_learned_the_loss_decides() -> None:
    for lanes in RACES.values():
        for examples, skill in ((4, 0.5), (12, 0.5), (LEAST_EXAMPLES - 1, 0.5), (64, -6.0)):
            view = made(lanes, examples, skill, 1.0, 0)
            assert view.metric.by_loss
            losses = [place.loss for place in view._places]
            assert view._verdict is not None
            assert losses[0] == min(losses) or view._verdict.basis.chosen_on
            assert view.order[0] in view._groups[view._places[0].lane].lanes
        assert not made(lanes, LEAST_EXAMPLES, 0.5, 1.0, 0).metric.by_loss


def test_one_right_answer_of_four_does_not_put_the_worst_loss_first() -> None:
    lanes = (Lane("lora"), Lane("olora"), Lane("pissa"))
    loss = np.array([[0.5], [0.7], [3.0]]) + 0.1 * np.arange(4)
    right = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1.0]])
    step = judged(a_step(1, loss.mean(1)), loss, right)
    record = replace(
        ready_race(RaceConfig(lanes=lanes, steps=1)), state="finished", complete=True, steps=(step,),
        held_out=HeldOut(4, 0.25, "always “5”", 8, 8),
    )  # fmt: skip
    view = race_view(record)
    assert view.order == (0, 1, 2)
    words = plain(view.verdict)
    assert words.startswith("No lane is clearly better than guessing: train for more steps.")
    assert "No lane is clearly better than guessing: the best is right in 25% of 4 answers" in words
    assert "LoRA cannot be told apart from OLoRA and PiSSA" in words
    assert view.next_step == "steps"


def test_the_verdict_and_the_ranking_have_one_number_for_one_thing() -> None:
    for view in EVERY:
        line = plain(view.verdict).partition("OLoRA against")[0]
        if view.metric.by_loss or "of answers right" not in line:
            continue
        scores = re.findall(r"([A-Z][\w, -]*?) (\d+)%(?=,| of)", line.partition(": ")[2])
        best = {view._group_styles[p.lane].label: round(100 * p.accuracy) for p in view._places}
        for name, share in scores:
            shares = [value for label, value in best.items() if label == name or label.startswith(f"{name} ")]
            assert any(abs(int(share) - value) <= 1 for value in shares), (line, best)


@pytest.mark.parametrize("spec", ["olora:lr=1e-3/3e-3/1e-2,alpha=8/16,seed=0-2", "lora:lr=1e-3/3e-3,rslora=0/1"])
def test_one_start_over_rates_and_settings_has_a_rate_chosen_for_each_setting(spec: str) -> None:
    lanes = tuple(parse_lanes(spec))
    settings = {(lane.scale, lane.alpha) for lane in lanes}
    for seed in range(5):
        view = made(lanes, 64, 0.5, 1.0, seed)
        (contest,) = contests_of(lanes, latest_examples(view._judged), by_loss=view.metric.by_loss, most=1)
        assert len(contest.contenders) == len(settings)
        assert {(group.lane.scale, group.lane.alpha) for group in contest.contenders} == settings
        assert (contest.examples, contest.chosen_on) == (32, 32)
        assert len(contest.pairs) == len(settings) * (len(settings) - 1)
        assert "Each at its best rate, " in plain(view.verdict)
        assert view.order[0] in contest.contenders[0].lanes


def clauses(text: str) -> list[str]:
    """Return the parts of a text that have a verb and more, by its stops."""
    parts = re.split(r"[.:;]\s|[.:;]$", text)
    return [part for part in map(str.strip, parts) if len(part.split()) > 4]


def test_what_is_said_is_said_once_and_in_words_for_readers() -> None:
    kinds = set()
    for view in EVERY:
        line, told = (
            " ".join(map(str, of)) for of in (view._verdict.sentences if view._verdict else (), view._sentences)
        )
        for text in (line, told):
            assert not re.search(r"\b(level|undecided)\b", text), text
        said, sentences = clauses(line), list(map(str, view._sentences))
        assert len(set(said)) == len(said), line
        assert len(set(sentences)) == len(sentences), told
        kinds |= set(re.findall("gives the same results as|differs too little|cannot be told apart", line))
        kinds |= set(re.findall("the same(?= [af])|too small to matter|too few (?:seeds or )?examples to tell", line))
    assert len(kinds) == 7, kinds


@pytest.mark.parametrize(("name", "chosen"), [("first", False), ("fair-rates", True)])
def test_the_ranking_says_where_rates_were_chosen(name: str, chosen: bool) -> None:
    table = plain(race_view(GALLERY[name]).results)
    assert ("The verdict chose rates on 32 of them" in table) is chosen
