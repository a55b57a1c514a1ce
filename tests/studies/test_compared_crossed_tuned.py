"""What a study compares, crosses, tunes and fixes: every setting is one of these, and every run is found again."""

import itertools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.studies.folder import row_of, trial_of
from olora_viz.studies.method import method_name
from olora_viz.studies.search import best, candidates_tried, finalists, most_trials, needed, races
from olora_viz.studies.study import Candidate, Study, Trial
from olora_viz.studies.timing import TIMED_LANES, estimate, timing_of

SHORT = ov.RaceConfig(task="number-words", steps=8, batch_size=4, eval_size=8, test_size=24, eval_every=4, keep="none")
METHODS = ("lora", "olora:alpha=2r", "lora:params=20k,targets=attention", "recipe:unsloth,alpha=16", "full")
WIDE = Study(
    race=SHORT,
    compare=(*METHODS[:3], "pissa:dropout=0.1"),
    across={"task": ("number-words", "sentiment"), "rows": (50, None), "chat": False, "weight_decay": (0, 0.1)},
    tune={"lr": (1e-3, 4e-3), "batch_size": (4, 8), "schedule": ("constant", "linear")},
    seeds=2,
)


def trials_of(study: Study) -> list[Trial]:
    cells = itertools.product(study.cells(), study.compare)
    return [trial for at in cells for trial in study.trials(*at, study.candidates())]


def test_every_combination_of_what_is_crossed_is_a_cell_and_of_what_is_tuned_a_choice() -> None:
    assert len(WIDE.cells()) == len(set(WIDE.cells())) == 2 * 2 * 2
    assert len(WIDE.choices()) == len(set(WIDE.choices())) == 2 * 2
    assert len(trials_of(WIDE)) == len(set(trials_of(WIDE))) == 8 * 4 * (2 * 4) * 2
    assert most_trials(WIDE) == 8 * 4 * (2 * 4 + 2) * 2
    assert WIDE.race.chat is False, "what has one value is fixed"


def test_the_order_of_the_axes_changes_nothing() -> None:
    turned = Study(
        race=SHORT,
        compare=WIDE.compare,
        across=dict(reversed(WIDE.across.items())),
        tune=dict(reversed(WIDE.tune.items())),
        seeds=2,
    )
    assert turned == WIDE
    assert turned.cells() == WIDE.cells()
    assert races(turned, needed(turned, {})) == races(WIDE, needed(WIDE, {}))


def test_a_run_is_found_again_by_its_race_and_its_lane_and_by_its_row() -> None:
    ranked = 5  # which a number of parameters comes to
    for trial in trials_of(WIDE):
        config, lane = WIDE.config([trial]), WIDE.lane(trial)
        ran = lane.replace(r=ranked, params=None) if lane.params else lane
        assert WIDE.trial_of(config, ran) == trial
        assert trial_of(json.loads(json.dumps(row_of(trial)))) == trial


def test_a_race_holds_lanes_of_one_cell_and_one_choice() -> None:
    study = WIDE.changed(compare=(*WIDE.compare, "full"))
    for group in races(study, needed(study, {})):
        assert len({(trial.cell, trial.tuned) for trial in group}) == 1
        assert len({study.lane(trial).is_dense for trial in group}) == 1
        assert len(study.config(group).lanes) == len(group)


@pytest.mark.parametrize("equal", ["examples", "steps"])
def test_batches_of_all_sizes_see_as_many_examples_or_make_as_many_steps(equal: str) -> None:
    study = Study(
        race=SHORT.replace(warmup=2), compare=("lora", "olora"), equal=equal,
        across={"batch_size": (2, 4, 8)}, tune={"lr": (1e-3, 3e-3), "warmup": (None, 0, 2)},
    )  # fmt: skip
    for trial in trials_of(study):
        config, own = study.config([trial]), dict(trial.tuned)["warmup"]
        scale = 4 / config.batch_size if equal == "examples" else 1
        assert (config.steps, config.warmup, config.eval_every) == (8 * scale, 2 * scale, 4 * scale)
        assert config.lanes[0].warmup == (own and own * scale)
        assert study.trial_of(config, config.lanes[0]) == trial


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_a_lane_whose_rate_and_seed_the_study_sets(method: str) -> None:
    (written,) = ov.parse_lanes(method)
    study = Study(compare=dict.fromkeys((*METHODS[:2], method)), across={})
    trial = next(study.trials(study.cells()[0], method, [3e-3]))
    assert study.lane(trial) == written.replace(lr=3e-3, seed=0, label=None)
    assert method_name(method)


def surface(best_rates: dict[tuple[str, int], float], depth: dict[int, float]) -> Callable[[Trial], float]:
    """Return a loss with its best rate for each method and batch size, and how low it comes there."""

    def loss(trial: Trial) -> float:
        batch = dict(trial.tuned)["batch_size"]
        rate = best_rates[trial.method, batch]
        return depth[batch] + abs(math.log10(trial.lr / rate)) + 0.001 * trial.seed

    return loss


def test_a_choice_is_of_all_that_is_tuned_and_only_its_own_rates_are_extended_and_halved() -> None:
    study = Study(tune={"lr": (1e-3, 2e-3, 4e-3), "batch_size": (8, 32)}, seeds=3)
    (cell,), losses = study.cells(), {}
    rates = {("lora", 8): 2e-3, ("lora", 32): 8e-3, ("olora", 8): 2e-3, ("olora", 32): 2e-3}
    loss = surface(rates, {8: 1.0, 32: 0.5})
    while todo := needed(study, losses):
        losses |= {trial: loss(trial) for trial in todo}
    small, large = (("batch_size", 8),), (("batch_size", 32),)
    chosen = {method: best(study, cell, method, losses) for method in study.compare}
    assert chosen["lora"].at == Candidate(8e-3, large)
    assert chosen["olora"].at == Candidate(2e-3, large)
    assert all(each.is_inside for each in chosen.values())
    tried = {method: candidates_tried(study, cell, method, losses) for method in study.compare}
    for method in study.compare:
        assert [at.lr for at in tried[method] if at.tuned == small] == [1e-3, 2e-3, 4e-3]
        assert {8e-3, 16e-3} <= {at.lr for at in tried[method] if at.tuned == large}, "as many for all"
        assert {at.tuned for at in finalists(study, cell, method, losses)} == {large}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"compare": ("lora", "lora:r=4"), "across": {"r": (4, 8)}}, "r is crossed and also a part of the method"),
        ({"compare": ("lora", "lora:seed=1")}, "a method has no seed, which the study gives each lane"),
        ({"compare": ("lora", "lora:r=4/8")}, "'lora:r=4/8' is 2 lanes, and a method is one"),
        ({"compare": ("lora", "lora:params=20k", "lora:params=40k")}, "but for params, of which a run keeps the rank"),
        ({"compare": ("lora",)}, "compare must name at least two methods"),
        ({"compare": "lora"}, "compare must be a list of methods, not 'lora'"),
        ({"compare": ("lora", "lora")}, "compare names 'lora' twice"),
        ({"compare": ("lora", "recipe:unsloth"), "across": {"r": (4, 8)}}, "the method 'recipe:unsloth,lr=tuned'"),
        ({"across": {"lr": (1e-3,)}}, "lr is both crossed and tuned"),
        ({"across": {"rowss": (5,)}}, "unknown setting of a study 'rowss'; did you mean 'rows'?"),
        ({"across": {"seed": (5, 6)}}, "a study neither crosses nor tunes seed: seeds repeat"),
        ({"across": {"batch_size": ()}}, "batch_size must not be an empty list"),
        ({"across": {"rows": (50, 50)}}, "rows names 50 twice"),
        ({"across": {"dropout": (0, 1.5)}}, "dropout must be a number from 0 to below 1, not 1.5"),
        ({"across": {"batch_size": ("many",)}}, "batch_size must be a whole number, not 'many'"),
        ({"across": [1]}, "across must be a table of settings and their values, not [1]"),
        ({"tune": {"batch_size": (8,)}}, "tune must have the rates"),
        ({"tune": {"lr": (1e-3,), "task": ("a", "b")}}, "task cannot be tuned"),
        ({"race": {"steps": 3}}, "race must be a RaceConfig"),
        ({"equal": "time"}, "equal must be examples or steps, not 'time'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_answered_in_a_sentence(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as said:
        Study(**settings)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--seeds 0", "seeds must be a whole number from 1 to 1000, not 0"),
        ("--margin 0", "margin must be a share of the reference's loss reduction between 0 and 1, not 0.0"),
        ("--lr=", "--lr must be a list of numbers, not ''"),
        ("--init=", "unknown initialization ''"),
        ("--r 4.5", "--r must be a list of whole numbers, not '4.5'"),
        ("--alpha 2q", "alpha must be a positive number, or a multiple of r or sqrt(r)"),
        ("--across batch-size", "--across is NAME=LIST, such as batch-size=8/32, not 'batch-size'"),
        ("--across batch-size=0", "batch_size must be a whole number from 1"),
        ("--tune lr=1e-3 --lr 2e-3", "lr is given twice"),
        ("--init lora,olora --compare pissa", "give the methods by --compare or by --init, not by both"),
        ("--steps 5 --epochs 2", "steps 5 and epochs 2 both say how long it trains: give one"),
    ],
)
def test_so_is_what_the_command_line_cannot_mean(
    words: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "--out", str(tmp_path / "out"), "--plan", *words.split()]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert sentence in said
    assert not (tmp_path / "out").exists()


def test_a_study_runs_over_rows_and_batch_sizes_and_goes_on_after_a_stop_to_the_same_table(tmp_path: Path) -> None:
    study = Study(
        race=SHORT.replace(steps=4),
        compare=("lora", "lora:params=20k,targets=attention"),
        across={"rows": (40, None)},
        tune={"lr": (1e-3,), "batch_size": (4, 8)},
        seeds=1,
        threads=1,
    )
    seen: list[int] = []
    list(ov.run_study(study, tmp_path / "whole"))
    list(ov.run_study(study, tmp_path / "cut", watch=lambda step: seen.append(step.step) or len(seen) < 5))
    list(ov.run_study(None, tmp_path / "cut"))
    keys = ["method", "rows", "batch_size", "lr", "seed"]
    whole, cut = (
        pd.read_parquet(tmp_path / name / "lanes.parquet").drop(columns=["seconds", "run"]).sort_values(keys)
        for name in ("whole", "cut")
    )
    pd.testing.assert_frame_equal(whole.reset_index(drop=True), cut.reset_index(drop=True), check_exact=True)
    assert set(zip(whole["batch_size"], whole["steps"], strict=True)) == {(4, 4), (8, 2)}
    assert set(whole["rows"].fillna(0)) == {0, 40}
    decided = ov.verdicts(tmp_path / "whole")
    assert {(each.cell.others, each.method) for each in decided.each} == {
        ((("rows", rows),), method) for rows in (40, None) for method in study.compare
    }
    record = decided.each[1].to_json()
    assert record["method"] == study.compare[1]
    assert set(record["tuned"]) == {"lr", "batch_size"}
    assert 1 < record["r"] < 8, "the rank that it ran with"
    with pytest.raises(ValueError, match=r"rows is .* but None here"):
        list(ov.run_study(Study(race=study.race, tune=study.tune, seeds=1, threads=1), tmp_path / "whole"))


def test_the_plan_times_a_study_whose_last_methods_have_targets_of_their_own() -> None:
    """The lanes that are timed are the first few; the memory is that of a race of all."""
    first = tuple(f"lora:alpha={factor}r" for factor in range(2, 2 + TIMED_LANES))
    race = {"steps": 4, "eval_size": 8, "test_size": 8}
    study = Study().changed(race=race, compare=(*first, "lora:targets=attention"), tune={"lr": (1e-3,)}, seeds=1)
    (cell,) = study.cells()
    trials = [trial for method in study.compare for trial in study.trials(cell, method, [1e-3])]
    assert estimate(study, trials).memory == timing_of(study.config(races(study, trials)[0])).memory
