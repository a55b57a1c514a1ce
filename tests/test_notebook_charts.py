"""The charts of a notebook, and its panels of spectra and curvature."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from drawn import traces
from panels import CONFIG, LANES, text, wait_for

import olora_viz as ov
from olora_viz.figures import race as figures
from olora_viz.figures import theme
from olora_viz.figures.live.jupyter_figure import LiveFigure, difference, plotly_source
from olora_viz.figures.live.packing import pack
from olora_viz.figures.theme import lane_styles
from olora_viz.notebook import ConditioningPanel, RacePanel, SpectrumPanel


def test_a_panel_leaves_its_last_state_as_a_picture_and_as_text() -> None:
    panel = RacePanel(CONFIG)
    assert panel._still is None
    panel.start()
    panel.result()
    assert panel._still["image/png"].startswith("iVBORw0KGgo")
    assert len(panel._still["image/png"]) < 300_000
    assert "RacePanel: finished, step 6 of 6" in panel._still["text/plain"]
    assert "OLoRA: held-out loss" in panel._still["text/plain"]


def test_a_chart_is_sent_as_a_whole_once_and_then_only_what_is_new() -> None:
    sent: list[dict] = []
    race = ov.race(CONFIG)
    steps = list(race)
    styles = lane_styles(LANES)
    drawn = [figures.gradient_figure(styles, steps[:n], total=6) for n in (0, 3, 5)]
    chart = LiveFigure(drawn[0])
    chart.send = lambda content, buffers=None: sent.append(content)
    chart.draw(drawn[1])
    chart.draw(drawn[2])
    chart.draw(drawn[2])
    assert [message["serial"] for message in sent] == [1, 2]
    grown = sent[1]["change"]["data"][0]["y"]["more"]
    assert grown.split(",")[1:] == pack(drawn[2])["data"][0]["y"].split(",")[3:]
    chart._answer(None, {"want": "figure"}, None)
    assert sent[-1]["whole"] == pack(drawn[2])
    for nonsense in (None, 3, {}, {"want": "everything"}, {"picked": "x"}):
        chart._answer(None, nonsense, None)
    assert len(sent) == 3


def test_plotly_is_no_part_of_a_charts_state() -> None:
    chart = LiveFigure({"data": [], "layout": {"height": 1}})
    assert sum(len(str(value)) for value in chart.get_state().values()) < 60_000
    assert len(plotly_source()) < 2_900_000  # a server lets a million bytes a second through


def test_a_figure_with_other_curves_is_sent_as_a_whole() -> None:
    one = {"data": [{"y": "1"}], "layout": {}}
    assert difference(one, {"data": [{"y": "1"}, {"y": "2"}], "layout": {}}) is None
    assert difference(one, {"data": [{"x": "1"}], "layout": {}}) is None
    assert difference(one, one) == {"data": {}, "layout": {}}


def test_the_rank_of_a_spectrum_panel_moves_its_charts() -> None:
    panel = SpectrumPanel("glassllm", ["olora", "pissa"], r=3)
    panel.rank.value = 5
    layer = panel.layer.options[2][1]
    panel.layer.value = layer
    expected = ov.truncation(ov.load_model("glassllm")[0].get_submodule(layer).weight, 5)
    found = panel.found["olora"]
    np.testing.assert_allclose(found.sigma_BA, expected.sigma_BA)
    curve = traces(panel._charts[0].figure, "OLoRA")[0]
    np.testing.assert_allclose(curve["y"], expected.sigma_BA, rtol=1e-3)
    wait_for(lambda: "rank 5" in panel._still["text/plain"])


def test_a_spectrum_panel_says_which_name_it_does_not_know() -> None:
    assert "did you mean 'glassllm'" in repr(SpectrumPanel("glasllm"))
    assert "did you mean &#39;olora&#39;" in SpectrumPanel("glassllm", ["olra"])._problem.value


def test_a_conditioning_panel_measures_each_start_once() -> None:
    config = ov.RaceConfig(lanes=(*LANES, ov.Lane("olora", lr=9e-3, r=2)), batch_size=1)
    panel = ConditioningPanel(config)
    panel._measure.click()
    found = panel.result()
    wait_for(lambda: panel._still)
    first = next(ov.race(ov.RaceConfig(lanes=LANES, batch_size=1)))
    np.testing.assert_allclose(found.grad_norm, first.grad_norm, rtol=1e-5)
    np.testing.assert_allclose(found.loss, first.loss, rtol=1e-5)
    assert (found.hessian.lambda_max > 0).all()
    assert panel.state == "finished"
    assert "λₘₐₓ" in panel._numbers.value
    assert not panel._measure.disabled


def test_a_conditioning_panel_says_what_is_wrong_and_can_be_stopped() -> None:
    panel = ConditioningPanel(CONFIG)
    panel._setup.batch_size.value = 0
    panel._measure.click()
    assert "must be" in text(panel)
    assert panel.state == "ready"
    panel._setup.batch_size.value = 2
    panel._measure.click()
    assert not panel._stop.disabled
    panel.stop()
    with pytest.raises(ValueError, match="nothing was measured"):
        panel.result()
    assert (panel.state, panel._measure.disabled) == ("stopped", False)
    panel._setup.model.value = "nobody"
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
    loss = panel._charts[0].figure
    assert {curve["name"] for curve in traces(loss, meta="smooth")} == {"LoRA", "OLoRA"}
    assert len(traces(loss, fill="tonexty")) == 2
    parts = panel._table.value.split("<summary>Test ")
    assert [part.count('<th scope="row">') for part in parts] == [3, 3]  # and the base model
    assert panel._answers.value.count("base model") == 4


def test_folded_parts_are_drawn_when_they_are_opened_and_only_where_there_is_something() -> None:
    looks = {"spectra_every": 2, "gradients_every": 2}
    rates = tuple(ov.Lane("olora", r=2, lr=lr) for lr in (1e-4, 1e-3, 1e-2))
    panel = RacePanel(replace(CONFIG, lanes=(*LANES, *rates), **looks))
    panel.start()
    panel.result()
    seen = {each.NEWS: each for each in panel._sections if each.layout.display != "none"}
    assert seen.keys() == {"spectra", "gradients", "rates", "measurements"}
    for section in seen.values():
        assert not section._charts
        section.selected_index = 0
        assert section._charts
    spectra = seen["spectra"]
    spectra.layer.value = spectra.layer.options[-1][1]
    assert spectra.layer.options[-1][0] in spectra._charts[1].figure["layout"]["meta"]["title"]
    spectra._charts[0]._picked(spectra.layer.options[0][1])
    assert spectra.layer.value == spectra.layer.options[0][1]
    gradients = seen["gradients"]
    assert gradients.step.value == 6
    gradients.step.value = 2
    assert "step 2" in gradients._charts[1].figure["layout"]["meta"]["title"]
    assert "Steps to reach" in seen["rates"].words.value
    (chart,) = seen["measurements"]._charts
    assert chart.figure["layout"]["meta"]["title"] == "Learning rate"


def test_a_band_has_the_colour_of_its_lane() -> None:
    lanes = tuple(ov.Lane("olora", r=2, seed=seed) for seed in (0, 1))
    panel = RacePanel(replace(CONFIG, lanes=lanes))
    panel.start()
    panel.result()
    chart = panel._charts[0]
    assert any(trace.get("fillcolor") == "@olora-band" for trace in chart.figure["data"])
    for name, palette in chart._whole()["palette"].items():
        assert palette["olora-band"] == theme.palette(name)["olora-band"]
