"""A lane may say how many parameters it trains, and gets the rank for it."""

import json
from dataclasses import replace

import peft
import pytest
from support.races import small, steps_of
from support.starts import told
from support.tiny import FAMILIES, tiny, tiny_folder
from support.verbs import objects, run

import olora_viz as ov
from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import ready_race
from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.lane import Lane, display_names, labels
from olora_viz.lanes.lane_spec import parse_lanes, write_lane
from olora_viz.lanes.plan import plan_adapters
from olora_viz.lanes.started_folder import start_folder
from olora_viz.races import run as runs
from olora_viz.races.script import peft_script

TARGETS = [None, ("attention",), ("mlp",), ("*0.*",)]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_other_rank_trains_a_number_of_parameters_that_is_nearer(family):
    model = tiny(family)
    for targets in TARGETS:
        ranks = range(1, 9)
        counts = plan_adapters(model, [Lane("lora", r=r, targets=targets) for r in ranks]).parameters
        for params in range(counts[0], counts[-1], max(1, counts[0] // 3)):
            plan = plan_adapters(model, [Lane("lora", params=params, targets=targets)])
            (lane,), (count,) = plan.lanes, plan.parameters
            assert (lane.params, count) == (None, counts[lane.r - 1])
            assert abs(count - params) == min(abs(other - params) for other in counts)
            assert count - params <= counts[0]


@pytest.mark.parametrize("init", [name for name, start in INITIALIZERS.items() if not start.dense])
def test_every_start_trains_nearly_as_many_as_it_is_given(init):
    model = tiny("llama")
    one = plan_adapters(model, [Lane(init, r=2)]).parameters[0]
    lanes = ov.attach(model, [Lane(init, params=2 * one + 1, alpha="2r")], calibration=told(model))
    assert (lanes.lanes[0].r, lanes.lanes[0].lora_alpha, lanes.plan.parameters) == (4, 8, (2 * one,))


def test_peft_counts_as_many():
    model = tiny("llama")
    lane = plan_adapters(model, [Lane("lora", params="2k", targets=("attention",))]).lanes[0]
    names = [*ov.target_layers(model, ["attention"])]
    theirs = peft.get_peft_model(tiny("llama"), peft.LoraConfig(r=lane.r, target_modules=names))
    each = theirs.get_nb_trainable_parameters()[0] // lane.r
    assert abs(theirs.get_nb_trainable_parameters()[0] - 2000) <= each / 2


def test_a_race_is_bitwise_that_of_the_ranks_and_its_folder_has_them(tmp_path):
    lanes = parse_lanes("lora:params=20k,targets=attention/mlp") + parse_lanes("olora:params=20k,alpha=2r")
    config = small(tuple(lanes))
    race = ov.race(config)
    assert [lane.params for lane in race.config.lanes] == [None] * 3
    assert len({lane.r for lane in race.config.lanes}) == 3
    ranked = small(
        tuple(lane.replace(r=made.r, params=None) for lane, made in zip(lanes, race.lanes.lanes, strict=True))
    )
    assert race.config == ov.race(ranked).config
    assert list(race) == steps_of(ranked)
    list(runs.start(config, tmp_path))
    assert ov.load_run(tmp_path).config == race.config
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary["lanes"]) == list(race.lanes.labels) == list(ov.load_run(tmp_path).labels)
    background = BackgroundRace("id", config, None, ready_race(config).styles)
    background.run()
    assert background.record().config.lanes == race.config.lanes
    with pytest.raises(
        ValueError, match=r"^lane 'lora@targets=attention' asks for a number of parameters: give the set-up"
    ):
        peft_script(replace(config, lanes=config.lanes[:2]))
    assert "r=" in peft_script(race.config)


def test_an_adapter_is_started_in_a_folder_with_the_rank(tmp_path):
    model = tiny_folder("llama", tmp_path / "model")
    started = start_folder(model, Lane("olora", params=3000), tmp_path / "out")
    rank = json.loads((tmp_path / "out" / "adapter_config.json").read_text())["r"]
    assert (
        started.lane.r
        == started.to_json()["r"]
        == rank
        == plan_adapters(tiny("llama"), [Lane("olora", params=3000)]).rank
    )


def test_it_is_written_as_a_count_and_named():
    lanes = parse_lanes("lora:params=200k/1.5M/4096")
    assert [lane.params for lane in lanes] == [200_000, 1_500_000, 4096]
    assert Lane("lora", params="200k") == lanes[0]
    assert [parse_lanes(write_lane(lane))[0] for lane in lanes] == lanes
    assert labels(lanes)[0] == "lora@params=200000"
    assert display_names(lanes)[1] == "LoRA 1.5M params"


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("lora:params=9", "params 9: on these layers lora trains 9,212 with rank 1, its lowest"),
        ("lora:params=1M", "params 1000000: on these layers lora trains 589,568 with rank 64, its highest"),
        ("lora:params=2x", "params must be a whole number, such as 200000 or 200k, not '2x'"),
        ("lora:params=0", "params must be a whole number from 1"),
        ("lora:params=200k,r=4", "r 4 and params 200000 both say how large the lane is: give one"),
        ("full:params=200k", "params 200000 is not possible for full, which trains every weight"),
    ],
)
def test_what_no_rank_reaches_is_one_sentence(spec, sentence):
    done = run("race", "--task", "number-words", "--keep", "none", "--steps", "1", "--lane", spec)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr.strip().splitlines()[-1]


def test_the_command_line_races_at_equal_parameters():
    words = "race --task number-words --keep none --steps 1 --eval-size 2 --lane lora:params=20k,targets=attention/mlp"
    *_, last = objects(run(*words.split(), "--json").stdout)
    counts = [lane["parameters"] for lane in last["summary"]["lanes"].values()]
    assert all(abs(count - 20_000) < 5_000 for count in counts)
