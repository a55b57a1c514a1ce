"""Interactions: differences of differences, by hand and by SciPy, and their verdicts where the truth is known."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from support.simulated_studies import row_of

from olora_viz.studies.interaction import interacting, interactions
from olora_viz.studies.statistics import BETTER, LEVEL, UNDECIDED, WORSE
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.verdicts import Verdicts, verdicts_of

RATES = (1e-3, 2e-3, 4e-3)
TRIED = (1e-3, 1.41e-3, 2e-3, 2.83e-3, 4e-3)
RANKS = Study(across={"r": (4, 16)}, tune={"lr": RATES}, seeds=4)
CARRIED = Study(
    compare=("lora", "olora", "lora:targets=attention", "olora:targets=attention"), tune={"lr": RATES}, seeds=4
)
Loss = Callable[[Trial], np.ndarray]


def decided(study: Study, loss: Loss, n: int = 40) -> Verdicts:
    """Return the verdicts on losses by trial and example, with the rates around 2e-3 tried."""
    rows = {}
    for cell in study.cells():
        for method in study.compare:
            for trial in study.trials(cell, method, TRIED):
                off = 0.2 * math.log(trial.lr / 2e-3) ** 2
                losses = loss(trial) + off
                rows[trial] = row_of(losses, losses)
    return verdicts_of(study, rows)


def noise(*key: object, n: int = 40, spread: float = 0.02) -> np.ndarray:
    drawn = np.random.default_rng([*str(key).encode()])
    return spread * drawn.normal() + spread * drawn.normal(size=n)


def losses(gain: dict[object, float], n: int = 40, spread: float = 0.02) -> Loss:
    """OLoRA gains by rank, or by method as it is written."""

    def of(trial: Trial) -> np.ndarray:
        own = gain.get(trial.method, gain.get(trial.cell.r, 0.0) if trial.method == "olora" else 0.0)
        shared = np.linspace(0.5, 1.5, n) + 0.1 * trial.seed
        return shared - own + noise(trial.cell.r, trial.method, trial.seed, n=n, spread=spread)

    return of


def corners(found: Verdicts, places: list[tuple[int, str]]) -> list[np.ndarray]:
    """Return the test losses (seeds, examples) of methods in cells at their best rate, 2e-3."""
    cells, study = found.study.cells(), found.study
    return [
        np.array([found.rows[t]["test_loss_by_example"] for t in study.trials(cells[at], method, [2e-3])])
        for at, method in places
    ]


@pytest.mark.parametrize(
    ("study", "setting", "places"),
    [
        (RANKS, "r", [(1, "olora"), (1, "lora"), (0, "olora"), (0, "lora")]),
        (
            CARRIED,
            "targets",
            [(0, "olora:targets=attention"), (0, "lora:targets=attention"), (0, "olora"), (0, "lora")],
        ),
        (CARRIED, "init", [(0, "olora:targets=attention"), (0, "olora"), (0, "lora:targets=attention"), (0, "lora")]),
    ],
)
def test_an_interaction_is_hand_algebra_with_students_t(
    study: Study, setting: str, places: list[tuple[int, str]]
) -> None:
    found = decided(study, losses({16: 0.2, "olora:targets=attention": 0.2}))
    (one,) = interactions(found, setting)
    a, b, c, d = corners(found, places)
    gap = (a - b) - (c - d)
    by_seed, by_example = gap.mean(1), gap.mean(0)
    ends, p_values = [], []
    for values in (by_seed, by_example):
        test = stats.ttest_1samp(values, 0.0)
        ends.append(test.confidence_interval(0.95))
        p_values.append(test.pvalue)
    parts = [(values.var(ddof=1) / len(values), len(values) - 1) for values in (by_seed, by_example)]
    error = math.sqrt(sum(part for part, _ in parts))
    freedom = error**4 / sum(part**2 / many for part, many in parts)
    half = error * stats.t.ppf(0.975, freedom)
    lows, highs = [gap.mean() - half, *(end.low for end in ends)], [gap.mean() + half, *(end.high for end in ends)]
    # Every seed chooses the same rate without itself, so that the choice widens nothing.
    assert one.difference.interval.mean == pytest.approx(gap.mean())
    assert one.difference.interval.low == pytest.approx(min(lows))
    assert one.difference.interval.high == pytest.approx(max(highs))
    p_values.append(2 * stats.t.sf(abs(gap.mean()) / error, freedom))
    assert one.p_value == pytest.approx(max(p_values))


def test_what_a_start_gains_at_one_rank_alone_is_an_interaction() -> None:
    (one,) = interactions(decided(RANKS, losses({16: 0.3})), "r")
    assert (one.verdict, one.why, one.value, one.base, one.method) == (BETTER, "", 16, 4, "olora")
    (one,) = interactions(decided(RANKS, losses({4: 0.3})), "r")
    assert one.verdict == WORSE
    (one,) = interactions(decided(RANKS, losses({4: 0.3, 16: 0.3}, spread=0.002)), "r")
    assert one.verdict == LEVEL


def test_the_margin_is_the_smaller_one_of_both_cells() -> None:
    found = decided(RANKS, losses({16: 0.3}))
    (one,) = interactions(found, "r")
    assert one.margin == min(each.margin for each in found.each)


def test_a_table_has_a_row_for_each_and_holms_p_values() -> None:
    study = Study(compare=("lora", "olora", "pissa"), across={"r": (4, 16, 64)}, tune={"lr": RATES}, seeds=4)
    found = decided(study, losses({16: 0.3, 64: 0.05}))
    table = found.interaction("r")
    assert list(zip(table["method"], table["value"], table["against"], strict=True)) == [
        ("olora", 16, 4), ("pissa", 16, 4), ("olora", 64, 4), ("pissa", 64, 4),
    ]  # fmt: skip
    raw = [each.difference.interval.p_value for each in interactions(found, "r")]
    assert list(table["p_value"]) == pytest.approx(list(holms(raw)))
    assert list(table["verdict"]) == [each.verdict for each in interactions(found, "r")]
    assert "r" not in table.columns
    assert set(table["model"]) == {"glassllm"}


def holms(p_values: list[float]) -> np.ndarray:
    order = np.argsort(p_values)
    scaled = np.maximum.accumulate(np.array(p_values)[order] * np.arange(len(p_values), 0, -1))
    out = np.empty(len(p_values))
    out[order] = np.minimum(scaled, 1.0)
    return out


def test_tasks_have_examples_of_their_own_which_are_no_pairs() -> None:
    """The interval over examples is Welch's, of two samples."""
    study = Study(across={"task": ("number-words", "sentiment")}, tune={"lr": RATES}, seeds=4)
    sizes = {"number-words": 30, "sentiment": 50}

    def loss(trial: Trial) -> np.ndarray:
        n = sizes[trial.cell.task]
        return np.linspace(0.5, 1.5, n) + noise(trial.cell.task, trial.method, n=n, spread=0.3)

    found = decided(study, loss)  # the same with every seed
    (one,) = interactions(found, "task")
    here, there = (a - b for a, b in [corners(found, [(k, "olora"), (k, "lora")]) for k in (0, 1)])
    first, second = there.mean(0), here.mean(0)
    assert one.difference.interval.mean == pytest.approx(first.mean() - second.mean())
    assert one.difference.gap.mean(1) == pytest.approx(there.mean(1) - here.mean(1))
    variance = first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second)
    by_example = one.difference.gap.mean(0)
    assert by_example.var(ddof=1) / len(by_example) == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("study", [RANKS, CARRIED], ids=["crossed", "carried"])
def test_the_order_of_axes_and_methods_changes_the_order_alone(study: Study) -> None:
    if study is RANKS:
        study = replace(study, across={"rows": (50, 100), "r": (4, 16)}, compare=("lora", "olora", "pissa"))
        turned = replace(study, across={"r": (4, 16), "rows": (50, 100)}, compare=("lora", "pissa", "olora"))
    else:
        turned = replace(study, compare=(study.compare[0], *reversed(study.compare[1:])))
    loss = losses({16: 0.1, "olora:targets=attention": 0.1})
    found = decided(study, loss)
    again = verdicts_of(turned, found.rows)
    assert interacting(turned) == interacting(study)
    for setting in interacting(study):
        both = [
            {(each.cell, each.method, each.value): each for each in interactions(its, setting)}
            for its in (found, again)
        ]  # fmt: skip
        assert both[0].keys() == both[1].keys()
        for key, one in both[0].items():
            assert one.verdict == both[1][key].verdict
            assert one.difference.interval == pytest.approx(both[1][key].difference.interval)
            assert one.p_value == pytest.approx(both[1][key].p_value)


def test_a_sign_that_turns_at_rates_as_good_decides_nothing() -> None:
    def loss(trial: Trial) -> np.ndarray:
        plain = losses({16: 0.3}, spread=0.002)(trial)
        if trial.method == "olora" and trial.lr == 2.83e-3:
            plain = plain - 0.2 * math.log(2.83 / 2) ** 2  # as good on all examples
        return plain

    found = decided(RANKS, loss)
    turned = {
        trial: {**row, "test_loss_by_example": row["test_loss_by_example"] + 1.0}
        if trial.method == "olora" and trial.lr == 2.83e-3 and trial.cell.r == 16 else row
        for trial, row in found.rows.items()
    }  # fmt: skip
    (one,) = interactions(verdicts_of(RANKS, turned), "r")
    assert one.verdict == UNDECIDED
    assert one.why.startswith("the order turns with olora with rank 16 at 2.83e-3, lora with rank 16 at")
    low, high = one.difference.over_rates
    assert low < 0 < high


def test_too_few_seeds_and_rates_at_the_edge_are_said() -> None:
    few = replace(RANKS, seeds=2)
    (one,) = interactions(decided(few, losses({16: 0.3})), "r")
    assert (one.verdict, one.why) == (UNDECIDED, "too few seeds, 2 of at least 3")
    found = decided(RANKS, lambda trial: losses({})(trial) - (trial.cell.r == 16) * trial.lr * 1e3)
    (one,) = interactions(found, "r")
    assert one.verdict == UNDECIDED
    assert one.why == ("the best rate of olora with rank 16 and lora with rank 16 lies at the edge of the rates tried")
    lost = {t: row for t, row in found.rows.items() if (t.method, t.cell.r) != ("olora", 16)}
    (one,) = interactions(verdicts_of(RANKS, lost), "r")
    assert (one.verdict, one.difference.seeds) == (UNDECIDED, 0)


def test_what_has_no_interaction_is_a_sentence() -> None:
    found = decided(RANKS, losses({}))
    for setting in ("targets", "lr", "rank", "seed"):
        with pytest.raises(ValueError, match=f"no interaction with '{setting}', unlike r: it takes two methods"):
            found.interaction(setting)
    assert interacting(Study(compare=("lora", "olora"))) == []


def test_a_recipe_as_shipped_has_settings_that_no_other_method_has() -> None:
    study = Study(
        compare=("lora", "olora", "recipe:peft", "lora:targets=mlp", "olora:targets=mlp"), tune={"lr": RATES}
    )
    assert interacting(study) == ["init", "targets"]
    assert interacting(Study(compare=("recipe:peft", "lora", "olora"), tune={"lr": RATES})) == []


@pytest.mark.nightly
def test_equal_methods_seldom_interact() -> None:
    """In at most 5% of studies without an interaction one is found."""
    study, wrong, studies = replace(RANKS, compare=("lora", "olora", "pissa"), seeds=3), 0, 120
    for k in range(studies):
        random = np.random.default_rng([11, k])
        of_method = {key: 0.1 * random.normal(size=60) for key in [(m, r) for m in study.compare for r in (4, 16)]}

        def loss(trial: Trial, random: np.random.Generator = random, of_method: dict = of_method) -> np.ndarray:
            run = 0.05 * random.normal() + 0.05 * random.normal(size=60)
            return np.full(60, 1.0) + of_method[trial.method, trial.cell.r] + run

        found = decided(study, loss)
        wrong += any(each.verdict in (BETTER, WORSE) for each in interactions(found, "r"))
    assert stats.binomtest(wrong, studies, 0.05, alternative="greater").pvalue > 0.01
