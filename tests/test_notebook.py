"""The panels without a browser: what widgets show, what cells get, what goes wrong."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from drawn import traces
from IPython.core.interactiveshell import InteractiveShell
from races import PAIR, small
from traitlets.config import Config

import olora_viz as ov
from olora_viz.figures import race as figures
from olora_viz.figures import theme
from olora_viz.figures.live.jupyter_figure import LiveFigure, difference, plotly_source
from olora_viz.figures.live.packing import pack
from olora_viz.figures.theme import lane_styles
from olora_viz.notebook import ConditioningPanel, RacePanel, SpectrumPanel

LANES = PAIR
CONFIG = small(LANES, steps=6, batch_size=2, eval_every=3)
LONG = small(LANES, steps=100_000, batch_size=2)


def wait_for(what: Callable[[], object]) -> None:
    """Wait for another thread; the time says only when to give up."""
    for _ in range(3000):
        if what():
            return
        time.sleep(0.01)
    raise TimeoutError


def press(panel, word: str) -> None:
    panel._buttons[word].click()


def text(panel) -> str:
    return panel._status.value


def test_a_race_in_a_panel_makes_the_steps_of_the_race() -> None:
    panel = RacePanel(CONFIG)
    press(panel, "race")
    lanes = panel.result()
    plain = ov.race(CONFIG)
    assert panel.history == list(plain)
    assert lanes.labels == ("lora", "olora")
    assert (lanes.theta == plain.lanes.theta).all()
    assert repr(panel) == "RacePanel: finished, step 6 of 6"
    np.testing.assert_array_equal(panel.steps["step"], np.repeat(np.arange(1, 7), 2))
    shown = panel._charts[0].figure
    assert [len(raw["y"]) for raw in traces(shown, meta="raw")] == [6, 6]
    assert "OLoRA" in panel._table.value
    base = plain.baseline
    cells = f"<td>{base.accuracy[0]:.0%}</td><td>{base.loss[0]:.2f}</td>"
    assert f"before the race</th>{cells}" in panel._table.value
    assert "What you are seeing" in panel._story.value


def test_pause_step_and_go_on_make_the_steps_of_a_race_that_ran_through() -> None:
    panel = RacePanel(CONFIG)
    press(panel, "step")
    panel.result()
    assert (panel.state, len(panel.history)) == ("paused", 1)
    wait_for(lambda: panel._buttons["pause"].disabled)
    press(panel, "step")
    wait_for(lambda: len(panel.history) == 2 and panel.state == "paused")
    panel.resume()
    panel.result()
    assert panel.state == "finished"
    assert panel.history == list(ov.race(CONFIG))


def test_the_cell_returns_at_once_and_stop_stops_while_another_cell_looks() -> None:
    panel = RacePanel(LONG)
    panel.start()
    wait_for(lambda: len(panel.history) >= 3)
    seen = panel.steps["step"].max()
    assert panel.state == "racing"
    press(panel, "stop")
    panel.result()
    assert panel.state == "stopped"
    made = len(panel.history)
    assert made >= seen
    time.sleep(0.1)
    assert len(panel.history) == made
    assert panel._buttons["stop"].disabled
    assert not panel._buttons["race"].disabled


def test_two_panels_race_side_by_side_and_do_not_mix() -> None:
    one, other = RacePanel(CONFIG), RacePanel(replace(CONFIG, seed=3))
    one.start()
    other.start()
    one.result()
    other.result()
    assert one.history == list(ov.race(CONFIG))
    assert other.history == list(ov.race(other.config))
    assert other.config.seed == 3


def test_controls_show_the_set_up_and_what_has_no_control_stays() -> None:
    config = ov.RaceConfig(
        lanes=(ov.Lane("pissa", lr=2e-3, r=4, alpha=8, label="mine"),), schedule="cosine",
        warmup=2, eval_every=7, max_length=40,
    )  # fmt: skip
    panel = RacePanel(config)
    assert panel.config == config
    panel._setup.lanes.value = "lora:lr=1e-3/3e-3\n\nolora:r=2"
    panel._setup.steps.value = 9
    assert panel.config.labels == ("lora@lr=1e-3", "lora@lr=3e-3", "olora")
    assert (panel.config.steps, panel.config.schedule) == (9, "cosine")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": "glasllm"}, "did you mean &#39;glassllm&#39;?"),
        ({"task": "adition"}, "did you mean &#39;addition&#39;"),
        ({"lanes": "olra"}, "unknown initialization &#39;olra&#39;"),
        ({"lanes": "olora:r=999"}, "rank 999 exceeds"),
        ({"lanes": ""}, "a race takes 1 to 64 lanes, not 0"),
        ({"steps": 0}, "steps must be a whole number from 1"),
    ],
)
def test_what_is_typed_wrong_gets_a_sentence_in_the_panel(change, sentence: str, capfd) -> None:
    panel = RacePanel(CONFIG)
    for name, value in change.items():
        getattr(panel._setup, name).value = value
    press(panel, "race")
    wait_for(lambda: panel.state not in ("loading", "racing"))
    wait_for(lambda: sentence in text(panel))
    assert 'class="status failed"' in text(panel)
    assert not panel._buttons["race"].disabled
    assert "Traceback" not in "".join(capfd.readouterr())
    panel._setup.model.value, panel._setup.task.value = CONFIG.model, CONFIG.task
    panel._setup.lanes.value, panel._setup.steps.value = "olora", 2
    press(panel, "race")
    panel.result()
    assert (panel.state, 'class="status finished"' in text(panel)) == ("finished", True)


def test_a_gpu_that_is_not_there_gets_a_sentence(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    panel = RacePanel(replace(CONFIG, device="cuda"))
    press(panel, "race")
    wait_for(lambda: panel.state == "failed")
    wait_for(lambda: "this machine has no CUDA GPU; use &#39;cpu&#39;" in text(panel))
    with pytest.raises(ValueError, match="no CUDA GPU"):
        panel.result()


def test_asking_for_the_result_of_nothing_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="no race has started: press Race"):
        RacePanel(CONFIG).result()
    with pytest.raises(ValueError, match="press Measure the start"):
        ConditioningPanel(CONFIG).result()


def test_an_interrupt_of_the_kernel_pauses_the_race_and_says_how_to_go_on() -> None:
    panel = RacePanel(LONG)
    panel.start()
    wait_for(lambda: len(panel.history) >= 1)
    # As a kernel has it; a shell makes its background jobs, such as these tests, deaf to it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            panel.result()
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for(lambda: panel.state == "paused")
    wait_for(lambda: "the kernel was interrupted: press Race to resume" in text(panel))
    panel.stop()
    panel.result()


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    own = Config()
    own.HistoryManager.enabled = False
    own.ProfileDir.location = str(tmp_path_factory.mktemp("profile"))
    started = InteractiveShell.instance(config=own)
    started.user_ns["RacePanel"], started.user_ns["LONG"] = RacePanel, LONG
    yield started
    started.restore_sys_module_state()
    InteractiveShell.clear_instance()


def test_running_a_cell_again_stops_its_race_and_another_cells_goes_on(shell) -> None:
    shell.run_cell("mine = RacePanel(LONG); mine.start()", store_history=True)
    shell.run_cell("yours = RacePanel(LONG); yours.start(); a = 1", store_history=True)
    mine, yours = shell.user_ns["mine"], shell.user_ns["yours"]
    wait_for(lambda: len(mine.history) >= 1 and len(yours.history) >= 1)
    shell.run_cell("mine = RacePanel(LONG); mine.start()", store_history=True)
    again = shell.user_ns["mine"]
    assert again is not mine
    assert mine.state == "stopped"
    assert mine.race is None
    assert yours.state == "racing"
    for panel in (again, yours):
        panel.stop()
        assert panel._job.wait(60)


def test_a_name_makes_panels_of_any_cell_one(shell) -> None:
    shell.run_cell("one = RacePanel(LONG, name='it'); one.start()", store_history=True)
    shell.run_cell("two = RacePanel(LONG, name='it')", store_history=True)
    one, two = shell.user_ns["one"], shell.user_ns["two"]
    assert one.state == "stopped"
    assert "The earlier race of this cell was stopped" in text(two)


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
    assert "did you mean 'glassllm'?" in repr(SpectrumPanel("glasllm"))
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
    parts = panel._table.value.split("<h2>Test ")
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
