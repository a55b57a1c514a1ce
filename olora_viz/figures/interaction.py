"""Interactions of a study as a map: how another setting changes what each method gains on the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from olora_viz.figures.layout import Figure, axis, categories_axis, layout
from olora_viz.figures.rates import examples, up_to
from olora_viz.figures.studies import SIGNED, SIGNS, TILES, difference_words, note, room_for, tile_map, varying
from olora_viz.initializers import label_of
from olora_viz.lanes.lane import KEYS_OF_RACE
from olora_viz.machine.wording import signed
from olora_viz.studies.axes import in_words
from olora_viz.studies.choices import START, in_a_sentence
from olora_viz.studies.interaction import IT_TAKES, Interaction, interacting, interactions
from olora_viz.studies.method import method_name
from olora_viz.studies.rows import unit_of
from olora_viz.studies.verdicts import Verdicts

HOW_TO_READ_MAP = (
    "A tile is a difference of differences: what a method's test loss differs from the reference's by at the column's "
    "value, minus the same at the value that the line above names. Negative, and better, is where the method gains "
    "more than it does there; level is where the setting does not matter to what the method gains."
)

ROW_HEIGHT = 32
"""Height of a row in pixels."""


def interaction_figures(verdicts: Verdicts) -> list[Figure]:
    """Return a map for every setting with which the methods of a study interact.

    Raises:
        ValueError: there is none.
    """
    known = interacting(verdicts.study)
    settings = [name for name in known if name != START] or known  # that of the start is in the others, too
    if not settings:
        raise ValueError(f"this study has no interaction to draw: {IT_TAKES}")
    return [interaction_figure(verdicts, setting) for setting in settings]


def interaction_figure(verdicts: Verdicts, setting: str) -> Figure:
    """Draw the interaction of every method with a setting as a tile, with its number and its verdict.

    Raises:
        ValueError: the study has none with it, see `interactions`.
    """
    found, who = interactions(verdicts, setting), method_name(verdicts.study.reference)
    names, _ = varying(verdicts.study.cells())
    several = len(verdicts.study.cells()) > 1
    rows = list(dict.fromkeys(_row(each, names if several else [], setting) for each in found))
    values = list(dict.fromkeys(each.value for each in found))
    tiles: list[list[float | None]] = [[None] * len(values) for _ in rows]
    hover = [[""] * len(values) for _ in rows]
    notes = []
    for each in found:
        x, y = values.index(each.value), len(rows) - 1 - rows.index(_row(each, names if several else [], setting))
        _, color, sign = TILES[each.verdict]
        tiles[y][x] = float(list(TILES).index(each.verdict))
        hover[y][x] = _hover(each, unit_of(verdicts.study))
        notes.append(note(f"{sign} {signed(each.difference.interval.mean, SIGNED)}", x, y, color, "center"))
    base = _value_words(setting, found[0].base)
    most = max([verdicts.study.seeds, *(each.difference.seeds for each in found)])
    over = f"{up_to(most, verdicts.study.seeds)} and {examples(verdicts, None, 'test')}"
    drawn = layout(
        f"Does what each method gains on {who} depend on {in_a_sentence(setting)}?",
        f"difference to {who}'s test loss, minus that with {base}; {unit_of(verdicts.study)}, {over}; {SIGNS}",
        x=axis(
            f"instead of {base}", range=[-0.6, len(values) - 0.4], showgrid=False,
            tickvals=list(range(len(values))), ticktext=[_value_words(setting, value) for value in values],
        ),
        y=categories_axis(rows[::-1], range=[-0.6, len(rows) - 0.4]),
        height=max(70, round(ROW_HEIGHT * (len(rows) + 0.2))),
        how=HOW_TO_READ_MAP,
        revision=f"interaction {setting}",
        closest=True,
        labels=notes,
        margin={"l": room_for(rows), "r": 14},
    )  # fmt: skip
    return {"data": [tile_map(setting, range(len(values)), tiles, hover)], "layout": drawn}


def _row(each: Interaction, names: list[str], setting: str) -> str:
    """Return whose row it is: the method, and where it is compared if that differs."""
    where = each.cell.words([name for name in names if name != setting])
    return ", ".join(filter(None, [method_name(each.method), where]))


def _value_words(setting: str, value: Any) -> str:
    """Return a value of a setting as a tick says it."""
    if setting in ("model", "task"):
        return Path(value).name
    if setting == "init":
        return label_of(value)
    if value is None:
        usual = f"the race's {setting}" if setting in KEYS_OF_RACE else f"no {setting.replace('_', ' ')}"
        return {"alpha": "alpha r", "rows": "all rows", "lr": "a tuned rate"}.get(setting, usual)
    return in_words(setting, value)


def _hover(each: Interaction, unit: str) -> str:
    """Return what a tile stands for."""
    head = f"{method_name(each.method)}, {_value_words(each.setting, each.value)}: {each.verdict}"
    return "<br>".join([head, *difference_words(each.difference, unit), *filter(None, [each.why])])
