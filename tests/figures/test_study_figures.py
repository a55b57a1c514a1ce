"""The pictures of a study show its verdicts, its rates and its seeds, in the methods' colours."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.study_folders import written

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.figures import theme
from olora_viz.figures.layout import Figure, log_ticks
from olora_viz.figures.plots import PICTURES, study_figures
from olora_viz.figures.png import png_bytes
from olora_viz.figures.rates import budget_figure, study_rates_figure
from olora_viz.figures.studies import differences_figure, profile_figure, target_figure, wins_figure
from olora_viz.studies.search import needed
from olora_viz.studies.statistics import expected_best
from olora_viz.studies.study import Cell, Study, Trial
from olora_viz.studies.verdicts import Verdicts, values_of, verdicts_of
from olora_viz.views.decision import verdict_rows

STUDY = Study().changed(
    race={"steps": 20},
    across={"task": ("sentiment", "addition"), "r": (2, 8)},
    tune={"lr": (1e-3, 3e-3, 1e-2)},
    compare=("lora", "olora", "pissa"),
    seeds=4,
)
BEST = {"lora": 4e-3, "olora": 2e-3, "pissa": 3e-3}
GAIN = {"lora": 0.0, "olora": -0.2, "pissa": 0.0}
Loss = Callable[[Trial], float]


def valley(one: Trial) -> float:
    """A loss with a best rate for each method, and a little noise by seed."""
    noise = 0.01 * math.sin(7 * one.seed + len(one.method))
    return 1.0 + GAIN[one.method] + 0.1 * math.log(one.lr / BEST[one.method]) ** 2 + noise


def row(loss: float, study: Study) -> dict:
    at = [study.race.steps // 2, study.race.steps]
    return {
        "status": "finished" if math.isfinite(loss) else "diverged", "valid_loss": loss,
        "test_loss": loss + 0.1, "test_accuracy": 0.5, "base_valid_loss": 4.0,
        "base_test_loss": 4.1, "valid_examples": 64, "test_examples": 128, "evaluated": at,
        "valid_losses": [(4.0 + loss) / 2, loss],
    }  # fmt: skip


def made(study: Study = STUDY, loss: Loss = valley, stages: int = 9) -> Verdicts:
    """Finish a study whose losses are known beforehand, or its first stages."""
    rows: dict[Trial, dict] = {}
    for _ in range(stages):
        rows |= {one: row(loss(one), study) for one in needed(study, values_of(rows, "valid_loss"))}
    return verdicts_of(study, rows)


@pytest.fixture(scope="module")
def found() -> Verdicts:
    return made()


def test_every_method_has_one_curve_in_its_colour(found: Verdicts) -> None:
    cell = STUDY.cells()[0]
    for figure in (study_rates_figure(found, cell), budget_figure(found, cell)):
        curves = [t for t in figure["data"] if t.get("mode") == "lines+markers"]
        assert [t["line"]["color"] for t in curves] == ["@lora", "@olora", "@pissa"]
    curves = target_figure(found, cell)["data"]
    assert [t["line"]["color"] for t in curves] == ["@lora", "@olora", "@pissa"]


def test_the_rate_that_validation_chose_is_marked_at_its_mean_test_loss() -> None:
    # On the test examples the rate above is better: the mark stays where validation put it.
    found = made()
    rows = {trial: {**its, "test_loss": its["test_loss"] - (trial.lr > 5e-3)} for trial, its in found.rows.items()}
    found = verdicts_of(STUDY, rows)
    cell = STUDY.cells()[0]
    rings = [
        (t["name"], t["x"], t["y"])
        for t in study_rates_figure(found, cell)["data"]
        if t.get("marker", {}).get("symbol") == "circle-open"
    ]
    assert [(name, x) for name, x, _ in rings] == [
        (name, [one.best_lr]) for name, one in zip(("LoRA", "OLoRA", "PiSSA"), found.of(cell), strict=True)
    ]
    assert [y[0] for *_, y in rings] == pytest.approx([one.test_loss for one in found.of(cell)], rel=1e-3)


def test_all_seeds_of_a_method_that_has_more_than_the_study_are_drawn_and_counted() -> None:
    study = Study().changed(race={"steps": 20}, tune={"lr": (1e-3, 3e-3)}, compare=("lora", "olora"), seeds=3)
    (cell,), rows = study.cells(), dict(made(study).rows)
    for lr in {trial.lr for trial in rows if trial.method == "lora"}:
        rows |= {trial: row(valley(trial), study) for trial in study.trials(cell, "lora", [lr], 5)}
    found = verdicts_of(study, rows)
    lora = next(one for one in found.of(cell) if one.method == "lora")
    figure = study_rates_figure(found, cell)
    (ring,) = [t for t in figure["data"] if t["name"] == "LoRA" and t.get("marker", {}).get("symbol") == "circle-open"]
    assert (ring["x"], len(lora.valid_losses)) == ([lora.best_lr], 5)
    assert ring["y"][0] == pytest.approx(lora.test_loss, rel=1e-3)
    assert "mean and range of up to 5 seeds" in figure["layout"]["meta"]["unit"]
    assert "share of up to 5 seeds" in target_figure(found, cell)["layout"]["meta"]["unit"]
    assert "95% over 3 seeds" in differences_figure(found)["layout"]["meta"]["unit"]


def test_the_ends_of_the_forest_plot_are_those_of_the_intervals(found: Verdicts) -> None:
    figure = differences_figure(found)
    lines = [t for t in figure["data"] if t["mode"] == "lines" and t["name"] != "level"]
    shown = [one for one in found.each if one.method != "lora"]
    assert len(lines) == len(shown) == 8
    for line, one in zip(lines, shown, strict=True):
        ends = [x for x in line["x"] if x is not None]
        assert (min(ends), max(ends)) == (one.interval.low, one.interval.high)
        assert line["line"]["color"] == f"@{one.method}"
    bands = [t["x"] for t in figure["data"] if t["name"] == "level"]
    assert {tuple(x) for x in bands} == {(-one.margin, one.margin) for one in shown}


def test_a_measurement_of_ones_own_is_drawn_over_the_rates() -> None:
    rows = {
        trial: each | {"measures": {"size": math.log10(trial.lr) + 0.1 * trial.seed}}
        for trial, each in made().rows.items()
    }
    found, (cell, *_) = verdicts_of(STUDY, rows), STUDY.cells()
    figure = ov.plot_study(found, what="size", cell=cell)
    curves = {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}
    assert set(curves) == {"LoRA", "OLoRA", "PiSSA"}
    for curve in curves.values():
        assert [round(y, 3) for y in curve.y] == [round(math.log10(lr) + 0.15, 3) for lr in curve.x]
    with pytest.raises(ValueError, match="unknown figure 'sise'; did you mean 'size'"):
        ov.plot_study(found, what="sise")


def test_an_interval_that_is_cut_at_the_axis_has_an_arrow_and_its_end_in_numbers() -> None:
    wide = made(loss=lambda one: valley(one) + (one.method == "pissa") * (6.0, -5.0, 0.1, 0.0)[one.seed])
    figure = differences_figure(wide)
    low, high = figure["layout"]["xaxis"]["range"]
    # PiSSA's seeds scatter, and its wide interval lends OLoRA's some of that.
    arrows = [t for t in figure["data"] if t["name"].endswith(", beyond the axis")]
    cut = [
        (sign * edge, end)
        for one in wide.each
        for sign, edge, end in ((-1, low, one.interval.low), (1, high, one.interval.high))
        if one.method != "lora" and sign * end > sign * edge
    ]
    assert len(arrows) == len(cut) > 1
    assert all(low < t["x"][0] < 0.97 * low or 0.97 * high < t["x"][0] < high for t in arrows)
    ends = [note["text"] for note in figure["layout"]["annotations"] if "yshift" in note]
    assert ends == [f"{end:+.2g}".replace("-", "−") for _, end in cut]
    assert not any("beyond" in t["name"] for t in differences_figure(made())["data"])


def test_the_forest_plot_and_the_table_say_what_their_intervals_are_over(found: Verdicts) -> None:
    def unit(its: Verdicts) -> str:
        (figure,) = study_figures(its, ("differences",))
        return figure["layout"]["meta"]["unit"]

    assert "thin line: 95% over 4 seeds alone, " in unit(found)
    assert unit(found).endswith("band: level, 2% of LoRA's loss reduction")
    around = np.linspace(-0.1, 0.1, 20)
    rows = {
        trial: its | {f"{n}_loss_by_example": its[f"{n}_loss"] + around for n in ("valid", "test")}
        for trial, its in found.rows.items()
    }
    whole = verdicts_of(found.study, rows)
    assert "thin line: 95% over 4 seeds and " in unit(whole)
    heads = [verdict_rows(its)[0] for its in (found, whole, replace(whole, each=()))]
    assert [head[8] for head in heads] == [
        "95% over seeds", "95% over seeds and examples", "95% over seeds and examples",
    ]  # fmt: skip
    assert heads[0][-2] == "median steps to reference (range of seeds)"
    eight = [replace(one, reached_at=(10.0,) * 8) for one in whole.each]
    head = verdict_rows(replace(whole, each=tuple(eight)))[0]
    assert head[-2] == "median steps to reference (95% over seeds)"


def test_the_table_has_a_tile_for_every_cell_and_method_at_one_rate_and_at_best_rates(found: Verdicts) -> None:
    figure = wins_figure(found)
    kinds = ("better", "worse", "level", "undecided")
    for tiles, said in zip(figure["data"], ("verdict_shared_rate", "verdict"), strict=True):
        shown = [[kinds[int(z)] for z in line] for line in reversed(tiles["z"])]
        assert shown == [
            [getattr(one, said) for one in found.of(cell) if one.method != "lora"] for cell in STUDY.cells()
        ]
    won = sum(one.verdict == "better" for one in found.each)
    assert f"{won} of 8 at best rates" in figure["layout"]["meta"]["title"]
    assert won == 4  # OLoRA, in every cell
    names = [note["text"] for note in figure["layout"]["annotations"]]
    assert names.count("better") >= 4


def test_the_budget_is_the_expected_best_of_the_rates_that_all_methods_got(found: Verdicts) -> None:
    cell = STUDY.cells()[0]
    valid = values_of(found.rows, "valid_loss")
    figure = budget_figure(found, cell)
    curve = next(t for t in figure["data"] if t["name"] == "OLoRA" and t["mode"] == "lines+markers")
    low, high = (t for t in figure["data"] if t["name"] == "OLoRA" and t["mode"] == "lines")
    for n in (1, 2, 3):
        each = [expected_best(np.array([valid[Trial(cell, "olora", lr, s)] for lr in STUDY.lrs]), n) for s in range(4)]
        assert curve["y"][n - 1] == pytest.approx(np.mean(each), rel=1e-3)
        assert low["y"][n - 1] == pytest.approx(min(each), rel=1e-3)
        assert high["y"][n - 1] == pytest.approx(max(each), rel=1e-3)


def test_a_seed_that_never_gets_there_keeps_the_curve_below_one() -> None:
    def loss(one: Trial) -> float:
        return valley(one) + (5 if one.method == "olora" and one.seed == 3 else 0)

    cell = STUDY.cells()[0]
    found = made(loss=loss)
    olora = next(one for one in found.of(cell) if one.method == "olora")
    assert [math.isfinite(at) for at in olora.reached_at] == [True, True, True, False]
    curve = next(t for t in target_figure(found, cell)["data"] if t["name"] == "OLoRA")
    assert curve["y"][-1] == 0.75
    assert curve["x"][0] == 0
    assert curve["x"][-1] == STUDY.race.steps
    assert sorted({x for x in curve["x"][1:-1]}) == pytest.approx(
        sorted(at for at in olora.reached_at if math.isfinite(at))
    )


def test_the_profile_counts_runs_over_all_cells_and_those_that_never_get_there(found: Verdicts) -> None:
    figure = profile_figure(found)
    cells, seeds = STUDY.cells(), range(STUDY.seeds)
    at = {(one.cell, one.method): one.reached_at for one in found.each}
    for curve, init in zip(figure["data"], STUDY.compare, strict=True):
        assert curve["line"]["color"] == f"@{init}"
        for x, y in list(zip(curve["x"], curve["y"], strict=True))[::2]:
            within = [
                at[cell, init][s] <= x * min(at[cell, other][s] for other in STUDY.compare) < math.inf
                for cell in cells for s in seeds
            ]  # fmt: skip
            assert y == pytest.approx(np.mean(within), abs=0.01)
    named = [note["text"] for note in figure["layout"]["annotations"]]
    assert "LoRA: 16 of 16" in named  # each of its seeds reaches its own end
    assert "16 runs: 4 seeds in each of 4 cells" in figure["layout"]["meta"]["unit"]


def test_a_single_cell_has_a_profile_only_when_it_is_asked_for() -> None:
    found = made(Study().changed(race={"steps": 20}, tune={"lr": (1e-3, 3e-3)}, compare=("lora", "olora"), seeds=3))
    # One cell, starts alone, imitation alone, no text to keep, no chain, nothing crossed.
    without = ("profile", "choices", "reward", "forgotten", "kept", "kl", "interaction")
    assert len(study_figures(found)) == len(PICTURES) - len(without)
    assert study_figures(found, ["profile"])[0]["data"]


def dead(one: Trial) -> float:
    return math.nan


def half_dead(one: Trial) -> float:
    return math.nan if one.method == "olora" or one.lr > 5e-3 else valley(one)


ODD = {
    "empty": (STUDY, valley, 0),
    "begun": (STUDY, valley, 1),
    "one seed": (replace(STUDY, seeds=1), valley, 9),
    "one cell": (Study(tune={"lr": (1e-3,)}, compare=("lora", "olora"), seeds=2), valley, 9),
    "all diverged": (STUDY, dead, 9),
    "one method diverged": (STUDY, half_dead, 9),
    "many methods": (Study(tune={"lr": (1e-3, 3e-3)}, compare=tuple(ov.INITIALIZERS)[:9], seeds=2), None, 9),
}


def all_say_what_they_draw(figures: list[Figure]) -> None:
    for figure in figures:
        assert json.loads(json.dumps(figure, allow_nan=False)) == figure
        meta = figure["layout"]["meta"]
        assert meta["title"]
        assert "seed" in meta["unit"]
        assert "example" in meta["unit"]
        assert figure["data"] or meta["message"]


@pytest.mark.parametrize("which", ODD)
def test_studies_without_a_verdict_are_drawn_too(which: str) -> None:
    study, loss, stages = ODD[which]
    found = made(study, loss or (lambda one: 1 + len(one.method) / 100 + one.seed / 9), stages)
    figures = study_figures(found, PICTURES, study.cells()[0])
    all_say_what_they_draw(figures)
    assert png_bytes(figures, sharpness=0.5).startswith(b"\x89PNG")
    assert ov.plot_study(found, theme="dark").data is not None


def test_bands_in_a_png_are_pale_and_have_gaps_where_a_rate_has_no_mean() -> None:
    from olora_viz.figures.layout import paint
    from olora_viz.figures.png import _rgba

    found = made(loss=lambda one: math.nan if one.lr > 9e-3 and one.seed else valley(one))
    figure = study_rates_figure(found, STUDY.cells()[0])
    fills = [t["fillcolor"] for t in paint(figure, theme.palette("light"))["data"] if "fillcolor" in t]
    assert len(fills) == 3
    for color, init in zip(fills, ("lora", "olora", "pissa"), strict=True):
        assert color == theme.resolve(f"@{init}-band", "light")
        assert _rgba(color)[-1] == theme.BAND
    assert png_bytes([figure], sharpness=0.5)


def test_a_picture_that_is_not_there_is_named(found: Verdicts, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown figure 'win'"):
        ov.plot_study(found, what="win")
    with pytest.raises(ValueError, match="not a cell of the study"):
        ov.plot_study(found, cell=Cell("glassllm", "sentiment", 3))
    with pytest.raises(ValueError, match="not the folder of a study"):
        ov.plot_study(tmp_path)


def test_the_command_saves_the_charts(tmp_path: Path) -> None:
    """Of a study in a folder, of which nothing is left to run."""
    study = Study(tune={"lr": (1e-3, 3e-3, 1e-2)}, compare=("lora", "olora"), seeds=3, threads=1)
    folder = written(made(study), tmp_path / "study")
    png, html = tmp_path / "a.png", tmp_path / "a.html"
    assert main(["study", str(folder), "--png", str(png), "--html", str(html)]) == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    text = html.read_text("utf-8")
    assert "3 seeds, 128 test examples" in text
    assert "Better than LoRA: " in text
    assert ov.plot_study(folder, what="wins").data


def test_a_method_without_a_rate_is_named_where_it_has_no_curve() -> None:
    found = made(loss=half_dead)
    cell = STUDY.cells()[0]
    for figure in (budget_figure(found, cell), target_figure(found, cell)):
        assert "no rate finished: OLoRA" in figure["layout"]["meta"]["unit"]
    figure = differences_figure(found)
    assert "OLoRA" in figure["layout"]["yaxis"]["ticktext"]
    assert {t["name"] for t in figure["data"]} == {"level", "PiSSA"}


@pytest.mark.parametrize(("low", "high"), [(1.02, 1.04), (1.05, 1.3), (0.9, 1.1), (3.1, 3.3)])
def test_a_narrow_log_axis_has_round_ticks_too(low: float, high: float) -> None:
    ticks = log_ticks(math.log10(low), math.log10(high))
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)
