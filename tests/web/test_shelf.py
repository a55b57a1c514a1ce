"""Earlier runs of a visit: listed, named, pinned, laid over each other, compared."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from support.steps import a_step
from support.waiting import wait_until

from olora_viz.background.race import BackgroundRace
from olora_viz.figures.race import NamedRun, overlay_figure
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery import load_recording
from olora_viz.races.config import RaceConfig
from olora_viz.views.race import race_view
from olora_viz.views.runs import named_run
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race import shelf

LANES = (Lane("lora"), Lane("olora"))
CONFIG = RaceConfig(task="addition", lanes=LANES, steps=2, batch_size=4, eval_size=4, test_size=4)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    made = Jobs(Limits(keep_races=20), folder=tmp_path_factory.mktemp("jobs") / "jobs")
    yield made
    made.close()


@pytest.fixture(scope="module")
def runs(jobs: Jobs) -> list[BackgroundRace]:
    made = [jobs.start(CONFIG), jobs.start(replace(CONFIG, steps=3))]
    wait_until(lambda: all(job.complete for job in made))
    return made


def _edits(run: str, **edit: object) -> dict[str, object]:
    return {run: edit}


def test_a_run_is_listed_once_and_under_a_name_of_its_own(jobs: Jobs, runs: list[BackgroundRace]) -> None:
    rows = shelf.added(jobs, [], runs[0].id)
    rows = shelf.added(jobs, shelf.added(jobs, rows, runs[1].id), runs[0].id)
    assert [row["id"] for row in rows] == [runs[1].id, runs[0].id]
    assert [row["name"] for row in rows] == ["glassllm, addition 2", "glassllm, addition 1"]
    told = shelf.listed(jobs, rows, runs[0].id)
    assert [row["current"] for row in told] == [False, True]
    assert "finished · 2 steps" in told[1]["words"]


@pytest.mark.parametrize(
    "sent", [None, "x", [None], [{"id": "no such run", "name": "a"}], [{"id": 3, "name": 4}], {"id": 1}]
)
def test_what_a_browser_made_up_lists_nothing(jobs: Jobs, sent: object) -> None:
    assert shelf.checked(jobs, sent) == []
    assert shelf.changed(shelf.checked(jobs, sent), _edits("x", pinned=True)) == []


def test_a_name_is_cut_and_a_wish_for_nothing_changes_nothing(jobs: Jobs, runs: list[BackgroundRace]) -> None:
    rows = shelf.added(jobs, [], runs[0].id)
    named = shelf.changed(rows, _edits(runs[0].id, name="  <b>my</b>\n run " + "x" * 100))[0]["name"]
    assert named.startswith("<b>my</b> run xx")
    assert len(named) == shelf.LONGEST_NAME
    for nothing in (
        None, {}, "pin", [3], {runs[0].id: "x"}, {runs[0].id: {"do": "explode"}}, _edits("no such run", name="a"),
        _edits(runs[0].id, name=3), _edits(runs[0].id, name="  "), _edits(runs[0].id, removed="yes"),
    ):  # fmt: skip
        assert shelf.changed(rows, nothing) == rows


def test_actions_that_are_sent_together_all_count(jobs: Jobs, runs: list[BackgroundRace]) -> None:
    rows = shelf.added(jobs, shelf.added(jobs, [], runs[0].id), runs[1].id)
    edits = _edits(runs[0].id, name="short", pinned=True) | _edits(runs[1].id, removed=True)
    assert shelf.changed(rows, edits) == [{"id": runs[0].id, "name": "short", "pinned": True, "overlaid": False}]


def test_names_are_escaped_where_runs_are_compared(jobs: Jobs, runs: list[BackgroundRace]) -> None:
    rows = shelf.added(jobs, shelf.added(jobs, [], runs[0].id), runs[1].id)
    for job in runs:
        rows = shelf.changed(rows, _edits(job.id, overlaid=True))
    rows = shelf.changed(rows, _edits(runs[0].id, name="<script>alert(1)</script>"))
    card, figure, words = shelf.compared(jobs, rows, runs[0].id)
    assert "away" not in card["elem_classes"]
    assert "<script>" not in words
    assert "&lt;script&gt;" in words
    assert "steps" in words
    assert len(figure["data"]) >= 4


def test_pinned_runs_stay_when_a_visit_has_many(jobs: Jobs, runs: list[BackgroundRace]) -> None:
    row = {"name": "a", "overlaid": False}
    pinned = {**row, "id": runs[0].id, "pinned": True}
    rows = shelf.added(jobs, [*[{**row, "id": runs[1].id, "pinned": False}] * 20, pinned], None)
    assert len(rows) == shelf.MOST_RUNS
    assert rows[-1]["pinned"]


def test_a_removed_run_is_listed_no_more(jobs: Jobs, runs: list[BackgroundRace]) -> None:
    rows = shelf.added(jobs, [], runs[0].id)
    assert shelf.changed(rows, _edits(runs[0].id, removed=True)) == []


def test_a_run_that_is_laid_over_another_has_the_curves_that_it_has_alone() -> None:
    race = load_recording("first")
    curves = [trace for trace in race_view(race).accuracy["data"] if trace.get("name") and "lines" in trace["mode"]]
    alone = {trace["name"]: trace["line"]["color"] for trace in curves if trace["name"] in ("LoRA", "OLoRA", "PiSSA")}
    assert len(alone) == 3
    laid = overlay_figure([named_run("one", race), named_run("two", race)])["data"]
    ends = race.steps[-1].eval_loss.reshape(3, 3).mean(1)  # three seeds of each
    for run in ("one", "two"):
        own = {t["name"].removeprefix(f"{run}: "): t for t in laid if t.get("name", "").startswith(f"{run}: ")}
        assert {name: trace["line"]["color"] for name, trace in own.items()} == alone
        np.testing.assert_allclose([trace["y"][-1] for trace in own.values()], ends, rtol=1e-3)


def _run(name: str, config: RaceConfig, losses: list[list[float]]) -> NamedRun:
    steps = [
        a_step(10 * (i + 1), row, seconds=1.0, eval_loss=row, eval_accuracy=np.zeros(2))
        for i, row in enumerate(losses)
    ]
    return NamedRun(name, lane_styles(config.lanes), steps, config.steps)


def test_the_chart_draws_every_lane_of_every_run_at_the_steps_where_it_was_judged() -> None:
    one = _run("one", CONFIG, [[2.0, 1.0], [1.0, 0.5]])
    two = _run("two", replace(CONFIG, steps=30), [[3.0, 2.0], [2.0, 1.5], [1.0, 0.7]])
    data = overlay_figure([one, two])["data"]
    assert [trace["name"] for trace in data] == ["one: LoRA", "one: OLoRA", "two: LoRA", "two: OLoRA"]
    assert [trace["x"] for trace in data] == [[10, 20]] * 2 + [[10, 20, 30]] * 2
    assert data[3]["y"] == [2.0, 1.5, 0.7]
    assert len({trace["line"]["dash"] for trace in data[:2]}) == 1
    assert data[0]["line"]["dash"] != data[2]["line"]["dash"]
    assert data[0]["line"]["color"] == data[2]["line"]["color"]
    long = _run(f"<b>{'a' * 30}</b> 2", CONFIG, [[2.0, 1.0], [1.0, 0.5]])
    labels = {label["text"] for label in overlay_figure([one, long])["layout"]["annotations"]}
    assert labels >= {"one: OLoRA", "&lt;b&gt;aaaaaa…aaaa&lt;/b&gt; 2: OLoRA"}
