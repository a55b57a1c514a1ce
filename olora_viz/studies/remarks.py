"""Remarks that qualify the results of a race: repeats, guessing, lanes that are out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import percent
from olora_viz.races.config import RaceConfig
from olora_viz.studies.comparison import repeats
from olora_viz.studies.seed_groups import seed_groups
from olora_viz.studies.standings import Place
from olora_viz.studies.words import NAMED, Sentence, and_
from olora_viz.tasks.held_out import HeldOut


def caveat(lanes: Sequence[Lane], *, by_seed: bool = False) -> str:
    """Return a sentence on the reliability of the results.

    Parameters
    ----------
    by_seed : whether the batches vary by seed, so that a start without random numbers varies too.
    """
    counts = repeats(lanes, by_seed=by_seed)
    fewest = "one seed" if counts[0] == 1 else f"{counts[0]} seeds"
    runs = f"{fewest} each" if counts[0] == counts[-1] else f"for some lanes {fewest} only"
    same = " Seeds of a start without random numbers are one run, on shared batches." * (
        not by_seed
        and any(
            group.lane.init in INITIALIZERS
            and not INITIALIZERS[group.lane.init].random
            and len(group.lanes) > 1
            for group in seed_groups(lanes)
        )
    )
    vary = " The batches vary by seed." * (by_seed and counts[-1] > 1)
    advice = " Repeat it with more seeds before you rely on it." * (counts[0] < 5)
    return f"Computed from this run, {runs}.{same}{vary}{advice}"


def batches_vary(config: RaceConfig, about: HeldOut | None) -> bool:
    """Return whether lanes of different seeds train on different batches.

    With a single training example, all batches are the same.

    Parameters
    ----------
    about : with the number of training examples; None while unknown.
    """
    return config.by_seed and (about is None or about.train != 1)


def is_guessing(places: Sequence[Place], held_out: HeldOut | None) -> bool:
    """Whether nobody is right more often than an answer without reading the prompt.

    Parameters
    ----------
    places : of the lanes, those that differ in their seed alone as one, see `group_places`.
    """
    known = [place.accuracy for place in places if math.isfinite(place.accuracy)]
    guess = held_out.guess if held_out else None
    return guess is not None and bool(known) and max(known) <= guess


def no_better_than_guessing(places: Sequence[Place], held_out: HeldOut | None) -> list[Sentence]:
    """Say so if it is so, see `is_guessing`."""
    if held_out is None or held_out.guess is None or not is_guessing(places, held_out):
        return []
    rest = f"{held_out.guess_words} is right in {percent(held_out.guess)}."
    return [Sentence("No lane does better than guessing:", rest)]


def departures(rows: Sequence[Place], names: Sequence[str]) -> list[Sentence]:
    """Name the diverged lanes, the earliest first, by their reason."""
    out = sorted((row for row in rows if row.out_at), key=lambda row: row.out_at)
    shown = out if len(out) <= NAMED else out[: NAMED - 1]
    said = []
    for why in dict.fromkeys(row.why_out for row in out):
        gone = [f"{names[row.lane]} (step {row.out_at})" for row in shown if row.why_out == why]
        more = sum(row.why_out == why for row in out) - len(gone)
        if more:
            gone.append(f"{more} more" if gone else f"{more} others" if more > 1 else "another")
        many = len(gone) > 1 or more > 1
        verb, whose = ("are", "their") if many else ("is", "its")
        lead = f"So {verb} {and_(gone)}:" if said else f"{and_(gone)} {verb} out of the race:"
        said.append(Sentence(lead, f"{whose} {why}."))
    if said:
        others = "The others are not affected." if len(out) < len(rows) else "No lane is left."
        said[-1] = replace(said[-1], rest=f"{said[-1].rest} {others}")
    return said
