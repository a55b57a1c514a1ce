"""A measurement is one entry of a table: steps, files, tables, charts and commands know it."""

import copy
import csv
import io
import json
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from support.opened import tab
from support.races import steps_of
from support.served import Visitor, launched
from support.shared import at_workbench
from support.steps import a_step

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.figures.race import RaceCurves, measure_figure
from olora_viz.figures.theme import lane_styles
from olora_viz.measures.catalogue import BUILT_IN_MEASURES, MEASURES, intervals_of_measures
from olora_viz.measures.measure import MEASURE_SHAPES, SCALES
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.tables import STEP_COLUMNS, race_json, steps_csv
from olora_viz.web import page
from olora_viz.web.parts.card import stored

CONFIG = RaceConfig(
    lanes=(ov.Lane("lora", r=2), ov.Lane("olora", r=4), ov.Lane("olora", r=2, lr=1e30)),
    steps=4, batch_size=4, eval_every=2, eval_size=8, test_size=8,
    spectra_every=2, curvature_every=4, gradients_every=2,
)  # fmt: skip
PLAIN = replace(CONFIG, spectra_every=0, curvature_every=0, gradients_every=0)
"""The same race without the costly measurements."""


def size(race: ov.Race) -> torch.Tensor:
    """The norm of all that a lane trains."""
    return race.lanes.theta.detach().norm(dim=1)


SIZE = ov.Measure(key="size", title="Size", unit="‖θ‖", scale="linear", compute=size)


ROWS = [{"init": init, "r": 2, "alpha": "", "lr": "1e-3", "seed": 0} for init in ("lora", "olora")]
"""Lanes as the page sends them."""


def sizes(steps):
    """What was measured, as bits: NaN is equal to NaN."""
    return [step.measures["size"].tobytes() for step in steps]


@pytest.fixture
def register():
    """Registers measurements for the length of a test."""
    made = []

    def add(measure: ov.Measure) -> ov.Measure:
        made.append(ov.register_measure(measure).key)
        return measure

    yield add
    for key in made:
        ov.unregister_measure(key)


def test_the_table_says_all_of_every_measurement():
    assert tuple(MEASURES) == BUILT_IN_MEASURES
    names = {field.name for field in fields(RaceConfig)}
    for key, its in MEASURES.items():
        assert key == its.key
        assert its.title
        assert its.unit
        assert its.cost.endswith(".")
        assert its.scale in SCALES
        assert its.shape in MEASURE_SHAPES
        assert (its.shape == "(K,)") or its.record
        assert its.every is None or its.every in names
    assert set(intervals_of_measures()) == {name for name in names if name.endswith("_every")}


def test_a_step_holds_what_is_due_under_its_key_and_as_an_attribute():
    for step in steps_of(CONFIG):
        assert set(step.measures) == {key for key in BUILT_IN_MEASURES if CONFIG.is_due(key, step.step)}
        for key in BUILT_IN_MEASURES:
            assert getattr(step, key) is step.measures.get(key)
        with pytest.raises(TypeError):
            step.measures["loss"] = 0
        with pytest.raises(ValueError, match="read-only"):
            step.loss[0] = 0
        assert pickle.loads(pickle.dumps(step)) == copy.deepcopy(step) == step
        assert step != replace(step, measures={**step.measures, "loss": step.loss + 1})


def test_one_entry_reaches_steps_files_tables_and_a_chart(register, tmp_path, capsys):
    plain = steps_of(CONFIG)
    register(SIZE)
    folder = tmp_path / "run"
    run = runs.start(CONFIG, folder)
    steps = list(run)
    assert len(steps) == 4
    # Measured, and the race is bitwise the same.
    for one, other in zip(steps, plain, strict=True):
        kept = {key: value for key, value in one.measures.items() if key != "size"}
        assert replace(one, measures=kept) == other
    last = run.race.lanes.theta.detach().double().norm(dim=1).numpy()
    np.testing.assert_allclose(steps[-1].measures["size"][:2], last[:2], rtol=1e-6)
    assert np.isnan(steps[-1].measures["size"][2])  # that lane has diverged
    # The run folder, and back.
    line = json.loads((folder / "steps.jsonl").read_text().splitlines()[-1])
    assert line["size"] == dict(zip(CONFIG.labels, [*steps[-1].measures["size"][:2], None], strict=True))
    assert sizes(runs.read_steps(folder)) == sizes(steps)
    # Tables and JSON.
    frame = ov.steps_frame(folder)
    step, lane, *others = STEP_COLUMNS
    assert tuple(frame) == (step, lane, "init", "r", "alpha", "peak_lr", "parameters", *others, "size")
    of_olora = frame[frame["lane"] == CONFIG.labels[1]]["size"]
    assert of_olora.tolist() == [step.measures["size"][1] for step in steps]
    rows = list(csv.DictReader(io.StringIO(steps_csv(CONFIG.labels, steps), newline="")))
    assert [float(row["size"]) for row in rows[1::3]] == of_olora.tolist()
    assert "size" in json.loads(race_json(CONFIG, steps))["steps"][0]
    # A chart.
    figure = measure_figure(SIZE, RaceCurves(lane_styles(CONFIG.lanes), steps, total=4))
    meta = figure["layout"]["meta"]
    assert (meta["title"], meta["unit"]) == ("Size", "‖θ‖")
    assert "type" not in figure["layout"]["yaxis"]
    ends = [label["name"] for label in figure["layout"]["annotations"]]
    assert [name.split()[0] for name in ends] == ["end", "end"]  # the third had diverged at once
    # The command line.
    few = ("--eval-size", "2", "--test-size", "2")
    assert main(["race", "--lane", "lora", "--steps", "1", *few, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["size"].keys() == {"lora"}


def test_one_function_and_one_call_reach_what_the_page_sends_and_a_browser_shows(browser, jobs, register):
    register(SIZE)
    with launched(page.build(jobs=jobs)) as url:
        visitor = Visitor(url, "size")
        job = visitor.race(steps=3, lanes=ROWS)
        for _ in visitor.heard({visitor.follow(job): "follow"}):
            pass
        measured = [list(step["size"].values()) for step in visitor.finished(job)["steps"]]
        table = csv.DictReader(io.StringIO(visitor.ask("taken", [job, "csv"])["text"]))
        report = visitor.ask("taken", [job, "report"])["page"]
        drawn, heading = seen(browser, url, job)
    np.testing.assert_allclose(np.transpose(drawn), measured, rtol=1e-3)
    assert "Size" in heading
    assert "‖θ‖" in heading
    assert [float(row["size"]) for row in table] == [x for row in measured for x in row]
    chart = visitor.shown["measurement-figures"]["figures"]["size"]
    curves = [[float(y) for y in trace["y"].split(",")] for trace in chart["data"]]
    np.testing.assert_allclose(np.transpose(curves), measured, rtol=1e-3)
    assert [t["y"] for t in report["figures"]["measurement-size"]["data"]] == [t["y"] for t in chart["data"]]


def seen(browser, url, job):
    """Open the page on a race; return the values of the chart and its words."""
    context = at_workbench(browser.new_context(viewport={"width": 1440, "height": 900}))
    context.add_init_script(f"sessionStorage.setItem('{stored('run')}', '{job}')")
    screen = context.new_page()
    screen.goto(url)
    tab(screen, "More")
    chart = screen.locator("#measurement-figures [data-figure=size]")
    chart.scroll_into_view_if_needed()
    plot = "document.querySelector('#measurement-figures [data-figure=size] .js-plotly-plot')"
    screen.wait_for_function(f"{plot}?.data?.[0]?.y?.length == 3")
    drawn = screen.evaluate(f"{plot}.data.map(trace => [...trace.y])")
    heading = chart.inner_text()
    context.close()
    return drawn, heading


def test_what_was_measured_is_read_back_where_nobody_knows_the_measurement(tmp_path):
    ov.register_measure(SIZE)
    try:
        steps = list(runs.start(replace(PLAIN, steps=2), tmp_path / "run"))
    finally:
        assert ov.unregister_measure("size") is SIZE
    assert sizes(runs.read_steps(tmp_path / "run")) == sizes(steps)
    assert "size" in ov.steps_frame(tmp_path / "run")


def test_a_measurement_is_computed_when_its_interval_says_so(register):
    register(replace(SIZE, every="eval_every", at_last=True))
    steps = list(ov.race(replace(PLAIN, steps=5)))
    assert [step.step for step in steps if "size" in step.measures] == [2, 4, 5]
    figure = measure_figure(SIZE, RaceCurves(lane_styles(PLAIN.lanes), steps))
    assert all(curve["x"] == [2, 4, 5] for curve in figure["data"])
    assert len(figure["data"]) == len(PLAIN.lanes)
    for drawn in (ov.plot_race(steps, PLAIN, what="size"), ov.plot_race([steps], PLAIN, what="size")):
        of_first = next(each for each in drawn.data if "lines" in each.mode)
        np.testing.assert_allclose(of_first.y, [steps[k].measures["size"][0] for k in (1, 3, 4)], rtol=1e-3)
    with pytest.raises(ValueError, match="these steps have no 'size'"):
        ov.plot_race(steps[:1], PLAIN, what="size")


def test_random_numbers_and_gradients_of_a_measurement_are_its_own(register):
    def noisy(race):
        torch.manual_seed(3)
        race.lanes.theta.grad = torch.ones_like(race.lanes.theta)
        return torch.randn(race.lanes.count)

    torch.manual_seed(1)
    plain = list(ov.race(PLAIN))
    wanted = torch.rand(3)
    register(replace(SIZE, compute=noisy))
    torch.manual_seed(1)
    for one, other in zip(ov.race(PLAIN), plain, strict=True):
        assert np.array_equal(one.loss, other.loss, equal_nan=True)
        assert np.array_equal(one.grad_norm, other.grad_norm, equal_nan=True)
    assert torch.equal(torch.rand(3), wanted)


WRONG = {
    "a word for a key": (replace(SIZE, key="my size"), "identifier, not 'my size'"),
    "no key": (replace(SIZE, key=""), "identifier, not ''"),
    "a word of Python": (replace(SIZE, key="lambda"), "identifier, not 'lambda'"),
    "a key of ours": (replace(SIZE, key="loss"), "'loss' is taken"),
    "a column of ours": (replace(SIZE, key="lambda_max"), "'lambda_max' is taken"),
    "a column of studies": (replace(SIZE, key="test_loss"), "'test_loss' is taken"),
    "a name in a step's JSON": (replace(SIZE, key="diverged"), "'diverged' is taken"),
    "an unknown scale": (replace(SIZE, scale="cubic"), "'size'.*scale.*'cubic'"),
    "an unknown interval": (replace(SIZE, every="size_every"), "'size'.*'size_every'"),
    "no measurement": (size, "expected a Measure, not a function"),
    "another shape": (replace(SIZE, shape="(K, layers)"), r"'size'.*\(K,\)"),
}


@pytest.mark.parametrize(("measure", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_entry_is_refused_in_a_sentence(measure, sentence):
    with pytest.raises(ValueError, match=sentence):
        ov.register_measure(measure)
    assert tuple(MEASURES) == BUILT_IN_MEASURES


def test_a_key_that_is_registered_again_is_replaced_and_only_a_registered_one_is_taken_away(register):
    register(SIZE)
    with pytest.warns(UserWarning, match="'size' was registered before: this one replaces it"):
        ov.register_measure(replace(SIZE, title="Another"))
    assert ov.MEASURES["size"].title == "Another"
    ov.register_measure(SIZE, replace=True)
    assert ov.MEASURES["size"] == SIZE
    for key in ("loss", "speed"):
        with pytest.raises(ValueError, match=key):
            ov.unregister_measure(key)


def changing(race):
    race.lanes.theta.data.add_(1)
    return np.zeros(3)


FAILING = {
    "raises": (lambda race: 1 / 0, "'size' at step 2 raised ZeroDivisionError"),
    "a number": (lambda race: 3.0, r"'size' at step 2 must .* \(3,\), not the shape \(\)"),
    "of layers": (lambda race: np.ones((3, 2)), r"\(3,\), not the shape \(3, 2\)"),
    "nothing": (lambda race: None, r"'size' at step 2 must return one number per lane"),
    "words": (lambda race: ["a", "b", "c"], r"one number per lane, \(3,\), not list"),
    "changes the lanes": (changing, "'size' at step 2 changed the lanes' parameters"),
}


@pytest.mark.parametrize(("compute", "sentence"), FAILING.values(), ids=FAILING)
def test_a_measurement_that_fails_says_so_and_leaves_the_race_whole(compute, sentence, register):
    whole = steps_of(PLAIN)
    register(replace(SIZE, compute=lambda race: compute(race) if race.done == 2 else np.zeros(3)))
    racing = ov.race(PLAIN)
    next(racing)
    with pytest.raises(ValueError, match=sentence):
        next(racing)
    assert not racing.torn
    rest = [step.loss for step in racing]
    assert np.array_equal(rest, [step.loss for step in whole[2:]], equal_nan=True)


def test_a_run_whose_measurement_failed_is_resumed_as_if_it_had_not(register, tmp_path):
    whole = steps_of(PLAIN)
    register(replace(SIZE, compute=lambda race: 1 / (3 - race.done) * np.ones(3)))
    with pytest.raises(ValueError, match="step 3 raised ZeroDivisionError"):
        list(runs.start(PLAIN, tmp_path / "run"))
    ov.unregister_measure("size")
    rest = list(runs.resume_run(tmp_path / "run"))
    ov.register_measure(SIZE)
    assert rest == whole[2:]


@pytest.mark.parametrize("scale", SCALES)
def test_the_chart_of_a_measurement_names_and_bands_as_the_others_do(scale):
    lanes = [ov.Lane("lora", seed=s) for s in range(3)]
    styles = lane_styles([lanes[0]])
    values = np.array([[1.0, 2.0, 6.0], [2.0, 4.0, np.nan]])
    steps = [a_step(n + 1, np.ones(3), size=row) for n, row in enumerate(values)]
    its = replace(SIZE, scale=scale)
    figure = measure_figure(its, RaceCurves(styles, steps, total=9, run="x", seeds=[(0, 1, 2)]))
    low, high, mean = figure["data"][:3]
    assert (low["y"], high["y"]) == ([1.0, 2.0], [6.0, 4.0])
    assert mean["y"] == [3.0, None]
    layout = figure["layout"]
    assert layout["uirevision"] == "x"
    assert layout["meta"]["badge"] == ("log" if scale == "log" else "")
    assert layout["yaxis"].get("type") == ("log" if scale == "log" else None)
    assert layout["xaxis"]["range"][1] > 9


def test_help_lists_the_intervals_of_the_table(capsys):
    with pytest.raises(SystemExit):
        main(["race", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for interval, measures in intervals_of_measures().items():
        assert f"--{interval.replace('_', '-')}" in said
        cost = measures[0].cost.removesuffix(".")
        assert f"costs {cost[0].lower()}{cost[1:]}" in said
