"""An initialization that a notebook registers is raced, listed, drawn and exported as built-in."""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from support.races import small
from support.starts import weight
from support.tiny import FAMILIES, tiny, tokens
from support.verbs import run as verb

import olora_viz as ov
from olora_viz.figures import theme
from olora_viz.lanes.lane import display_names
from olora_viz.studies.folder import Ledger
from olora_viz.studies.run import _stage, run_race
from olora_viz.web.guard.limits import Limits
from olora_viz.web.race.settings import lane_table


def signs(W, r, *, s, generator, calibration):
    """Signs of W beside random ones, so that all that can be asked for is used."""
    assert calibration is None
    flips = torch.randint(0, 2, (r, W.shape[1]), generator=generator) * 2.0 - 1
    return ov.Start(A=flips.to(W), B=W[:, :r].sign() / s)


def entry(**own) -> ov.Initializer:
    made = ov.Initializer(
        name="mine", label="My signs", start=signs, source="a notebook",
        summary="B holds signs of W, A random ones.",
    )  # fmt: skip
    return unchecked(made, **own)


def unchecked(frozen: object, **fields):
    """Set fields behind the back of the tests' type checker, which users do not have."""
    for field, value in fields.items():
        object.__setattr__(frozen, field, value)
    return frozen


def start(A, B) -> ov.Start:
    return unchecked(object.__new__(ov.Start), A=A, B=B)


@pytest.fixture
def mine() -> Iterator[str]:
    ov.register(entry())
    yield "mine"
    ov.unregister("mine")
    assert "mine" not in ov.INITIALIZERS


@pytest.mark.parametrize("family", FAMILIES)
def test_the_function_at_step_0_is_unchanged(mine: str, family: str) -> None:
    model, ids = tiny(family, torch.float64), tokens()
    before = {name: W.clone() for name, W in model.state_dict().items()}
    plain = model(ids).logits
    lanes = ov.attach(model, [ov.Lane(mine, r=3, alpha=6.0), ov.Lane("olora", r=2)])
    unchanged = model(ids.repeat(2, 1)).logits
    torch.testing.assert_close(unchanged, plain.repeat(2, 1, 1), atol=1e-12, rtol=1e-12)
    with torch.no_grad():
        lanes.theta += 0.1 * torch.randn_like(lanes.theta)
    assert not torch.allclose(model(ids.repeat(2, 1)).logits[:3], plain)
    lanes.detach()
    assert all(torch.equal(W, before[name]) for name, W in model.state_dict().items())


def test_a_function_that_writes_into_W_writes_into_a_copy() -> None:
    def spoils(W, r):
        return ov.Start(A=W.zero_()[:r] + 1, B=W[:, :r] + 1)

    ov.register(entry(start=spoils))
    try:
        model = tiny("llama")
        before = {name: W.clone() for name, W in model.state_dict().items()}
        ov.attach(model, [ov.Lane("mine", r=2)]).detach()
        assert all(torch.equal(W, before[name]) for name, W in model.state_dict().items())
    finally:
        ov.unregister("mine")


def test_it_races_and_its_seed_decides(mine: str) -> None:
    lanes = (ov.Lane(mine, seed=1), ov.Lane(mine, seed=2), ov.Lane(mine, seed=1), ov.Lane("olora"))
    config = small(lanes, steps=3, eval_every=3)
    steps = list(ov.race(config))
    assert steps[-1].loss[0] == steps[-1].loss[2] != steps[-1].loss[1]
    alone = list(ov.race(small(lanes[3:], steps=3, eval_every=3)))
    assert steps[-1].loss[3] == pytest.approx(alone[-1].loss[0], rel=1e-6)
    figure = ov.plot_race(steps, config)
    assert {"My signs seed 1", "My signs seed 2"} < {trace.name for trace in figure.data}


@pytest.mark.parametrize("name", theme.THEMES)
def test_it_has_a_colour_of_its_own_and_its_label_everywhere(mine: str, name: str) -> None:
    ov.register(entry(name="other", label="Other"))
    try:
        colors = [theme.resolve(f"@{init}", name) for init in ov.INITIALIZERS]
        assert len(set(colors)) == len(colors)
        assert {"mine", "mine-text", "mine-band"} < set(theme.palette(name))
    finally:
        ov.unregister("other")
    assert display_names([ov.Lane(mine)]) == ("My signs",)
    assert lane_table(Limits(), (ov.Lane("lora"),), elem_id="lanes").props["starts"][mine] == "My signs"


def test_its_colour_is_the_one_that_its_entry_names() -> None:
    ov.register(entry(color=("#123456", "#abcdef")))
    try:
        assert [theme.resolve("@mine", name) for name in theme.THEMES] == ["#123456", "#abcdef"]
        assert theme.line_colors("another") == theme.RESERVE[0]
    finally:
        ov.unregister("mine")


@pytest.mark.parametrize("color", [("red", "#abcdef"), ("#123456",), "#123456", ("#123456", "#abcdef;}")])
def test_a_colour_that_is_not_two_of_the_page_is_refused_by_its_value(color) -> None:
    with pytest.raises(ValueError, match="color of 'mine' must be two of the form '#1d2330', light and dark, not"):
        replace(entry(), color=color)


def test_it_is_listed(mine: str) -> None:
    listed = [json.loads(line) for line in verb("initializers", "--json").stdout.splitlines()]
    assert any(row.get("name") == mine and "signs of W" in row["summary"] for row in listed)


def test_spectrum_draws_it(mine: str) -> None:
    W = weight((24, 16), torch.float32)
    figure = ov.plot_spectrum(W, r=4, inits=("olora", mine))
    assert "My signs" in {trace.name for trace in figure.data}
    assert ov.truncation(W, 4, init=mine).sigma_BA.shape == (4,)


def test_it_leaves_as_a_peft_adapter_that_computes_the_same(mine: str, tmp_path) -> None:
    ids = tokens()
    lanes = ov.attach(tiny("llama", torch.float64), [ov.Lane(mine, r=3, alpha=6.0)])
    with torch.no_grad():
        lanes.theta += 0.1 * torch.randn_like(lanes.theta)
    ours = lanes.model(ids).logits
    folder = ov.write_peft(lanes, 0, tmp_path / "adapter")
    theirs = PeftModel.from_pretrained(tiny("llama", torch.float64), str(folder)).double()
    torch.testing.assert_close(theirs(ids).logits, ours, atol=1e-5, rtol=1e-4)
    again = ov.read_peft(tiny("llama", torch.float64), folder)
    torch.testing.assert_close(again.model(ids).logits, ours, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="form 'olora' needs a lane initialized by olora, not"):
        ov.write_peft(lanes, 0, tmp_path / "other", form="olora")


def test_what_depends_on_data_is_gathered_for_it() -> None:
    seen = []

    def informed(W, r, *, calibration):
        seen.append(calibration)
        return ov.Start(A=calibration.gradient[:r], B=torch.zeros(len(W), r))

    ov.register(entry(start=informed, needs="gradient"))
    try:
        ov.race(ov.RaceConfig(lanes=(ov.Lane("mine"),), steps=1)).close()
        assert all(told.gradient is not None for told in seen)
        with pytest.raises(ValueError, match="'mine' needs the gradient of W"):
            ov.attach(tiny("llama"), [ov.Lane("mine", r=2)])
    finally:
        ov.unregister("mine")


@pytest.mark.parametrize(
    ("own", "rule"),
    [
        ({"name": "olora"}, "'olora' is a built-in"),
        ({"name": "My start"}, "'My start' must be 1 to 32 lower-case letters"),
        ({"name": "ink"}, "'ink' is reserved for a colour"),
        ({"name": 3}, "name 3 must be"),
        ({"label": "OLoRA"}, "label 'OLoRA' is taken"),
        ({"label": "<b>"}, "label '<b>' must be"),
        ({"summary": None}, "summary of 'mine' must be a string, not None"),
        ({"start": "olora"}, "must be a function, not 'olora'"),
        ({"start": lambda W: W}, r"must take \(W, r\).*too many positional"),
        ({"start": lambda W, r, gain: W}, "must take .*'gain'"),
        ({"start": lambda W, s: W}, "must take .*'s'"),
    ],
)
def test_a_bad_entry_is_refused_with_the_value_and_the_rule(own, rule) -> None:
    before = dict(ov.INITIALIZERS)
    with pytest.raises(ValueError, match=rule):
        ov.register(entry(**own))
    assert before == ov.INITIALIZERS


def test_a_process_that_does_not_know_it_says_so(tmp_path) -> None:
    ov.register(entry())
    ledger = Ledger(tmp_path / "study", ov.Study(tune={"lr": (1e-3,)}, compare=("lora", "mine"), seeds=1))
    ledger.open()
    planned = _stage(ledger, None)[-1]
    ov.unregister("mine")
    with pytest.raises(ValueError, match="does not know the start 'mine': register it at the top of a script"):
        run_race(planned, 1)


def test_a_name_that_is_registered_again_is_replaced_and_taken_away_once(mine: str) -> None:
    with pytest.warns(UserWarning, match="'mine' was registered before: this one replaces it"):
        ov.register(entry(label="Another"))
    ov.register(entry(label="A third"), replace=True)
    assert display_names([ov.Lane(mine)]) == ("A third",)
    assert list(ov.INITIALIZERS).count(mine) == 1
    with pytest.raises(ValueError, match="'olora' is built in"):
        ov.unregister("olora")
    with pytest.raises(ValueError, match=r"unknown initialization 'nobody'.*your own has to be registered first"):
        ov.Lane("nobody")
    with pytest.raises(ValueError, match="'nobody' is not registered"):
        ov.unregister("nobody")


@pytest.mark.parametrize(
    ("made", "rule"),
    [
        (lambda W, r: (W[:r], W[:, :r]), r"must return a Start\(A, B\), not a tuple"),
        (lambda W, r: start(W[: r + 1], W[:, :r]), r"A of 'mine' must be \(2, 16\) .* not \(3"),
        (lambda W, r: start(W[:r], W[:r]), r"B of 'mine' must be \(24, 2\) .* not \(2, 16\)"),
        (lambda W, r: start(W[:r], W[:, :r] / 0), "finite; it holds NaN or infinity"),
        (lambda W, r: start(W[:r].long(), W[:, :r]), "floating-point numbers, not torch.int64"),
    ],
)
def test_a_bad_result_is_refused_with_the_value_and_the_rule(made, rule) -> None:
    ov.register(entry(start=made))
    try:
        with pytest.raises(ValueError, match=rule):
            ov.truncation(weight((24, 16)), 2, init="mine")
    finally:
        ov.unregister("mine")


def test_half_precision_weights_give_factors_in_float32(mine: str) -> None:
    made = ov.INITIALIZERS[mine].start(weight((24, 16), torch.bfloat16), 2)
    assert (made.A.dtype, made.B.dtype) == (torch.float32, torch.float32)
    assert np.isfinite(made.B.numpy()).all()
