"""A race as seen from outside: the same value for page, notebook, report and recorded races."""

import dataclasses
import json
import math
import re
from functools import cached_property

import pytest
import torch
from support.steps import a_step

from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import COMMANDS, RaceRecord, ready_race, status_of_lanes
from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery import GALLERY
from olora_viz.machine.memory import Memory, memory_of
from olora_viz.machine.wording import nats
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.tasks.batches import Epochs
from olora_viz.tasks.evaluation import HeldOut
from olora_viz.views import race as drawing
from olora_viz.views.layers import gradients_view, spectra_view
from olora_viz.views.race import RaceView, race_view
from olora_viz.views.reports import report
from olora_viz.views.results import rates_view

LAZY = {
    name
    for name, its in vars(RaceView).items()
    if isinstance(its, (cached_property, drawing.drawn_once)) and not name.startswith("_")
}


def going(state: str, **more) -> RaceRecord:
    return dataclasses.replace(ready_race(RaceConfig()), state=state, **more)


@pytest.mark.parametrize("name", GALLERY)
def test_a_view_is_frozen_values_that_json_can_hold(name):
    view = race_view(GALLERY[name])
    with pytest.raises(dataclasses.FrozenInstanceError):
        view.step = 1
    eager = {field.name for field in dataclasses.fields(RaceView)} - {"race", "steps", "common"}
    for name in eager | LAZY:
        value = getattr(view, name)
        json.dumps(
            sorted(value) if isinstance(value, frozenset) else value, allow_nan=False, default=dataclasses.asdict
        )


@pytest.mark.parametrize("name", GALLERY)
def test_going_back_to_a_step_shows_a_race_as_it_was_then(name):
    record = GALLERY[name]
    cut = dataclasses.replace(record, steps=record.steps[:7], complete=False, state="racing", tested=None)
    back, then = race_view(record, upto=7), race_view(cut)
    assert back.figures == then.figures
    assert back.story == then.story
    assert (back.results, back.order) == (then.results, then.order)
    assert (back.step, back.steps_done) == (7, len(record.steps))
    if record.early_answers:
        before = [answer.step for answer in record.early_answers if answer.step is not None and answer.step <= 7]
        said = str(back.answers)
        assert f">at step {max(before)}<" in said if before else ">at step" not in said
        assert f">at step {back.steps_done}<" not in said
    else:
        assert f">at step {back.steps_done}<" in str(back.answers)  # they are those of the end
        assert back.answers == race_view(record).answers  # in its order


@pytest.mark.parametrize(
    ("record", "can"),
    [
        (going("ready"), {"start", "step"}),
        (going("waiting"), {"pause", "step", "stop"}),
        (going("loading"), {"pause", "step", "stop"}),
        (going("racing"), {"pause", "step", "stop"}),
        (going("paused"), {"resume", "step", "stop"}),
        (going("finished"), set()),
        (going("finished", complete=True), {"start", "step"}),
        (going("failed", complete=True), {"start", "step"}),
    ],
)
def test_a_race_can_be_asked_for_what_its_state_allows(record, can):
    assert race_view(record).commands == can
    assert can <= set(COMMANDS)


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (("ready", "waiting", "loading", "racing", "paused"), "racing"),
        (("finished",), "finished"),
        (("stopped", "failed", "diverged"), "stopped"),
    ],
)
def test_lanes_that_have_not_left_have_the_status_of_their_race(states, status):
    assert {status_of_lanes(going(state)) for state in states} == {status}


def test_a_race_that_is_set_up_has_its_lanes_and_nothing_else():
    record = ready_race(RaceConfig(lanes=(Lane("lora", seed=0), Lane("lora", seed=1))))
    assert isinstance(record, RaceRecord)
    view = race_view(record)
    assert (view.steps_done, view.step, set(view.news.values())) == (0, 0, {0})
    assert view.results.count('scope="row"') == 1  # the seeds of a lane are one row
    assert spectra_view(record) is gradients_view(record) is rates_view(record) is None


@pytest.mark.parametrize("name", GALLERY)
def test_what_a_page_chose_of_another_race_gives_way_to_what_this_race_has(name):
    record = GALLERY[name]
    for nonsense in (None, 7, "nobody", [], {"a": 1}):
        for show, news in ((spectra_view, "spectra"), (gradients_view, "gradients")):
            view = show(record, lane=nonsense, measure=nonsense, layer=nonsense)
            assert (view is None) == (race_view(record).news[news] == 0)
            if view is not None:
                style = record.styles[view.choices.lane]
                assert style.init == "olora" or "olora" not in {s.init for s in record.styles}
                assert view.choices.layer in dict((n, w) for w, n in view.choices.layers)


@pytest.mark.parametrize("name", GALLERY)
def test_a_report_is_of_the_same_view_and_does_not_hold_the_races_id(name):
    record = GALLERY[name]
    page = report(record)
    view = race_view(record, run="report")
    assert view.results in page["body"]
    assert view.story in page["body"]
    assert record.id not in json.dumps(page)


def test_a_view_stays_at_its_moment_and_computes_only_what_is_read(monkeypatch):
    steps = [a_step(n, [2.0 / n, 3.0]) for n in (1, 2)]
    config = RaceConfig(lanes=(Lane("lora"), Lane("olora")), steps=9)
    race = BackgroundRace("id", config, None, ready_race(config).styles, steps=steps)
    drawn: list[str] = []
    for name in ("loss_figure", "gradient_figure", "accuracy_figure"):
        draw = getattr(drawing, name)
        monkeypatch.setattr(drawing, name, lambda *a, n=name, f=draw, **k: drawn.append(n) or f(*a, **k))
    view, then = race_view(race.record()), race_view(race.record())
    assert drawn == []
    steps.append(a_step(3, [0.1, 0.2]))
    race.end("stopped", "over")
    assert (view.loss, view.results, view.text) == (then.loss, then.results, then.text)
    assert drawn == ["loss_figure", "loss_figure"]
    assert view.loss is view.loss
    later = race_view(race.record())
    assert (later.step, later.complete, view.step, view.complete) == (3, True, 2, False)
    assert later.loss != view.loss


def test_the_results_say_how_many_examples_each_part_has_and_what_was_removed():
    about = HeldOut(64, None, "", 80, 80, train=268, test=50, exact=2, near=1)
    assert about.parts == (
        "268 training examples, 64 held out, 50 for the test at the end. Removed from training: "
        "3 examples with a held-out or test prompt (2 the same, 1 nearly)."
    )
    racing = going("racing", held_out=about)
    assert about.parts in race_view(racing).results
    prompts = racing.config.steps * racing.config.batch_size
    assert f"A lane sees {Epochs(prompts, about.train).words}." in race_view(racing).results
    one = race_view(going("racing", held_out=HeldOut(1, None, "", 1, 1)))
    assert "on 1 held-out prompt<" in one.results
    unknown = HeldOut(64, None, "", 80, 80)
    assert unknown.parts == ""
    assert "held out" not in race_view(going("racing", held_out=unknown)).results


@pytest.mark.parametrize("name", GALLERY)
def test_every_chart_of_held_out_results_says_on_how_many_examples_it_rests(name):
    record = GALLERY[name]
    view, rates = race_view(record), rates_view(record)
    count = record.held_out.examples
    charts_ = [view.loss, view.accuracy, *([rates.figure] if rates else [])]
    for figure in charts_:
        assert f"{count} " in figure["layout"]["meta"]["unit"]


@pytest.mark.parametrize("name", ["first", "fair-rates"])
def test_the_handle_on_the_rates_names_every_curve_of_the_charts_once(name):
    record = GALLERY[name]
    view, rates = race_view(record), rates_view(record)
    assert rates
    recall = rates.figure["layout"]["meta"]["recall"]
    assert recall["race"] == view.accuracy["layout"]["uirevision"]
    named = [lanes for curve in recall["curves"] for lanes in curve["lanes"]]
    every = {label for lanes in named for label in lanes}
    assert sum(map(len, named)) == len(every), "a lane is raced at one rate"
    for figure in (view.accuracy, view.loss, view.gradient):
        assert {trace["legendgroup"] for trace in figure["data"] if "legendgroup" in trace} <= every
    assert {style.label for style in record.styles} <= every


def test_where_one_start_is_left_the_verdict_says_that_the_others_are_out() -> None:
    lanes = tuple(Lane(init, seed=seed) for init in ("lora", "olora") for seed in range(2))
    config = RaceConfig(lanes=lanes, steps=20, eval_every=1)
    lost = (a_step(1, [1.0] * 4, eval_loss=[1.0] * 4), a_step(2, [1.0, 1.0, math.nan, math.nan]))
    last = a_step(3, [1.0, 1.0, math.nan, math.nan], eval_loss=[1.0, 1.0, math.nan, math.nan])
    record = dataclasses.replace(ready_race(config), state="racing", steps=(*lost, last))
    said = race_view(record).verdict.striptags()
    assert said == "Only LoRA is left. OLoRA is out of the race. The ranking says why."


def test_lanes_of_different_ranks_that_are_left_are_not_said_to_be_gone() -> None:
    lanes = (Lane("olora", r=8), Lane("lora", r=8), Lane("pissa", r=4))
    config = RaceConfig(lanes=lanes, steps=20, eval_every=1)
    results = [math.nan, 1.3, 0.1]
    steps = (a_step(1, [1.0] * 3, eval_loss=[1.0] * 3), a_step(2, results), a_step(3, results, eval_loss=results))
    view = race_view(dataclasses.replace(ready_race(config), state="racing", steps=steps))
    assert view.verdict.striptags() == (
        "None of those left can be compared. 1 lane is out of the race. The ranking shows how far each came."
    )


@pytest.mark.parametrize(("device", "shown"), [("CPU", "0.6 GB"), ("CUDA", "CUDA 0.6 GB")])
def test_the_line_says_what_memory_a_race_takes_while_it_runs(device: str, shown: str) -> None:
    here = memory_of(torch.device("cpu"))
    assert here is None or 0 < here.now <= here.peak
    its = {"steps": (a_step(1, [1.0] * 15),), "memory": Memory(612_000_000, 1_340_000_000)}
    racing, finished = (race_view(going(state, device=device, **its)).status for state in ("racing", "finished"))
    assert f'title="{device} memory; peak 1.3 GB">{shown}</span>' in racing
    assert "GB" not in finished
    assert ("CUDA" in finished) == (device == "CUDA")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("waiting", "Waiting."),
        ("loading", "Loading."),
        ("racing", "Training."),
        ("paused", "Paused."),
        ("stopped", "Stopped before"),
    ],
)
def test_before_the_first_held_out_results_the_verdict_says_what_the_race_does(state: str, said: str) -> None:
    verdict = race_view(going(state)).verdict.striptags()
    assert verdict.startswith(said)
    assert "the first held-out results" in verdict.lower()


def test_the_score_of_written_answers_stands_first_beside_its_lane():
    lanes = (Lane("lora", lr=1e-2), Lane("olora", lr=1e-2))
    racing = Race(RaceConfig(task="tagging", lanes=lanes, steps=30, test_size=8, eval_every=0, keep="none"))
    steps, tested = tuple(racing), racing.tested()
    _, table = race_view(dataclasses.replace(RaceRecord.of(racing), steps=steps, tested=tested)).results.split(
        "Test on"
    )
    rows = (re.findall(r">([^<>]+)</t[hd]>", row) for row in re.sub(r"</?span[^>]*>", "", table).split("<tr")[1:])
    first = {name: score for name, score, *_ in rows}
    assert first.pop("lane") == "f1"
    scores = (tested.base.score[0], *tested.lanes.score)
    assert list(first.values()) != ["0.00"] * 3
    assert first == dict(zip(("base model", "LoRA", "OLoRA"), map(nats, scores), strict=True))
