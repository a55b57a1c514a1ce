"""What a page without a server shows at each position of its slider: at a rank of a start, or a step of a race."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from olora_viz.background.record import RaceRecord
from olora_viz.figures.live.bundle import pack
from olora_viz.learn.terms import with_terms
from olora_viz.views.race import RaceView, race_view

MOST = 120
"""Steps of a race with a frame of their own; of a longer one they are evaluated ones and some between."""


def texts_of(view: RaceView) -> dict[str, Markup]:
    """Return the cards of a race that change with the step, by the id of their place."""
    texts = {"verdict": with_terms(view.verdict), "story": with_terms(view.story), "results": view.results}
    texts |= {"bet-score": view.bet} if view.bet else {}
    return texts | ({"answers": view.answers} if view.race.answers or view.race.early_answers else {})


Frame = dict[str, Any]
"""What is shown from a position on, ``at``: ``texts``, HTML by the id of its place, and ``figures``, packed ones by
name with their traces by number. After the first one a frame has what differs from the one before it, see `differing`.
"""


def race_frames(record: RaceRecord, run: str) -> list[Frame]:
    """Return a frame for every step of a race.

    Args:
        run: the race's name in its figures.
    """
    frames: list[Frame] = []
    for step in _steps(record):
        view = race_view(record, upto=step, run=run)
        texts = {name: str(text) for name, text in texts_of(view).items()}
        figures = {name: numbered(pack(figure)) for name, figure in view.figures.items()}
        frames.append({"at": step, "texts": texts, "figures": figures})
    return differing(frames)


def numbered(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a packed figure with its traces by number, so that they can differ one by one.

    >>> numbered({"data": [{"y": "1,2"}], "layout": {}})
    {'data': {'0': {'y': '1,2'}}, 'layout': {}}
    """
    return {**figure, "data": {str(i): trace for i, trace in enumerate(figure["data"])}}


def differing(frames: Sequence[Frame]) -> list[Frame]:
    """Return frames with what differs from the ones before them.

    Of a text that has grown, such as the points of a curve, it is the new part, with a plus behind its name; what has
    gone is None.

    >>> differing([{"at": 0, "y": "1,2", "z": "1"}, {"at": 1, "y": "1,2,3"}])
    [{'at': 0, 'y': '1,2', 'z': '1'}, {'at': 1, 'y+': ',3', 'z': None}]
    """
    return [frames[0], *(_new(now, before) for before, now in pairwise(frames))]


def _new(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    new: dict[str, Any] = {}
    for key, value in now.items():
        old = before.get(key)
        if value == old:
            continue
        if isinstance(value, dict) and isinstance(old, dict):
            new[key] = _new(value, old)
        elif isinstance(value, str) and isinstance(old, str) and old and value.startswith(old):
            new[f"{key}+"] = value.removeprefix(old)
        else:
            new[key] = value
    return new | dict.fromkeys(before.keys() - now.keys())


def _steps(record: RaceRecord) -> Iterable[int]:
    """Return the steps that have a frame, 0 and the last one among them."""
    last = len(record.steps)
    if last <= MOST:
        return range(last + 1)
    evaluated = [step.step for step in record.steps if step.eval_loss is not None]
    kept = evaluated[:: -(-len(evaluated) // MOST)] if evaluated else []
    return sorted({*range(0, last, -(-last // MOST)), *kept, last})
