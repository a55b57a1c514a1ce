"""A limit on what may be forgotten: every choice is made within it, and says what was given up for it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.simulated_studies import row_of

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.races import model_card
from olora_viz.races import run as runs
from olora_viz.studies.budget import Plan
from olora_viz.studies.decide import Decision, decide
from olora_viz.studies.recommendation import nothing_fits, recommend
from olora_viz.studies.rows import losses_of
from olora_viz.studies.search import needed
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.verdicts import Verdicts, verdicts_of
from olora_viz.tasks.keep import AUTO
from olora_viz.views.decision import headline

STUDY = Study().changed(
    race={"keep": AUTO}, tune={"lr": (1e-3, 2e-3, 4e-3)}, compare=("lora", "olora"), seeds=4, coarse=1
)
(CELL,) = STUDY.cells()
SPREAD = np.linspace(-0.2, 0.2, 64)


def risen(init: str, lr: float, seed: int) -> float:
    """Return by how much a run's loss on the text rises: with the rate, more for OLoRA and for the last seed."""
    return 50 * lr * (1.5 if init == "olora" else 1.0) + 0.001 * seed


def finished(forget: float | None, lost: Callable[[str, float, int], float] = risen) -> Verdicts:
    """Finish a study whose losses are lowest at 2e-3, OLoRA's by 0.3 nats."""
    study = STUDY.changed({"forget": forget})
    rows: dict[Trial, dict[str, Any]] = {}
    while todo := needed(study, losses_of(study, rows)):
        for one in todo:
            noise = np.random.default_rng([one.seed, *one.method.encode()]).normal(0, 0.01)
            loss = 1.0 + math.log(one.lr / 2e-3) ** 2 + 0.1 * one.seed + noise - 0.3 * (one.method == "olora")
            rise = lost(one.method, one.lr, one.seed)
            of_text = {"base_text_loss": 4.0, "text_loss": 4.0 + rise, "drift": 2 * rise}
            rows[one] = row_of(loss + SPREAD, loss + SPREAD, **of_text)
    return verdicts_of(study, rows)


def test_rates_are_chosen_within_the_limit_and_all_others_are_as_without_it() -> None:
    free, limited = finished(None), finished(0.11)
    assert [verdict.best_lr for verdict in free.each] == [2e-3, 2e-3]
    assert [verdict.best_lr for verdict in limited.each] == [2e-3, 1.41e-3]
    for verdict in limited.each:
        assert verdict.forgotten is not None
        assert verdict.forgotten.lost <= 0.11
        assert all(risen(verdict.method, lr, 3) <= 0.11 for lr in verdict.rates_like)
    wide = finished(1e9)
    assert [each.to_json() for each in wide.each] == [each.to_json() for each in free.each]


def test_no_seed_exceeds_it_where_a_rate_is_chosen() -> None:
    def lost(init: str, lr: float, seed: int) -> float:
        return 0.2 if (lr, seed) == (2e-3, 3) else 0.01

    assert 2e-3 not in {verdict.best_lr for verdict in finished(0.1, lost).each}


def test_the_sentence_says_what_was_given_up() -> None:
    taken = recommend(finished(0.11))
    assert taken is not None
    assert taken.headline == "Within 0.11 nats of forgetting, take OLoRA at 1.41e-3, rank 8."
    assert (
        " OLoRA at 1.41e-3 forgets 0.11 nats; without the limit OLoRA at 2e-3 would be 0.12 nats better"
        in taken.sentence
    )
    assert taken.sentence.endswith(" on the test and forget 0.15 (1 seed).")
    values = taken.to_json()
    assert values["forget"] == 0.11
    assert values["text_loss_rise"] == pytest.approx(0.107, abs=0.001)
    wide = recommend(finished(9.0))
    assert wide is not None
    assert wide.sentence.endswith(" OLoRA at 2e-3 forgets 0.15 nats; without the limit it would be no other.")
    free = recommend(finished(None))
    assert free is not None
    assert free.sentence.endswith(" OLoRA at 2e-3 forgets 0.15 nats of the text to keep.")
    assert ", and drifts 1.5 times as far." in free.sentence


def test_where_all_rates_forget_too_much_lower_ones_are_tried_and_the_nearest_is_named() -> None:
    below = finished(0.01)
    assert min(trial.lr for trial in below.rows) < 1e-3
    assert recommend(below) is not None
    none = finished(0.01, lambda init, lr, seed: 0.5 + lr + 0.1 * (init == "olora"))
    assert recommend(none) is None
    assert [verdict.best_lr for verdict in none.each] == [None, None]
    assert none.each[1].why == "olora and lora forget more than 0.01 nats, or diverged, at every rate tried"
    words = nothing_fits(none)
    assert words.startswith(
        "Nothing that was tried stays within 0.01 nats of forgetting: the nearest, LoRA at 6.25e-5"
    )
    assert ", forgets 0.50." in words
    assert words.endswith("fewer steps; or replay the text to keep, as --init lora:replay=0.05 does.")
    assert nothing_fits(below) == nothing_fits(finished(None)) == ""


SMALL = Study().changed(
    race={
        "task": "sentiment",
        "steps": 3,
        "batch_size": 4,
        "eval_size": 24,
        "test_size": 24,
        "eval_every": 0,
        "keep": AUTO,
        "forget": 5.0,
    },
    across={"r": (2,)},
    tune={"lr": (1e-3, 3e-3)},
    seeds=1,
    coarse=1,
    threads=1,
)


def test_a_decision_keeps_its_limit_and_its_adapter_says_what_it_forgot(tmp_path: Path) -> None:
    folder, plan = tmp_path / "out", Plan(SMALL, minutes=60, seconds=10, final=1, most=64)
    first = decide(folder, plan=plan)
    next(first), next(first)
    first.close()
    with pytest.raises(ValueError, match=r"forget is 5.0 in '.*out', but 1.0 here: use another folder"):
        next(decide(folder, forget=1.0))
    *_, last = decide(folder, minutes=60)
    assert isinstance(last, Decision)
    assert last.plan.study.race.forget == 5.0
    assert last.sentence.startswith("Within 5 nats of forgetting, ")
    assert "Within 5 nats of forgetting, " in headline(last)
    assert last.adapter is not None
    card = (last.adapter / "README.md").read_text()
    (lane,) = (runs.read_summary(folder / "final") or {})["lanes"].values()
    text = f"On plain English, 512 tokens that it was not trained on, its loss is {lane['final_text_loss']:.4f}"
    assert text in card
    summary = runs.read_summary(folder / "final") or {}
    better = lane | {"final_text_loss": summary["text"]["loss"] - 0.1}
    assert "it forgot nothing." in model_card._forgot(runs.read_config(folder / "final"), summary, better)
    assert f"KL(base‖adapter) is {lane['final_drift']:.4f}" in card
    assert "The limit was 5 nats." in card


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--keep", "none", "--forget", "0.1"], "forget 0.1 limits what may be lost of a text to keep: set keep to"),
        (["--keep", "auto", "--forget", "-1"], "forget, in nats, must be a number of at least 0, not -1"),
        (["--keep", "auto", "--forget", "nan"], "forget, in nats, must be a number of at least 0, not nan"),
        (["--keep", "auto", "--forget", "much"], "invalid float value: 'much'"),
    ],
)
@pytest.mark.parametrize("verb", ["decide", "race", "study"])
def test_what_is_not_a_limit_is_one_sentence(
    verb: str, options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [] if verb == "race" else ["--out", str(tmp_path / "out")]
    try:
        code = main([verb, *out, *options])
    except SystemExit as exited:
        code = exited.code
    assert code == 2
    assert sentence in capsys.readouterr().err


def test_a_file_sets_it_and_python_refuses_what_is_no_number(tmp_path: Path) -> None:
    study = Study.from_toml('keep = "auto"\nforget = 0.1\n')
    assert study.race.forget == 0.1
    assert Study.from_toml(study.to_toml()) == study
    config = ov.RaceConfig(keep=AUTO, forget=0.1)
    assert ov.RaceConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    for wrong in ("a little", math.nan, math.inf, -0.1):
        with pytest.raises(ValueError, match="forget, in nats, must be a number of at least 0"):
            ov.RaceConfig(keep=AUTO, forget=wrong)
