"""What the server makes of a run to take away, and what it answers to what is no run."""

import csv
import io
import json
from dataclasses import replace

import pytest

from olora_viz.learn.gallery import GALLERY
from olora_viz.races.config import RaceConfig
from olora_viz.races.fair_rate import found_rates
from olora_viz.views.race import race_view
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts import export as take
from olora_viz.web.parts.export import EXPORTS, export


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    made = Jobs(folder=tmp_path_factory.mktemp("jobs"))
    yield made
    made.close()


@pytest.mark.parametrize("name", GALLERY)
def test_a_recorded_race_is_taken_away_in_every_kind(name, jobs):
    run = GALLERY[name]
    files = {kind: export(jobs, [run.id, kind]) for kind in EXPORTS}
    assert not [file for file in files.values() if "problem" in file]
    rows = list(csv.DictReader(io.StringIO(files["csv"]["text"], newline="")))
    assert len(rows) == len(run.steps) * len(run.config.lanes)
    told = json.loads(files["json"]["text"])
    assert RaceConfig.from_json(told["config"]) == run.config
    assert told["summary"]["recorded"] is True
    lanes = told["summary"]["lanes"].values()
    assert {lane["status"] for lane in lanes} <= {"finished", "diverged"}
    for kind in ("code", "peft"):
        compile(files[kind]["text"], kind, "exec")
    assert not any(lane.fair for lane in found_rates(run.config, run.steps).lanes)


def test_a_report_says_that_a_race_was_recorded_and_has_a_chart_for_every_place(jobs):
    run = next(iter(GALLERY.values()))
    page = export(jobs, [run.id, "report"])["page"]
    assert "<p>Recorded: computed earlier" in page["body"]
    assert page["body"].count("data-figure=") == len(page["figures"]) >= 4
    for part in ("What you are seeing", "Ranking at step", "Watch them answer", "Set-up"):
        assert part in page["body"]
    for style in run.styles:
        assert style.label.split()[0] in page["body"]
    mapped = [replace(run.config.lanes[int(name[4:])], seed=0) for name in page["figures"] if name.startswith("map-")]
    assert len(mapped) == len(set(mapped)) == len(run.config.lanes) / 3, "one of each row's three seeds"


@pytest.mark.parametrize(
    ("name", "chart", "title"),
    [("fair-rates", "rates", "against learning rate"), ("curvature", "sharpness", "Sharpness")],
)
def test_a_report_draws_a_sweep_and_a_curvature_where_there_is_one(jobs, name, chart, title):
    of_it, of_another = (export(jobs, [GALLERY[run].id, "report"])["page"]["figures"] for run in (name, "one-rate"))
    assert title in json.loads(of_it[chart]["layout"]["meta"])["title"]
    assert chart not in of_another


def test_a_recorded_race_offers_no_adapters(jobs):
    run = next(iter(GALLERY.values()))
    assert race_view(run).adapters == {"lanes": [], "recorded": True, "owned": True}
    assert "problem" in take.find(jobs, [run.id, 0])


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (None, "an export needs the id of a run and a kind of file"),
        ({"a": 1}, "an export needs the id of a run and a kind of file"),
        (["x"], "an export needs the id of a run and a kind of file"),
        (["x", "csv"], "this race is no longer available"),
        ([{}, "csv"], "this race is no longer available"),
        (["../../etc/passwd", "json"], "this race is no longer available"),
        (["recorded:../secret", "json"], "this race is no longer available"),
        (["x", "exe"], "exported as csv, json, code, peft, report, not 'exe'"),
        (["x", ["csv"]], "exported as csv, json, code, peft, report, not"),
        (["x", "a" * 10_000], "exported as"),
    ],
)
def test_what_is_no_run_gets_one_sentence(asked, sentence, jobs):
    found = export(jobs, asked)
    assert list(found) == ["problem"]
    assert sentence in found["problem"]
    assert len(found["problem"]) < 150
