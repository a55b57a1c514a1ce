"""The charts of a notebook, and its panels of spectra and curvature."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from support.drawn import traces
from support.panels import CONFIG, LANES, choose, figure, press, send, shown, text
from support.waiting import wait_until

import olora_viz as ov
from olora_viz.figures import race as figures
from olora_viz.figures import theme
from olora_viz.figures.live.bundle import pack
from olora_viz.figures.live.notebook_feed import Feed, difference
from olora_viz.figures.live.standing_alone import plotly_source
from olora_viz.figures.theme import lane_styles
from olora_viz.notebook import ConditioningPanel, RacePanel, SpectrumPanel
from olora_viz.views.inside import inside_view


def test_a_panel_leaves_its_last_state_as_a_picture_and_as_text() -> None:
    panel = RacePanel(CONFIG)
    assert panel._still is None
    panel.start()
    panel.result()
    assert panel._still["image/png"].startswith("iVBORw0KGgo")
    assert len(panel._still["image/png"]) < 300_000
    assert "RacePanel: finished, step 6 of 6" in panel._still["text/plain"]
    assert "OLoRA: held-out loss" in panel._still["text/plain"]
    light = panel._still["image/png"]
    send(panel, theme="dark")
    wait_until(lambda: panel._still["image/png"] != light)


def test_a_chart_is_sent_as_a_whole_once_and_then_only_what_is_new() -> None:
    race = ov.race(CONFIG)
    steps = list(race)
    styles = lane_styles(LANES)
    drawn = [figures.gradient_figure(figures.RaceCurves(styles, steps[:n], total=6)) for n in (0, 3, 5)]
    feed = Feed()
    first, second, third = (feed.news({"words": "a"}, {"norms": one}) for one in drawn)
    assert feed.news({"words": "a"}, {"norms": drawn[2]}) is None
    assert first
    assert second
    assert third
    assert (first["values"], second["values"]) == ({"words": "a"}, {})
    assert [message["serial"] for message in (first, second, third)] == [1, 2, 3]
    grown = third["charts"]["norms"]["change"]["data"][0]["y"]["more"]
    assert grown.split(",")[1:] == pack(drawn[2])["data"][0]["y"].split(",")[3:]
    assert feed.whole()["charts"]["norms"] == {"whole": pack(drawn[2])}


def test_nonsense_from_a_browser_is_ignored() -> None:
    panel = RacePanel(CONFIG)
    sent: list[dict] = []
    panel.send = lambda content, buffers=None: sent.append(content)
    before = panel.get_state()
    for nonsense in (
        None, 3, {}, {"want": "everything"}, {"picked": "x"}, {"press": "end"},
        {"set": ["lanes"]}, {"open": ["nowhere", True]}, {"theme": "blue"},
    ):  # fmt: skip
        panel._heard(panel, nonsense, [])
    assert sent == []
    assert panel.get_state() == before


def test_every_part_of_a_panel_has_a_name_of_its_own_and_something_to_show() -> None:
    def names(node: dict) -> list[str]:
        own = [node["name"]] if "name" in node else []
        return own + [name for item in node.get("items", ()) for name in names(item)]

    for panel in (RacePanel(CONFIG), ConditioningPanel(CONFIG), SpectrumPanel("glassllm")):
        found = names(panel._tree())
        assert len(found) == len(set(found))
        assert {name for name in found if "." not in name} <= panel._feed.values.keys()


def test_plotly_is_no_part_of_a_panels_state() -> None:
    # The module, once for all charts of the panel; Plotly alone is of megabytes.
    assert sum(len(str(value)) for value in RacePanel(CONFIG).get_state().values()) < 90_000
    assert len(plotly_source()) < 2_900_000  # a server lets a million bytes a second through


def test_a_figure_with_other_curves_is_sent_as_a_whole() -> None:
    one = {"data": [{"y": "1"}], "layout": {}}
    assert difference(one, {"data": [{"y": "1"}, {"y": "2"}], "layout": {}}) is None
    assert difference(one, {"data": [{"x": "1"}], "layout": {}}) is None
    assert difference(one, one) == {"data": {}, "layout": {}}


def test_the_rank_of_a_spectrum_panel_moves_its_charts() -> None:
    panel = SpectrumPanel("glassllm", ["olora", "pissa"], r=3)
    panel.rank = 5
    layer = shown(panel, "layer")["options"][2][1]
    panel.set_state({"layer": layer})  # as a browser does
    expected = ov.truncation(ov.load_model("glassllm")[0].get_submodule(layer).weight, 5)
    found = panel.found["olora"]
    np.testing.assert_allclose(found.sigma_BA, expected.sigma_BA)
    curve = traces(figure(panel, "singular"), "OLoRA")[0]
    np.testing.assert_allclose(curve["y"], expected.sigma_BA, rtol=1e-3)
    wait_until(lambda: "rank 5" in panel._still["text/plain"])
    assert shown(panel, "rank")["value"] == 5
    with pytest.raises(ValueError, match="rank must be a whole number from 1 to 64, not 999"):
        panel.rank = 999
    panel.set_state({"rank": 999})
    assert "not 999" in shown(panel, "problem")
    assert (panel.rank, panel.layer) == (5, layer)


def test_a_spectrum_panel_says_which_name_it_does_not_know() -> None:
    assert "did you mean 'glassllm'" in repr(SpectrumPanel("glasllm"))
    assert "did you mean &#39;olora&#39;" in shown(SpectrumPanel("glassllm", ["olra"]), "problem")


def test_a_conditioning_panel_measures_each_start_once() -> None:
    config = ov.RaceConfig(lanes=(*LANES, ov.Lane("olora", lr=9e-3, r=2)), batch_size=1)
    panel = ConditioningPanel(config)
    press(panel, "measure")
    found = panel.result()
    wait_until(lambda: panel._still)
    first = next(ov.race(ov.RaceConfig(lanes=LANES, batch_size=1)))
    np.testing.assert_allclose(found.grad_norm, first.grad_norm, rtol=1e-5)
    np.testing.assert_allclose(found.loss, first.loss, rtol=1e-5)
    assert (found.hessian.lambda_max > 0).all()
    assert panel.state == "finished"
    assert "λₘₐₓ" in shown(panel, "numbers")
    assert not shown(panel, "measure")["disabled"]


def test_a_conditioning_panel_says_what_is_wrong_and_can_be_stopped() -> None:
    panel = ConditioningPanel(CONFIG)
    choose(panel, "batch_size", "0")
    press(panel, "measure")
    assert "must be" in text(panel)
    assert panel.state == "ready"
    choose(panel, "batch_size", "2")
    press(panel, "measure")
    assert not shown(panel, "stop")["disabled"]
    panel.stop()
    with pytest.raises(ValueError, match="nothing was measured"):
        panel.result()
    assert (panel.state, shown(panel, "measure")["disabled"]) == ("stopped", False)
    choose(panel, "model", "nobody")
    panel.start()
    with pytest.raises(ValueError, match="nobody"):
        panel.result()
    assert "nobody" in text(panel)


def test_neither_the_core_nor_the_panels_want_what_they_do_not_need() -> None:
    code = """
import sys
sys.modules["anywidget"] = None
import olora_viz
try:
    import olora_viz.notebook
except ImportError as error:
    print(error)
del sys.modules["anywidget"]
import olora_viz.notebook
print("gradio" in sys.modules, "pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    refusal, loaded = done.stdout.splitlines()
    assert re.search(r"need anywidget.*pip install anywidget", refusal)
    assert loaded == "False False"


def test_lanes_of_several_seeds_are_one_curve_with_a_band_and_answer_in_the_end() -> None:
    lanes = tuple(ov.Lane(init, r=2, seed=seed) for init in ("lora", "olora") for seed in (0, 1))
    panel = RacePanel(replace(CONFIG, lanes=lanes))
    panel.start()
    panel.result()
    loss = figure(panel, "loss")
    assert {curve["name"] for curve in traces(loss, meta="smooth")} == {"LoRA", "OLoRA"}
    assert len(traces(loss, fill="tonexty")) == 2
    parts = shown(panel, "results").split("<summary>Test ")
    assert [part.count('<th scope="row">') for part in parts] == [3, 3]  # and the base model
    assert shown(panel, "answers").count("base model") == 4


def test_what_is_forgotten_is_a_section_with_a_chart_and_a_table() -> None:
    panel = RacePanel(CONFIG, keep="addition")
    panel.start()
    panel.result()
    assert shown(panel, "keep")["value"] == "addition"
    send(panel, open=["drift", True])
    assert figure(panel, "drift.0")["layout"]["meta"]["title"] == "Learned and forgotten"
    assert "the text to keep: addition" in shown(panel, "drift.table")
    choose(panel, "keep", "none")
    panel.start()
    panel.result()
    assert shown(panel, "drift")["hidden"]
    choose(panel, "keep", "nothing-like-it")
    panel.start()
    with pytest.raises(ValueError, match="unknown text to keep 'nothing-like-it'"):
        panel.result()


def test_folded_parts_are_drawn_when_they_are_opened_and_only_where_there_is_something() -> None:
    looks = {"spectra_every": 2, "gradients_every": 2}
    rates = tuple(ov.Lane("olora", r=2, lr=lr) for lr in (1e-4, 1e-3, 1e-2))
    panel = RacePanel(replace(CONFIG, lanes=(*LANES, *rates), **looks))
    panel.start()
    panel.result()
    seen = {name for name in panel._sections if not shown(panel, name)["hidden"]}
    assert seen >= {"spectra", "gradients", "rates", "measurements", "code"}
    assert "Not measured: RacePanel(curvature_every=5)" in shown(panel, "curvature.empty")
    assert "drift" not in seen
    assert {name for name in seen if shown(panel, name)["open"]} == {"export", "factors"}
    assert "Not measured: RacePanel(factors_every=5)" in shown(panel, "factors.empty")
    for name in seen - {"export", "curvature", "factors"}:
        assert f"{name}.charts" not in panel._feed.values
        send(panel, open=[name, True])
        assert shown(panel, f"{name}.charts") or name in ("code", "runs")
    layers = shown(panel, "spectra.layer")["options"]
    choose(panel, "spectra.layer", layers[-1][1])
    assert layers[-1][0] in figure(panel, "spectra.1")["layout"]["meta"]["title"]
    send(panel, picked=["spectra.charts", layers[0][1]])
    assert shown(panel, "spectra.layer")["value"] == layers[0][1]
    assert shown(panel, "gradients.step")["value"] == 6
    choose(panel, "gradients.step", 2)
    assert "step 2" in figure(panel, "gradients.1")["layout"]["meta"]["title"]
    assert "Steps to reach" in shown(panel, "rates.words")
    assert shown(panel, "measurements.charts") == ["measurements.0"]
    assert figure(panel, "measurements.0")["layout"]["meta"]["title"] == "Learning rate"
    assert "ov.race(" in shown(panel, "code.script")


def test_the_inside_of_the_adapters_is_open_at_once_and_goes_back_to_the_start() -> None:
    panel = RacePanel(replace(CONFIG, lanes=LANES, factors_every=2))
    panel.start()
    panel.result()
    state = shown(panel, "factors")
    assert (state["hidden"], state["open"]) == (False, True)
    inside = shown(panel, "factors.inside")
    assert inside == inside_view(panel._record)
    assert inside["step"] == shown(panel, "factors.step")["value"] == 6
    last = shown(panel, "factors.layer")["options"][-1][1]
    choose(panel, "factors.layer", last)
    choose(panel, "factors.step", 0)
    assert shown(panel, "factors.inside") == inside_view(panel._record, last, 0)
    choose(panel, "factors.step", 6)
    choose(panel, "factors.layer", "no such layer")
    assert shown(panel, "factors.inside") == inside


def test_earlier_runs_of_the_kernel_are_laid_over_a_race() -> None:
    one, other = RacePanel(CONFIG), RacePanel(replace(CONFIG, seed=3))
    one.start()
    one.result()
    other.start()
    other.result()
    send(other, open=["runs", True])
    (_, name, words), *_ = shown(other, "runs.overlaid")["options"]
    assert "finished · 6 steps" in words
    assert shown(other, "runs.charts") == []
    choose(other, "runs.overlaid", [name, "another"])
    assert shown(other, "runs.overlaid")["value"] == [name]
    assert len(traces(figure(other, "runs.0"), mode="lines+markers")) == 4
    assert ">seed<" in shown(other, "runs.differences")


def test_a_band_has_the_colour_of_its_lane() -> None:
    lanes = tuple(ov.Lane("olora", r=2, seed=seed) for seed in (0, 1))
    panel = RacePanel(replace(CONFIG, lanes=lanes))
    panel.start()
    panel.result()
    drawn = figure(panel, "accuracy")["data"]
    assert any(trace.get("fillcolor") == "@olora-band" for trace in drawn)
    for name, palette in panel._feed.whole()["palette"].items():
        assert palette["olora-band"] == theme.palette(name)["olora-band"]
