"""Inside an adapter as a figure: the numbers of its maps are those of the lanes, up to a level."""

import numpy as np
import pytest
from support.races import small

import olora_viz as ov
from olora_viz.figures.adapter import GAP
from olora_viz.measures.factors import LEVELS
from olora_viz.races.race import Race, race

LANES = (ov.Lane("lora", r=4), ov.Lane("olora", r=4))


@pytest.fixture(scope="module")
def raced() -> Race:
    racing = race(small(LANES, steps=3))
    list(racing)
    return racing


def test_a_stands_above_b_beside_and_between_them_is_what_was_learned(raced: Race) -> None:
    figure = ov.plot_adapter(raced, "q_proj")
    W, *lanes = figure.data
    layer = next(name for name in raced.lanes.layers if name.endswith("q_proj"))
    assert np.shape(W.z) == (128, 128)
    for k, each in enumerate(lanes):
        numbers = np.array(each.customdata, dtype=float)
        now, left = raced.lanes.factors(layer, k), 4 + GAP
        parts = {
            "A": (numbers[:4, left:], now.A), "B": (numbers[left:, :4], now.B),
            "ΔW": (numbers[left:, left:], raced.lanes.delta(layer, k)),
        }  # fmt: skip
        for name, (drawn, torchs) in parts.items():
            theirs = torchs.detach().numpy()
            assert np.abs(drawn - theirs).max() < 3 * np.abs(theirs).max() / LEVELS, (k, name)
        assert np.isnan(numbers[:4, :left]).all()
    assert "after step 3" in figure.to_json()


def test_a_recorded_race_is_drawn_at_each_of_its_steps() -> None:
    first = ov.load_recording("first")
    start, end = (ov.plot_adapter(first, step=step) for step in (0, None))
    assert [each.name for each in start.data] == ["W", "LoRA", "OLoRA", "PiSSA"]
    blank = np.array(start.data[2].customdata, dtype=float)[8 + GAP :, 8 + GAP :]
    assert not blank.any()
    assert np.array(end.data[2].customdata, dtype=float)[8 + GAP :, 8 + GAP :].any()
    assert "before the first step" in start.to_json()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_colour_token_is_left(theme: str) -> None:
    assert "'@" not in str(ov.plot_adapter(ov.load_recording("first"), theme=theme).to_plotly_json())


def test_what_cannot_be_drawn_is_said_in_a_sentence(raced: Race) -> None:
    with pytest.raises(ValueError, match="unknown layer 'head'; "):
        ov.plot_adapter(raced, "head")
    with pytest.raises(ValueError, match="plot_adapter draws a Race"):
        ov.plot_adapter(ov.load_recording("one-rate"))
    with pytest.raises(ValueError, match="unknown theme 'blue'"):
        ov.plot_adapter(raced, theme="blue")
