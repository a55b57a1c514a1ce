"""What a lane may be, how it is written on a command line, and what it is called."""

import itertools
import math
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from olora_viz.lanes.lane import AGAINST_DIM, Lane, display_names, label_number, labels
from olora_viz.lanes.lane_spec import parse_lanes, write_lane
from olora_viz.lanes.optimizers import OF_OPTIMIZERS


def test_alpha_is_the_rank_where_none_is_given():
    assert Lane("olora", r=16).scale == 1.0
    assert Lane("olora", r=16, alpha=8).scale == 0.5
    assert Lane("olora", r=16, alpha=8, rslora=True).scale == 2.0


ALPHAS = {
    "r": lambda r: r, "2r": lambda r: 2 * r, "2*r": lambda r: 2 * r, "0.5r": lambda r: r / 2, "r*2": lambda r: 2 * r,
    "r/4": lambda r: r / 4, "3r/4": lambda r: 3 * r / 4, "sqrt(r)": math.sqrt, "sqrt(r)*4": lambda r: 4 * math.sqrt(r),
    "4sqrt(r)": lambda r: 4 * math.sqrt(r), "2 * sqrt(r) / 3": lambda r: 2 * math.sqrt(r) / 3,
    "1e1r": lambda r: 10 * r,
}  # fmt: skip


@pytest.mark.parametrize(("written", "of"), ALPHAS.items())
def test_an_alpha_of_the_rank_is_the_number_that_it_means_and_stays_as_written(written, of):
    for r, rslora in itertools.product((1, 2, 16, 48), (False, True)):
        lane, plain = (Lane("olora", r=r, alpha=alpha, rslora=rslora) for alpha in (written, of(r)))
        assert lane.lora_alpha == pytest.approx(plain.lora_alpha, rel=1e-15)
        assert lane.scale == pytest.approx(plain.scale, rel=1e-15)
        assert lane.alpha == written
    crossed = parse_lanes(f"olora:alpha={written},r=4/16")
    assert [lane.alpha for lane in crossed] == [written] * 2
    assert parse_lanes({"init": "olora", "alpha": written, "r": [4, 16]}) == crossed
    assert parse_lanes(write_lane(crossed[0])) == crossed[:1]
    names = labels([*crossed, Lane("olora", alpha=3.5), Lane("olora", alpha="7r")])
    assert len(set(names)) == 4
    assert not any("#" in name for name in names)


def test_labels_name_an_alpha_of_the_rank_as_a_folder_can_be_called():
    lanes = parse_lanes("lora:alpha=8/2r/r/4/sqrt(r)*4")
    assert [lane.alpha for lane in lanes] == [8.0, "2r", "r/4", "sqrt(r)*4"]
    assert labels(lanes) == ("lora@alpha=8", "lora@alpha=2r", "lora@alpha=0.25r", "lora@alpha=4sqrt-r")
    assert [Lane("lora", label=label).label for label in labels(lanes)] == list(labels(lanes))


def test_lists_in_a_spec_multiply():
    lanes = parse_lanes("olora:lr=3e-4/1e-3,r=4/8/16,alpha=8")
    assert [(lane.lr, lane.r) for lane in lanes] == [(lr, r) for lr in (3e-4, 1e-3) for r in (4, 8, 16)]
    assert {lane.alpha for lane in lanes} == {8.0}


def test_a_spec_may_leave_out_what_is_given_for_all():
    lanes = parse_lanes("olora:clip=2,lr=1e-3/3e-3", clip=1.0, weight_decay=0.1)
    assert [(lane.clip, lane.weight_decay) for lane in lanes] == [(2.0, 0.1)] * 2


def test_every_key_can_be_written():
    (lane,) = parse_lanes(
        "lora:lr=0.01,r=2,alpha=3,seed=4,weight_decay=0.1,clip=1,rslora=true,"
        "beta1=0.8,beta2=0.9,lora_plus=16,dropout=0.1,targets=q_proj+layers.[01].*,schedule=cosine,warmup=7,label=x"
    )
    assert lane == Lane(
        "lora", 0.01, 2, 3.0, 4, 0.1, 1.0, True, "x",
        beta1=0.8, beta2=0.9, lora_plus=16.0, dropout=0.1, targets=("q_proj", "layers.[01].*"),
        schedule="cosine", warmup=7,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("olra", r"unknown initialization 'olra'; did you mean 'olora'"),
        ("olora:lr=0", "learning rate must be a positive number, not 0.0"),
        ("olora:lr=-1e-3", "learning rate must be a positive number, not -0.001"),
        ("olora:lr=nan", "learning rate must be a positive number, not nan"),
        ("olora:lr=inf", "learning rate must be a positive number, not inf"),
        ("olora:lr=fast", r"lr must be a positive number, or fair, not 'fast' \(in 'olora:lr=fast'\)"),
        ("olora:lr=", "'lr' needs a value"),
        ("olora:seed=1,2,7", "separated by /, not by a comma before '2'"),
        ("olora:lr", "'lr' needs a value"),
        ("olora:lr=1e-3/", "lr must be a positive number, or fair, not ''"),
        ("olora:r=0", "rank must be a whole number from 1"),
        ("olora:r=2.5", "r must be a whole number, not '2.5'"),
        ("olora:rnk=2", "unknown lane key 'rnk'"),
        ("olora:r=2,r=3", "'r' is given twice"),
        ("olora:alpha=0", "alpha must be a positive number, not 0.0"),
        ("olora:alpha=2r+1", r"alpha must be a positive number, or a multiple of r or sqrt\(r\) .*, not '2r\+1'"),
        ("olora:alpha=r**2", r"alpha must be .*, not 'r\*\*2' \(in 'olora:alpha=r\*\*2'\)"),
        ("olora:alpha=-r", "alpha must be .*, not '-r'"),
        ("olora:alpha=sqrt(4)", r"alpha must be .*, not 'sqrt\(4\)'"),
        ("olora:alpha=1e308r,r=64", "alpha must be a positive number at rank 64, not '1e308r'"),
        ("olora:seed=-1", "seed must be a whole number from 0"),
        ("olora:weight_decay=-1", "weight_decay must be a number >= 0, not -1.0"),
        ("olora:clip=0", "clip must be a positive number, not 0.0"),
        ("olora:beta1=1", "beta1 must be a number from 0 to below 1, not 1.0"),
        ("olora:dim=0", "dim must be a whole number from 1 to .*, not 0"),
        ("olora:replay=1", "replay must be a number from 0 to below 1, not 1.0"),
        ("olora:keep_kl=-1", "keep_kl must be a number >= 0, not -1.0"),
        ("olora:replay_from=self", "unknown replay_from 'self'"),
        ("olora:lr=fair,replay=0.05", "replay=0.05 and a fair rate do not go together"),
        ("olora:dropout=1", "dropout must be a number from 0 to below 1, not 1.0"),
        ("olora:dropout=nan", "dropout must be a number from 0 to below 1, not nan"),
        ("olora:lora_plus=0", "lora_plus must be a positive number, not 0.0"),
        ("olora:beta2=0.81", r"the square of beta1 0.9 must be below beta2 0.81"),
        ("olora:beta1=0,beta2=0", r"the square of beta1 0.0 must be below beta2 0.0"),
        ("olora:targets=q_proj+", r"a lane's target must be of letters, digits and .*, not ''"),
        ("olora:targets=q proj", r"a lane's target must be of letters, digits and .*, not 'q proj'"),
        ("olora:schedule=cosin", "unknown schedule 'cosin'; did you mean 'cosine'"),
        ("olora:warmup=-1", "warmup must be a whole number from 0 to .*, not -1"),
        ("olora:warmup=0.0", "warmup as a share of all steps must be a positive number, not 0.0"),
        ("olora:warmup=half", "warmup must be a whole number, or a share of all steps such as 0.1, not 'half'"),
        ("olora:rslora=maybe", "rslora must be true or false, not 'maybe'"),
        ("olora:label=../../etc", "label '../../etc' must be 1 to 48 characters"),
        ("olora:label=<b>", "label '<b>' must be"),
        ("olora:label=x ", "label 'x ' must be 1 to 48 characters, .* not end in a space"),
        ("olora:seed=" + "/".join(map(str, range(65))), "makes 65 lanes; a race takes at most 64"),
    ],
)
def test_a_bad_spec_gets_a_sentence_with_the_value_and_the_rule(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_lanes(spec)


OTHER_KINDS = {
    "Lane(None)": "an initialization must be a name, not None",
    "Lane(['lora'])": "an initialization must be a name, not ['lora']",
    "Lane('lora', rslora='no')": "rslora must be True or False, not 'no'",
    "Lane('lora', rslora=1)": "rslora must be True or False, not 1",
    "Lane('lora', lr='1e-3')": "learning rate must be a positive number, not '1e-3'",
    "Lane('lora', r=8.0)": "rank must be a whole number from 1 to 2147483647, not 8.0",
    "Lane('lora', alpha='8')": (
        "alpha must be a positive number, or a multiple of r or sqrt(r) such as 2r, r/4 or sqrt(r)*4, not '8'"
    ),
    "Lane('lora', alpha='2q')": (
        "alpha must be a positive number, or a multiple of r or sqrt(r) such as 2r, r/4 or sqrt(r)*4, not '2q'"
    ),
    "Lane('lora', alpha='r/0')": "alpha must be a positive number at rank 8, not 'r/0'",
    "Lane('lora', alpha='0r')": "alpha must be a positive number at rank 8, not '0r'",
    "Lane('lora', alpha=True)": "alpha must be a positive number, not True",
    "Lane('lora', clip=True)": "clip must be a positive number, not True",
    "Lane('lora', weight_decay=None)": "weight_decay must be a number >= 0, not None",
    "Lane('lora', beta2='0.9')": "beta2 must be a number from 0 to below 1, not '0.9'",
    "Lane('lora', label=3)": "a label must be a string, not 3",
    "Lane('lora', targets=())": "targets must be a sequence of names of layers, not ()",
    "Lane('lora', targets='q_proj')": ("targets must be a sequence of names of layers, not 'q_proj'"),
    "Lane('lora', targets=[3])": ("a lane's target must be of letters, digits and . _ - * ? ! [ ], not 3"),
    "RaceConfig(lanes='lora')": "lanes must be a sequence of Lane, not 'lora'",
    "RaceConfig(lanes=3)": "lanes must be a sequence of Lane, not 3",
    "RaceConfig(targets='q_proj')": "targets must be a sequence of names, not the string 'q_proj'",
}


def test_a_value_of_another_kind_gets_a_sentence_too():
    """In a process of its own: here, beartype would refuse them before we do."""
    program = f"""
from olora_viz import Lane, RaceConfig
for made in {list(OTHER_KINDS)!r}:
    try:
        print("made", eval(made))
    except Exception as error:
        print(f"{{type(error).__name__}}: {{error}}")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == [f"ValueError: {why}" for why in OTHER_KINDS.values()]


def test_labels_say_what_differs_and_no_more():
    assert labels([Lane("lora"), Lane("olora")]) == ("lora", "olora")
    sweep = [Lane("olora", lr=lr, seed=s) for lr in (3e-4, 1e-3) for s in (0, 1)]
    assert labels([*sweep, Lane("lora", lr=0.5)]) == (
        "olora@lr=3e-4,seed=0",
        "olora@lr=3e-4,seed=1",
        "olora@lr=1e-3,seed=0",
        "olora@lr=1e-3,seed=1",
        "lora",
    )


VALUES = {
    "lr": (1e-3, 3e-3, 1.00001e-3, 1.00002e-3), "r": (2, 64), "seed": (0, 7, 123_456),
    "schedule": (None, "constant", "linear", "cosine"), "warmup": (None, 0, 5),
    "params": (None, 200_000, 1_500_000), "dim": (None, 4, 256), "replay": (0.0, 0.05),
    "replay_from": ("text", "base"), "keep_kl": (0.0, 0.1), "beta": (0.1, 0.5), "kl": (0.0, 0.1),
    "advantage": ("mean", "normalized"), "opt": ("adamw", "sgd", "muon"),
    "momentum": (None, 0.5), "damping": (0.01, 1.0), "rank_by": (None, "energy", "gradient", "eva"),
    "dora": (False, True), "start_from": ("base", "full", "residual"), "iterations": (1, 5),
    "alpha": (4.0, 16.0, "3r", "sqrt(r)*5"),
    "weight_decay": (0.0, 0.1, 0.1000001), "clip": (None, 1.0, 1e-3), "rslora": (False, True), "fair": (False, True),
    "beta1": (0.0, 0.9), "beta2": (0.95, 0.999), "lora_plus": (1.0, 16.0), "dropout": (0.0, 0.05),
    "targets": (None, ("q_proj",), ("q_proj", "v_proj", *"abcdefghijklm"), ("q_proj", "k_proj", *"abcdefghijklm")),
}  # fmt: skip
"""Values of every key of a lane, beside its start and its label."""
OF = {"momentum": "sgd", "damping": "riemannian"}
"""The optimizers of some keys."""


def test_every_key_that_differs_is_named_in_labels_and_display_names():
    keys = [key.name for key in fields(Lane) if key.name not in ("init", "label")]
    assert set(VALUES) == set(keys)
    for key, other in itertools.combinations(keys, 2):
        if {key, other} == {"r", "params"} or ("dim" in (key, other) and {key, other} & {*AGAINST_DIM}):
            continue
        if "fair" in (key, other) and {key, other} & {"replay", "keep_kl", "start_from"}:
            continue
        if "dora" in (key, other) and {key, other} & {"opt", "damping", "start_from"}:
            continue
        apart = {*OF_OPTIMIZERS, "fair", "dim"}  # what not every optimizer goes with
        if {key, other} <= {"opt", *apart} and {key, other} & {"opt", *OF}:
            continue
        opt = next(({"opt": OF[one]} for one in (key, other) if one in OF), {})
        init = "loftq" if "iterations" in (key, other) else "lora"
        lanes = [Lane(init, **opt, **{key: a, other: b}) for a in VALUES[key] for b in VALUES[other]]
        # The rate of a fair lane is found by the race, whatever it was.
        distinct = list(dict.fromkeys(replace(lane, lr=1e-3) if lane.fair else lane for lane in lanes))
        names = display_names(distinct)
        assert len(set(names)) == len(distinct)
        assert "#" not in " ".join(names), names
    assert display_names(parse_lanes("lora:rslora=false/true,lr=3e-3/1e-3")) == (
        "LoRA 3e-3", "LoRA 1e-3", "LoRA 3e-3 rsLoRA", "LoRA 1e-3 rsLoRA",
    )  # fmt: skip
    assert display_names(parse_lanes("lora:weight_decay=0/0.1")) == ("LoRA weight decay 0", "LoRA weight decay 0.1")


def test_labels_are_distinct_even_for_equal_lanes():
    assert labels([Lane("lora"), Lane("lora"), Lane("lora")]) == ("lora", "lora#2", "lora#3")
    assert labels([Lane("lora"), Lane("olora", label="lora")]) == ("lora#2", "lora")
    with pytest.raises(ValueError, match="two lanes are labelled 'x'"):
        labels([Lane("lora", label="x"), Lane("olora", label="x")])


@pytest.mark.parametrize("x", [1e-5, 3e-4, 1.5e-3, 0.01, 0.3, 1.0, 12.0, 9999.0, 2e4, 123456.0])
def test_compact_numbers_read_back(x):
    assert math.isclose(float(label_number(x)), x)
