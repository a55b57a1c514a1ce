"""The verdict in a line says no more than the story, and names a next step that may settle it."""

import itertools
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from support.steps import a_step, judged

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane, display_names
from olora_viz.lanes.recipes import RECIPES
from olora_viz.learn.gallery import GALLERY
from olora_viz.races.step import Step
from olora_viz.studies import story
from olora_viz.studies.contest import Contest, fields_of, latest_examples
from olora_viz.studies.verdict_line import (
    CLEAR,
    MOST_WORDS,
    ONE_RUN,
    VerdictLine,
    steps_before_lora,
    verdict,
    verdict_line,
)
from olora_viz.tasks.evaluation import HeldOut
from olora_viz.web.guard.limits import Limits
from olora_viz.web.race.presets import PRESETS

EXAMPLES = 64


def race_of(lanes: list[Lane], level: dict[str, float], noise: float = 0.02) -> list[Step]:
    """Return a race whose lanes have these mean losses by initialization."""
    rng = np.random.default_rng(0)
    mean = np.array([level[lane.init] for lane in lanes])
    seeds = noise * rng.normal(size=max(lane.seed for lane in lanes) + 1)
    shared = 0.3 * rng.random(EXAMPLES)
    loss = mean[:, None] + shared + np.array([seeds[lane.seed] for lane in lanes])[:, None]
    return [judged(a_step(1, loss.mean(1)), loss + noise * rng.normal(size=loss.shape))]


def verdict_of(lanes: list[Lane], level: dict[str, float]) -> VerdictLine:
    found = verdict_line(lanes, latest_examples(race_of(lanes, level)), plain_text=True)
    assert found is not None
    return found


def lanes_of(inits: tuple[str, ...], seeds: int, rates: tuple[float, ...] = (1e-3,)) -> list[Lane]:
    every = itertools.product(inits, rates, range(seeds))
    return [Lane(init, lr=lr, seed=seed) for init, lr, seed in every]


@pytest.mark.parametrize("winner", ["olora", "lora"])
def test_a_clear_difference_over_seeds_at_one_rate_has_a_leader_and_asks_for_other_rates(winner: str) -> None:
    level = {"olora": 0.5, "lora": 0.5} | {winner: 0.3}
    found = verdict_of(lanes_of(("lora", "olora"), 3), level)
    assert (found.leader, found.certainty, found.next_step) == (winner, CLEAR, "rates")
    assert found.question == "Is it the start, or only the rate?"


def test_one_seed_speaks_of_this_run_and_asks_for_seeds() -> None:
    found = verdict_of(lanes_of(("lora", "olora"), 1), {"olora": 0.3, "lora": 0.5})
    assert (found.certainty, found.next_step) == (ONE_RUN, "seeds")
    assert "in this run" in str(found.sentences[0])
    assert "seed" not in found.reason


@pytest.mark.parametrize(("seeds", "words"), [(1, "did better in this run than"), (3, "are ahead of")])
def test_a_headline_on_two_leaders_is_a_sentence(seeds: int, words: str) -> None:
    found = verdict_of(lanes_of(("lora", "olora", "pissa"), seeds), {"olora": 0.3, "pissa": 0.3, "lora": 0.5})
    assert re.fullmatch(f"(OLoRA and PiSSA|PiSSA and OLoRA) {words} LoRA at rate 1e-3[.]", found.headline)


def test_equal_starts_have_no_leader() -> None:
    found = verdict_of(lanes_of(("lora", "olora"), 3), {"olora": 0.4, "lora": 0.4})
    assert found.leader == ""
    assert found.certainty != CLEAR


def test_a_best_rate_at_the_end_asks_for_higher_rates() -> None:
    lanes = lanes_of(("lora", "olora"), 3, (1e-3, 1e-2))
    steps = race_of(lanes, {"olora": 0.5, "lora": 0.5})
    better = np.array([-0.3 if lane.lr == 1e-2 else 0.0 for lane in lanes])[:, None]
    examples = latest_examples(steps)
    assert examples is not None
    steps = [judged(steps[0], examples.loss + better)]
    found = verdict_line(lanes, latest_examples(steps), plain_text=True)
    assert found is not None
    assert (found.higher, found.next_step) == (True, "rates")


def test_over_ranks_every_rank_is_named_once() -> None:
    ranks = (2, 4, 8, 16)
    lanes = [Lane(init, r=r, seed=seed) for init in ("lora", "olora") for r in ranks for seed in range(3)]
    (said,) = verdict_of(lanes, {"olora": 0.3, "lora": 0.5}).sentences
    words = str(said).removesuffix(".").replace(",", "").split()
    assert [words.count(str(r)) for r in ranks] == [1] * len(ranks)
    assert verdict_of(lanes, {"olora": 0.3, "lora": 0.5}).leader == "olora"


@pytest.mark.parametrize("name", GALLERY)
@pytest.mark.parametrize("ended", [False, True])
def test_its_sentences_are_those_of_the_story(name: str, ended: bool) -> None:
    """Whoever is ahead in the line is ahead in the story, which has the numbers as well."""
    race = GALLERY[name]
    how = {"plain_text": race.plain_text, "ended": ended}
    found = verdict_line(race.config.lanes, latest_examples(race.steps), **how)
    assert found is not None
    names = display_names(race.config.lanes)
    told = " ".join(map(str, story.story_of(race.config.lanes, names, race.steps, **how)))
    for sentence in found.sentences:
        words = (sentence.lead or sentence.rest).rstrip(".")
        if words.endswith("may do better at rates not tried"):  # the story names these rates
            assert "ones tried" in told or "tried at the same rates" in told
        else:
            assert words in told


def unequal(rates: dict[str, tuple[float, ...]], level: dict[tuple[str, float], float]):
    lanes = [Lane(i, lr=lr, seed=seed) for i in rates for lr in rates[i] for seed in range(3)]
    rng = np.random.default_rng(0)
    mean = np.array([level[lane.init, lane.lr] for lane in lanes])[:, None]
    loss = mean + 0.02 * rng.normal(size=(len(lanes), EXAMPLES))
    return lanes, judged(a_step(1, loss.mean(1)), loss)


def test_nothing_is_clear_over_a_start_that_raced_at_other_rates() -> None:
    level = {("lora", 1e-2): 0.2, ("lora", 1e-3): 0.9, ("olora", 1e-3): 0.5, ("olora", 1e-4): 0.7}
    lanes, step = unequal({"lora": (1e-3, 1e-2), "olora": (1e-4, 1e-3)}, level)
    found = verdict_line(lanes, step.eval_examples, plain_text=True)
    assert found is not None
    assert found.certainty != CLEAR
    assert found.leader == "lora"
    assert "OLoRA may do better at rates not tried." in map(str, found.sentences)
    told = " ".join(map(str, story.story_of(lanes, display_names(lanes), [step])))
    assert "Not all were tried at the same rates: LoRA only at 1e-3 and 1e-2; OLoRA" in told

    both = {("lora", 1e-2): 0.2, ("lora", 1e-3): 0.3, ("olora", 1e-3): 0.5, ("olora", 1e-2): 0.7}
    both |= {(init, 1e-4): 0.9 for init in ("lora", "olora")}
    lanes, step = unequal({init: (1e-4, 1e-3, 1e-2) for init in ("lora", "olora")}, both)
    found = verdict_line(lanes, step.eval_examples, plain_text=True)
    assert found is not None
    assert found.certainty == CLEAR
    assert "may do better" not in " ".join(map(str, found.sentences))


def test_whoever_cannot_be_told_apart_is_named_beside_those_that_trail() -> None:
    lanes = lanes_of(("lora", "olora", "pissa"), 3)
    level = {"lora": 0.301, "olora": 0.3, "pissa": 0.6}
    found = verdict_of(lanes, level)
    (said, *_) = found.sentences
    assert "At one rate (1e-3) OLoRA is ahead of PiSSA and " in said.lead
    assert re.search("(cannot be told apart from|differs too little from) LoRA", said.lead)
    assert "best" not in str(found)


def test_a_start_that_is_out_is_named() -> None:
    lanes = lanes_of(("lora", "olora", "pissa"), 3)
    level = {"lora": 0.3, "olora": np.nan, "pissa": 0.6}
    found = verdict_of(lanes, level)
    assert str(found.sentences[-1]) == "OLoRA is out of the race."


@pytest.mark.parametrize("seeds", [1, 5])
@pytest.mark.parametrize(("right", "loss"), [*itertools.product((0, 20), (-1.0, 0.0, 1.0))])
def test_right_answers_are_named_first_and_the_loss_where_it_tells_another_order(
    seeds: int, right: int, loss: float
) -> None:
    lanes = lanes_of(("lora", "olora"), seeds)
    examples = latest_examples(race_of(lanes, {"olora": 1.0 + 0.3 * loss, "lora": 1.0}))
    assert examples is not None
    each = [30 + right * (lane.init == "olora") for lane in lanes]
    answers = np.array([np.roll(np.arange(EXAMPLES) < many, 7 * k) for k, many in enumerate(each)], float)
    found = verdict_line(lanes, replace(examples, right=answers))
    assert found is not None
    assert found.metric == "accuracy"
    first, *more = map(str, found.sentences)
    assert "right" in first
    assert "loss" not in first
    by_accuracy = {0: "", 20: "OLoRA"}[right] if found.leader or seeds == 1 else ""
    by_loss = {-1.0: "OLoRA", 0.0: "", 1.0: "LoRA"}[loss]
    other = [sentence for sentence in more if sentence.startswith("By loss, ")]
    if seeds == 1 and right:
        by_accuracy = "OLoRA" if "did better" in first else ""
    assert bool(other) == (by_accuracy != by_loss)
    if other and by_loss:
        assert re.match(f"By loss, {by_loss} (is ahead of|did better in this run than) ", other[0])
        assert "nats" in other[0]


@pytest.mark.parametrize("guess", [None, 0.5], ids=["many answers", "two answers"])
@pytest.mark.parametrize("ended", [False, True])
def test_where_nothing_was_learned_that_comes_first_and_more_steps_are_offered(
    guess: float | None, ended: bool
) -> None:
    lanes = lanes_of(("lora", "olora"), 3)
    ranks = [replace(lane, r=r) for lane in lanes for r in (4, 8)]
    about = HeldOut(EXAMPLES, guess, "always “true”", 80, 80)
    for field in (lanes, ranks, [lane for lane in lanes if not lane.seed]):
        examples = latest_examples(race_of(field, {"olora": 0.3, "lora": 0.5}))
        assert examples is not None
        for right, learned in ((4, False), (int(0.55 * EXAMPLES), not guess), (60, True)):
            answers = np.tile(np.arange(EXAMPLES) < right, (len(field), 1)).astype(float)
            found = verdict_line(field, replace(examples, right=answers), ended=ended, held_out=about)
            assert found is not None
            assert found.unlearned != learned
            assert (found.next_step == "steps") != learned
            assert ("train for more steps" in found.headline) == (ended and not learned)
            first, *others = map(str, found.sentences)
            assert first.startswith("No lane" if ended else "So far no lane") != learned
            assert ("the best is right in" in first) != learned
            assert not any(re.search("guessing|no lane has learned", other) for other in others), "it is said once"
            if not learned:
                assert found.certainty != CLEAR
                assert found.metric == "loss", "few right answers tell nothing"
                assert others[0].startswith(("OLoRA", "At one rate (1e-3) OLoRA"))


def test_nothing_is_said_before_the_first_evaluation() -> None:
    assert verdict_line([Lane("lora"), Lane("olora")], None) is None


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.title)
def test_every_preset_has_a_verdict_on_its_own_question(preset) -> None:
    lanes = preset.lanes
    assert len(lanes) <= Limits().max_lanes
    inits = {lane.init for lane in lanes}
    level = {init: 0.5 - 0.1 * (init == "olora") for init in inits}
    found = verdict_of(lanes, level)
    assert "OLoRA" in str(found.sentences[0])


def test_the_preset_of_the_toolkits_compares_every_recipe_with_olora() -> None:
    (preset,) = (each for each in PRESETS if each.name == "toolkits")
    said = str(verdict_of(preset.lanes, {"lora": 0.5, "olora": 0.2}))
    named = [name for name in RECIPES if name in said]
    assert re.match(rf"OLoRA is ahead of (\w+, )*\w+ and {len(RECIPES) - len(named)} others", said)


def with_drift(inits: tuple[str, ...], moved: dict[str, list[float]], level: dict[str, float], **how: Any) -> str:
    """Return the verdict's line of lanes with these drifts by start and seed."""
    lanes = lanes_of(inits, 3)
    drift = np.array([moved[lane.init][lane.seed] for lane in lanes])
    examples = latest_examples(race_of(lanes, level))
    return str(verdict_line(lanes, examples, **{"plain_text": True, "ended": True, "drift": drift} | how))


SAME_DRIFT = [1.0, 1.1, 0.9]


def test_a_decided_drift_is_the_last_clause_of_the_first_sentence_and_decides_nothing_else() -> None:
    drift, level = {"lora": SAME_DRIFT, "olora": [1.7, 1.9, 1.5]}, {"olora": 0.3, "lora": 0.5}
    line, without = (with_drift(("lora", "olora"), drift, level, **how) for how in ({}, {"drift": None}))
    first, _, rest = without.partition(" nats.")
    assert line == f"{first} nats, and drifts 1.7 times as far.{rest}"
    assert with_drift(("lora", "olora"), drift, level, ended=False) == without
    several = with_drift(("lora", "olora", "pissa"), drift | {"pissa": SAME_DRIFT}, level | {"pissa": 0.4})
    assert " nats, and OLoRA drifts 1.7 times as far as LoRA." in several
    behind = with_drift(("lora", "olora"), drift, {"olora": 0.5, "lora": 0.3})
    assert ", and drifts 0.59 times as far." in behind


def test_a_drift_that_turns_at_rates_as_good_is_not_said() -> None:
    lanes = lanes_of(("lora", "olora"), 3, (1e-3, 3e-3))
    examples = latest_examples(race_of(lanes, {"olora": 0.3, "lora": 0.5}))
    best = {
        name: float(name.partition("(")[2].rstrip(")"))
        for name in re.findall(r"\w+ \([^)]+\)", str(verdict_line(lanes, examples, plain_text=True, ended=True)))
    }
    rates = {name.partition(" ")[0].lower(): rate for name, rate in best.items()}
    # At its best rate OLoRA drifts four times as far as LoRA at its own, and at the other one a quarter.
    moved = {"lora": (1.0, 1.0), "olora": (4.0, 0.25)}
    for same, said in (((4.0, 4.0), True), (moved["olora"], False)):
        of_start = moved | {"olora": same}
        drift = [of_start[lane.init][lane.lr != rates[lane.init]] * (1 + 0.01 * lane.seed) for lane in lanes]
        line = verdict_line(lanes, examples, plain_text=True, ended=True, drift=np.array(drift))
        assert (", and drifts 4 times as far." in str(line)) == said


@pytest.mark.parametrize(
    ("drift", "clause"),
    [(SAME_DRIFT, ", and drifts as far."), ([1.5, 0.8, 3.0], ""), ([math.nan, 3.0, 3.0], ""), ([0.0, 0.0, 0.0], "")],
)
def test_a_level_drift_is_said_and_an_open_one_is_not(drift: list[float], clause: str) -> None:
    line = with_drift(("lora", "olora"), {"lora": SAME_DRIFT, "olora": drift}, {"olora": 0.4, "lora": 0.4})
    assert ("drifts" in line) == bool(clause)
    assert clause in line


LABELS = ("lora", "olora", "pissa", "milora", "random_orthonormal", "olora_pivoted", "gaussian", "orthogonal")


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [2, 3, 5, 8])
@pytest.mark.parametrize("spread", [0.0, 1e-4, 0.3, 2.0])
def test_a_headline_has_at_most_fifteen_words_and_names_the_leader_first(
    spread: float, count: int, seeds: int
) -> None:
    inits = LABELS[:count]
    for rates in ((1e-3,), (1e-3, 3e-3)):
        level = {init: 0.9 - spread * 0.1 * place for place, init in enumerate(inits)}
        found = verdict_of(lanes_of(inits, seeds, rates), level)
        assert 3 <= len(found.headline.split()) <= MOST_WORDS, found.headline
        assert found.tag
        assert found.to_json()["headline"] == found.headline
        if found.leader:
            assert found.headline.startswith(label_of(found.leader)) or " and " in found.headline
        assert ("likely" in found.tag or found.tag == CLEAR) == (seeds > 1 and bool(found.leader)), found


@pytest.mark.parametrize(
    ("level", "seeds", "tag"),
    [
        ({"lora": 0.5, "olora": 0.3}, 5, "clear"),
        ({"lora": 0.5, "olora": 0.3}, 3, "3 seeds: likely"),
        ({"lora": 0.5, "olora": 0.3}, 1, "one seed: could be luck"),
        ({"lora": 0.5, "olora": 0.5}, 3, "the same"),
    ],
)
def test_a_tag_says_how_sure_the_headline_is(level: dict[str, float], seeds: int, tag: str) -> None:
    assert verdict_of(lanes_of(("lora", "olora"), seeds), level).tag == tag


def curves(rng: np.random.Generator, K: int, faster: float = 0.0, spread: float = 0.15) -> list[Step]:
    """Return steps with held-out losses that fall alike in all lanes but for noise; those of OLoRA run ahead."""
    at = np.arange(1, 13) * 5
    noise = np.exp(rng.normal(0, spread, K))
    ahead = np.repeat([0.0, faster, 0.0], K // 3)
    losses = 4 * np.exp(-(at[:, None] + ahead) / (20 * noise)) + np.abs(rng.normal(0, 0.02, (12, K)))
    return [a_step(int(step), row, eval_loss=row) for step, row in zip(at, losses, strict=True)]


def test_of_equal_starts_one_is_said_to_be_sooner_than_lora_in_five_of_a_hundred_races() -> None:
    lanes = lanes_of(("lora", "olora", "pissa"), 3)
    field = fields_of(lanes)[0]
    contest = Contest(
        field.contenders,
        ("LoRA", "OLoRA", "PiSSA"),
        (0.5,) * 3,
        (0.5,) * 3,
        {},
        True,
        64,
        0,
        (0, 1, 2),
        {},
        field=field,
    )
    rng = np.random.default_rng(0)
    false = sum(bool(steps_before_lora(contest, lanes, curves(rng, 9), 4.0)) for _ in range(600))
    assert false / 600 < 0.05
    found = [steps_before_lora(contest, lanes, curves(rng, 9, faster=25.0, spread=0.05), 4.0) for _ in range(100)]
    assert sum("olora" in each for each in found) > 50
    assert all(gap.low < gap.mean < gap.high for each in found for gap in each.values())


def test_the_first_recorded_race_tells_how_many_steps_sooner() -> None:
    race = GALLERY["first"]
    line = verdict(race)
    assert line is not None
    assert re.fullmatch(r"PiSSA and OLoRA learn 20 to 23 steps earlier than LoRA at rate 1e-3\.", line.headline)
    lanes, steps = race.config.lanes, race.steps
    at = [step.step for step in steps if step.eval_loss is not None]
    of = {init: [k for k, lane in enumerate(lanes) if lane.init == init] for init in ("lora", "pissa")}
    losses = np.array([step.eval_loss for step in steps if step.eval_loss is not None])
    gaps = [
        np.interp(-losses[-1, i], -losses[:, i], at) - np.interp(-losses[-1, i], -losses[:, j], at)
        for i, j in zip(of["lora"], of["pissa"], strict=True)
    ]
    assert abs(np.mean(gaps) - 23) < 1
    low, high = stats.t.interval(0.95, 2, np.mean(gaps), stats.sem(gaps))
    assert f"PiSSA takes {np.mean(gaps):.0f} steps fewer than LoRA ({low:.0f} to {high:.0f})" in str(line)
