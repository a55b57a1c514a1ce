"""Claims on optimizers follow planted losses, and rates are tried where an optimizer has them."""

import math

import pytest
from support.planted_claims import OPTIMIZED, WILD, comparing, planted_optimizers
from support.planted_losses import bowl, study

from olora_viz.lanes.optimizers import OPTIMIZERS
from olora_viz.studies.claims import optimizer_levels, start_is_rate
from olora_viz.studies.claims.claim import NOT_MEASURED, Finding
from olora_viz.studies.study import Study


def difference(found: Finding, name: str) -> float:
    number = found.numbers[f"difference_{name}"]
    assert not isinstance(number, float | int)
    return number.mean


@pytest.mark.parametrize(
    ("shifts", "levels", "only_rate"),
    [
        ({}, "holds", "holds"),
        ({("sgd", "olora"): -0.3}, "holds", "fails"),
        ({("sgd", "olora"): -0.3, ("riemannian", "pissa"): 0.3}, "fails", "fails"),
        ({("sgd", "olora"): -0.3, ("riemannian", "pissa"): WILD}, "undecided", "fails"),
        ({("riemannian", "pissa"): 0.3, ("sgd", "pissa"): WILD}, "undecided", "undecided"),
        ({("adamw", "olora"): -0.3}, "holds", "holds"),
    ],
    ids=["level", "sgd", "all", "wild", "wild-sgd", "adamw"],
)  # fmt: skip
def test_claims_on_optimizers_follow_the_losses(
    shifts: dict[tuple[str, str], float], levels: str, only_rate: str
) -> None:
    of = planted_optimizers(shifts)
    found, rate = optimizer_levels.judge(of), start_is_rate.judge(of)
    assert (found.verdict, rate.verdict) == (levels, only_rate), (found.words, rate.words)
    for (opt, method), shift in shifts.items():
        if not math.isnan(shift):
            assert difference(found, f"{opt}_{method}") == pytest.approx(shift, abs=0.03)
    assert f"Under AdamW {'they are not' if ('adamw', 'olora') in shifts else 'they are'}." in found.words


@pytest.mark.parametrize(
    "base", [comparing("olora"), comparing("olora").changed(across={"opt": ("adamw",)})], ids=["none", "one"]
)
def test_a_study_without_other_optimizers_measures_neither(base: Study) -> None:
    of = study(lambda its: 1.0 + bowl(its.lr), base)
    for judge in (optimizer_levels.judge, start_is_rate.judge):
        assert judge(of).verdict == NOT_MEASURED


def test_rates_are_those_of_the_optimizer_of_a_cell_or_of_what_is_tuned() -> None:
    adamw, sgd, _ = OPTIMIZED.cells()
    assert OPTIMIZED.lrs_in(adamw, ()) == OPTIMIZED.lrs
    assert OPTIMIZED.lrs_in(sgd, ()) == pytest.approx([lr * OPTIMIZERS["sgd"].rate for lr in OPTIMIZED.lrs])
    tuned = comparing("olora").changed(tune={"opt": ("adamw", "sgd"), "lr": (1e-3, 3e-3)})
    (cell,) = tuned.cells()
    assert tuned.lrs_in(cell, (("opt", "sgd"),)) == (0.1, 0.3)
    mixed = Study(compare=("lora", "lora:opt=sgd"), tune={"lr": (1e-3, 3e-3)})
    assert mixed.lrs_in(mixed.cells()[0], ()) == (1e-3, 3e-3, 0.1, 0.3)
    best = {each.method: each.best_lr for each in planted_optimizers({}).of(sgd)}
    assert min(rate or 0 for rate in best.values()) > max(OPTIMIZED.lrs)
