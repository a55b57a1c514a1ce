"""A bet is scored by the verdict of the run, and nothing of it is shown before."""

import re
from itertools import combinations, product

import numpy as np
import pytest

from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery import GALLERY
from olora_viz.measures.training import Examples
from olora_viz.studies.contest import contests_of, latest_examples
from olora_viz.studies.sentences import VERDICT_KINDS, at_shared_rates, leading
from olora_viz.studies.statistics import AHEAD, BEHIND
from olora_viz.studies.verdict_line import MOST_FIELDS
from olora_viz.views.bet import CLOSE, NO_LEADER, RIGHT, WRONG, contest_at, judge, question_of, scores
from olora_viz.views.race import race_view

STARTS = ("lora", "olora", "pissa")
TURNED = {AHEAD: BEHIND, BEHIND: AHEAD}
EVERY = pytest.mark.parametrize("name", GALLERY)


def every_verdict() -> list[dict[tuple[str, str], str]]:
    """Return all that a verdict can say of three starts, pair by pair."""
    pairs = list(combinations(STARTS, 2))
    verdicts = []
    for kinds in product(VERDICT_KINDS, repeat=len(pairs)):
        said = dict(zip(pairs, kinds, strict=True))
        verdicts.append(said | {(b, a): TURNED.get(kind, kind) for (a, b), kind in said.items()})
    return verdicts


def test_of_every_verdict_at_most_one_bet_is_right_and_all_others_are_wrong_then_or_open() -> None:
    for kinds in every_verdict():
        ends = {choice: judge(choice, STARTS, kinds) for choice in (*STARTS, NO_LEADER)}
        ordered = AHEAD in kinds.values()
        assert ends[NO_LEADER] == (WRONG if ordered else RIGHT)
        right = [choice for choice, end in ends.items() if end == RIGHT]
        assert len(right) <= 1
        for start in STARTS:
            against = [kind for (one, _), kind in kinds.items() if one == start]
            assert (ends[start] == RIGHT) == all(kind == AHEAD for kind in against)
            assert (ends[start] == WRONG) == (BEHIND in against)
            if right and right[0] in STARTS and start != right[0]:
                assert ends[start] == WRONG
            if not ordered:
                assert ends[start] == CLOSE, "what luck can do is no win and no loss"


def test_names_do_not_matter_to_how_a_bet_ends() -> None:
    other = dict(zip(STARTS, STARTS[::-1], strict=True))
    for kinds in every_verdict():
        renamed = {(other[a], other[b]): kind for (a, b), kind in kinds.items()}
        for start in STARTS:
            assert judge(start, STARTS, kinds) == judge(other[start], STARTS, renamed)


def test_whoever_bets_on_a_start_that_diverges_or_on_no_difference_then_is_wrong() -> None:
    for kind in VERDICT_KINDS:
        left = {("lora", "olora"): kind, ("olora", "lora"): TURNED.get(kind, kind)}
        assert judge("pissa", STARTS, left) == WRONG
        assert judge(NO_LEADER, STARTS, left) == WRONG


def test_the_last_start_that_is_left_wins_its_bet() -> None:
    lanes = [Lane("lora", lr=1e-3), Lane("olora", lr=1e-3)]
    loss = np.stack([np.linspace(0.1, 2, 40), np.full(40, np.nan)])
    examples = Examples(loss, np.zeros_like(loss), np.full(2, np.nan), np.full(2, np.nan))
    question = question_of(lanes, 5)
    assert question is not None
    compared = contest_at(question, lanes, examples, by_loss=True)
    assert compared is not None
    ended = scores(question, compared)
    assert {choice: kind for choice, (kind, _) in ended.items()} == {"lora": RIGHT, "olora": WRONG, NO_LEADER: WRONG}
    assert all("OLoRA left the race." in str(sentence) for _, sentence in ended.values())


@EVERY
def test_the_main_two_are_compared_as_the_verdict_of_the_run_compares_them(name: str) -> None:
    race = GALLERY[name]
    view, lanes = race_view(race), race.config.lanes
    question, examples = question_of(lanes, race.config.steps), latest_examples(view._judged)
    assert question is not None
    assert examples is not None
    compared = contest_at(question, lanes, examples, by_loss=view.metric.by_loss)
    assert compared is not None
    assert set(compared.places) == set(question.starts)
    first = contests_of(lanes, examples, by_loss=view.metric.by_loss, most=MOST_FIELDS)[0]
    assert first.field is not None
    hero, rival = first.field.roles
    if first.field.at_one_rate:
        assert leading(first).kinds == tuple(compared.pairs[0, j].in_these_runs for j in range(1, len(compared.names)))
    else:
        (kind,) = at_shared_rates(first)[question.rate].kinds
        assert kind == compared.pairs[compared.places[hero], compared.places[rival]].in_these_runs
    ended = scores(question, compared, view.metric.why)
    assert set(ended) == {*question.starts, NO_LEADER}
    assert all(kind in str(sentence) for kind, sentence in ended.values())


@EVERY
def test_a_page_has_the_question_before_the_first_results_and_how_bets_end_after_the_last(name: str) -> None:
    race = GALLERY[name]
    question = question_of(race.config.lanes, race.config.steps)
    assert question is not None
    choices = [*question.starts, NO_LEADER]

    def of(upto: int | None) -> tuple[str, list[str], list[str]]:
        html = race_view(race, upto=upto).bet
        (state,) = re.findall('data-state="([a-z]+)"', html)
        chips = re.findall('<button[^>]* data-choice="([a-z_]+)"', html)
        return state, chips, re.findall('<p hidden data-choice="([a-z_]+)"', html)

    first = next(step.step for step in race.steps if step.eval_loss is not None)
    assert of(0) == of(first - 1) == ("open", choices, [])
    assert of(first) == of(len(race.steps) - 1) == ("going", [], choices)
    assert of(None) == ("ended", [], choices)
    said = {str(sentence) for _, sentence in _ended(name).values()}
    for upto in (0, first, len(race.steps) - 1):
        assert not any(sentence in re.sub("<[^>]*>", "", race_view(race, upto=upto).bet) for sentence in said)


@EVERY
def test_the_dragged_bet_is_met_where_the_curve_of_each_seed_first_is_where_lora_s_ends(name: str) -> None:
    race = GALLERY[name]
    question = question_of(race.config.lanes, race.config.steps)
    assert question
    at = np.array([0, *(step.step for step in race.steps if step.eval_loss is not None)])
    held_out = [step.eval_loss for step in race.steps if step.eval_loss is not None]
    losses = np.vstack([np.full(len(race.config.lanes), race.baseline.loss[0]), *held_out])
    every = np.linspace(0, at[-1], 1000 * at[-1] + 1)
    reached = []
    for k, lane in enumerate(race.config.lanes):
        if (lane.init, lane.lr) != (question.chaser, question.rate):
            continue
        rivals = [(other.init, other.lr, other.seed) for other in race.config.lanes]
        target = losses[-1, rivals.index(("lora", question.rate, lane.seed))]
        there = np.interp(every, at, losses[:, k]) <= target
        reached.append(every[there.argmax()] if there.any() else np.inf)
    median = float(np.median(reached))
    wanted = median if np.isfinite(median) else race.config.steps + 1
    (met,) = re.findall(r'data-met="(\d+)"', race_view(race).bet)
    assert int(met) == pytest.approx(wanted, abs=0.502)
    assert "data-met" not in race_view(race, upto=race.config.steps - 1).bet


def _ended(name: str):
    race = GALLERY[name]
    view, question = race_view(race), question_of(race.config.lanes, race.config.steps)
    examples = latest_examples(view._judged)
    assert question is not None
    assert examples is not None
    compared = contest_at(question, race.config.lanes, examples, by_loss=view.metric.by_loss)
    assert compared is not None
    return scores(question, compared)


def test_the_question_is_about_the_rate_at_which_most_start_and_the_lowest_of_several() -> None:
    def at(*lanes: tuple[str, float]) -> tuple[tuple[str, ...], float] | None:
        question = question_of([Lane(init, lr=lr) for init, lr in lanes], 10)
        return question and (question.starts, question.rate)

    assert at(("lora", 3e-3), ("olora", 3e-3), ("lora", 1e-3), ("olora", 1e-3)) == (("lora", "olora"), 1e-3)
    assert at(("lora", 1e-3), ("olora", 1e-3), ("lora", 3e-3), ("olora", 3e-3), ("pissa", 3e-3)) == (STARTS, 3e-3)
    assert at(("lora", 1e-3), ("olora", 3e-3)) is None
    assert at(("lora", 1e-3), ("lora", 3e-3)) is None
