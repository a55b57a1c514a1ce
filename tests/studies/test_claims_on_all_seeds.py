"""Claims that compare what two methods have: the seeds of all methods tell how far that scatters."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
from support.planted_losses import bowl, row

from olora_viz.studies.claims import base_dtype, larger_batches, rate_against_full, smaller
from olora_viz.studies.claims.claim import Finding, ratio_of
from olora_viz.studies.seed_variance import own_variance, seed_variance
from olora_viz.studies.statistics import Interval, t_interval
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.verdicts import Verdicts, verdicts_of

METHODS = ("lora", "olora", "full", "pissa")
BEST = 8e-4
STUDY = Study(tune={"lr": tuple(1e-4 * 2.0**k for k in range(7))}, compare=METHODS, seeds=3)


def error(place: int | str, init: str, seed: int) -> float:
    """How far a method's run with a seed lies from the mean, in one of two studies, ranks or dtypes."""
    return float(np.random.default_rng([seed, *f"{place} {init}".encode()]).normal(0, 0.05))


def errors(place: int | str, init: str) -> np.ndarray:
    return np.array([error(place, init, seed) for seed in range(STUDY.seeds)])


def changes(first: int | str, second: int | str) -> dict[str, np.ndarray]:
    """From one place to another, of each method by seed."""
    return {init: errors(second, init) - errors(first, init) for init in METHODS}


def ran(study: Study, loss: Callable[[Trial], float]) -> Verdicts:
    trials: Iterable[Trial] = (
        trial for cell in study.cells() for init in study.compare for trial in study.trials(cell, init, study.lrs)
    )
    return verdicts_of(study, {trial: row(loss(trial)) for trial in trials})


def missed(trial: Trial, place: int | str) -> float:
    """A loss that its rate and its place give."""
    return 1.0 + bowl(trial.lr, BEST) + error(place, trial.method, trial.seed)


def batches() -> tuple[Finding, str, dict[str, np.ndarray], Sequence[str]]:
    """That larger batches cost LoRA more."""
    small = STUDY.changed({"batch_size": 4, "steps": 80})
    large = small.changed({"batch_size": 16, "steps": 20})
    studies = [ran(each, lambda t, size=each.race.batch_size: missed(t, size)) for each in (small, large)]
    return larger_batches.judge(studies), "more_than_full_lora", changes(4, 16), ("lora", "full")


def best_rates() -> tuple[Finding, str, dict[str, np.ndarray], Sequence[str]]:
    """That LoRA's best rate is about ten times full fine-tuning's."""
    found = ran(STUDY, lambda t: 1.0 + bowl(t.lr, BEST * np.exp(error("rate", t.method, t.seed))))
    return rate_against_full.judge(found), "times_lora", {i: errors("rate", i) for i in METHODS}, ("lora", "full")


def ranks() -> tuple[Finding, str, dict[str, np.ndarray], Sequence[str]]:
    """That the gain is larger at lower ranks: that OLoRA's loss rises more from the lower to the higher one."""
    found = ran(STUDY.changed(across={"r": (2, 16)}), lambda t: missed(t, t.cell.r))
    return smaller.judge(found), "more_at_the_lower_rank", changes(2, 16), ("olora", "lora")


def dtypes() -> tuple[Finding, str, dict[str, np.ndarray], Sequence[str]]:
    """That a comparison does not depend on the dtype: the largest change against LoRA is named."""
    names = "float32", "bfloat16"
    studies = [ran(STUDY.changed({"dtype": name}), lambda t, name=name: missed(t, name)) for name in names]
    moved = changes("float32", "bfloat16")
    most = max(METHODS[1:], key=lambda init: abs((moved[init] - moved["lora"]).mean()))
    return base_dtype.judge(studies), "largest_change", moved, (most, "lora")


@pytest.mark.parametrize("judged", [batches, best_rates, ranks, dtypes], ids=lambda judged: judged.__name__)
def test_the_seeds_of_all_methods_tell_how_far_a_comparison_scatters(judged: Callable) -> None:
    finding, name, by_seed, (first, second) = judged()
    gap = by_seed[first] - by_seed[second]
    known = seed_variance(gap, (by_seed[first], by_seed[second]), list(by_seed.values()))
    assert known.freedom() > own_variance(gap).freedom()
    expected = t_interval(gap, known)
    expected = ratio_of(expected) if judged is best_rates else expected
    found = finding.numbers[name]
    assert isinstance(found, Interval)
    assert found == pytest.approx(tuple(expected), rel=1e-6)


def test_a_method_without_a_best_rate_tells_nothing() -> None:
    def alone(*inits: str) -> Finding:
        study = STUDY.changed(across={"r": (2, 16)}, compare=inits)
        return smaller.judge(
            ran(study, lambda t: math.nan if t.method == "full" and t.cell.r == 2 else missed(t, t.cell.r))
        )

    without, beside = alone("lora", "olora"), alone("lora", "olora", "full")
    assert beside.numbers["more_at_the_lower_rank"] == without.numbers["more_at_the_lower_rank"]
