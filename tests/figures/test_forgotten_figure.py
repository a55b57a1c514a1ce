"""The chart *Learned and forgotten*: paths of lanes, the ranges of their seeds, and the best trade-offs."""

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from support.races import raced, small
from support.simulated_studies import row_of
from support.steps import a_step

import olora_viz as ov
from olora_viz.background.record import RaceRecord, ready_race
from olora_viz.figures.forgotten import forgotten_figure
from olora_viz.figures.layout import to_plotly
from olora_viz.figures.plots import study_figures
from olora_viz.figures.race import RaceCurves
from olora_viz.figures.theme import lane_styles
from olora_viz.measures.forgetting import AboutText
from olora_viz.studies.study import Study
from olora_viz.studies.verdicts import Verdicts, verdicts_of
from olora_viz.views.race import race_view
from olora_viz.views.reports import report

LANES = tuple(ov.Lane(init, lr=3e-3, r=2, seed=seed) for init in ("lora", "olora_unsubtracted") for seed in range(2))
CONFIG = small(LANES, steps=20, eval_every=10, keep="auto")


def known(config=CONFIG):
    """Return the view of a finished race."""
    race, steps = raced(config)
    return race_view(replace(RaceRecord.of(race), steps=tuple(steps))), race, steps


def paths(figure):
    return {trace["name"]: trace for trace in figure["data"] if trace.get("mode") == "lines+markers"}


def test_a_path_goes_from_the_base_model_through_what_was_measured():
    view, race, steps = known()
    figure = view.forgotten
    drawn = paths(figure)
    lora, unsubtracted = drawn["LoRA"], drawn["OLoRA, unsubtracted"]
    for trace, lanes in ((lora, [0, 1]), (unsubtracted, [2, 3])):
        expected = [step.drift[lanes].mean() for step in steps if step.drift is not None]
        np.testing.assert_allclose(trace["y"][1:], expected, rtol=1e-3)
        expected = [step.eval_loss[lanes].mean() for step in steps if step.drift is not None]
        np.testing.assert_allclose(trace["x"][1:], expected, rtol=1e-3)
    assert lora["y"][0] == 0
    assert lora["x"][0] == pytest.approx(float(race.baseline.loss[0]), rel=1e-3)
    # Its held-out loss at step 0 is not recorded, its drift there is not zero.
    assert unsubtracted["x"][0] is None
    assert unsubtracted["y"][0] == pytest.approx(np.mean(race.text.start_drift[2:]), rel=1e-3)
    layout = figure["layout"]
    low, high = layout["xaxis"]["range"][::-1]
    assert low < high  # learned: to the right
    assert layout["yaxis"]["title"]["text"] == "drift, nats per token"
    assert "KL(base‖lane)" in layout["meta"]["how"]
    assert "plain English" in layout["meta"]["unit"]
    assert "crosses: range of 2 seeds" in layout["meta"]["unit"]
    to_plotly(figure, "dark")


def test_the_table_has_the_numbers_at_the_ends_of_the_paths():
    view, race, steps = known()
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in view.forgotten_table.split("<tr")[2:]]
    end, shown = steps[-1], {re.sub("<[^>]+>", "", name): cells for name, *cells in rows}
    for label, lanes in (("LoRA", [0, 1]), ("OLoRA, unsubtracted", [2, 3])):
        means = [values[lanes].mean() for values in (end.eval_loss, end.text_loss, end.drift)]
        bits = race.text.bits_per_byte(means[1])
        assert shown[label] == [f"{value:.2f}" for value in (means[0], means[1], bits, means[2])]
    assert shown["base model"][1] == f"{race.text.loss:.2f}"
    assert race_view(ready_race(CONFIG)).forgotten_table == ""


def test_a_report_has_the_chart_and_the_measurements_do_not_repeat_it():
    view, race, steps = known()
    assert view.measurements.keys() == {"lr"}
    assert "forgotten" in report(replace(RaceRecord.of(race), steps=tuple(steps)))["figures"]
    view, race, steps = known(replace(CONFIG, keep="none"))
    assert view.forgotten["data"] == []
    assert view.forgotten["layout"]["meta"]["message"] == "This race has no text to keep."
    assert "forgotten" not in report(replace(RaceRecord.of(race), steps=tuple(steps)))["figures"]


INITS = ("lora", "olora", "pissa", "milora")
STYLES = lane_styles([ov.Lane(init) for init in INITS])
TEXT = AboutText("plain English", 512, 1621, 3.9, (3.9,) * 4, (0.0,) * 4)


def stepped(loss, drift):
    """Return the steps of a race of four lanes with these results at the end."""
    of = [a_step(n, [1.0] * 4) for n in range(1, 10)]
    return [*of, a_step(10, [1.0] * 4, eval_loss=np.array(loss), drift=np.array(drift))]


def front(figure):
    traces = [trace for trace in figure["data"] if trace["name"] == "best trade-offs"]
    return [(x, y) for trace in traces for x, y in zip(trace["x"], trace["y"], strict=True)]


def test_the_grey_line_goes_through_the_ends_that_none_beats_in_both():
    steps = stepped([1.0, 0.5, 0.6, 0.4], [0.1, 0.4, 0.5, 0.9])
    assert front(forgotten_figure(RaceCurves(STYLES, steps), start_loss=5.0, text=TEXT)) == [
        (0.4, 0.9),
        (0.5, 0.4),
        (1.0, 0.1),
    ]
    alone = stepped([1.0, 0.5, 0.6, 0.4], [0.5, 0.4, 0.5, 0.1])
    figure = forgotten_figure(RaceCurves(STYLES, alone), start_loss=5.0, text=TEXT)
    assert front(figure) == []
    assert "grey" not in figure["layout"]["meta"]["unit"]


def test_a_loss_far_above_the_start_is_left_out_and_said_so():
    figure = forgotten_figure(
        RaceCurves(STYLES, stepped([1.0, 0.5, 80.0, 0.4], [0.1, 0.4, 9.0, 0.9])), start_loss=5.0, text=TEXT
    )
    assert "without losses above 7.5" in figure["layout"]["meta"]["unit"]
    assert max(figure["layout"]["yaxis"]["range"]) < 2


def test_before_anything_is_measured_there_is_a_message():
    figure = forgotten_figure(RaceCurves(STYLES, []), start_loss=5.0, text=TEXT)
    assert figure["layout"]["meta"]["message"] == "Nothing is measured yet."


def test_one_call_draws_a_race_and_its_run_folder(tmp_path):
    race = ov.race(small(steps=3, keep="auto"))
    list(race)
    race.save(tmp_path / "run")
    drawn = [ov.plot_race(source, what="forgotten") for source in (race, tmp_path / "run")]
    assert drawn[0].data == drawn[1].data
    assert len(drawn[0].data) >= 4


def study_with(drift: Callable[[str, float], float], keep: str = "auto") -> Verdicts:
    """Return a study whose losses are lowest at 3e-3, with these drifts by method and rate."""
    study = Study().changed(race={"keep": keep}, tune={"lr": (1e-3, 3e-3, 9e-3)}, compare=("lora", "olora"), seeds=3)
    rows = {}
    for init in study.compare:
        for trial in study.trials(study.cells()[0], init, study.lrs):
            losses = 1.0 + abs(math.log(trial.lr / 3e-3)) + np.linspace(-0.1, 0.1, 30)
            moved = drift(init, trial.lr)
            rows[trial] = row_of(losses, losses, base_text_loss=4.0, text_loss=4.0 + moved, drift=moved)
    return verdicts_of(study, rows)


def test_a_study_s_front_has_every_rate_and_joins_those_that_none_of_its_method_beats() -> None:
    found = study_with(lambda init, lr: 100 * lr * (2 if init == "olora" else 1))
    (figure,) = study_figures(found, ["forgotten"])
    lines = {t["name"]: list(zip(t["x"], t["y"], strict=True)) for t in figure["data"] if t["mode"] == "lines"}
    marks = [t for t in figure["data"] if t["mode"] == "markers"]
    assert len(marks) == 6
    low = 1.0 + math.log(3)
    for name, factor in (("LoRA", 1), ("OLoRA", 2)):
        # At 9e-3 it learns as much as at 1e-3, and forgets more.
        assert np.array(lines[name]) == pytest.approx(np.array([(1.0, 0.3 * factor), (low, 0.1 * factor)]), rel=1e-3)
    chosen = [t for t in marks if t["marker"]["size"] == 12]
    words = [f"{name} at 3e-3: loss 1, drift {drift}" for name, drift in (("LoRA", 0.3), ("OLoRA", 0.6))]
    assert [t["text"] for t in chosen] == [[word] for word in words]
    target = figure["layout"]["shapes"][0]["x0"]
    assert target == pytest.approx(1.0 + 0.02 * 4.0)
    assert figure["layout"]["xaxis"]["range"][0] > figure["layout"]["xaxis"]["range"][1]


def test_a_study_without_a_text_has_no_front_and_says_so() -> None:
    found = study_with(lambda init, lr: math.nan, keep="none")
    (figure,) = study_figures(found, ["forgotten"])
    assert figure["layout"]["meta"]["message"] == "This study has no text to keep."
    assert all("forgotten" not in figure["layout"]["meta"]["title"] for figure in study_figures(found))
