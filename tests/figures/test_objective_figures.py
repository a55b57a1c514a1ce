"""The figures of what lanes learn from: every lane and the judge's curve, and what gets better over the rates."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.planted_claims import OBJECTIVES, planted_objectives
from support.planted_losses import mean, study

from olora_viz.figures.layout import Figure
from olora_viz.figures.plots import study_figures
from olora_viz.studies.claims import forgetting_by_kl
from olora_viz.studies.objectives import TASK_DRIFT, objective_of
from olora_viz.studies.rows import values_of
from olora_viz.studies.study import Study
from olora_viz.studies.verdicts import Verdicts, verdicts_of

EACH = ("imitation", "dpo", "reinforce")


def traces(figure: Figure, mode: str) -> dict[str, dict[str, Any]]:
    """Return the traces of one mode by name."""
    return {trace["name"]: trace for trace in figure["data"] if trace["mode"] == mode}


@pytest.mark.parametrize("forgets", [{}, {"dpo": 0.5, "reinforce": -0.7}], ids=["equal", "apart"])
def test_every_lane_is_a_point_and_each_objective_has_the_curve_of_the_judge(forgets: dict[str, float]) -> None:
    found = planted_objectives(forgets=forgets)
    (figure,) = study_figures(found, ["kl"])
    marks, lines = traces(figure, "markers"), traces(figure, "lines")
    assert tuple(marks) == tuple(lines) == EACH
    kl, drift = (values_of(found.rows, name) for name in (TASK_DRIFT, "drift"))
    for objective in EACH:
        of = [trial for trial in found.rows if objective_of(found.study, trial.cell) == objective]
        assert marks[objective]["x"] == pytest.approx([kl[trial] for trial in of], rel=1e-3)
        assert marks[objective]["y"] == pytest.approx([drift[trial] for trial in of], rel=1e-3)
        # The planted drift is KL^1.5, times what the objective forgets more.
        x, y = (np.array(lines[objective][axis], dtype=float) for axis in "xy")
        np.testing.assert_allclose(np.log(y) - 1.5 * np.log(x), forgets.get(objective, 0.0), atol=0.05)
    finding = forgetting_by_kl.judge(found)
    unit = figure["layout"]["meta"]["unit"]
    for objective in EACH[1:]:
        factor = mean(finding, f"times_{objective}")
        assert f"{factor:.2g} times for {objective}" in unit
        over = np.log(np.array(lines[objective]["y"]) / np.array(lines["imitation"]["y"]))
        np.testing.assert_allclose(over, math.log(factor), atol=2e-3)
    ends = [note["text"] for note in figure["layout"]["annotations"]]
    assert sorted(ends) == sorted(EACH)


def test_without_enough_seeds_the_lanes_are_drawn_without_a_curve() -> None:
    found = planted_objectives()
    few = replace(found.study, seeds=2)
    rows = {trial: row for trial, row in found.rows.items() if trial.seed < 2}
    (figure,) = study_figures(verdicts_of(few, rows), ["kl"])
    assert tuple(traces(figure, "markers")) == EACH
    assert traces(figure, "lines") == {}
    assert "curve" not in figure["layout"]["meta"]["unit"]


@pytest.mark.parametrize(
    ("bare", "message"),
    [(Study(), "--across objective="), (OBJECTIVES.changed({"keep": "none"}), "no text to keep")],
    ids=["one objective", "no text"],
)
def test_a_study_without_objectives_or_a_text_says_what_it_lacks(bare: Study, message: str) -> None:
    (asked,) = study_figures(study(lambda its: 1.0, bare), ["kl"])
    assert message in asked["layout"]["meta"]["message"]


def of_reward(found: Verdicts) -> dict[str, Figure]:
    """Return the figures of what gets better, by objective."""
    return dict(zip(EACH, study_figures(found, ["reward"]), strict=True))


def test_what_gets_better_is_drawn_over_the_rates_with_the_lane_that_collapsed() -> None:
    found = planted_objectives(right=0.9)
    measure = {"dpo": lambda row: row["test_accuracy"], "reinforce": lambda row: row["measures"]["test_sampled"]}
    lost = next(t for t in found.rows if objective_of(found.study, t.cell) == "reinforce" and t.method == "olora")
    gone = found.rows[lost] | {"measures": found.rows[lost]["measures"] | {"test_sampled": 0.0}}
    found = verdicts_of(found.study, {**found.rows, lost: gone})
    figures = of_reward(found)
    assert "Test pairs ranked right" in figures["dpo"]["layout"]["meta"]["title"]
    assert "Probability of the right test answer" in figures["reinforce"]["layout"]["meta"]["title"]
    for objective, value in measure.items():
        figure = figures[objective]
        assert figure["layout"]["yaxis"]["tickformat"] == ".0%"
        for method, name in (("lora", "LoRA"), ("olora", "OLoRA")):
            curve = traces(figure, "lines+markers")[name]
            low, high = (trace for trace in figure["data"] if trace["name"] == name and trace["mode"] == "lines")
            for i, lr in enumerate(curve["x"]):
                values = [
                    value(row) for t, row in found.rows.items()
                    if (objective_of(found.study, t.cell), t.method, t.lr) == (objective, method, lr)
                ]  # fmt: skip
                drawn = [trace["y"][i] for trace in (low, curve, high)]
                assert drawn == pytest.approx([min(values), np.mean(values), max(values)], abs=1e-3)
    assert figures["reinforce"]["layout"]["yaxis"]["range"][0] < 0


def test_imitation_alone_has_neither_figure_beside_others_and_several_objectives_have_both() -> None:
    def titles(found: Verdicts) -> str:
        return " ".join(figure["layout"]["meta"]["title"] for figure in study_figures(found))

    both = ("by the KL to the base", "pairs ranked right")
    assert all(words in titles(planted_objectives()) for words in both)
    assert not any(words in titles(study(lambda its: 1.0, Study())) for words in both)
