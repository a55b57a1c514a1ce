"""What each choice of a study is worth: in what methods differ, what is said of it, and that clones are level."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.simulated_studies import World, row_of
from support.study_folders import written

from olora_viz.__main__ import main
from olora_viz.lanes.lane import SHOWN
from olora_viz.lanes.recipes import RECIPES
from olora_viz.studies.choices import (
    GROUPS,
    choices,
    choices_words,
    compares_more_than_starts,
    differing,
    worth_of_choices,
)
from olora_viz.studies.search import needed
from olora_viz.studies.statistics import BETTER, LEVEL, UNDECIDED, WORSE
from olora_viz.studies.study import Study
from olora_viz.studies.verdicts import Verdicts, verdicts_of

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
GAPS = {
    "lora": 0.0, "olora": 0.0, "lora:targets=attention": 0.2, "lora:targets=mlp": 0.4, "lora:alpha=2r": 0.0,
    "lora:r=2": 0.1, "lora:dropout=0.1": 0.0,
}  # fmt: skip


def made(gaps: dict[str, float], best: dict[str, float] | None = None, spread: float = 0.002) -> Verdicts:
    """Finish a study whose methods lie so far apart at their best rates, all at 3e-3 but those of `best`."""
    study, random = Study(compare=tuple(gaps), tune={"lr": RATES}, seeds=3), np.random.default_rng(0)
    examples, rows = random.normal(1.0, 0.3, 64), {}
    while trials := needed(study, {trial: row["valid_loss"] for trial, row in rows.items()}):
        for trial in trials:
            off = math.log(trial.lr / (best or {}).get(trial.method, 3e-3)) ** 2
            loss = 0.5 + gaps[trial.method] + 0.1 * off + spread * random.normal() + 0.1 * trial.seed
            noise = spread * random.normal(size=(2, 64))
            rows[trial] = row_of(loss + examples + noise[0], loss + examples + noise[1])
    return verdicts_of(study, rows)


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("olora", "init"), ("lora:targets=mlp", "targets"), ("lora:r=2", "r"), ("lora:params=200k", "params"),
        ("lora:alpha=16", "alpha"), ("lora:alpha=r", "alpha"), ("lora:rslora=1", "rslora"),
        ("lora:alpha=16,rslora=1", "alpha"), ("lora:lora_plus=4", "lora_plus"), ("lora:dropout=0.1", "dropout"),
        ("lora:weight_decay=0.1", "weight_decay"), ("lora:clip=1", "clip"), ("lora:beta1=0.8", "beta1"),
        ("lora:schedule=cosine", "schedule"), ("lora:warmup=5", "warmup"), ("full", "dense"),
        ("lora:dim=64", "dim"), ("lora:rank_by=energy", "rank_by"),
        ("lora:replay=0.05", "replay"), ("lora:keep_kl=0.1", "keep_kl"),
        ("full:weight_decay=0.1", "several"),
        ("lora:lr=3e-3", "lr"),
        ("lora:lr=3e-3,r=4", "several"), ("olora:targets=mlp", "several"), ("lora:r=4,dropout=0.1", "several"),
        ("lora:targets=mlp,r=13", "targets"), ("lora:targets=mlp,params=74k", "targets"),
    ],
)  # fmt: skip
def test_a_method_differs_in_one_key_or_in_several(method: str, key: str) -> None:
    race = replace(Study().race, keep="auto")
    study = Study(compare=("lora", method), race=race, tune={"lr": RATES})
    assert differing(study, study.cells()[0], method) == key
    assert GROUPS[key]
    turned = Study(compare=(method, "lora"), race=race, tune={"lr": RATES})
    assert differing(turned, turned.cells()[0], "lora") == key


def test_targets_of_as_many_parameters_are_told_with_their_size_and_are_no_choice_of_a_size() -> None:
    verdicts = made({"lora": 0.0, "lora:targets=attention,r=21": 0.5, "lora:targets=mlp,params=74k": 0.0})
    (cell,) = verdicts.study.cells()
    assert {each.group for each in choices(verdicts, cell)} == {"target modules"}
    words = {each.words for each in choices(verdicts, cell)}
    assert words == {"attention alone at rank 21", "mlp alone at 74k params"}
    assert "The target modules (attention alone at rank 21 costs 0.5" in choices_words(verdicts, cell)


def test_every_key_of_a_lane_has_its_group_and_so_has_every_recipe() -> None:
    assert {*SHOWN} - {"lr", "seed"} <= {*GROUPS}
    for name in RECIPES:
        study = Study(compare=("lora", f"recipe:{name}"), tune={"lr": RATES})
        assert len(study.compare) == 3  # as shipped, and with its rate tuned
        assert {differing(study, study.cells()[0], method) for method in study.compare[1:]} == {"recipe"}


def test_a_rank_that_is_crossed_is_no_choice_and_alpha_is_of_it() -> None:
    study = Study(compare=("lora", "lora:alpha=2r", "lora:alpha=4"), across={"r": (4, 16)}, tune={"lr": RATES})
    first, second = study.cells()
    assert {differing(study, cell, "lora:alpha=2r") for cell in (first, second)} == {"alpha"}
    assert {differing(study, cell, "lora:alpha=4") for cell in (first, second)} == {"alpha"}


def test_choices_are_grouped_and_sorted_by_size_whatever_the_order_of_the_methods() -> None:
    found = made(GAPS)
    (cell,) = found.study.cells()
    listed = choices(found, cell)
    groups = [each.group for each in listed]
    assert len(listed) == len(GAPS) - 1
    runs = [group for k, group in enumerate(groups) if not k or groups[k - 1] != group]
    assert len(runs) == len(set(runs))  # each group stands together
    farthest = [max(each.size for each in listed if each.group == group) for group in runs]
    assert farthest == sorted(farthest, reverse=True)
    for group in runs:
        sizes = [each.size for each in listed if each.group == group]
        assert sizes == sorted(sizes, reverse=True)
    reference, *others = found.study.compare
    turned = verdicts_of(Study(compare=(reference, *reversed(others)), tune={"lr": RATES}, seeds=3), found.rows)
    again = choices(turned, cell)
    assert [each.words for each in again] == [each.words for each in listed]
    for one, other in zip(listed, again, strict=True):
        assert one.verdict.verdict == other.verdict.verdict
        assert one.verdict.interval == pytest.approx(other.verdict.interval)
    assert choices_words(turned, cell) == choices_words(found, cell)


def test_the_sentence_follows_the_verdicts() -> None:
    found = made(GAPS)
    (cell,) = found.study.cells()
    said = {each.words: each.verdict.verdict for each in choices(found, cell)}
    assert said == {
        "mlp alone": WORSE, "attention alone": WORSE, "rank 2": WORSE, "OLoRA": LEVEL, "alpha 2r": LEVEL,
        "dropout 0.1": LEVEL,
    }  # fmt: skip
    words = choices_words(found, cell)
    assert words.startswith("The target modules matter most (mlp alone costs 0.40 nats), then the rank (rank 2 costs")
    level = words.partition("; ")[2]
    assert level.endswith(" are level once the rate is tuned.")
    assert all(name in level for name in ("alpha", "dropout", "the start"))


def test_two_whose_intervals_meet_are_not_ordered() -> None:
    found = made({"lora": 0.0, "lora:targets=mlp": 0.301, "lora:r=2": 0.3, "olora": 0.0}, spread=0.02)
    (cell,) = found.study.cells()
    words = choices_words(found, cell)
    assert " most" not in words
    assert "the target modules (mlp alone" in words.lower()
    assert " and the rank (rank 2" in words or "The rank (rank 2" in words


def test_what_only_matters_at_one_rate_is_called_a_rate_in_disguise() -> None:
    found = made({"lora": 0.0, "lora:alpha=4r": 0.0, "olora": 0.0}, best={"lora:alpha=4r": 1e-3})
    (cell,) = found.study.cells()
    alpha = next(each for each in choices(found, cell) if each.key == "alpha")
    assert alpha.verdict.verdict == LEVEL
    assert alpha.verdict.verdict_shared_rate == WORSE
    at_one = alpha.verdict.at_shared.interval.mean
    assert at_one == pytest.approx(0.1 * (math.log(3) ** 2), abs=0.01)
    assert alpha.verdict.to_json()["difference_shared_rate"] == at_one
    assert "At one shared rate, 3e-3, alpha 4r does matter: a rate in disguise." in choices_words(found, cell)


def test_a_study_of_starts_alone_has_no_choices_to_tell() -> None:
    assert not compares_more_than_starts(Study(compare=("lora", "olora", "pissa")))
    assert not worth_of_choices(made({"lora": 0.0, "olora": 0.1, "pissa": 0.2}))
    assert compares_more_than_starts(Study(compare=("lora", "olora", "lora:dropout=0.1")))


CLONES = ("lora", "lora:alpha=r", "lora:schedule=constant", "lora:warmup=0", "lora:alpha=8")
"""One lane, written in five ways."""


@pytest.mark.nightly
def test_clones_are_seldom_said_to_matter() -> None:
    """In at most 5% of the lists some clone is better or worse, each at its best rate."""
    study = Study(compare=CLONES, tune={"lr": RATES}, seeds=3)
    (cell,), random, wrong = study.cells(), np.random.default_rng(7), 0
    lists = 100
    for _ in range(lists):
        world = World(random, len(CLONES), 60, 55, curvature=0.1, names=CLONES)
        world.best[:] = world.best[0]
        found = world.study(study)
        ordered = any(each.verdict.verdict in (BETTER, WORSE) for each in choices(found, cell))
        assert ordered == ("costs" in choices_words(found, cell) or "gains" in choices_words(found, cell))
        wrong += ordered
        assert {each.verdict.verdict for each in choices(found, cell)} <= {LEVEL, UNDECIDED, BETTER, WORSE}
    assert stats.binomtest(wrong, lists, 0.05, alternative="greater").pvalue > 0.01


def test_the_command_says_it_in_words_and_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = made(GAPS)
    rows = {at: {k: v for k, v in row.items() if "by_example" not in k} for at, row in whole.rows.items()}
    found = verdicts_of(whole.study, rows)
    folder = written(found, tmp_path / "study")
    assert main(["study", str(folder)]) == 0
    ((cell, words),) = worth_of_choices(found).items()
    assert f"{cell}: {words}" in capsys.readouterr().out
    assert main(["study", str(folder), "--json"]) == 0
    *_, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert last["choices"] == [{"cell": cell, "words": words}]
