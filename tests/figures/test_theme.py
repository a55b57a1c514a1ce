"""Colours can be read, labels say what differs, and a setting looks the same everywhere."""

import itertools

import pytest

from olora_viz.figures import theme
from olora_viz.initializers import INITIALIZERS
from olora_viz.initializers.catalogue import BUILT_IN, PAGE_COLOURS
from olora_viz.lanes.lane import Lane


@pytest.mark.parametrize("name", theme.THEMES)
@pytest.mark.parametrize("init", [*INITIALIZERS, "one_of_tomorrow"])
def test_lines_stand_out_from_the_card_and_their_labels_can_be_read(name: str, init: str) -> None:
    colors = theme.palette(name, [init])
    assert theme.contrast(colors[init], colors["card"]) >= 3.0
    assert theme.contrast(colors[f"{init}-text"], colors["card"]) >= 4.5


@pytest.mark.parametrize("name", theme.THEMES)
@pytest.mark.parametrize("text", ["ink", "mute", "ok", "bad", "accent"])
@pytest.mark.parametrize("surface", ["bg", "card"])
def test_text_can_be_read_on_every_surface(name: str, text: str, surface: str) -> None:
    colors = theme.palette(name)
    assert theme.contrast(colors[text], colors[surface]) >= 4.5


@pytest.mark.parametrize("name", theme.THEMES)
def test_the_primary_button_can_be_read(name: str) -> None:
    colors = theme.palette(name)
    assert theme.contrast(colors["on-accent"], colors["accent"]) >= 4.5


@pytest.mark.parametrize("name", theme.THEMES)
def test_no_two_initializations_share_a_colour(name: str) -> None:
    colors = theme.palette(name)
    for a, b in itertools.combinations(INITIALIZERS, 2):
        assert colors[a] != colors[b]


def test_contrast_agrees_with_the_values_that_wcag_states() -> None:
    assert theme.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert theme.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("name", theme.THEMES)
def test_an_initialization_cannot_take_the_name_of_another_colour(name: str) -> None:
    assert set(theme.SURFACES[name]) <= PAGE_COLOURS


def test_every_built_in_has_a_colour_of_its_own_and_the_reserve_has_others() -> None:
    own = [INITIALIZERS[name].color or ("", "") for name in BUILT_IN]
    for colors in zip(*own, *theme.RESERVE, strict=True):
        assert len(set(colors) - {""}) == len(own) + len(theme.RESERVE)
    for light, dark in theme.RESERVE:
        assert theme.contrast(light, theme.SURFACES["light"]["card"]) >= 3.0
        assert theme.contrast(dark, theme.SURFACES["dark"]["card"]) >= 3.0


def test_a_label_shows_only_what_differs_inside_the_race() -> None:
    def labels(*lanes: Lane) -> list[str]:
        return [style.label for style in theme.lane_styles(lanes)]

    assert labels(Lane("lora"), Lane("olora")) == ["LoRA", "OLoRA"]
    assert labels(Lane("lora", lr=1e-3), Lane("olora", lr=3e-3)) == ["LoRA 1e-3", "OLoRA 3e-3"]
    assert labels(Lane("olora", r=4), Lane("olora", r=64)) == ["OLoRA r 4", "OLoRA r 64"]
    assert labels(Lane("olora", seed=1), Lane("olora")) == ["OLoRA seed 1", "OLoRA seed 0"]
    assert labels(Lane("olora", alpha=16), Lane("olora")) == ["OLoRA α/r 2", "OLoRA α/r 1"]
    assert labels(Lane("lora", lora_plus=16), Lane("lora")) == ["LoRA LoRA+ 16", "LoRA LoRA+ 1"]
    assert labels(Lane("lora", dropout=0.1), Lane("lora")) == ["LoRA dropout 0.1", "LoRA dropout 0"]
    assert labels(Lane("lora", beta2=0.95), Lane("lora")) == ["LoRA β₂ 0.95", "LoRA β₂ 0.999"]
    assert labels(Lane("lora", targets=("q_proj", "v_proj")), Lane("lora")) == ["LoRA q_proj+v_proj", "LoRA"]


def test_labels_are_distinct_even_for_equal_lanes() -> None:
    styles = theme.lane_styles([Lane("olora")] * 3)
    assert [style.label for style in styles] == ["OLoRA", "OLoRA #2", "OLoRA #3"]


def test_a_name_given_by_its_owner_wins() -> None:
    styles = theme.lane_styles([Lane("olora"), Lane("lora")], ["mine", None])
    assert [style.label for style in styles] == ["mine", "LoRA"]


def test_a_rate_has_the_same_dash_in_every_initialization_and_the_largest_is_solid() -> None:
    rates = (1e-4, 3e-4, 1e-3)
    styles = theme.lane_styles([Lane(init, lr=lr) for lr in rates for init in ("lora", "olora")])
    assert [styles[2 * i].dash for i in range(3)] == [styles[2 * i + 1].dash for i in range(3)]
    assert len({styles[2 * i].dash for i in range(3)}) == 3
    assert (styles[-1].dash, styles[-1].symbol) == ("solid", "circle")
    assert all(style.symbol.endswith("-open") for style in styles[:4])


def test_seeds_beside_rates_change_the_mark_and_not_the_dash() -> None:
    styles = theme.lane_styles([Lane("olora", lr=lr, seed=s) for lr in (1e-3, 3e-3) for s in (0, 1)])
    assert styles[0].dash == styles[1].dash != styles[2].dash
    assert styles[0].symbol != styles[1].symbol
