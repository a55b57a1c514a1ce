"""The sentence that says who leads, on results of which it is known who leads."""

import re
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.steps import a_step, judged

from olora_viz.lanes.lane import Lane, display_names
from olora_viz.learn.gallery import RECORDINGS, load_recording
from olora_viz.learn.lessons import LESSONS
from olora_viz.machine.wording import Sentence
from olora_viz.studies import story
from olora_viz.studies.sentences import Basis, who_leads
from olora_viz.studies.statistics import Comparison, Scores, compare
from olora_viz.studies.story import rate_curves
from olora_viz.web.race.presets import PRESETS

LEADS = re.compile(r"\b(ahead of|behind|did better|did worse|is better than|is worse than)\b")
MINE = re.compile(r"\b(ahead of|did better|is better than)\b")
BASIS = re.compile(r"\((\d+) (?:held-out|test) examples?(?:, .+?)?; (one seed|\d+ seeds)\)")
NUMBER = re.compile(r"[−-]?\d+\.\d+")

VALUE = st.floats(0.01, 9.0)
WIDTH = st.floats(0.0, 3.0)
SEEDS = st.integers(1, 9)
often = settings(max_examples=200, deadline=None)


def of_means(first: float, second: float, half: float, seeds: int, p_value: float) -> Comparison:
    """Return a comparison of two mean losses with an interval of some half width."""
    gap = first - second
    return Comparison(gap, gap - half, gap + half, p_value, 0.1, False, 40, seeds)


def scores(rng: np.random.Generator, seeds: int, gap: float) -> tuple[Scores, Scores]:
    """Return losses of two on the same examples, the second's higher by a gap but for noise."""
    hard = rng.uniform(1.0, 3.0, 40)
    first, second = (hard + 0.05 * rng.normal(size=(seeds, 40)) for _ in range(2))
    return Scores(first), Scores(second + gap)


def told(first: Scores, second: Scores, study: bool = False) -> str:
    found = compare(first, second)
    basis = Basis(found.seeds, found.examples, study=study)
    means = [float(one.loss.mean()) for one in (first, second)]
    return str(who_leads(["A", "B"], means, [found], basis))


@often
@given(VALUE, VALUE, WIDTH, SEEDS, st.floats(0.0, 1.0), st.booleans())
def test_nobody_leads_whose_difference_may_be_zero(
    first: float, second: float, half: float, seeds: int, p_value: float, study: bool
) -> None:
    one = of_means(first, second, half, seeds, p_value)
    text = str(who_leads(["A", "B"], [first, second], [one], Basis(seeds, 40, study=study)))
    leads = bool(LEADS.search(text))
    assert leads <= (not one.low <= 0 <= one.high)
    if leads:
        assert bool(MINE.search(text)) == (first < second)


@often
@given(VALUE, VALUE, WIDTH, SEEDS, st.integers(1, 5000), st.booleans())
def test_it_says_on_what_it_rests_and_with_one_seed_that_it_is_this_run(
    first: float, second: float, half: float, seeds: int, examples: int, study: bool
) -> None:
    one = of_means(first, second, half, seeds, 0.001)
    basis = Basis(seeds, examples, part="test", study=study)
    text = str(who_leads(["A", "B"], [first, second], [one], basis))
    (found,) = BASIS.findall(text)
    assert found == (str(examples), "one seed" if seeds == 1 else f"{seeds} seeds")
    assert ("in this run" in text) == (seeds == 1 and bool(LEADS.search(text)))
    assert "is better" not in text or (study and seeds > 2)


@often
@given(VALUE, VALUE, WIDTH, st.booleans())
def test_the_numbers_are_those_given(first: float, second: float, half: float, p: bool) -> None:
    one = of_means(first, second, half, 3, 0.001 if p else 0.5)
    rest = who_leads(["A", "B"], [first, second], [one]).rest
    said = [float(number.replace("−", "-")) for number in NUMBER.findall(rest)]
    assert said == pytest.approx([first, second, one.difference, one.low, one.high], abs=0.0051)
    if LEADS.search(str(who_leads(["A", "B"], [first, second], [one]))):
        assert said[3] * said[4] > 0 or min(abs(one.low), abs(one.high)) < 1e-6


PAIR = re.compile(r"([\d.]+)%? against ([\d.]+)%?, a difference of (−?[\d.]+)")


@pytest.mark.parametrize("count", [3, 7, 60, 64, 192])
@pytest.mark.parametrize("shares", [True, False])
def test_the_difference_is_that_of_the_two_numbers_beside_it(count: int, shares: bool) -> None:
    rng = np.random.default_rng(count)
    for first, second in (rng.integers(0, count + 1, (200, 2)) / count).tolist():
        gap, half = first - second, rng.uniform(0.0, 0.5)
        one = Comparison(gap, gap - half, gap + half, 0.5, 0.1, shares, 40, 1)
        text = str(who_leads(["A", "B"], [first, second], [one], Basis(1, 40), score="score"))
        ((a, b, difference),) = PAIR.findall(text)
        places = len(a.partition(".")[2])
        subtracted = Decimal(a) - Decimal(b)
        assert round(Decimal(difference.replace("−", "-")), places) == subtracted, text


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_equal_contenders_have_no_leader(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    for _ in range(20):
        first, _ = scores(rng, seeds, 0.0)
        assert not LEADS.search(told(first, first))
        assert "the same results" in told(first, first)


@pytest.mark.parametrize("study", [False, True])
@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_a_large_difference_has_the_leader_that_it_was_made_for(seeds: int, study: bool) -> None:
    first, second = scores(np.random.default_rng(0), seeds, 2.0)
    assert MINE.search(told(first, second, study))
    back = told(second, first, study)
    assert LEADS.search(back)
    assert not MINE.search(back)


@given(st.lists(st.tuples(VALUE, WIDTH), min_size=1, max_size=9), SEEDS)
def test_everybody_is_told_of_once_and_by_the_comparison_with_him(
    others: list[tuple[float, float]], seeds: int
) -> None:
    first = 2.0
    found = [of_means(first, value, half, seeds, 0.001) for value, half in others]
    names = ["A", *(f"B{i}" for i in range(len(others)))]
    lead = who_leads(names, [first, *(value for value, _ in others)], found).lead
    parts = re.split(r" and (?=is |did |cannot |gives |differs )|, (?=is |did |cannot |differs )", lead[2:-1])
    named = [re.findall(r"B\d", part) for part in parts]
    counted = sum(int(n) for n in re.findall(r"(\d+) others", lead))
    every = [name for its in named for name in its]
    assert len(set(every)) == len(every) == len(others) - counted
    for part, its in zip(parts, named, strict=True):
        for name in its:
            one = found[int(name[1:])]
            assert bool(LEADS.search(part)) <= (not one.low <= 0 <= one.high)
            assert bool(MINE.search(part)) <= (one.difference < 0)


@pytest.mark.parametrize(("names", "values", "count"), [("A", [1.0], 0), ("AB", [1.0], 1), ("ABC", [1.0] * 3, 1)])
def test_without_one_comparison_for_each_other_it_raises(names: str, values: list[float], count: int) -> None:
    found = [of_means(1.0, 2.0, 0.1, 3, 0.01)] * count
    with pytest.raises(ValueError, match=f"{len(names)} names, {len(values)} values and {count}"):
        who_leads(list(names), values, found)


def rests_on(said: list[Sentence], seeds: set[str], examples: set[str]) -> None:
    """Hold every sentence that names a leader to the rules."""
    for sentence in said:
        text = str(sentence)
        if not LEADS.search(text):
            continue
        (found,) = BASIS.findall(text)
        assert found[0] in examples
        assert found[1] in seeds
        assert ("in this run" in text) == (found[1] == "one seed")
        assert "is better than" not in text


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_stories_of_recorded_races_keep_to_the_rules(name: str) -> None:
    race = load_recording(name)
    lanes = race.config.lanes
    said = story.story_of(lanes, display_names(lanes), race.steps, plain_text=race.plain_text)
    count = len({lane.seed for lane in lanes})
    n = race.steps[-1].eval_examples.loss.shape[1]
    seeds = {"one seed" if count == 1 else f"{count} seeds"}
    rests_on(said, seeds, {str(n), str(n // 2)})


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=lambda lesson: lesson.name)
def test_sentences_of_lessons_that_name_a_leader_say_on_what_they_rest(lesson) -> None:
    texts = [*lesson.paragraphs, lesson.do, lesson.see]
    sentences = [one for text in texts for one in re.split(r"(?<=\.) (?=[A-Z])", text)]
    lanes = load_recording(lesson.recording).config.lanes if lesson.recording in RECORDINGS else ()
    count = len({lane.seed for lane in lanes})
    rests_on([Sentence("", one) for one in sentences], {"one seed", f"{count} seeds"}, {"32", "64"})
    assert all(n in ("32", "64") for one in sentences for n, _ in BASIS.findall(one))
    assert not any(re.search(r"\b(lowest held-out loss|winner|wins)\b", text) for text in texts)


def test_the_preset_of_best_rates_has_those_of_the_recorded_sweep() -> None:
    (preset,) = (one for one in PRESETS if one.title == "harder: number words")
    race = load_recording("fair-rates")
    best = {c.lane.init: c.optimum for c in rate_curves(race.config.lanes, race.steps)}
    assert {lane.init: lane.lr for lane in preset.lanes} == {init: point.lr for init, point in best.items() if point}
    assert (preset.batch, preset.task) == (race.config.batch_size, race.config.task)
    assert f"{race.config.steps} steps" in preset.what
    n = race.steps[-1].eval_examples.loss.shape[1]
    seeds = len({lane.seed for lane in race.config.lanes})
    assert BASIS.findall(preset.what) == [(str(n), f"{seeds} seeds")]


def test_a_race_of_equal_lanes_with_one_seed_names_nobody() -> None:
    lanes = (Lane("lora"), Lane("olora"), Lane("pissa"))
    loss = np.random.default_rng(0).uniform(0.2, 1.5, (1, 40)).repeat(3, 0)
    for plain_text in (False, True):
        made = [judged(a_step(1, loss.mean(1)), loss)]
        said = story.story_of(lanes, display_names(lanes), made, plain_text=plain_text)
        assert not any(LEADS.search(str(one)) for one in said)
