"""A page of its own races, and its cards, without a browser."""

from collections.abc import Iterable
from dataclasses import replace

from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import ready_race
from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery import GALLERY
from olora_viz.views.race import race_view
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.card import Board, Card
from olora_viz.web.parts.setup import SetUp
from olora_viz.web.race.events import Commands

LIMITS = Limits()
SETUP = replace(SetUp.first(LIMITS), task="addition", steps=20, batch=4, lanes=(Lane("lora", r=2),)).keeping("none")
CSV = "prompt,answer\n" + "".join(f"{n} and {n + 1} make, {2 * n + 1}\n" for n in range(30))
LONG = replace(SETUP, steps=2000)
BLANK = race_view(ready_race(SETUP.to_config(LIMITS)))
RECORDED = next(iter(GALLERY.values()))


def board_of(cards: Iterable[Card]) -> Board:
    """Register some cards, of which each has as many components as it draws values."""
    made, view = Board(), race_view(RECORDED)
    for card in cards:
        parts = [*(["frame"] if card.only_with else []), *card.drawn(view)]
        made.add(card, parts)
    return made


def start(jobs: Jobs, commands: Commands, setup: SetUp, button: str = "resume") -> BackgroundRace:
    """Press Race, or Step."""
    job = jobs.get(commands.press(button, None, setup.to_controls()).run)
    assert job is not None
    return job
