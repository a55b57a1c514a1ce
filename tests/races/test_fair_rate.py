"""Fair rates: from curvatures to rates, in a race, on the command line."""

import json
import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.races import small
from support.verbs import run

from olora_viz.background.race import BackgroundRace
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.lane import Lane, display_names
from olora_viz.lanes.lane_spec import parse_lanes
from olora_viz.machine.wording import compact
from olora_viz.measures.curvature import track
from olora_viz.races import run as runs
from olora_viz.races.fair_rate import USUAL_RATE, fair_rate
from olora_viz.races.race import race
from olora_viz.views.race import race_view

config = partial(small, steps=2)


def test_a_spec_asks_for_a_fair_rate_also_in_a_list():
    one, two = parse_lanes("olora:lr=3e-3/fair,r=4")
    assert (one.lr, one.fair, two.fair, two.r) == (3e-3, False, True, 4)
    with pytest.raises(ValueError, match="lr must be a positive number, or fair, not 'unfair'"):
        parse_lanes("olora:lr=unfair")


def test_a_race_puts_numbers_in_place_of_fair_rates_and_measures_what_it_says():
    lanes = (Lane("olora", fair=True, r=4), Lane("lora", lr=4e-3, r=4), Lane("pissa", lr=2e-3, r=4))
    racing = race(config(lanes))
    (found,) = racing.fair_rates
    measured = track(racing.lanes, racing.batch(1)).lambda_max
    np.testing.assert_allclose(found.curvature, measured[0], rtol=1e-3)
    np.testing.assert_allclose(found.reference_curvature, measured[1], rtol=1e-3)
    expected = 4e-3 / np.cbrt(measured[0] / measured[1])
    assert racing.config.lanes[0].lr == float(f"{expected:.1e}")
    assert not racing.config.lanes[0].fair
    assert racing.config.lanes[1:] == lanes[1:]
    assert racing.lanes.lanes == racing.config.lanes
    assert f"fair rate is 4e-3 / ∛{found.ratio:.2g}" in found.sentence
    step = next(racing)
    assert step.lr[0] == racing.config.lanes[0].lr


def test_without_a_plain_lora_lane_the_reference_is_the_stated_rate():
    racing = race(config((Lane("olora", fair=True, r=4),)))
    assert racing.fair_rates[0].reference == USUAL_RATE
    assert racing.config.lanes[0].lr < USUAL_RATE
    plain = race(config((Lane("lora", fair=True, r=4),)))
    assert plain.config.lanes[0].lr == USUAL_RATE


def test_a_start_that_needs_calibration_gets_a_fair_rate_too():
    racing = race(config((Lane("lora", r=4), Lane("eva", fair=True, r=4))))
    assert racing.fair_rates[0].init == "eva"


def test_the_rates_that_were_found_are_what_a_run_keeps_and_resumes_with(tmp_path):
    asked = config((Lane("lora", r=4), Lane("olora", fair=True, r=4)))
    run = runs.start(asked, tmp_path / "run")
    rate = run.race.config.lanes[1].lr
    list(run)
    kept = runs.read_config(tmp_path / "run")
    assert kept.lanes[1].lr == rate
    assert not kept.lanes[1].fair
    assert runs.resume_run(tmp_path / "run").race.fair_rates == []


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_curvature_that_is_no_curvature_gives_no_rate(bad):
    with pytest.raises(ValueError, match=rf"positive, finite .*not {bad}"):
        fair_rate(1e-3, 1.0, bad)


def test_the_command_line_races_a_fair_rate_and_explains_it():
    done = run(
        "race", "--lane", "lora:lr=3e-3", "--lane", "olora:lr=fair", "--steps", "2", "--json",
        "--batch-size", "4", "--eval-size", "4", "--test-size", "4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert 0 < lines[0]["lr"]["olora"] < 3e-3
    assert set(lines[-1]["summary"]["lanes"]) == {"lora", "olora"}
    assert "times plain LoRA's curvature" in done.stderr


def test_the_verb_curvature_prints_one_object_a_lane_and_draws(tmp_path):
    picture = tmp_path / "curvature.png"
    done = run(
        "curvature", "--lane", "lora", "--lane", "olora", "--batch-size", "4", "--json",
        "--batches", "2", "--png", str(picture),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["lane"] for line in lines] == ["lora", "olora"]
    lora, olora = lines
    assert olora["lambda_max"] > 2 * lora["lambda_max"] > 0
    assert olora["gauss_newton"]["lambda_max"] > 0
    for lane in lines:
        first, second = lane["ntk"]["conditions"]
        assert first == lane["ntk"]["condition"] != second
        assert lane["ntk"]["condition_range"] == sorted([first, second])
    assert lora["residual"] <= 0.011 * lora["lambda_max"]
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_the_verb_curvature_prints_a_table():
    done = run(
        "curvature", "--batch-size", "4", "--probes", "0", "--dtype", "float64",
        "--layer", "model.layers.3.mlp.down_proj", "--lane", "pissa:targets=q_proj",
        "--lane", "lora", "--lane", "olora",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"^pissa .* no adapter on the layer$", done.stdout, re.M)
    assert re.search(r"^λ_max of olora is \S+ times that of lora$", done.stdout, re.M)
    assert re.search(r"over 5 batches the condition number of olora's tangent kernel", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--lane", "nope"], "error: unknown initialization 'nope'; choose from"),
        (["--layer", "nowhere"], "error: no adapter on layer 'nowhere'"),
        (["--iterations", "0"], "error: iterations must be a whole number from 1 to 2147483647, not 0"),
        (["--batches", "0"], "error: batches must be a whole number from 1 to 2147483647, not 0"),
        (["--probes", "1"], "error: probes must be 0 or at least 2, not 1"),
        (["--lane", "olora:r=4000"], "error: rank 4000 exceeds"),
        (["--batch-size", "0"], "error: batch_size must be a whole number from 1"),
    ],
)
def test_bad_input_gets_a_sentence_and_exit_code_two(arguments, sentence):
    done = run("curvature", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stdout == ""


def test_the_rate_that_a_race_found_is_what_is_told_of_a_fair_lane(tmp_path: Path) -> None:
    lanes = (Lane("lora", lr=1e-3, r=2), Lane("olora", r=2, fair=True))
    assert display_names(lanes) == ("LoRA 1e-3", "OLoRA fair")
    job = BackgroundRace("id", small(lanes, steps=2), tmp_path / "run", lane_styles(lanes))
    job.compute()
    view = race_view(job.record())
    rate = view.race.config.lanes[1].lr
    assert rate == pytest.approx(float(max(step.lr[1] for step in job.steps)))
    assert rate != 1e-3
    assert "At one shared rate" not in view.story.striptags()
    assert f"({compact(rate)})" in view.story.striptags()
