"""Methods that keep their rate: recipes as shipped, with a race of their own, beside the same with the rate tuned."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.studies.folder import row_of, trial_of
from olora_viz.studies.method import method_name
from olora_viz.studies.search import best, candidates_tried, finalists, most_trials, needed, races
from olora_viz.studies.study import Candidate, Study, Trial

SHORT = ov.RaceConfig(
    task="number-words", steps=6, batch_size=4, eval_size=8, test_size=24, eval_every=3, rows=40, keep="none",
    device="cpu", dtype="float32",
)  # fmt: skip
RATES = (2e-4, 3e-4, 1e-3, 3e-3)

each = pytest.mark.parametrize("name", ov.RECIPES)


def methods_of(name: str) -> tuple[str, str]:
    return f"recipe:{name}", f"recipe:{name},lr=tuned"


def first_trial(study: Study, method: str) -> Trial:
    return next(study.trials(study.cells()[0], method, study.candidates(method)))


@each
def test_a_study_of_a_recipe_judges_it_as_shipped_and_with_its_rate_tuned(name: str) -> None:
    study, (shipped, tuned) = Study(race=SHORT, compare=("lora", f"recipe:{name}"), seeds=2), methods_of(name)
    assert study.compare == ("lora", shipped, tuned) == study.changed(compare=study.compare).compare
    recipe, (lane,) = ov.RECIPES[name], ov.parse_lanes(shipped)
    assert study.candidates(shipped) == [Candidate(recipe.lr)]
    assert study.candidates(tuned) == study.candidates()
    own, of_rate = (study.config([first_trial(study, method)]) for method in (shipped, tuned))
    assert own.lanes[0].replace(label=None) == lane.replace(label=None, warmup=recipe.warmup)
    assert of_rate.lanes[0].replace(lr=recipe.lr, label=None) == lane.replace(label=None)
    length = "epochs" if recipe.steps is None else "steps"
    assert (own.batch_size, getattr(own, length)) == (recipe.batch_size, getattr(recipe, length))
    assert (of_rate.batch_size, of_rate.steps, of_rate.epochs) == (4, 6, None)
    assert method_name(shipped) == f"{name} as shipped"
    assert "tuned" in method_name(tuned)
    assert Study.from_toml(study.to_toml()) == study


def test_a_warm_up_that_is_longer_than_the_epochs_is_raced_once_and_found_again(tmp_path: Path) -> None:
    study = Study(race=SHORT, compare=("lora", "recipe:torchtune"), tune={"lr": (1e-3, 3e-3)}, seeds=1)
    assert ov.RECIPES["torchtune"].warmup > 40 / 32
    ended = [race.folder.name for _, race in zip(range(12), ov.run_study(study, tmp_path / "study"), strict=False)]
    assert len(ended) < 12
    methods = ov.verdicts(tmp_path / "study").rows
    assert sum(trial.method == "recipe:torchtune" for trial in methods) == 1


def test_the_methods_beside_a_recipe_race_as_without_it() -> None:
    alone = Study(race=SHORT, compare=("lora", "olora", "full"), across={"task": ("number-words", "roman")}, seeds=2)
    beside = alone.changed(compare=(*alone.compare, "recipe:peft", "pissa:lr=1e-3"), across={})
    theirs = {(t.cell.task, t.method, t.candidate, t.seed) for t in needed(beside, {}) if t.method in alone.compare}
    assert theirs == {(t.cell.task, t.method, t.candidate, t.seed) for t in needed(alone, {})}
    for group in races(beside, needed(beside, {}), 8):
        own = {t.method for t in group} & {"recipe:peft", "pissa:lr=1e-3"}
        assert not own or {t.method for t in group} == own


@each
def test_a_rate_of_its_own_is_neither_extended_nor_refined_and_moves_no_other_s(name: str) -> None:
    shipped, tuned = methods_of(name)
    lowest = {"lora": 3e-3, shipped: 0.0, tuned: 3e-3, "olora:lr=6e-3": 6e-3}
    study, losses = Study(race=SHORT, compare=("lora", shipped, "olora:lr=6e-3"), tune={"lr": RATES}, seeds=3), {}
    while todo := needed(study, losses):
        losses |= {
            t: abs(math.log10(t.lr / (lowest[t.method] or t.lr))) + 0.001 * t.seed + 0.5 * (t.method == shipped)
            for t in todo
        }
        assert len(losses) < 200
    (cell,) = study.cells()
    for method, rate in ((shipped, ov.RECIPES[name].lr), ("olora:lr=6e-3", 6e-3)):
        assert [at.lr for at in candidates_tried(study, cell, method, losses)] == [rate]
        assert [at.lr for at in finalists(study, cell, method, losses)] == [rate]
        assert {trial.lr for trial in losses if trial.method == method} == {rate}
        chosen = best(study, cell, method, losses)
        assert chosen is not None
        assert (chosen.at.lr, chosen.is_inside) == (rate, True)
    plain = Study(race=SHORT, compare=("lora", "pissa"), tune={"lr": RATES}, seeds=3)
    counts = {method: sum(trial.method == method for trial in losses) for method in study.compare}
    assert counts["lora"] == counts[tuned] == 3 * (len(RATES) + 1 + 2), "an edge extended, and two halves"
    assert most_trials(study) == most_trials(plain) + 2 * 3


TUNED = {"lr": RATES, "batch_size": (4, 8), "warmup": (None, 2), "rows": (20, 40)}


@each
def test_every_run_is_found_again_by_its_race_and_lane_though_another_method_tries_the_same_rate(name: str) -> None:
    (lane,) = ov.parse_lanes(f"recipe:{name}")
    methods = ("lora", "lora:lr=1e-3", f"recipe:{name}", f"recipe:{name},lr=3e-4")
    plain = Study(race=SHORT, compare=methods, tune={"lr": sorted({*RATES, lane.lr})}, seeds=2)
    tuned = Study(race=SHORT, compare=methods[:2], tune=TUNED, seeds=2)
    for study in (plain, tuned, plain.changed(compare=methods[::-1])):
        trials = [
            t for m in study.compare for cell in study.cells() for t in study.trials(cell, m, study.candidates(m))
        ]
        assert len(trials) == len(set(trials))
        for trial in trials:
            config = ov.RaceConfig.from_json(json.loads(json.dumps(study.config([trial]).to_json())))
            assert study.trial_of(config, config.lanes[0]) == trial
            assert trial_of(json.loads(json.dumps(row_of(trial)))) == trial
        for group in races(study, trials):
            assert len({(t.cell, t.tuned, study.config([t]).batch_size) for t in group}) == 1
            assert len(study.config(group).labels) == len(group)


def test_what_is_tuned_of_a_race_a_recipe_as_shipped_has_of_its_own() -> None:
    tune = {"lr": RATES, "batch_size": (2, 8), "rows": (20, 40)}
    with_steps = Study(race=SHORT, compare=("lora", "recipe:unsloth"), tune=tune | {"steps": (6, 12)})
    with_epochs = Study(race=SHORT, compare=("lora", "recipe:torchtune"), tune=tune | {"epochs": (1.0, 2.0)})
    for study, length in ((with_steps, {"steps": 30, "epochs": None}), (with_epochs, {"epochs": 1.0})):
        shipped = study.compare[1]
        recipe = ov.RECIPES[shipped.partition(":")[2]]
        assert len(study.candidates(shipped)) == 2, "of the rows"
        assert len(study.candidates()) == len(RATES) * 2 * 2 * 2
        for trial in study.trials(study.cells()[0], shipped, study.candidates(shipped)):
            config = study.config([trial])
            assert (config.batch_size, config.lanes[0].warmup) == (recipe.batch_size, recipe.warmup)
            assert {name: getattr(config, name) for name in length} == length
            assert study.trial_of(config, config.lanes[0]) == trial


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"across": {"batch_size": (4, 8)}}, "batch_size is crossed and also a part of the method 'recipe:peft'"),
        ({"across": {"epochs": (1.0, 2.0)}}, "epochs is crossed and also a part of the method 'recipe:peft'"),
        ({"across": {"r": (4, 8)}}, "r is crossed and also a part of the method 'recipe:peft,lr=tuned'"),
        ({"tune": {"lr": RATES, "alpha": (8, 16)}}, "alpha is tuned and also a part of the method 'recipe:peft,lr="),
        ({"compare": ("lora", "lora:lr=0")}, "learning rate must be a positive number, not 0.0"),
        ({"compare": ("lora", "lora:lr=-1e-3")}, "learning rate must be a positive number, not -0.001"),
        ({"compare": ("lora", "lora:lr=fair")}, "the rate of the method 'lora:lr=fair' must be a number, or tuned"),
        ({"compare": ("lora", "lora:lr=1e-3/3e-3")}, "'lora:lr=1e-3/3e-3' is 2 lanes, and a method is one"),
        ({"compare": ("lora", "lora:lr=tuned")}, "the methods 'lora' and 'lora:lr=tuned' are the same lane"),
        ({"compare": ("lora:lr=1e-3", "lora:lr=0.001")}, "are the same lane"),
        ({"compare": ("lora", "recipe:pef")}, "unknown recipe 'pef'; did you mean 'peft'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_answered_in_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as said:
        Study(**({"race": SHORT, "compare": ("lora", "recipe:peft")} | settings))
    assert "\n" not in str(said.value)


def test_a_recipe_as_shipped_is_its_lane_raced_alone_bitwise_and_judged_against_its_tuned_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study(
        race=SHORT,
        compare=("recipe:peft", "lora:lr=3e-3"),
        tune={"lr": (1e-3, 4e-3)},
        seeds=3,
        threads=torch.get_num_threads(),
    )
    list(ov.run_study(study, tmp_path / "whole"))
    decided = ov.verdicts(tmp_path / "whole")
    assert [verdict.method for verdict in decided.each] == ["recipe:peft", "recipe:peft,lr=tuned", "lora:lr=3e-3"]
    rows = pd.read_parquet(tmp_path / "whole/lanes.parquet")
    assert {*rows[rows["method"] == "recipe:peft"]["lr"]} == {1e-3}
    assert {*rows[rows["method"] == "recipe:peft"]["steps"]} == {math.ceil(2 * 40 / 32)}
    for verdict in decided.each:
        at = 1e-3 if verdict.method == "recipe:peft" else 3e-3
        assert verdict.method == study.compare[1] or verdict.best_lr == at
        assert verdict.difference.seeds == 3
        trials = study.trials(study.cells()[0], verdict.method, study.candidates(verdict.method), 3)
        assert all(trial in decided.rows for trial in trials)
    recipe, lanes = ov.RECIPES["peft"], ov.parse_lanes("recipe:peft,seed=0-2")
    alone = SHORT.replace(**recipe.race, lanes=lanes, batches="by-seed", eval_every=0)
    *_, last = ov.race(alone)
    assert last.eval_loss is not None
    mine = rows[rows["method"] == "recipe:peft"].sort_values("seed")["valid_loss"]
    np.testing.assert_array_equal(mine, last.eval_loss)
    capsys.readouterr()
    assert main(["study", str(tmp_path / "whole")]) == 0
    printed = capsys.readouterr().out
    assert re.search("recipe:peft +1e-3 ", printed)
    assert "recipe:peft,lr=tuned" in printed


def test_the_plan_counts_own_rates_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--compare lora:warmup=7 --compare recipe:unsloth --lr 1e-3/3e-3 --seeds 3 --steps 9 --across rows=40"
    assert main(["study", *words.split(), "--plan", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert "at least 27 lanes" in said  # 2 methods × (2 rates + 2 halves) × 3 seeds, and 3 seeds as shipped
    assert "unsloth as shipped keeps its rate 2e-4, batches of 8 and 30 steps" in said
