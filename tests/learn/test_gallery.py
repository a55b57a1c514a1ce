"""Recorded races are races: whole, as measured, and they come out the same when raced again."""

import dataclasses
import json
import math
import re
from itertools import islice

import numpy as np
import pytest
from support.nightly import at_night

from olora_viz.background.record import RaceRecord
from olora_viz.lanes.generation import Answer
from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery import FOLDER, GALLERY, RECORDINGS, RecordingSetUp, claims, load_recording, read, recorded
from olora_viz.learn.gallery.__main__ import record
from olora_viz.learn.gallery.chain import CHAIN_FILE
from olora_viz.learn.gallery.recording import MOST_RECORDED, write
from olora_viz.learn.gallery.start import START_FILE, recorded_start
from olora_viz.measures.catalogue import MEASURES
from olora_viz.measures.training import likely
from olora_viz.races.config import RaceConfig
from olora_viz.races.fields import REINFORCE
from olora_viz.races.race import race
from olora_viz.studies import story
from olora_viz.views.race import race_view
from olora_viz.web.jobs.queue import Jobs

SMALL = RecordingSetUp(
    title="Two starts",
    sentence="A small race, <b>recorded</b>.",
    config=RaceConfig(
        lanes=(Lane("lora"), Lane("olora", lr=1e-3), Lane("olora", lr=1e30)),
        steps=4, batch_size=4, eval_every=2, spectra_every=3, gradients_every=2, curvature_every=4,
        eval_size=4, device="cpu", dtype="float32",
    ),
    every_block=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def small():
    return record("small", SMALL)


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("gallery") / "small.json"
    write(small, path)
    return path


def close(a, b, digits):
    return np.allclose(a, b, rtol=0.5 * 10.0 ** (1 - digits), atol=0, equal_nan=True)


def test_what_is_read_back_is_what_was_raced_to_the_digits_kept(small, written):
    found = read(written)
    assert found.name == "small"
    assert (found.config, found.answers, found.origin) == (small.config, small.answers, small.origin)
    assert close(found.baseline.loss, small.baseline.loss, 5)
    for a, b in zip(found.steps, small.steps, strict=True):
        assert (a.step, a.tokens, a.status) == (b.step, b.tokens, b.status)
        assert np.array_equal(a.lr, b.lr)
        assert close(a.loss, b.loss, 5)
        assert close(a.grad_norm, b.grad_norm, 5)
        assert (a.eval_loss is None) == (b.eval_loss is None)
        assert a.eval_loss is None or close(a.eval_loss, b.eval_loss, 5)
        for name, digits in (("update_spectra", 3), ("gradients", 3), ("curvature", 5)):
            style, wanted = getattr(a, name), getattr(b, name)
            assert (style is None) == (wanted is None)
            for field in dataclasses.fields(wanted) if wanted is not None else ():
                value, its = getattr(style, field.name), getattr(wanted, field.name)
                if isinstance(its, np.ndarray):
                    its = np.where(np.isfinite(its), its, math.nan)
                    assert close(value, its, digits - 0.1), field.name
                elif field.name == "layers":
                    assert value == its


def test_the_two_best_lanes_of_the_race_about_forgetting_are_level_on_the_task_and_apart_on_the_text():
    race = load_recording("what-it-cost")
    view = race_view(race)
    assert race.text.name == "plain English"
    ends = {}
    for k, lane in enumerate(race.config.lanes):
        ends.setdefault((lane.init, lane.lr), []).append((race.steps[-1].eval_loss[k], race.steps[-1].drift[k]))
    first, second = sorted(ends.values(), key=lambda of_seeds: np.mean([loss for loss, _ in of_seeds]))[:2]
    losses, drifts = (np.array([[seed[i] for seed in lane] for lane in (first, second)]) for i in (0, 1))
    assert abs(np.diff(losses.mean(1))[0]) < losses.std(1, ddof=1).max()
    assert drifts.max(1).min() < drifts.min(1).max()  # no seed of the one is among those of the other
    assert "cannot be told apart" in view.verdict


def test_its_test_and_its_coverage_are_read_back(small, written):
    found = read(written)
    assert found.adapted == small.adapted
    assert found.adapted.startswith("every lane adapts 28 layers")
    assert close(found.tested.base.loss, small.tested.base.loss, 5)
    for name in ("loss", "accuracy", "example_loss", "example_right"):
        assert close(getattr(found.tested.lanes, name), getattr(small.tested.lanes, name), 5)


def test_only_every_second_block_was_kept(written):
    blocks = {layer.split(".")[2] for layer in read(written).steps[2].update_spectra.layers}
    assert blocks == {"0", "2"}


def test_a_lane_that_left_the_race_stays_out_in_its_recording(written):
    assert read(written).steps[-1].status == ("racing", "racing", "diverged")
    assert read(written).state == "finished"


def _at(path, value):
    def change(values):
        *above, last = path
        for key in above:
            values = values[key]
        if value is ...:
            del values[last]
        else:
            values[last] = value

    return change


DAMAGES = {
    "no steps": _at(["steps"], ...),
    "a step too few": _at(["steps", -1], ...),
    "a step twice": _at(["steps", 1, "step"], 1),
    "a lane too few": _at(["steps", 0, "loss"], [1.0, 2.0]),
    "a word for a loss": _at(["steps", 0, "loss", 0], "low"),
    "true for a norm": _at(["steps", 0, "grad_norm", 0], True),
    "an infinite loss": _at(["steps", 0, "loss", 0], math.inf),
    "an evaluation that was not due": _at(["steps", 0, "eval_loss"], [1.0, 1.0, 1.0]),
    "an evaluation that is missing": _at(["steps", 1, "eval_loss"], ...),
    "a key that nobody knows": _at(["steps", 0, "speed"], 3),
    "a step that is none": _at(["steps", 0], 7),
    "spectra of a lane too few": _at(["steps", 2, "update_spectra", "lora"], ...),
    "spectra of a layer too many": _at(["layers", 0], ...),
    "a singular value in words": _at(["steps", 2, "update_spectra", "lora", "norm", 0], "big"),
    "a curvature of other lanes": _at(["steps", 3, "curvature"], []),
    "a start that nobody knows": _at(["config", "lanes", 0, "init"], "lorra"),
    "a set-up with a key that nobody knows": _at(["config", "speed"], 3),
    "a title that is a number": _at(["title"], 5),
    "a date that is none": _at(["made", "date"], ""),
    "an answer of too few lanes": _at(["answers", 0, "lanes"], ["three"]),
    "test results of a lane too few": _at(["tested", "lanes", "loss"], [1.0]),
    "test examples of a lane too few": _at(["tested", "lanes", "example_loss"], [[1.0]]),
    "answers that are numbers": _at(["answers", 0, "base"], 3),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused_in_a_sentence_that_names_it(damage, written, tmp_path):
    values = json.loads(written.read_text())
    damage(values)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"^'broken.json' is not a recorded race: .+"):
        read(path)


def test_a_recording_that_grew_too_large_is_not_written(small, tmp_path):
    many = (Answer("a" * MOST_RECORDED, "b", "c", ("d", "e", "f")),)
    with pytest.raises(ValueError, match="more than 300,000"):
        write(dataclasses.replace(small, answers=many), tmp_path / "large.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_small_and_is_of_its_set_up(name):
    its, setup = load_recording(name), RECORDINGS[name]
    assert (FOLDER / f"{name}.json").stat().st_size <= 300_000
    assert (its.name, its.title, its.sentence) == (name, setup.title, setup.sentence)
    assert its.config == setup.config
    assert its is GALLERY[name]


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_has_all_that_a_page_needs_of_a_race(name):
    its = load_recording(name)
    assert isinstance(its, RaceRecord)
    assert (its.state, its.complete, its.recorded) == ("finished", True, True)
    assert its.device in ("CPU", "CUDA")
    assert its.origin.date in its.note
    assert len(its.answers) == 4
    assert re.match(r"every lane adapts \d+ layers, \d+\.\d% of the weights", its.adapted)
    assert its.tested
    assert its.tested.lanes.example_loss.shape == (len(its.config.lanes), its.held_out.test)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_told_and_shown_like_a_race(name):
    its = load_recording(name)
    assert story.story_of(its.config.lanes, [style.label for style in its.styles], its.steps)
    shown = race_view(its)
    assert shown.name == name
    assert "recorded" in shown.status
    assert shown.news["spectra"] == sum(step.update_spectra is not None for step in its.steps)


LARGEST = "fair-rates"
AGAIN = [name for name, its in RECORDINGS.items() if its.config.model.startswith("glassllm") and name != LARGEST]
FEW_DRAWS = 3 / 64
"""Three of a step's answers: the base that learns from rewards is made on each machine, with its own roundings."""


@pytest.mark.parametrize("name", [*AGAIN, *at_night(LARGEST)])
def test_the_first_steps_come_out_the_same_when_raced_again(name):
    its = load_recording(name)
    plain = dataclasses.replace(its.config, spectra_every=0, curvature_every=0, gradients_every=0, eval_every=0)
    racing = race(plain)
    try:
        assert np.allclose(racing.baseline.loss, its.baseline.loss, rtol=1e-3)
        for again, then in zip(islice(racing, 3), its.steps, strict=False):
            # Another processor rounds otherwise, and steep starts make the most of it.
            if its.config.objective == REINFORCE:  # a draw falls otherwise, and a step later it has moved the lane
                np.testing.assert_allclose(again.measures["reward"], then.measures["reward"], atol=FEW_DRAWS)
                break
            np.testing.assert_allclose(again.loss, then.loss, rtol=1e-2)
            np.testing.assert_allclose(again.grad_norm, then.grad_norm, rtol=5e-2)
    finally:
        racing.lanes.detach()


def test_what_is_measured_of_rewards_is_recorded_and_agrees_with_itself():
    its = load_recording("rewards")
    config, keys = its.config, [key for key, each in MEASURES.items() if each.objective == REINFORCE]
    assert {"reward", "differing", "entropy", "kl_to_start", "eval_sampled"} <= {*keys}
    for step in its.steps:
        assert {key for key in keys if key in step.measures} == {key for key in keys if config.is_due(key, step.step)}
        reward, differing = step.measures["reward"], step.measures["differing"]
        assert close(step.loss, 1 - reward, 4)
        for share, of in ((reward, config.batch_size * config.samples), (differing, config.batch_size)):
            assert np.allclose(share * of, np.round(share * of), atol=1e-2)
        assert (differing[(reward == 0) | (reward == 1)] == 0).all()
        assert (step.grad_norm[differing == 0] == 0).all()
        assert (step.grad_norm[differing > 0] > 0).all()
    last = its.steps[-1]
    sampled = likely(last.eval_examples.loss, its.held_out.deciding).mean(1)
    assert np.allclose(last.measures["eval_sampled"], sampled, atol=1e-3)


def test_a_page_finds_a_recording_by_its_id(tmp_path):
    jobs = Jobs(folder=tmp_path)
    name = next(iter(GALLERY))
    assert jobs.shown(f"recorded:{name}") is load_recording(name)
    for other in ("recorded:", "recorded:../recipes", name, "recorded:nobody", None, 7, [name]):
        assert jobs.shown(other) is None
    assert recorded(f"recorded:{name}") is load_recording(name)


def test_a_name_that_nobody_knows_is_said_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"recording.*'smol'"):
        load_recording("smol")


def test_there_is_no_recording_without_a_set_up():
    others = START_FILE.stem, CHAIN_FILE.stem, claims.CLAIMS_FILE.stem
    assert {path.stem for path in FOLDER.glob("*.json")} == {*RECORDINGS, *others}


def test_the_recorded_measurement_is_of_the_start_of_the_first_race():
    work, first = recorded_start(), next(iter(GALLERY.values()))
    step, lanes = first.steps[0], first.config.lanes
    assert list(work.config.lanes) == [same_start[0] for same_start in first.config.starts()]
    # In the race the lanes of other seeds see other batches.
    alike = [k for k, lane in enumerate(work.config.lanes) if lane.seed == 0]
    places = [lanes.index(work.config.lanes[k]) for k in alike]
    assert len(alike) == 3
    np.testing.assert_allclose(work.result.loss[alike], step.loss[places], rtol=1e-4)
    np.testing.assert_allclose(work.result.grad_norm[alike], step.grad_norm[places], rtol=1e-3)
    assert np.isfinite(work.result.conditions).all()
    assert work.result.hessian.converged.all()
    assert work.rates == ((1e-3,),) * len(work.styles)
