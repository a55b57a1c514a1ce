"""The figure of a sweep holds its means, its seeds and its divergences, on log axes."""

import json
import math

import pytest
from support.sweeps import NAN, RATES, steps_of, sweep

from olora_viz.figures import theme
from olora_viz.figures.layout import Figure, to_plotly
from olora_viz.figures.rates import rate_figure
from olora_viz.studies.story import rate_curves

HELD = [[5, 5, 4, 4, 3, 3.4, 2, 2.5, 1, 1.4, NAN, 2]]


def drawn(held: list = HELD, **more) -> Figure:
    return rate_figure(rate_curves(sweep(), steps_of(held)), **more)


def traces(figure: Figure, label: str, mode: str) -> list[dict]:
    return [t for t in figure["data"] if t["legendgroup"] == label and t["mode"] == mode]


def test_means_and_bands_are_the_runs_and_a_rate_that_lost_a_seed_is_a_gap() -> None:
    figure = drawn()
    assert json.loads(json.dumps(figure, allow_nan=False)) == figure
    (curve,) = traces(figure, "OLoRA", "lines+markers")
    assert curve["x"] == list(RATES)
    assert curve["y"] == [2.25, 1.2, None]
    low, high = traces(figure, "OLoRA", "lines")
    assert (low["y"], high["y"]) == ([2.0, 1.0, None], [2.5, 1.4, None])
    assert high["fill"] == "tonexty"
    seeds, ring, cross = traces(figure, "OLoRA", "markers")
    assert seeds["y"] == [2.0, 2.5, 1.0, 1.4, 2.0]
    assert (ring["x"], ring["y"]) == ([3e-3], [1.2])
    assert cross["x"] == [1e-2]
    assert cross["text"] == ["OLoRA at 1e-2: 1 of 2 seeds diverged"]
    layout = figure["layout"]
    assert layout["xaxis"]["type"] == layout["yaxis"]["type"] == "log"
    assert math.log10(cross["y"][0]) < layout["yaxis"]["range"][1]
    assert "mean and range of 2 seeds" in layout["meta"]["unit"]
    assert [label["text"] for label in layout["annotations"]] == ["LoRA", "OLoRA"]


def test_a_loss_off_the_scale_is_a_cross_at_the_top_and_does_not_flatten_the_others() -> None:
    held = [[5, 5, 4, 4, 3, 3.4, 2, 2.5, 1, 1.4, 1e6, 2e6]]
    figure = drawn(held, start_loss=5.0)
    *_, cross = traces(figure, "OLoRA", "markers")
    assert cross["text"] == ["OLoRA at 1e-2: 1.5e+06 (1e+06 to 2e+06)"]
    assert figure["layout"]["yaxis"]["range"][1] < 1.1


def test_where_every_rate_has_diverged_there_is_a_cross_for_each_and_no_curve() -> None:
    figure = drawn([[NAN] * 12])
    for label in ("LoRA", "OLoRA"):
        (cross,) = [t for t in traces(figure, label, "markers") if "off the scale" in t["name"]]
        assert cross["x"] == list(RATES)
    heights = [y for t in figure["data"] if "off the scale" in t["name"] for y in t["y"]]
    assert len(set(heights)) == 2  # side by side, not one behind the other


def test_before_the_first_evaluation_a_sentence_says_so() -> None:
    figure = rate_figure(rate_curves(sweep(), []))
    assert figure["data"] == []
    assert figure["layout"]["meta"]["message"]


@pytest.mark.parametrize("measure", ["final", "best"])
@pytest.mark.parametrize("name", theme.THEMES)
def test_it_is_a_plotly_figure_in_both_themes_that_says_what_it_draws(measure: str, name: str) -> None:
    figure = drawn(measure=measure)
    assert figure["layout"]["meta"]["title"].lower().startswith(measure)
    colors = {t["line"]["color"] for t in to_plotly(figure, name).to_plotly_json()["data"] if "line" in t}
    assert colors == {theme.resolve(f"@{init}", name) for init in ("lora", "olora")}
