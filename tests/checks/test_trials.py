"""The table of starts says what is found by trying them."""

import json

import pytest
from support.verbs import objects, run

import olora_viz as ov
from olora_viz.checks import trials

ROWS = {row[0]: dict(zip(trials.COLUMNS, row, strict=True)) for row in trials.rows()}


@pytest.mark.parametrize("name", ov.INITIALIZERS)
def test_each_cell_is_what_is_found_by_trying(name: str) -> None:
    """The time alone depends on the machine: python -m olora_viz.checks.trials measures it again."""
    found = dict(zip(trials.TRIED, trials.tried(ov.INITIALIZERS[name]), strict=True))
    known = {column: ROWS[name][column] for column in trials.TRIED}
    for cells in (found, known):
        number, _, cells["costs"] = cells["costs"].partition(" ms")
        assert 0 < float(number) < 10_000
    assert known == found


def test_the_table_lists_every_start_and_no_other() -> None:
    assert list(ROWS) == list(ov.INITIALIZERS)
    assert list(json.loads(trials.FILE.read_text("utf-8"))) == list(ov.INITIALIZERS)


def test_a_start_that_is_not_in_the_file_is_listed_as_not_tried() -> None:
    ov.register(ov.Initializer("mine", "Mine", ov.olora, "Is OLoRA.", "a test"))
    try:
        assert set(trials.rows()[-1][2 : 2 + len(trials.TRIED)]) == {"not tried"}
    finally:
        ov.unregister("mine")


def test_the_command_line_prints_the_table() -> None:
    table, lines = run("initializers", "--table"), run("initializers", "--table", "--json")
    assert [row["start"] for row in objects(lines.stdout)] == list(ov.INITIALIZERS)
    assert objects(lines.stdout)[0] == ROWS["lora"]
    for line, row in zip(
        table.stdout.splitlines(), [trials.COLUMNS, *(row.values() for row in ROWS.values())], strict=True
    ):
        assert line.split() == " ".join(row).split()
