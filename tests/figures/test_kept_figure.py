"""The figure of what a chain kept: its places, over the rates, and what stands in its stead."""

import numpy as np
import pytest
from support.planted_claims import OF_CHAIN, OF_TWO, planted_chain, planted_forgetting

from olora_viz.figures.forgotten import kept_figure
from olora_viz.figures.plots import study_figures
from olora_viz.studies.rows import FORGOTTEN, column_of_link
from olora_viz.studies.verdicts import verdicts_of


def test_its_places_are_the_means_over_the_seeds_of_what_was_learned_and_lost() -> None:
    found = planted_chain({"full": 0.5})
    (cell,) = found.study.cells()
    figure = kept_figure(found, cell)
    by_rate: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for trial, row in found.rows.items():
        of = row["measures"]
        learned = float(np.mean([of[column_of_link(number)] for number in (1, 2, 3)]))
        by_rate.setdefault((trial.method, trial.lr), []).append((learned, of[FORGOTTEN]))
    seeds = found.study.seeds
    expected = np.array([np.mean(each, axis=0) for each in by_rate.values() if len(each) == seeds])
    points = [trace for trace in figure["data"] if trace["mode"] == "markers"]
    places = np.array([(trace["x"][0], trace["y"][0]) for trace in points])
    assert len(places) == len(expected)
    away = np.abs(places[:, None] - expected).max(-1)
    assert away.min(0) == pytest.approx(0, abs=1e-3)
    assert away.min(1) == pytest.approx(0, abs=1e-3)
    chosen = [trace for trace in points if trace["marker"]["size"] == 12]
    assert len(chosen) == len(OF_CHAIN.compare)
    assert figure["layout"]["xaxis"]["range"][0] > figure["layout"]["xaxis"]["range"][1]
    low, high = figure["layout"]["yaxis"]["range"]
    assert all(low < trace["y"][0] < high for trace in points)


def test_it_is_drawn_of_chains_alone() -> None:
    titles = [each["layout"]["meta"]["title"] for each in study_figures(planted_chain({}))]
    assert sum(title.startswith("Learned and kept") for title in titles) == 1
    alone = planted_forgetting(OF_TWO, {})
    titles = [each["layout"]["meta"]["title"] for each in study_figures(alone)]
    assert not any(title.startswith("Learned and kept") for title in titles)
    (asked,) = study_figures(alone, ["kept"])
    assert asked["layout"]["meta"]["message"] == "This task is not a chain."


def test_without_a_run_a_sentence_says_so() -> None:
    (cell,) = OF_CHAIN.cells()
    meta = kept_figure(verdicts_of(OF_CHAIN, {}), cell)["layout"]["meta"]
    assert meta["message"] == "No run of this study has ended yet."
