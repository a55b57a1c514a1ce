"""A lane may adapt layers of its own: it then is what it is in a race of these layers alone."""

import json
import math
from functools import partial

import numpy as np
import peft
import pytest
import torch
from support.races import resumed, small, steps_of
from support.starts import every_that_keeps_the_function, told
from support.tiny import tiny, tokens

from olora_viz.figures.layers import growth_figure, layer_map
from olora_viz.figures.theme import lane_styles
from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane, labels
from olora_viz.lanes.lane_spec import parse_lanes, write_lane
from olora_viz.lanes.layers import target_layers
from olora_viz.lanes.peft import read_back, read_back_merged, write_merged, write_peft
from olora_viz.lanes.plan import plan_adapters
from olora_viz.lanes.stored_adapter import read_config
from olora_viz.measures.conditioning import conditioning
from olora_viz.measures.update_spectra import UPDATE_SPECTRA
from olora_viz.models import load_model
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race

Q_AND_V = ("q_proj", "v_proj")
IDS = tokens()
config = partial(small, steps=3, batch_size=4, task="addition", eval_every=2)


def alone(config: RaceConfig, k: int) -> RaceConfig:
    """The race of one lane, on the layers that it adapts in the whole one."""
    return RaceConfig.from_json(
        {**config.to_json(), "lanes": [{**config.to_json()["lanes"][k], "targets": None}]}
        | {"targets": config.lanes[k].targets}
    )


def beside_a_wider_lane(lane: Lane) -> RaceConfig:
    return config(lanes=(lane, Lane("olora", r=4), Lane("pissa", r=1, targets=("layers.0.*",))))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@every_that_keeps_the_function
def test_the_function_at_step_0_is_bitwise_the_base_s(init, family):
    model = tiny(family)
    first = next(iter(target_layers(model)))
    pair = [Lane(init, r=2, alpha=5, targets=(first,)), Lane("olora", r=4, targets=("*0.*",))]
    attach(model, pair, calibration=told(model))
    whole = model(input_ids=IDS.repeat(2, 1)).logits
    torch.testing.assert_close(whole, tiny(family)(input_ids=IDS.repeat(2, 1)).logits, rtol=0, atol=0)


def test_lora_beside_a_wider_lane_has_the_bits_of_a_race_on_its_own_layers():
    wide = config(lanes=(Lane("lora", r=2, targets=Q_AND_V), Lane("lora", r=2)))
    narrow = config(lanes=(Lane("lora", r=2), Lane("lora", r=2)), targets=Q_AND_V)
    for step, own in zip(steps_of(wide), steps_of(narrow), strict=True):
        assert step.loss[0] == own.loss[0]
        assert step.grad_norm[0] == pytest.approx(own.grad_norm[0], rel=1e-6)
    assert step.eval_loss[0] == own.eval_loss[0]


@pytest.mark.parametrize(
    "lane",
    [
        Lane("olora", r=2, targets=Q_AND_V, clip=0.1),
        Lane("milora", r=3, targets=("layers.[12].*",), weight_decay=0.1, lora_plus=4.0),
        Lane("mica", r=2, targets=("down_proj",)),
        Lane("lora_ga", r=2, targets=("k_proj",), dropout=0.2),
        Lane("eva", r=2, targets=("o_proj", "layers.3.mlp.up_proj")),
        Lane("pissa", r=2, lr=0.03, targets=("gate_proj",), dim=100, weight_decay=0.5, clip=0.1),
        Lane("olora", r=2, rank_by="energy", weight_decay=0.1, targets=("mlp",)),
        Lane("lora", r=2, rank_by="gradient", dropout=0.2, targets=("q_proj", "down_proj")),
        Lane("eva", r=2, rank_by="eva", opt="riemannian", targets=("attention",)),
    ],
    ids=lambda lane: "-".join(filter(None, [lane.init, lane.rank_by])),
)
def test_a_lane_trains_as_in_a_race_of_its_own_to_rounding(lane):
    exact = RaceConfig.from_json({**beside_a_wider_lane(lane).to_json(), "dtype": "float64"})
    for step, own in zip(race(exact), race(alone(exact, 0)), strict=True):
        np.testing.assert_allclose(step.loss[0], own.loss[0], rtol=1e-9)
        np.testing.assert_allclose(step.grad_norm[0], own.grad_norm[0], rtol=1e-6)


def test_what_a_lane_leaves_out_stays_zero_and_counts_for_nothing():
    running = race(beside_a_wider_lane(Lane("olora", r=2, targets=Q_AND_V, weight_decay=0.5)))
    list(running)
    lanes = running.lanes
    assert len(lanes.plan.layers_of(0)) == 8 < len(lanes.layers)
    for name in lanes.layers:
        adapted = name.endswith(Q_AND_V)
        assert lanes.factors(name, 0).A.shape[0] == 2 * adapted
        assert bool(lanes.delta(name, 0).any()) == adapted
    matrices = (lanes.theta.detach(), lanes.theta.grad, lanes.theta.detach() - lanes.start)
    for matrix in matrices:
        assert not matrix[~lanes.trained()].any()


@pytest.mark.parametrize("init", ["lora", "mica"])
def test_the_parameters_of_a_lane_are_those_that_peft_counts(init):
    model, _ = load_model("glassllm")
    plan = plan_adapters(model, [Lane("lora"), Lane(init, r=4, targets=Q_AND_V)])
    given = peft.LoraConfig(r=4, target_modules=list(Q_AND_V), init_lora_weights=True)
    theirs = peft.get_peft_model(load_model("glassllm")[0], given)
    counted = {"lora_A": 0, "lora_B": 0}
    for name, parameter in theirs.named_parameters():
        for factor in counted:
            counted[factor] += parameter.numel() * (factor in name)
    own = counted["lora_A"] + counted["lora_B"] * (init != "mica")
    assert plan.parameters[1] == own
    running = race(config(lanes=plan.lanes))
    assert running.lanes.trained().sum(1).tolist() == list(plan.parameters)
    found = running.summary()["lanes"].values()
    assert [lane["parameters"] for lane in found] == list(plan.parameters)


@pytest.mark.parametrize(("form", "dim"), [("lora", None), ("olora", None), ("lora", 64)])
def test_an_export_has_the_layers_of_its_lane_alone_and_peft_reads_it_back(tmp_path, form, dim):
    running = race(beside_a_wider_lane(Lane("olora", r=2, lr=1e-2, targets=Q_AND_V, dim=dim)))
    list(running)
    lanes, ids = running.lanes, torch.arange(9)[None]
    folder = write_peft(lanes, 0, tmp_path / "adapter", form)
    assert read_config(folder)["target_modules"] == list(lanes.plan.layers_of(0))
    found = read_back(lanes, 0, folder)
    assert found.by.startswith("PEFT")
    assert not found.problem
    with lanes.only(0), torch.no_grad():
        ours = running.model(input_ids=ids).logits
    theirs = peft.PeftModel.from_pretrained(load_model("glassllm")[0], str(folder))
    torch.testing.assert_close(theirs(input_ids=ids).logits, ours, rtol=1e-4, atol=1e-4)


def test_a_merged_model_differs_from_its_base_in_the_layers_of_its_lane_alone(tmp_path):
    running = race(beside_a_wider_lane(Lane("olora", r=2, lr=1e-2, targets=Q_AND_V)))
    list(running)
    folder = write_merged(running.lanes, 0, running.tokenizer, tmp_path / "merged")
    assert not read_back_merged(running.lanes, 0, folder).problem
    merged, base = load_model(str(folder))[0].state_dict(), load_model("glassllm")[0].state_dict()
    for name, weight in base.items():
        adapted = name.removesuffix(".weight").endswith(Q_AND_V)
        assert torch.equal(merged[name], weight) != adapted


def test_a_rank_has_to_fit_the_layers_of_its_lane_alone():
    model, narrow = tiny("llama"), Lane("lora", r=2)
    assert plan_adapters(model, [Lane("lora", r=20, targets=("q_proj",)), narrow]).rank == 20
    with pytest.raises(ValueError, match=r"rank 20 exceeds min\(out, in\) = 16 of '.*k_proj'"):
        plan_adapters(model, [Lane("lora", r=20, targets=("k_proj",)), narrow])


def test_a_layer_has_room_for_the_largest_rank_there_and_no_more():
    model = tiny("llama")
    pair = [Lane("lora", r=16, targets=("q_proj",)), Lane("lora", r=2)]
    lanes = attach(model, pair)
    (query, into), _ = lanes.shapes("model.layers.0.self_attn.q_proj")
    assert (query, into) == (16, 24)
    assert lanes.shapes("model.layers.0.self_attn.k_proj") == ((2, 24), (16, 2))


def test_measurements_leave_out_what_a_lane_does_and_are_else_those_of_its_own_race():
    values = {"spectra_every": 1, "gradients_every": 1, "curvature_every": 3, "dtype": "float64"}
    lane = Lane("olora", r=2, targets=Q_AND_V)
    whole = RaceConfig.from_json({**beside_a_wider_lane(lane).to_json(), **values})
    step, own = (list(race(its))[-1] for its in (whole, alone(whole, 0)))
    rows = [step.gradients.layers.index(name) for name in own.gradients.layers]
    others = [i for i in range(len(step.gradients.layers)) if i not in rows]
    for record, name in (
        *(("gradients", name) for name in ("gradient", "parameter", "update")),
        *(("update_spectra", name) for name in ("sigma", "norm", "condition_A", "effective_rank")),
    ):
        found = getattr(getattr(step, record), name)[0]
        theirs = getattr(getattr(own, record), name)[0]
        np.testing.assert_allclose(
            found[rows][..., : theirs.shape[-1]] if theirs.ndim > 1 else found[rows], theirs, rtol=1e-5, atol=1e-9
        )
        assert np.isnan(found[others]).all()
    np.testing.assert_allclose(step.gradients.input[0][rows], own.gradients.input[0], rtol=1e-6)
    assert step.curvature.lambda_max[0] == pytest.approx(own.curvature.lambda_max[0], rel=1e-5)
    line = json.loads(json.dumps(step.to_json(whole.labels), allow_nan=False))
    assert type(step).from_json(line, whole.labels).update_spectra.layers == step.gradients.layers
    styles = lane_styles(whole.lanes)
    left_out = step.update_spectra.layers[others[0]]
    (heat,) = layer_map(UPDATE_SPECTRA, "norm", [3], [step.update_spectra], styles[0], 0)["data"]
    assert [row == [None] for row in heat["z"]] == [i in others for i in range(len(heat["z"]))]
    drawn = growth_figure([3], [step.update_spectra], styles[0], 0, left_out)
    assert drawn["layout"]["meta"]["message"] == "No adapter on this layer."
    assert all(map(math.isfinite, drawn["layout"]["yaxis"]["range"]))


def test_the_curvature_of_one_layer_is_that_of_the_lanes_which_adapt_it():
    running = race(config(lanes=(Lane("lora", r=2, targets=Q_AND_V), Lane("lora", r=2))))
    layer = "model.layers.3.mlp.down_proj"
    found = conditioning(running.lanes, running.batch(1), layer=layer, steps=4, probes=2)
    assert np.isfinite(found.loss).all()
    for its in (found.hessian, found.gauss_newton):
        for name in ("lambda_max", "lambda_min", "trace", "trace_error"):
            assert np.isfinite(getattr(its, name)).tolist() == [False, True]
    assert np.isfinite(found.grad_norm).tolist() == [False, True]
    assert np.isnan(found.kernel.matrix[0]).all()
    assert np.isnan(found.kernel.condition[0])


def test_a_fair_rate_is_that_of_a_race_on_the_lane_s_own_layers():
    pair = (Lane("lora", r=2, targets=Q_AND_V), Lane("olora", r=2, targets=Q_AND_V, fair=True))
    whole = race(config(lanes=(*pair, Lane("pissa", r=4))))
    own = race(config(lanes=(Lane("lora", r=2), Lane("olora", r=2, fair=True)), targets=Q_AND_V))
    (found,), (theirs,) = whole.fair_rates, own.fair_rates
    assert found.curvature == pytest.approx(theirs.curvature, rel=1e-4)
    assert found.rate == theirs.rate


def test_only_the_layers_of_starts_from_data_are_calibrated():
    model = tiny("llama")
    plan = plan_adapters(model, [Lane("lora", r=2), Lane("eva", r=2, targets=("q_proj",))])
    assert list(plan.calibrated) == [name for name in plan.layers if name.endswith("q_proj")]


def test_targets_are_endings_of_names_with_wildcards():
    model, _ = load_model("glassllm")
    assert list(target_layers(model, ["layers.0.*"])) == list(target_layers(model))[:7]
    assert len(target_layers(model, ["layers.[!0].self_attn.[qk]_proj"])) == 6
    assert set(target_layers(model, ["*"])) >= set(target_layers(model))


@pytest.mark.parametrize("target", ["qproj", "layers.9.*", "proj"])
def test_a_target_that_matches_nothing_is_refused_by_name(target):
    with pytest.raises(ValueError, match=r"no linear layer's name ends in '.*'; choose from .*q_proj"):
        race(config(lanes=(Lane("lora"), Lane("lora", targets=(target,)))))


def test_a_list_of_targets_in_a_spec_makes_a_lane_for_each():
    lanes = parse_lanes("lora:targets=q_proj+v_proj/down_proj,r=2")
    assert [lane.targets for lane in lanes] == [("q_proj", "v_proj"), ("down_proj",)]
    assert [parse_lanes(write_lane(lane)) for lane in lanes] == [[lane] for lane in lanes]


def test_lanes_that_differ_in_their_targets_have_labels_that_name_a_folder():
    long = tuple(f"layers.{i}.self_attn.q_proj" for i in range(9))
    targets = (None, Q_AND_V, ("layers.[01].*",), ("*",), long, long[::-1], long[:2])
    found = labels([Lane("lora", targets=its) for its in targets])
    assert found == (
        "lora", "lora@targets=q_proj+v_proj", "lora@targets=layers-01", "lora@targets=all",
        "lora@targets=layers.0.self_attn.q_proj+8more",
        "lora@targets=layers.8.self_attn.q_proj+8more",
        "lora@targets=layers.0.self_attn.q_proj+1more",
    )  # fmt: skip
    assert labels([Lane("lora", targets=Q_AND_V), Lane("olora")]) == ("lora", "olora")


def test_a_set_up_with_targets_goes_through_json_and_an_older_one_has_none():
    made = config(lanes=(Lane("lora", targets=Q_AND_V), Lane("lora")))
    values = json.loads(json.dumps(made.to_json()))
    assert RaceConfig.from_json(values) == made
    for lane in values["lanes"]:
        del lane["targets"]
    assert all(lane.targets is None for lane in RaceConfig.from_json(values).lanes)


def test_a_race_with_targets_goes_on_from_its_state_bitwise():
    made = beside_a_wider_lane(Lane("lora", r=2, targets=Q_AND_V))
    assert list(resumed(made, 2)) == steps_of(made)[2:]


def test_a_run_folder_keeps_each_adapter_with_its_layers(tmp_path):
    made = config(lanes=(Lane("lora", r=2, targets=Q_AND_V), Lane("lora", r=2)), steps=1, dtype="float32")
    list(runs.start(made, tmp_path / "run"))
    assert runs.read_config(tmp_path / "run") == made
    assert not runs.adapter_warnings(tmp_path / "run")
    for label, count in zip(made.labels, (8, 28), strict=True):
        said = json.loads((tmp_path / "run/adapters" / label / "adapter_config.json").read_text())
        assert len(said["target_modules"]) == count


def test_lanes_that_adapt_other_layers_are_told_apart_in_what_is_adapted():
    lanes = [Lane("lora", targets=Q_AND_V), Lane("olora"), Lane("pissa", targets=("layers.0.*",))]
    said = race(config(lanes=tuple(lanes))).adapted
    assert said.startswith(
        "lanes on q_proj, v_proj adapt 8 layers (11.5% of the weights), those on layers.0.* "
        "7 layers (21.1%), the others 28 layers (84.5%); left out by all: embeddings (15.4%)"
    )
    sweep = [*(Lane("lora", targets=(f"layers.{i}.*",)) for i in range(4)), lanes[0]]
    assert race(config(lanes=tuple(sweep))).adapted.startswith(
        "lanes on layers.0.* adapt 7 layers (21.1% of the weights), those on layers.1.* 7 layers "
        "(21.1%), those on layers.2.* 7 layers (21.1%), the others 8 layers (11.5%) to 7 layers "
        "(21.1%); left out by all"
    )
    assert race(config(lanes=(lanes[0],))).adapted.startswith("every lane adapts 8 layers, 11.5%")
