"""What a decision searches before it compares starts: the choices, one after the other, and what is compared then."""

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from transformers import MambaConfig, MambaForCausalLM

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.machine.files import read_json_object
from olora_viz.machine.wording import and_
from olora_viz.races import run as runs
from olora_viz.studies.budget import Plan, fitted
from olora_viz.studies.decide import DECISION, DONE, SEARCH, Decision, decide
from olora_viz.studies.method import METHODS
from olora_viz.studies.recipe_search import (
    BATCH_SIZES,
    CHOICES,
    ERRORS,
    LANES_AGAIN,
    SEED,
    RecipeSearch,
    Tried,
    found_study,
    judged,
    lanes_of,
    not_searched_words,
    planned_study,
    search_words,
    searchable,
    usual,
    value_words,
)
from olora_viz.studies.study import Study
from olora_viz.studies.timing import Timing
from olora_viz.views import decision

RACE = ov.RaceConfig(
    task="number-words", steps=4, batch_size=16, eval_every=2, eval_size=24, test_size=24, keep="none",
    dtype="float64",
)  # fmt: skip
STUDY = Study(race=RACE, compare=("lora", "olora"), tune={"lr": (1e-3, 4e-3)}, seeds=3, coarse=1, threads=1)
PLAN = Plan(STUDY, minutes=60, seconds=10, final=1, most=64, search=("targets", "steps", "batch_size"), searching=5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Decision]:
    return list(decide(tmp_path_factory.mktemp("search") / "out", plan=PLAN))


def test_it_searches_each_choice_then_compares_starts_with_what_it_found_and_with_what_was_there(whole) -> None:
    stages = list(dict.fromkeys(known.stage for known in whole))
    assert stages[0] == SEARCH
    assert stages[-1] == DONE
    last = whole[-1]
    assert [each.choice for each in last.tried] == ["targets"] * 3 + ["steps"] * 3 + ["batch_size"] * 2
    assert planned_study(last.folder).fixed() == STUDY.fixed()
    assert last.plan.study.fixed() == found_study(STUDY, _kept(last)).fixed()
    assert read_json_object(last.folder / DECISION)["decision"]["searched"] == [each.to_json() for each in last.tried]
    assert last.taken
    assert last.recipe
    for known in whole:
        assert not (known.stage == SEARCH and known.lanes), "nothing is compared before the search has ended"


def _kept(known: Decision) -> dict[str, object]:
    return usual(STUDY) | {each.choice: each.value for each in known.tried if each.is_taken}


def test_each_number_is_that_of_its_lane_raced_alone(whole) -> None:
    last = whole[-1]
    configs = [runs.read_config(folder) for folder in sorted((last.folder / SEARCH).glob("targets-*"))]
    assert [{lane.seed for lane in config.lanes} for config in configs] == [{SEED}, {SEED + 1}][: len(configs)]
    for tried in (each for each in last.tried if each.choice == "targets"):
        targets, alone = tried.value and (tried.value,), []
        for config in configs[: tried.seeds]:
            (lane,) = (each for each in config.lanes if each.targets == targets and each.lr == tried.lr)
            *_, step = ov.Race(config.replace(lanes=(lane,)))
            assert step.eval_loss is not None
            alone.append(step.eval_loss[0])
        assert tried.loss == pytest.approx(np.mean(alone), abs=1e-5)
        others = [each for each in configs[0].lanes if each.targets == targets]
        folder = last.folder / SEARCH / f"targets-{SEED}-0"
        of_all = dict(zip(configs[0].lanes, runs.read_steps(folder)[-1].eval_loss, strict=True))
        assert alone[0] == pytest.approx(min(of_all[each] for each in others), abs=1e-5)


def test_what_has_the_lower_loss_runs_again_with_a_second_seed_and_nothing_else_does(whole) -> None:
    for name in PLAN.search:
        tried = [each for each in whole[-1].tried if each.choice == name]
        again = [each for each in tried if each.seeds == 2]
        folders = sorted((whole[-1].folder / SEARCH).glob(f"{name}-{SEED + 1}-*"))
        lanes = [lane for folder in folders for lane in runs.read_config(folder).lanes]
        assert len(again) in (0, 2)
        assert [lane.lr for lane in lanes] == [each.lr for each in again]
        if again:
            assert again[0].value == tried[0].before
            assert sum(each.is_taken for each in again) == 1
        else:
            assert tried[0].is_taken
            assert all(each.gap >= 0 or not math.isfinite(each.gap) for each in tried)
    assert {each.seeds for each in whole[-1].tried} == {1, 2}


def test_a_batch_size_sees_as_many_examples(whole) -> None:
    configs = [runs.read_config(folder) for folder in (whole[-1].folder / SEARCH).glob("batch_size-*")]
    assert {config.batch_size for config in configs} == set(BATCH_SIZES)
    (steps,) = (each.value for each in whole[-1].tried if each.choice == "steps" and each.is_taken)
    assert {config.batch_size * config.steps for config in configs} == {RACE.batch_size * steps}


def test_fewer_steps_are_raced_with_their_whole_schedule_and_compared_so(whole, tmp_path: Path) -> None:
    configs = [runs.read_config(folder) for folder in (whole[-1].folder / SEARCH).glob("steps-*")]
    assert sorted(config.steps for config in configs) == [1, 2, 4]
    search = RecipeSearch(tmp_path, STUDY, ("steps",), most=64)
    scheduled = STUDY.changed({"schedule": "cosine", "warmup": 2})
    both = found_study(scheduled, usual(scheduled) | {"steps": 2, "batch_size": 8})
    assert (both.race.steps, both.race.warmup, both.race.eval_every, both.compare) == (4, 2, 2, STUDY.compare)
    assert search.kept["steps"] == 4


def test_a_search_that_is_stopped_at_any_step_goes_on_to_the_same_end(whole, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for turn in range(60):
        left = 3 + turn % 5

        def watch(_: object) -> bool:
            nonlocal left
            left -= 1
            return left >= 0

        *_, known = decide(out, plan=PLAN, watch=watch)
        if known.stage != SEARCH:
            break
    assert [replace(each, loss=0, gap=0, error=0) for each in known.tried] == [
        replace(each, loss=0, gap=0, error=0) for each in whole[-1].tried
    ]
    for ours, its in zip(known.tried, whole[-1].tried, strict=True):
        assert ours.loss == pytest.approx(its.loss, abs=1e-6)
    assert known.plan.study == whole[-1].plan.study


def test_a_value_is_taken_only_if_it_is_lower_by_more_than_the_margin_and_its_error() -> None:
    kept = np.array([1.0, 2.0, 3.0])

    def taken(other: np.ndarray, margin: float = 0.02) -> bool:
        losses = {("a", 1e-3): kept, ("a", 1e-2): kept + 9, ("b", 1e-3): other + 9, ("b", 1e-2): other}
        first, second = judged("targets", ("a", "b"), losses, margin, base=4.0)
        assert (first.gap, first.error, second.lr) == (0.0, 0.0, 1e-2)
        assert second.gap == pytest.approx((other - kept).mean())
        assert second.error == pytest.approx((other - kept).std(ddof=1) / math.sqrt(3))
        assert first.is_taken != second.is_taken
        return second.is_taken

    assert taken(kept - 0.1)
    assert not taken(kept - 0.03), "within 2% of a reduction of 2 nats"
    assert taken(kept - 0.03, margin=0.01)
    assert not taken(kept - np.array([1.5, 0.0, 0.0])), "one example alone"
    assert not taken(kept + 1)


def test_of_values_that_are_the_same_but_for_chance_few_are_taken() -> None:
    chance, taken = np.random.default_rng(0), 0
    for _ in range(1000):
        losses = {(value, 1e-3): chance.normal(1.0, 1.0, 64) for value in "abc"}
        taken += not judged("r", tuple("abc"), losses, margin=1e-6, base=2.0)[0].is_taken
    assert 0 < taken / 1000 < 2 * 0.03, "two values, each beyond two standard errors on one side"
    assert ERRORS == 2.0


def test_what_diverges_is_left_for_any_value_that_does_not() -> None:
    gone, there = np.full(3, np.nan), np.ones(3)
    first, second = judged("alpha", (None, "2r"), {(None, 1e-3): gone, ("2r", 1e-3): there}, 0.02, base=4.0)
    assert (first.is_taken, second.is_taken) == (False, True)
    first, second = judged("alpha", (None, "2r"), {(None, 1e-3): there, ("2r", 1e-3): gone}, 0.02, base=4.0)
    assert (first.is_taken, second.is_taken) == (True, False)
    first, second = judged("alpha", (None, "2r"), {(None, 1e-3): gone, ("2r", 1e-3): gone}, 0.02, base=4.0)
    assert (first.is_taken, second.is_taken) == (True, False)
    assert Tried.of(first.to_json()).words == first.words == "alpha = r has diverged"


def test_what_is_given_or_compared_is_not_searched() -> None:
    assert searchable(STUDY) == tuple(CHOICES)
    assert searchable(STUDY, ["r", "targets"]) == ("steps", "batch_size", "alpha", "schedule", "dropout")
    assert set(CHOICES) - {*searchable(STUDY.changed(compare=("lora", "lora:targets=attention")))} == {"targets"}
    with_full = STUDY.changed(compare=("lora", "full"))
    assert searchable(with_full) == tuple(CHOICES)
    assert found_study(with_full, usual(with_full) | {"dropout": 0.1}).compare == ("lora:dropout=0.1", "full", "lora")
    assert "dropout" not in searchable(STUDY.changed(compare=("full", "lora")))
    assert "r" not in searchable(STUDY.changed(compare=("lora", "recipe:unsloth")))
    found = found_study(STUDY, usual(STUDY))
    assert found == STUDY
    both = found_study(STUDY, usual(STUDY) | {"alpha": "2r"})
    assert both.compare == ("lora:alpha=2r", "olora:alpha=2r", "lora")
    assert both.across == STUDY.across


def test_a_decision_that_goes_on_searches_nothing_else(whole) -> None:
    with pytest.raises(ValueError, match="searches targets, steps and batch_size: use another folder"):
        next(decide(whole[-1].folder, search=["r"]))


@pytest.mark.parametrize(
    ("study", "words"),
    [
        (STUDY.changed({"targets": ("q_proj",)}), "q_proj alone"),
        (STUDY.changed(compare=("lora:targets=attention", "olora:targets=attention")), "attention alone"),
        (STUDY.changed(compare=("lora:alpha=16", "olora:alpha=16")), "alpha = 16"),
        (STUDY.changed(compare=("lora:r=4,dropout=0.1", "olora:r=4")), "rank 4"),
        (STUDY.changed(compare=("lora:dropout=0.1,schedule=cosine", "olora")), "schedule cosine and dropout 0.1"),
        (STUDY, "all linear layers, 4 steps, batch size 16, rank 8, alpha = r, schedule constant and dropout 0"),
    ],
)
def test_what_is_not_searched_is_told_as_it_is_and_stays_so(study: Study, words: str, tmp_path: Path) -> None:
    assert words in not_searched_words(study, [])
    name, *_ = searchable(study, ["targets", "steps", "batch_size"])
    search = RecipeSearch(tmp_path, study, (name,), most=64)
    values = (search.kept[name], *CHOICES[name].others(search.kept[name]))
    config = search._config([search.kept | {name: value, "lr": 1e-3} for value in values], SEED)
    trial, *_ = study.trials(study.cells()[0], study.reference, [1e-3], 1)
    planned, changed = study.lane(trial), {name, "lr", "seed", "label"}
    for lane in config.lanes:
        others = [each.name for each in fields(lane) if each.name not in changed]
        assert {key: getattr(lane, key) for key in others} == {key: getattr(planned, key) for key in others}
    assert len({getattr(lane, name) for lane in config.lanes}) == len(values)
    assert (config.targets, config.keep, config.forget) == (study.race.targets, "none", None)


def test_while_it_searches_the_page_says_what_it_has_found_and_counts_the_lanes_of_the_search(whole) -> None:
    first, *_ = (known for known in whole if known.tried and known.stage == SEARCH)
    (taken,) = (each for each in first.tried if each.is_taken)
    assert f"The search takes {value_words(taken.choice, taken.value)}." in decision.headline(first)
    assert search_words(first.tried) == first.sentence
    assert decision.progress(first)[1] == "8 of 37 lanes of the search"
    assert decision.progress(whole[-1])[1].endswith("lanes")
    assert all(value_words(each.choice, each.value) in decision.searched(whole[-1]) for each in whole[-1].tried)


def test_its_lanes_are_counted_as_they_run(whole) -> None:
    configs = [runs.read_config(folder) for folder in (whole[-1].folder / SEARCH).glob("*-*")]
    run = sum(len(config.lanes) for config in configs)
    once = [name for name in PLAN.search if all(each.seeds == 1 for each in whole[-1].tried if each.choice == name)]
    assert lanes_of(STUDY, PLAN.search) == run + LANES_AGAIN * len(once)


def test_a_decision_searches_where_there_is_time_and_says_what_it_does_not(tmp_path: Path) -> None:
    given = {"steps": 2, "batch_size": 4, "eval_size": 24, "test_size": 24, "seeds": 3, "lr": (1e-3, 3e-3)}
    plan = next(decide(tmp_path / "long", minutes=20, compare=["olora"], **given)).plan
    assert plan.search == ("targets", "r", "alpha", "schedule", "dropout")
    assert "Not searched: 2 steps and batch size 4." in " ".join(plan.words)
    few = next(decide(tmp_path / "few", minutes=20, compare=["olora"], search=["alpha"], **given)).plan
    assert few.search == ("alpha",)
    none = next(decide(tmp_path / "none", minutes=20, compare=["olora"], search=[], **given)).plan
    assert none.search == ()


def test_a_model_without_attention_has_no_target_modules_to_search(tmp_path: Path) -> None:
    _, tokenizer = ov.load_model("glassllm")
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 24, "num_hidden_layers": 2, "state_size": 4}
    MambaForCausalLM(MambaConfig(**sizes, time_step_rank=4)).save_pretrained(tmp_path / "mamba")
    tokenizer.save_pretrained(tmp_path / "mamba")
    given = {"steps": 2, "batch_size": 4, "eval_size": 24, "test_size": 24, "seeds": 3, "task": "sentiment"}
    plan = next(decide(tmp_path / "out", model=str(tmp_path / "mamba"), compare=["olora"], **given)).plan
    assert plan.search == ("r", "alpha", "schedule", "dropout")


def test_the_longer_the_time_the_more_is_searched_and_a_plan_says_what_is_not() -> None:
    study, all_of_it = Study().changed(compare=METHODS), tuple(CHOICES)
    timing = Timing(setup=1.0, step=0.02, example=0.0005, data="", held_out=64, test=64, alone=0.03, train=300)
    planned = [fitted(study, timing, 60.0 * minutes, minutes, search=all_of_it) for minutes in (1, 2, 4, 8, 16, 32)]
    counts = [len(plan.search) for plan in planned]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, len(all_of_it))
    for plan in planned:
        sees_all = plan.study.race.steps * plan.study.race.batch_size >= timing.train
        assert (*plan.search, *plan.unsearched) == tuple(name for name in all_of_it if name != "steps" or sees_all)
        assert plan.seconds <= 60 * plan.minutes
        assert ("There is no time to search" in " ".join(plan.words)) == bool(plan.unsearched)
        assert plan.searching == 0 or plan.searching > timing.step * plan.study.race.steps


def test_a_choice_that_is_not_searched_costs_no_time() -> None:
    study, names = Study().changed(compare=METHODS), tuple(CHOICES)
    timing = Timing(setup=1.0, step=0.02, example=0.0005, data="", held_out=64, test=64, alone=0.03, train=5000)
    asked = fitted(study, timing, 480.0, 8, search=names)
    assert asked == fitted(study, timing, 480.0, 8, search=tuple(name for name in names if name != "steps"))
    assert "steps" not in (*asked.search, *asked.unsearched)


def test_few_held_out_examples_search_nothing_and_a_plan_says_so() -> None:
    study = Study().changed(compare=METHODS)
    timing = Timing(setup=1.0, step=0.02, example=0.0005, data="", held_out=19, test=64, alone=0.03, train=300)
    few = fitted(study, timing, 3600.0, 60, search=("targets", "r"))
    assert (few.search, few.unsearched) == ((), ())
    assert "Nothing is searched: 19 held-out examples cannot tell values apart." in " ".join(few.words)
    enough = fitted(study, replace(timing, held_out=20), 3600.0, 60, search=("targets", "r"))
    assert enough.search == ("targets", "r")


def test_a_value_that_looks_better_but_may_not_be_is_told_so() -> None:
    kept = np.array([1.0, 2.0, 3.0])
    losses = {(8, 1e-3): kept, (2, 1e-3): kept - np.array([1.5, 0.0, 0.0]), (32, 1e-3): kept + 0.1}
    _, lower, higher = judged("r", (8, 2, 32), losses, 0.02, base=4.0)
    assert lower.words == "rank 2 0.50 ± 0.50 less, too few examples to tell"
    assert higher.words == "rank 32 0.10 ± 0.00 more"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"search": "targets"}, "search must be a list of choices, not 'targets'"),
        ({"search": ["clip"]}, "unknown choice to search 'clip'"),
        ({"search": ["alpha"], "compare": ["lora:alpha=16"]}, "alpha is a part of what is compared"),
        ({"search": ["r"], "r": (4, 8)}, "r has several values, which are compared"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(tmp_path: Path, given, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        next(decide(tmp_path / "out", steps=2, **given))
    assert not (tmp_path / "out").exists()


def test_the_command_searches_what_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--init", "olora", "--steps", "2", "--lr", "1e-3/3e-3"]
    words = ["decide", "--plan", "--out", str(tmp_path / "out"), *given]
    with pytest.raises(SystemExit):
        main(["decide", "--help"])
    described = " ".join(capsys.readouterr().out.split())
    assert and_(list(CHOICES)) in described
    assert main([*words, "--batch-size", "4", "--search", "r,alpha"]) == 0
    assert "A search first, of rank and alpha: 25 lanes" in capsys.readouterr().err
    assert main([*words, "--search", "none"]) == 0
    assert "A search first" not in capsys.readouterr().err
    assert main([*words, "--search", "rank"]) == 2
    assert "unknown choice to search 'rank'" in capsys.readouterr().err


def test_a_search_that_has_no_time_for_a_choice_ends_without_it(tmp_path: Path) -> None:
    search = RecipeSearch(tmp_path, STUDY.fixed(), ("alpha",), most=64)
    assert list(search.races(lambda _: True, lambda: False, None, ov.races.data.ModelCache())) == []
    assert search.has_ended
    assert search.found == STUDY.fixed()
