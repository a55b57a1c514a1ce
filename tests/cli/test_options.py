"""A setting of a race has the same words, wherever it is an option."""

import argparse
from dataclasses import fields

import pytest

from olora_viz.__main__ import _parser
from olora_viz.lanes.lane import Lane
from olora_viz.machine.devices import DTYPES
from olora_viz.measures.catalogue import intervals_of_measures
from olora_viz.races.config import NAMES_OF_SETTINGS, RaceConfig
from olora_viz.races.fields import BY_NAME, FIELDS
from olora_viz.tasks.keep import AUTO, NONE
from olora_viz.tasks.metrics import METRICS

VERBS = {
    name: parser
    for action in _parser()._actions
    if isinstance(action, argparse._SubParsersAction)
    for name, parser in action.choices.items()
}


OTHERWISE = {("start", "seed"), ("spectrum", "seed"), ("race", "eval_every"), ("race", "targets")}
"""The seed of a start; what the table of measurements says; and what is given one by one."""


def options() -> list[tuple[str, argparse.Action]]:
    """The options that set a field of a race, with their verb."""
    own = {each.name for each in fields(RaceConfig)}
    return [
        (verb, action)
        for verb, parser in VERBS.items()
        for action in parser.whole()._actions
        if action.option_strings and action.dest in own
    ]


def test_the_table_has_all_settings_of_a_race_but_who_races_where_and_what_is_measured() -> None:
    names = {each.name for each in fields(RaceConfig)}
    apart = {"model", "task", "lanes", *intervals_of_measures()} - {"eval_every"}
    assert names - apart == {*BY_NAME} - {"weight_decay", "clip"}
    assert {"weight_decay", "clip"} <= {each.name for each in fields(Lane)}
    assert {field.name for field in FIELDS} == {*NAMES_OF_SETTINGS}
    assert (*BY_NAME["dtype"].choices,) == ("auto", *DTYPES)
    assert (*BY_NAME["metric"].choices,) == (AUTO, *METRICS, NONE)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_option_has_the_words_of_the_table_in_every_verb(name: str) -> None:
    field = BY_NAME[name]
    words = field.label.lower() if field.kind is bool else f"{field.meaning[:1].lower()}{field.meaning[1:]}"
    for verb, action in options():
        if action.dest == name and (verb, name) not in OTHERWISE:
            assert (action.help or "").startswith(words), verb
            assert action.type in (None, field.kind) or field.kind is str, verb
