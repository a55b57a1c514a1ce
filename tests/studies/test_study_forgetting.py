"""What methods forget in a study: on curves whose drift at equal learning is known by hand."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.simulated_studies import row_of

from olora_viz.studies.forgetting import drift_at, equal_learning, ratio_of
from olora_viz.studies.study import Cell, Study, Trial
from olora_viz.studies.verdicts import Verdict, verdicts_of
from olora_viz.tasks.keep import AUTO
from olora_viz.views.decision import forgetting_words, forgotten, verdict_rows

STUDY = Study().changed(
    race={"keep": AUTO}, tune={"lr": (1e-3, 2e-3, 4e-3, 8e-3)}, compare=("lora", "olora", "pissa"), seeds=5
)
(CELL,) = STUDY.cells()
BASE, SLOPE, BEST = 5.0, 0.5, 8e-3
SPREAD = np.linspace(-0.2, 0.2, 64)


def loss_at(lr: float) -> float:
    """Return a loss that falls in proportion to the log rate, and is 1 at the highest one."""
    return 1.0 - SLOPE * math.log(lr / BEST)


def planted(
    loss: Callable[[str, float, int], float], drift: Callable[[str, float, int], float], study: Study = STUDY
) -> dict[Trial, dict[str, Any]]:
    """Return the rows of a study with these losses and drifts, at the rates of the grid."""
    rows = {}
    for init in study.compare:
        for trial in study.trials(CELL, init, study.lrs):
            value, moved = (of(init, trial.lr, trial.seed) for of in (loss, drift))
            of_text = {"base_text_loss": 4.0, "text_loss": 4.0 + moved / 2, "drift": moved}
            rows[trial] = row_of(value + SPREAD, value + SPREAD, BASE, **of_text)
    return rows


def by_law(init: str, lr: float, seed: int) -> float:
    """Return a drift in proportion to the rate; OLoRA's is three times as large, and PiSSA's less."""
    return {"lora": 1.0, "olora": 3.0, "pissa": 0.5}[init] * 100 * lr * (1 + 0.1 * seed)


def test_on_lines_it_is_the_drift_of_the_rate_where_the_line_meets_the_target() -> None:
    """With losses linear in the log rate and drifts a power of it, the interpolation is exact."""
    found = equal_learning(STUDY, CELL, "olora", planted(lambda _, lr, seed: loss_at(lr) + 0.1 * seed, by_law))
    margin = STUDY.margin * (BASE - 1.0 - 0.2)
    assert found.targets == pytest.approx([1.0 + 0.1 * seed + margin for seed in range(5)])
    assert found.drifts == pytest.approx(
        [3.0 * 100 * BEST * math.exp(-margin / SLOPE) * (1 + 0.1 * seed) for seed in range(5)]
    )
    assert found.ratio.value == pytest.approx(3.0)
    assert found.ratio.low == pytest.approx(3.0)
    assert found.outside == ""


def test_a_method_equal_to_the_reference_forgets_exactly_as_much() -> None:
    rows = planted(lambda _, lr, seed: loss_at(lr) + 0.1 * seed, lambda _, lr, seed: by_law("lora", lr, seed))
    for init in STUDY.compare:
        ratio = equal_learning(STUDY, CELL, init, rows).ratio
        assert ratio[:3] == (1.0, 1.0, 1.0)
        assert ratio.clause == "drifts as far"


def test_a_faster_start_that_drifts_by_the_rate_alone_needs_less_of_it() -> None:
    """OLoRA learns at half the rate what LoRA does: it forgets half as much for it, and as much at one rate."""
    rows = planted(
        lambda init, lr, _: loss_at(lr * (2 if init == "olora" else 1)), lambda _, lr, seed: by_law("lora", lr, seed)
    )
    (found,) = (each for each in verdicts_of(STUDY, rows).each if each.method == "olora")
    assert found.forgotten is not None
    assert found.forgotten.at_shared.value == pytest.approx(1.0)
    assert found.forgotten.at_best.value == pytest.approx(1.0)
    assert found.forgotten.at_equal.ratio.value == pytest.approx(0.5)
    assert found.forgotten.at_equal.ratio.clause == "drifts 0.5 times as far"
    assert found.to_json()["drift_ratio_equal_interval"] == pytest.approx([0.5, 0.5])


def test_outside_the_rates_it_says_so_and_gives_no_number() -> None:
    def loss(init: str, lr: float, seed: int) -> float:
        return {"lora": loss_at(lr), "olora": loss_at(lr) + 0.5 * (seed < 2), "pissa": 0.5}[init]

    rows = planted(loss, by_law)
    never, below = (equal_learning(STUDY, CELL, init, rows) for init in ("olora", "pissa"))
    assert never.drifts[:2] == (math.inf, math.inf)
    assert never.outside == "it does not reach 1.08 nats with 2 of 5 seeds"
    assert below.drifts == (0.0,) * 5
    assert below.outside == "it has reached 1.08 nats at its lowest rate with 5 of 5 seeds"
    for each in (never, below):
        assert math.isnan(each.drift)
        assert math.isnan(each.ratio.value)
        assert each.ratio.clause == ""


def test_a_rate_that_diverged_and_those_above_it_are_not_interpolated() -> None:
    lrs, losses, drifts = [1e-3, 2e-3, 4e-3], [2.0, 1.5, 1.0], [0.1, 0.2, 0.4]
    assert drift_at(1.2, lrs, losses, drifts) == pytest.approx(0.2 * 2**0.6, rel=0.1)
    assert drift_at(1.2, lrs, [2.0, math.nan, 1.0], [0.1, math.nan, 0.4]) == math.inf
    assert drift_at(1.5, lrs, losses, drifts) == 0.2
    assert drift_at(1.5, lrs, [], []) == math.inf


def test_a_ratio_that_turns_at_rates_as_good_is_not_decided() -> None:
    """Both learn as much at 2e-3 as at 4e-3, where they forget five times as much: the choice decides the order."""

    def loss(init: str, lr: float, seed: int) -> float:
        chosen = {"lora": 2e-3, "olora": 4e-3, "pissa": 2e-3}[init]
        return 1.0 + (lr in (1e-3, 8e-3)) + (0.001 + 0.02 * (seed - 2)) * (lr != chosen)

    def drift(init: str, lr: float, seed: int) -> float:
        return {1e-3: 0.1, 2e-3: 0.2, 4e-3: 1.0, 8e-3: 5.0}[lr] * (1 + 0.01 * seed)

    found = verdicts_on(planted(loss, drift))["olora"]
    assert found.forgotten is not None
    ratio = found.forgotten.at_best
    assert found.rates_like == (2e-3, 4e-3)
    assert (round(ratio.value, 2), ratio.survives, ratio.clause) == (5.0, False, "")
    assert ratio.low > 1
    words = forgetting_words(verdicts_of(STUDY, planted(loss, drift)), found)
    assert "(not decided: it turns at rates as good, 5 seeds)" in words


def test_two_seeds_and_a_ratio_across_1_say_nothing() -> None:
    assert ratio_of([2.0, 2.1], [1.0, 1.0]).clause == ""
    assert ratio_of([2.0, 0.5, 1.1], [1.0, 1.0, 1.0]).clause == ""
    assert ratio_of([2.0, 2.1, 1.9], [1.0, 1.0, 1.0]).clause == "drifts twice as far"
    assert ratio_of([1.1, 1.11, 1.12], [1.0, 1.0, 1.0]).clause == "drifts as far"  # level, though above 1
    assert ratio_of([math.nan, 0.0, math.inf], [1.0, 1.0, 1.0]).seeds == 0


def verdicts_on(rows: dict[Trial, dict[str, Any]], study: Study = STUDY) -> dict[str, Verdict]:
    return {one.method: one for one in verdicts_of(study, rows).each}


def test_the_table_and_the_sentences_of_a_study_say_it() -> None:
    rows = planted(lambda init, lr, seed: loss_at(lr) + 0.1 * seed - 2.0 * (init == "pissa"), by_law)
    found = verdicts_of(STUDY, rows)
    head, lora, olora, *_ = verdict_rows(found)
    columns = {name: (lora[i], olora[i]) for i, name in enumerate(head)}
    assert columns["text loss"] == ("4.480", "5.440")
    assert columns["drift"] == ("0.960", "2.880")
    assert columns["of reference's drift (95% over seeds)"] == ("reference", "3 (3 to 3)")
    assert columns["at equal learning"] == ("reference", "3 (3 to 3)")
    words = [forgetting_words(found, verdict) for verdict in found.each]
    assert words[0] == ""
    assert words[1] == (
        "each at its best rate, OLoRA's drift is 3 (3 to 3) times LoRA's 0.96 nats (5 seeds); at equal learning, a "
        "test loss of 1.28 nats, it is 3 (3 to 3) times"
    )
    assert f"<p>glassllm, number-words, rank 8: {words[1]}.</p>".replace("'", "&#39;") in forgotten(found)
    assert words[2].endswith(
        "at equal learning it is not known: it has reached 1.28 nats at its lowest rate with 5 of 5 seeds"
    )


def test_a_study_without_a_text_to_keep_has_none() -> None:
    study = STUDY.changed({"keep": "none"})
    rows = planted(lambda _, lr, seed: loss_at(lr), by_law, study)
    for verdict in verdicts_on(rows, study).values():
        assert verdict.forgotten is None
        assert "drift" not in verdict.to_json()


@pytest.mark.nightly
def test_the_interval_at_equal_learning_holds_the_truth_in_about_95_of_100_studies() -> None:
    """Runs whose losses and drifts vary from seed to seed, with a true ratio by the noiseless curves."""
    random, study = np.random.default_rng(0), replace(STUDY, compare=("lora", "olora"))
    cell, held, known = Cell(*vars(CELL).values()), 0, 0

    def smooth(init: str, lr: float, _: int = 0) -> float:
        return 1.0 + 0.3 * math.log(lr * (1.3 if init == "olora" else 1.0) / BEST) ** 2

    def drift(init: str, lr: float, _: int = 0) -> float:
        return (1.5 if init == "olora" else 1.0) * 100 * lr

    quiet = equal_learning(study, cell, "olora", planted(smooth, drift, study)).ratio.value
    for _ in range(150):
        of_seed = random.normal(0, 0.1, study.seeds)
        rows = planted(
            lambda init, lr, seed, of_seed=of_seed: smooth(init, lr) + of_seed[seed] + random.normal(0, 0.015),
            lambda init, lr, seed: drift(init, lr) * math.exp(random.normal(0, 0.1)),
            study,
        )
        ratio = equal_learning(study, cell, "olora", rows).ratio
        if ratio.seeds:
            known += 1
            held += ratio.low <= quiet <= ratio.high
    assert known > 120
    assert held / known >= 0.91
