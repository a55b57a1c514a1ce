"""What is drawn inside the adapters: of the step and the layer that a page chose."""

import dataclasses
import json

import pytest

from olora_viz.background.record import ready_race
from olora_viz.learn.gallery import GALLERY
from olora_viz.races.config import RaceConfig
from olora_viz.views.inside import inside_view, layers_inside
from olora_viz.views.race import race_view

FIRST = GALLERY["first"]


def test_the_first_recording_has_the_first_and_the_last_layer_and_the_first_lane_of_each_start() -> None:
    assert layers_inside(FIRST) == [
        ("0 · q_proj", "model.layers.0.self_attn.q_proj"), ("3 · down_proj", "model.layers.3.mlp.down_proj"),
    ]  # fmt: skip
    view = inside_view(FIRST)
    assert view is not None
    assert (view["name"], view["step"], view["shape"]) == ("0 · q_proj", 60, [128, 128])
    assert [lane["label"] for lane in view["lanes"]] == ["LoRA", "OLoRA", "PiSSA"]
    assert all(len(lane["sigma"]) == 8 and lane["sigma"][0] > 0 for lane in view["lanes"])
    assert len(json.dumps(view)) < 40_000


@pytest.mark.parametrize(("step", "shown"), [(0, 0), (9, 0), (10, 10), (59, 50), (60, 60), (None, 60)])
def test_the_pictures_are_the_latest_up_to_a_step(step: int | None, shown: int) -> None:
    view = inside_view(FIRST, "model.layers.3.mlp.down_proj", step)
    assert view is not None
    assert (view["name"], view["step"]) == ("3 · down_proj", shown)
    assert [lane["A"] is None for lane in view["lanes"]] == [shown == 0] * 3
    if step is not None:
        assert race_view(FIRST, upto=step).inside_at == shown


def test_a_layer_that_is_not_there_is_the_first_and_a_race_without_pictures_shows_nothing() -> None:
    for other in ("no such layer", 7, None):
        view = inside_view(FIRST, other)
        assert view is not None
        assert view["name"] == "0 · q_proj"
    plain = ready_race(RaceConfig())
    assert (inside_view(plain), layers_inside(plain), race_view(plain).news["factors"]) == (None, [], 0)
    assert race_view(FIRST).news["factors"] == 7


def test_lanes_of_several_ranks_are_told_apart() -> None:
    lanes = (FIRST.config.lanes[0].replace(r=4), *FIRST.config.lanes[1:])
    renamed = dataclasses.replace(FIRST, config=dataclasses.replace(FIRST.config, lanes=lanes))
    view = inside_view(renamed)
    assert view is not None
    assert [lane["label"] for lane in view["lanes"]] == [
        "OLoRA, rank 8",
        "PiSSA, rank 8",
    ]  # LoRA's label is another one
