"""The figure of choices shows each verdict's two differences, its interval and the band, grouped by what differs."""

import math

import numpy as np
import pytest
from support.simulated_studies import row_of

import olora_viz as ov
from olora_viz.figures.choices import choices_figure
from olora_viz.figures.drawing import in_words
from olora_viz.figures.layout import Figure
from olora_viz.figures.plots import study_figures
from olora_viz.machine.wording import signed
from olora_viz.studies.choices import choices
from olora_viz.studies.search import needed
from olora_viz.studies.study import Study
from olora_viz.studies.verdicts import Verdicts, verdicts_of

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
CLOSE = {"lora": 0.0, "olora": 0.01, "lora:r=2": -0.1, "lora:targets=mlp": 0.3, "lora:alpha=2r": 0.02}
FAR = CLOSE | {"lora:targets=mlp": 2.5}


def made(gaps: dict[str, float], seeds: int = 3, lost: str = "") -> Verdicts:
    """Finish a study whose methods lie so far apart; one of them diverges always."""
    study, random = Study(compare=tuple(gaps), tune={"lr": RATES}, seeds=seeds), np.random.default_rng(0)
    examples, rows = random.normal(1.0, 0.3, 40), {}
    while trials := needed(study, {trial: row["valid_loss"] for trial, row in rows.items()}):
        for trial in trials:
            off = 0.1 * math.log(trial.lr / 2e-3) ** 2 + (math.nan if trial.method == lost else 0.0)
            loss = 0.5 + gaps[trial.method] + off + 0.01 * random.normal() + examples
            rows[trial] = row_of(loss + 0.02 * random.normal(size=40), loss + 0.02 * random.normal(size=40))
    return verdicts_of(study, rows)


def drawn(found: Verdicts) -> Figure:
    return choices_figure(found, found.study.cells()[0])


def rows_of(figure: Figure) -> dict[str, int]:
    """Return at which height each choice stands."""
    axis = figure["layout"]["yaxis"]
    return {name: y for name, y in zip(axis["ticktext"], axis["tickvals"], strict=True) if name}


def undone(x: float, figure: Figure) -> float:
    """Return the difference of a place on the axis."""
    is_root = "root" in figure["layout"]["xaxis"]["title"]["text"]
    return math.copysign(x * x, x) if is_root else x


def marks(figure: Figure, name: str, symbol: str) -> list[float]:
    return [
        undone(trace["x"][0], figure) for trace in figure["data"]
        if trace["name"] == name and trace.get("marker", {}).get("symbol") == symbol
    ]  # fmt: skip


@pytest.mark.parametrize("gaps", [CLOSE, FAR], ids=["linear", "root"])
def test_every_choice_has_its_two_differences_and_its_interval(gaps: dict[str, float]) -> None:
    found = made(gaps)
    figure = drawn(found)
    assert ("root" in figure["layout"]["xaxis"]["title"]["text"]) == (gaps is FAR)
    listed = choices(found, found.study.cells()[0])
    assert list(rows_of(figure)) == [each.words for each in listed]
    for each in listed:
        interval = each.verdict.interval
        assert marks(figure, each.words, "circle") == pytest.approx([interval.mean])
        assert marks(figure, each.words, "circle-open") == pytest.approx([each.verdict.at_shared.interval.mean])
        (whisker,) = [t for t in figure["data"] if t["name"] == each.words and t["mode"] == "lines"]
        ends = [undone(x, figure) for x in whisker["x"] if x is not None]
        assert [min(ends), max(ends)] == pytest.approx([interval.low, interval.high])
        assert rows_of(figure)[each.words] in whisker["y"]
    band = [t["x"] for t in figure["data"] if t["name"] == "level"]
    margin = listed[0].verdict.margin
    assert [undone(x, figure) for x in band[0]] == pytest.approx([-margin, margin])


def test_the_ticks_of_a_root_scaled_axis_say_the_differences() -> None:
    axis = drawn(made(FAR))["layout"]["xaxis"]
    for place, words in zip(axis["tickvals"], axis["ticktext"], strict=True):
        assert math.copysign(place * place, place) == pytest.approx(float(words.replace("−", "-")))
    assert len(axis["tickvals"]) > 4
    assert axis["tickvals"] == sorted(axis["tickvals"])


def test_in_words_a_choice_is_its_difference_and_not_its_place_on_the_axis() -> None:
    found = made(FAR)
    words = in_words(drawn(found))
    for each in choices(found, found.study.cells()[0]):
        mean = signed(each.verdict.interval.mean, "+.2g")
        assert f"  {each.words} at {each.verdict.best.words}: {each.verdict.verdict}; {mean} nats" in words


def test_groups_stand_above_their_choices() -> None:
    found = made(CLOSE)
    figure, listed = drawn(found), choices(found, found.study.cells()[0])
    heads = {note["text"]: note["y"] for note in figure["layout"]["annotations"] if not note["text"][-1].isdigit()}
    assert {*heads} == {each.group for each in listed}
    rows = rows_of(figure)
    for each in listed:
        below = [y for y in heads.values() if y > rows[each.words]]
        assert heads[each.group] == min(below)


def test_a_difference_beyond_the_axis_has_an_arrow_and_a_lost_method_no_mark() -> None:
    found = made(CLOSE, lost="lora:targets=mlp")
    figure = drawn(found)
    assert not marks(figure, "mlp alone", "circle")
    signs = [note["text"] for note in figure["layout"]["annotations"] if note["y"] == rows_of(figure)["mlp alone"]]
    assert signs == ["?"]
    few = made(CLOSE, seeds=2)  # whose intervals are wide
    axis = drawn(few)["layout"]["xaxis"]["range"]
    for each in choices(few, few.study.cells()[0]):
        for end, symbol in (
            (each.verdict.interval.low, "triangle-left"),
            (each.verdict.interval.high, "triangle-right"),
        ):
            arrows = [t for t in drawn(few)["data"] if t["name"] == each.words and t["mode"] == "markers"
                      and t["marker"]["symbol"] == symbol and t["x"][0] in axis]  # fmt: skip
            beyond = end < axis[0] if symbol == "triangle-left" else end > axis[1]
            assert bool(arrows) == beyond


def test_beside_others_it_is_drawn_where_more_than_starts_are_compared() -> None:
    both = ("choices", "differences")
    assert [len(study_figures(made(gaps), both)) for gaps in (CLOSE, {"lora": 0.0, "olora": 0.1})] == [2, 1]
    assert len(study_figures(made({"lora": 0.0, "olora": 0.1}), ["choices"])) == 1
    assert ov.plot_study(made(CLOSE), what="choices", theme="dark").data
