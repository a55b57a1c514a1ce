"""The map of interactions has a tile for each, with its number and its verdict."""

import numpy as np
import pytest
from support.simulated_studies import World

import olora_viz as ov
from olora_viz.figures.interaction import interaction_figure, interaction_figures
from olora_viz.figures.studies import TILES
from olora_viz.machine.wording import signed
from olora_viz.studies.interaction import interacting, interactions
from olora_viz.studies.method import method_name
from olora_viz.studies.verdicts import Verdicts

RATES = {"lr": (1e-3, 3e-3, 1e-2)}


def made(*methods: str, **across: tuple) -> Verdicts:
    study = ov.Study(compare=methods, across=across, tune=RATES, seeds=3)
    return World(np.random.default_rng(3), len(methods), 40, 40, names=methods, run=(0.01,), example=0.1).study(study)


@pytest.fixture(scope="module")
def crossed() -> Verdicts:
    return made("lora", "olora", "pissa", r=(2, 8, 32), rows=(50, 100))


def test_every_interaction_has_its_tile(crossed: Verdicts) -> None:
    assert interacting(crossed.study) == ["r", "rows"]
    for setting in ("r", "rows"):
        figure, found = interaction_figure(crossed, setting), interactions(crossed, setting)
        (tiles,) = figure["data"]
        assert sum(z is not None for row in tiles["z"] for z in row) == len(found)
        notes = {(note["x"], note["y"]): note for note in figure["layout"]["annotations"]}
        assert len(notes) == len(found)
        columns, rows = figure["layout"]["xaxis"]["ticktext"], figure["layout"]["yaxis"]["ticktext"]
        for each in found:
            x = next(k for k, words in enumerate(columns) if words.endswith(f" {each.value}"))
            where = each.cell.words(["rows" if setting == "r" else "r"])
            y = len(rows) - 1 - rows[::-1].index(f"{method_name(each.method)}, {where}")
            assert list(TILES)[round(tiles["z"][y][x])] == each.verdict
            number = signed(each.difference.interval.mean, "+.2g")
            assert notes[x, y]["text"] == f"{TILES[each.verdict][2]} {number}"
            assert f"{TILES[each.verdict][2]} {each.verdict}" in figure["layout"]["meta"]["unit"]


def test_settings_that_methods_carry_have_their_maps_and_it_is_drawn_in_both_themes() -> None:
    found = made("lora", "olora", "lora:targets=mlp", "olora:targets=mlp")
    (targets,) = interaction_figures(found)
    start = interaction_figure(found, "init")
    assert start["layout"]["xaxis"]["ticktext"] == ["OLoRA"]
    assert "minus that with the race's targets" in targets["layout"]["meta"]["unit"]
    assert targets["layout"]["xaxis"]["ticktext"] == ["targets mlp"]
    assert targets["layout"]["yaxis"]["ticktext"] == ["OLoRA"]
    values = [figure["data"][0]["z"] for figure in (start, targets)]
    assert values[0] == values[1]  # the same difference of differences
    assert all(ov.plot_study(found, what="interaction", theme=theme).data for theme in ("light", "dark"))


def test_a_study_without_one_says_what_it_takes() -> None:
    found = made("lora", "olora")
    with pytest.raises(ValueError, match="no interaction to draw: it takes two methods with each of two values"):
        ov.plot_study(found, what="interaction")
    assert ov.plot_study(found, what=("rates", "interaction")).data
