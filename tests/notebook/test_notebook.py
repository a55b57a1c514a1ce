"""The race panel without a browser: what its widgets show, what cells get, what goes wrong."""

import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from support.drawn import traces
from support.panels import CONFIG, LONG, choose, figure, press, shown, text
from support.waiting import wait_until
from traitlets import TraitError, link
from traitlets.config import Config

import olora_viz as ov
from olora_viz.background.work import _running
from olora_viz.models import load_model
from olora_viz.notebook import ConditioningPanel, DecidePanel, RacePanel, SpectrumPanel
from olora_viz.races.step import adapter_origins
from olora_viz.tasks.metrics import METRICS, exact

OLORA = {"init": "olora", "r": "2", "alpha": "", "lr": "1e-3", "seed": "0"}


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
    loss = figure(panel, "loss")
    assert [len(raw["y"]) for raw in traces(loss, meta="raw")] == [6, 6]
    assert "OLoRA" in shown(panel, "results")
    base = plain.baseline
    cells = f"<td>{base.accuracy[0]:.0%}</td><td>{base.loss[0]:.2f}</td>"
    assert f"base model</th>{cells}" in shown(panel, "results")
    assert "What you are seeing" in shown(panel, "story")
    assert "OLoRA" in shown(panel, "verdict")
    assert not shown(panel, "spectra")["hidden"], "a section that a setting fills is always there"
    assert "Not measured: RacePanel(spectra_every=5)" in shown(panel, "spectra.empty")


def test_pause_step_and_go_on_make_the_steps_of_a_race_that_ran_through() -> None:
    panel = RacePanel(CONFIG)
    press(panel, "step")
    panel.result()
    assert (panel.state, len(panel.history)) == ("paused", 1)
    wait_until(lambda: shown(panel, "pause")["disabled"])
    assert shown(panel, "race")["label"] == "▶ Continue"
    press(panel, "step")
    wait_until(lambda: len(panel.history) == 2 and panel.state == "paused")
    panel.resume()
    panel.result()
    assert panel.state == "finished"
    assert shown(panel, "race")["label"] == "▶ Race"
    assert panel.history == list(ov.race(CONFIG))


def test_the_cell_returns_at_once_and_stop_stops_while_another_cell_looks() -> None:
    panel = RacePanel(LONG)
    panel.start()
    wait_until(lambda: len(panel.history) >= 3)
    seen = panel.steps["step"].max()
    assert panel.state == "racing"
    press(panel, "stop")
    panel.result()
    assert panel.state == "stopped"
    made = len(panel.history)
    assert made >= seen
    assert panel._job
    _running[panel._job].join(60)
    assert len(panel.history) == made
    assert shown(panel, "stop")["disabled"]
    assert not shown(panel, "race")["disabled"]


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
    (row,) = shown(panel, "lanes")["value"]
    several = {**row, "init": "lora", "lr": "1e-3/3e-3", "seed": "0-1", "alpha": "", "rest": ""}
    choose(panel, "lanes", [several, row])
    choose(panel, "steps", "9")
    *plain, mine = panel.config.lanes
    assert plain == [ov.Lane("lora", lr=lr, r=4, seed=k) for lr in (1e-3, 3e-3) for k in (0, 1)]
    assert mine == config.lanes[0]
    assert (panel.config.steps, panel.config.schedule) == (9, "cosine")


def test_settings_may_be_given_alone_and_unknown_names_are_errors() -> None:
    assert RacePanel(steps=20).config.steps == 20
    assert RacePanel(CONFIG, seed=5).config == replace(CONFIG, seed=5)
    with pytest.raises(ValueError, match="unknown setting 'stepz'; did you mean 'steps'"):
        RacePanel(stepz=20)
    panel = RacePanel(CONFIG)
    with pytest.raises(AttributeError, match="'stat'; did you mean 'state'"):
        panel.stat = "paused"
    with pytest.raises(TraitError, match="read-only"):
        panel.state = "paused"
    panel.layout.width = "300px"


def test_traits_are_observed_and_linked_and_a_browser_sets_no_result() -> None:
    panel, other = RacePanel(CONFIG), RacePanel(CONFIG)
    seen: list[tuple[str, object]] = []
    panel.observe(lambda change: seen.append((change["name"], change["new"])), ["state", "step"])
    link((panel, "config"), (other, "config"))
    choose(panel, "steps", "2")
    assert other.config.steps == shown(other, "steps")["value"] == 2
    other.config = {"seed": 4}
    assert panel.config == replace(CONFIG, steps=2, seed=4)
    panel.start()
    panel.result()
    assert [state for name, state in seen if name == "state"] == ["loading", "racing", "finished"]
    assert ("step", 2) in seen
    choose(panel, "steps", "5")
    assert panel.config.steps == panel.step == 2  # of the race that is shown, until the next one
    panel.step()
    panel.result()
    assert (panel.step, panel.config.steps, other.config.steps) == (1, 5, 5)
    panel.set_state({"state": "failed", "step": 99})
    assert (panel.state, panel.step) == ("paused", 1)
    panel.config = {"lanes": "lora:r=2 olora:r=2,lr=1e-3/3e-3"}  # as on the command line
    assert [(lane.init, lane.lr) for lane in panel.config.lanes] == [("lora", 1e-3), ("olora", 1e-3), ("olora", 3e-3)]
    wrong_lanes = {"lanes": "olra:r=2"}
    for wrong, rule in (
        ({"stepz": 2}, "did you mean 'steps'"), ({"steps": 0}, "whole number"), (3, "expected a"),
        (wrong_lanes, "did you mean 'olora'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rule):
            panel.config = wrong
    panel.stop()


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: RacePanel("olora"), r"expected a RaceConfig, such as ov\.RaceConfig\(lanes=.*, not 'olora'$"),
        (lambda: RacePanel((ov.Lane("olora"),)), "expected a RaceConfig, .* not a tuple$"),
        (lambda: ConditioningPanel("olora"), "expected a RaceConfig, .* not 'olora'$"),
        (
            lambda: DecidePanel(compare="olora"),
            r"expected a list of initializations, such as \['olora'\], not 'olora'$",
        ),
        (lambda: DecidePanel(r=8), r"expected a list of ranks, such as \[8\], not 8$"),
        (lambda: SpectrumPanel(inits="olora"), "expected a list of initializations, .* not 'olora'$"),
    ],
)
def test_what_no_panel_takes_is_an_error_that_says_what_it_takes(make, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make()


def test_a_panel_that_cannot_start_says_whether_it_races_or_is_paused() -> None:
    panel = RacePanel(LONG)
    panel.start()
    wait_until(lambda: panel.step >= 2)
    with pytest.raises(ValueError, match=r"^the race of this panel is running: stop\(\) ends it$"):
        panel.start()
    panel.pause()
    panel.result()
    done = len(panel.history)
    paused = rf"^the race of this panel is paused at step {done} of 100000: resume\(\) goes on, stop\(\) ends it$"
    with pytest.raises(ValueError, match=paused):
        panel.start()
    panel.stop()


def test_a_button_races_the_next_step_of_the_verdict() -> None:
    panel = RacePanel(CONFIG)
    steps: list[int] = []
    panel.observe(lambda change: steps.append(change["new"]), "step")
    panel.start()
    panel.result()
    wait_until(lambda: panel.state == "finished")
    assert steps == list(range(1, CONFIG.steps + 1)), "each is heard of"
    assert shown(panel, "unraced") == ""
    hidden = {name: shown(panel, f"next.{name}")["hidden"] for name in ("seeds", "rates", "steps")}
    assert hidden == {"seeds": True, "rates": True, "steps": False}, "nothing is learned in so few steps"
    for name, value in {"steps": "7", "warmup": "1", "targets": "q_proj v_proj", "keep_best": "1"}.items():
        choose(panel, name, value)
    words = f"Not yet raced: steps 7 (these results: {CONFIG.steps}), warmup 1 (these results: 0), targets"
    assert words in shown(panel, "unraced")
    changed = panel._setup.config
    assert (changed.targets, changed.keep_best, changed.batch_size) == (("q_proj", "v_proj"), True, CONFIG.batch_size)
    press(panel, "next.seeds")
    assert panel.result().labels == panel.config.labels
    assert panel.config == replace(CONFIG, lanes=panel.config.lanes), "the set-up of the results is repeated"
    assert shown(panel, "unraced") == ""
    assert [lane.seed for lane in panel.config.lanes] == 2 * [0, 1, 2, 3, 4]
    assert [row["seed"] for row in shown(panel, "lanes")["value"]] == ["0-4", "0-4"]
    lanes = panel.config.lanes
    press(panel, "next.steps")
    panel.result()
    assert panel.config == replace(CONFIG, lanes=lanes, steps=2 * CONFIG.steps)


def test_a_panel_races_a_network_and_rows_of_ones_own_again_and_again() -> None:
    model, tokenizer = load_model("glassllm")
    rows = [{"prompt": f"{a} and one make", "answer": str(a + 1)} for a in range(2, 60)]
    for wrong, rule in (
        ({"model": model}, "has a model but no tokenizer"), ({"task": rows[:1]}, "too few examples"),
        ({"task": [3]}, "row 1 is not a mapping"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rule):
            RacePanel(CONFIG, **wrong)
    panel = RacePanel(CONFIG, model=model, tokenizer=tokenizer, task=rows)
    for _ in range(2):
        panel.start()
        lanes = panel.result()
        assert lanes.model is model
        assert panel.race is not None
        assert panel.race.task.name == panel.config.task == "rows"
    choose(panel, "task", "addition")
    panel.start()
    panel.result()
    assert panel.race.task.name == "addition", "another name is another task"
    text = panel._still["text/plain"] if panel._still else ""
    assert f"task addition, steps {CONFIG.steps}" in text
    assert "olora_viz 0." in text


def test_a_button_sets_same_and_fair_rates() -> None:
    panel = RacePanel(CONFIG)
    press(panel, "fair")
    assert [row["lr"] for row in shown(panel, "lanes")["value"]] == ["1e-3", "1e-3", "fair"]
    assert panel.config.lanes[2] == replace(CONFIG.lanes[1], fair=True)
    press(panel, "fair")  # again changes nothing
    assert len(panel.config.lanes) == 3
    choose(panel, "lanes", [OLORA])
    press(panel, "fair")
    assert "fair rates need a plain LoRA lane and at least one other start" in text(panel)
    assert len(shown(panel, "lanes")["value"]) == 1


@pytest.mark.parametrize("metric", ["number:0.01", exact, "chrf"])
def test_a_panel_keeps_a_metric_that_it_does_not_offer_and_scores_by_one_that_is_chosen(metric) -> None:
    panel = RacePanel(replace(CONFIG, metric=metric))
    field = shown(panel, "metric")
    values = [value for _, value in field["options"]]
    assert values.count(field["value"]) == 1
    assert values[: len(METRICS) + 2] == ["auto", *METRICS, "none"]
    assert panel._setup.config.metric == metric
    choose(panel, "metric", "f1")
    assert panel._setup.config.metric == "f1"
    choose(panel, "metric", field["value"])
    assert panel._setup.config.metric == metric


def test_a_panel_whose_set_up_comes_back_from_a_browser_keeps_a_metric_that_is_a_function() -> None:
    panel = RacePanel(replace(CONFIG, metric=exact))
    plain = panel.get_state()["config"]
    assert plain["metric"] == "python:exact"
    panel.config = plain | {"seed": 4}
    assert panel.config == replace(CONFIG, metric=exact, seed=4)
    panel.config = {"metric": "f1"}
    assert panel.config.metric == "f1"


def test_a_button_exports_the_leader_and_nothing_that_exists_is_overwritten(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    panel = RacePanel(replace(CONFIG, keep_best=True))
    panel.start()
    lanes = panel.result()
    best = lanes.labels.index(shown(panel, "export.lane")["value"])
    assert shown(panel, "export.lane")["options"][0][0].startswith("★")
    folder = tmp_path / shown(panel, "export.folder")["value"]
    press(panel, "export.write")
    step = adapter_origins(panel.config, panel.history)[best].step
    said = f"The adapter of {lanes.labels[best]}, from step {step}, is in "
    assert f"{said}{folder.relative_to(tmp_path)}." in shown(panel, "export.said")
    assert "reads it back with the lane" in shown(panel, "export.said")
    again = ov.read_peft(lanes.base(shared=True), folder)
    name = next(iter(lanes.plan.layers))
    torch.testing.assert_close(again.delta(name, 0), lanes.delta(name, best))
    assert shown(panel, "export.folder")["value"] == f"adapters/{folder.name}-2"
    for wrong, rule in (("adapters", "must be new or empty"), ("/proc/x", "could not be written")):
        choose(panel, "export.folder", wrong)
        press(panel, "export.write")
        assert rule in shown(panel, "export.said")
    panel.step()
    panel.result()
    wait_until(lambda: not shown(panel, "export.write")["disabled"])
    choose(panel, "export.folder", "")
    press(panel, "export.write")
    assert ", from step 1, is in" in shown(panel, "export.said")


WRONG = [
    ({"model": "glasllm"}, "did you mean &#39;glassllm&#39;"),
    ({"task": "adition"}, "did you mean &#39;addition&#39;"),
    ({"lanes": [OLORA | {"init": "olra"}]}, "unknown initialization &#39;olra&#39;"),
    ({"lanes": [OLORA | {"r": "999"}]}, "rank 999 exceeds"),
    ({"lanes": []}, "a race takes 1 to 64 lanes, not 0"),
    ({"steps": "0"}, "steps must be a whole number from 1"),
]


def test_what_is_typed_wrong_gets_a_sentence_in_the_panel(capfd) -> None:
    panel = RacePanel(CONFIG)
    right = {"model": CONFIG.model, "task": CONFIG.task, "lanes": [OLORA], "steps": "2"}
    for change, sentence in WRONG:
        for name, value in (right | change).items():
            choose(panel, name, value)
        press(panel, "race")
        wait_until(lambda: panel.state not in ("loading", "racing"))
        wait_until(lambda sentence=sentence: sentence in text(panel))
        assert 'class="status failed"' not in text(panel)
        wait_until(lambda: not shown(panel, "race")["disabled"])
        assert "Traceback" not in "".join(capfd.readouterr())
    for name, value in right.items():
        choose(panel, name, value)
    press(panel, "race")
    panel.result()
    assert (panel.state, 'class="status finished"' in text(panel)) == ("finished", True)


def test_a_gpu_that_is_not_there_gets_a_sentence() -> None:
    panel = RacePanel(replace(CONFIG, device="cuda:7"))
    press(panel, "race")
    wait_until(lambda: panel.state == "failed")
    wait_until(lambda: "device &#39;cuda:7&#39; is not available: this machine has cpu" in text(panel))
    with pytest.raises(ValueError, match="this machine has cpu"):
        panel.result()


def test_asking_for_the_result_of_nothing_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="no race has started: press Race"):
        RacePanel(CONFIG).result()
    with pytest.raises(ValueError, match="press Measure the start"):
        ConditioningPanel(CONFIG).result()


def test_an_interrupt_of_the_kernel_pauses_the_race_and_says_how_to_go_on() -> None:
    panel = RacePanel(LONG)
    panel.start()
    wait_until(lambda: len(panel.history) >= 1)
    # As a kernel has it; a shell makes its background jobs, such as these tests, deaf to it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            panel.result()
    finally:
        signal.signal(signal.SIGINT, before)
    wait_until(lambda: panel.state == "paused")
    wait_until(lambda: "the kernel was interrupted: press Continue to resume" in text(panel))
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
    wait_until(lambda: len(mine.history) >= 1 and len(yours.history) >= 1)
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
    assert "the earlier race of this cell was stopped" in text(two)
    assert 'class="status failed"' not in text(two)


def test_of_two_threads_that_show_a_panel_at_once_the_older_news_does_not_stay() -> None:
    panel = RacePanel(CONFIG)
    press(panel, "race")
    panel.result()
    with panel._drawing:
        other = threading.Thread(target=panel._show)
        other.start()
        time.sleep(0.2)  # it waits to draw
        panel._job.become("stopped")  # shown by this thread
    other.join()
    assert panel.state == "stopped"


def test_running_a_cell_of_marimo_again_stops_its_race(tmp_path) -> None:
    code = "one = RacePanel(LONG); two = RacePanel(LONG); one.start()"
    cell = compile(code, str(tmp_path / "__marimo__cell_Hbol_"), "exec")
    names: dict[str, object] = {"RacePanel": RacePanel, "LONG": LONG}
    exec(cell, names)
    first = names["one"]
    assert first.state in ("loading", "racing")
    exec(cell, names)
    assert first.state == "stopped"
    names["one"].stop()
    assert names["one"]._job.wait(60)
