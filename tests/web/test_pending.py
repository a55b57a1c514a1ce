"""What of a set-up is not yet raced, beside the results of another one."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.races import small

from olora_viz.background.pace import Speeds
from olora_viz.lanes.lane import Lane
from olora_viz.races.config import Settings
from olora_viz.races.data import ModelCache
from olora_viz.web.guard.limits import Limits
from olora_viz.web.parts.setup import SetUp
from olora_viz.web.race.controls import LATER
from olora_viz.web.race.pending import other_files, pending, time_words

RATES = (("lora", 1e-3), ("lora", 3e-3), ("olora", 1e-3), ("olora", 3e-3), ("pissa", 1e-3))
RACED = replace(
    SetUp.first(Limits()), lanes=tuple(Lane(init, lr=lr, seed=seed) for init, lr in RATES for seed in range(3))
)


def test_the_time_of_a_race_is_said_to_come_as_long_as_a_server_times_its_first_steps() -> None:
    speeds, config = Speeds(), small()
    assert time_words(speeds, config, 60) == ""
    seen: list[str] = []
    speeds.time(config, ModelCache(), lambda: bool(seen.append(time_words(speeds, config, 60))))
    assert set(seen) == {LATER}
    assert re.match(r"(about )?\d+ ", time_words(speeds, config, 60))


def test_of_the_same_set_up_nothing_is_said() -> None:
    assert pending(RACED, replace(RACED)) == ""


def test_the_file_of_a_run_that_is_only_watched_is_its_owners() -> None:
    watched = replace(RACED, task="file:token")
    words = "These are the results of {}; not yet raced: {}."
    raced, now = RACED.keeping("your-text.txt"), RACED.keeping("file:token")
    assert pending(raced, now) == ""
    text = words.format("text to keep: its owner's file", "text to keep: your file")
    assert pending(raced, now, owned=False).striptags() == text
    assert pending(watched, RACED, owned=False).striptags() == words.format("its owner's file", "sentiment")
    assert pending(watched, watched, owned=False).striptags() == words.format("its owner's file", "your file")


def test_an_own_file_with_another_content_is_not_yet_raced(tmp_path: Path) -> None:
    first, same, other = (tmp_path / name for name in ("first.csv", "same.csv", "other.csv"))
    for path in (first, same):
        path.write_text("a,b")
    other.write_text("a,c")
    raced = {"task": first, "keep": first}
    assert other_files(raced, small(task=str(same), keep=str(same))) == []
    assert other_files(raced, small(task="sentiment", keep="none")) == []
    others = other_files(raced, small(task=str(other), keep=str(other)))
    own = replace(RACED, task="file:token").keeping("file:token")
    words = "These are the results of {0}, text to keep: {0}; not yet raced: your file, text to keep: your file."
    assert pending(own, own, others=others).striptags() == words.format("another file of yours")


@pytest.mark.parametrize(
    ("change", "raced", "now"),
    [
        ({"steps": 100}, "of 60 steps", "100 steps"),
        ({"task": "roman", "seed": 3}, "of sentiment, seed 0", "roman, seed 3"),
        ({"task": "file:token"}, "of sentiment", "your file"),
        ({"settings": Settings(keep="file:token")}, "of text to keep: plain text", "text to keep: your file"),
        ({"curvature": 10}, "of no curvature", "curvature every 10 steps"),
        ({"lanes": (*RACED.lanes, Lane("milora", lr=1e-3))}, "without these lanes", "MiLoRA 1e-3"),
        ({"lanes": RACED.lanes[3:]}, "of LoRA 1e-3", "the lanes that are left"),
        ({"lanes": RACED.lanes[:-1]}, "of PiSSA 1e-3 from seeds 0-2", "PiSSA 1e-3 from seeds 0/1"),
        ({"lanes": (Lane("eva", lr=1e-3),)}, "of 5 other lanes", "EVA 1e-3"),
        ({"settings": Settings(clip=1.0)}, "of gradient clipping: off", "gradient clipping: 1"),
    ],
)
def test_each_difference_is_named_on_both_sides(change: dict, raced: str, now: str) -> None:
    words = pending(RACED, replace(RACED, **change)).striptags()
    assert words == f"These are the results {raced}; not yet raced: {now}."
