"""The tables of the published results, of studies whose losses are known."""

from pathlib import Path
from runpy import run_path

import pytest
from support.planted_claims import WILD, planted_choices
from support.planted_losses import STUDY, bowl, study

from olora_viz.studies.study import Study, Trial

TABLES = run_path(str(Path(__file__).parents[2] / "docs" / "tables.py"))

BASE = Study(tune={"lr": STUDY.lrs}, compare=("lora", "olora", "lora:alpha=2r"), seeds=5)


@pytest.mark.parametrize(
    ("shifts", "choice", "differences"),
    [
        ({}, "LoRA", ("=", "=")),
        ({"olora": 0.3}, "LoRA", ("*", "=")),
        ({"olora": -0.3}, "**OLoRA**", ("*", "=")),
        ({"olora": -0.3, "lora:alpha=2r": -0.3}, "**OLoRA and LoRA α/r 2**", ("*", "*")),
        ({"olora": WILD}, "?", ("?",)),
        ({"olora": WILD, "lora:alpha=2r": -0.9}, "**LoRA α/r 2**", ("?", "*")),
    ],
)
def test_the_map_names_the_reference_where_no_method_is_better(
    shifts: dict[str, float], choice: str, differences: tuple[str, ...]
) -> None:
    (line,) = TABLES["choice_map"](planted_choices(BASE, shifts))
    assert len(line) == len(TABLES["MAP"])
    assert line[-1] == choice
    assert tuple(each[-1] for each in line[-2].split(", "))[: len(differences)] == differences


def test_a_line_names_what_is_crossed_and_all_that_was_chosen() -> None:
    base = BASE.changed(across={"rows": (50, 500), "r": (2, 16)}, tune={"batch_size": (4, 8)})

    def loss(its: Trial) -> float:
        return 1.0 + bowl(its.lr) + 0.5 * (dict(its.tuned)["batch_size"] == 4)

    lines = TABLES["lines_of"](study(loss, base))
    assert [line[:5] for line in lines[:2]] == [
        ["glassllm", "number-words, rows 50", "2", "OLoRA", "2e-3, batch size 8"],
        ["glassllm", "number-words, rows 50", "2", "LoRA α/r 2", "2e-3, batch size 8"],
    ]
    assert len(lines) == 8


def test_a_line_of_a_method_has_its_difference_in_every_cell() -> None:
    base = BASE.changed(across={"r": (2, 16)})
    lines = TABLES["by_cell"](planted_choices(base, {"olora": -0.3}))
    assert [line[0] for line in lines] == ["OLoRA", "LoRA α/r 2"]
    assert all(len(line) == 1 + len(base.cells()) for line in lines)
    assert all(cell.startswith("-0.") and cell.endswith(") better") for cell in lines[0][1:])
    assert all(cell.endswith(") level") for cell in lines[1][1:])
