"""A lane may give its layers ranks of their own, from the parameters of one rank."""

import random
from dataclasses import replace

import numpy as np
import peft
import pytest
import torch
from support.races import resumed, small
from support.tiny import tiny, tiny_folder, tokens
from support.verbs import run

import olora_viz as ov
from olora_viz.background.record import RaceRecord
from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.calibration import gather
from olora_viz.lanes.lane import Lane, display_names, labels
from olora_viz.lanes.layers import target_layers, weight_of
from olora_viz.lanes.ranks import RANKED_BY, RHO, RankedLayer, ranks_within
from olora_viz.lanes.started_folder import start_folder
from olora_viz.races import run as runs
from olora_viz.tasks import Encoded, collate
from olora_viz.views.race import race_view

BATCH = collate([Encoded(tuple(row), 5) for row in tokens(6, 12).tolist()], 0)
STARTS = [name for name, start in INITIALIZERS.items() if not start.dense and name != "orthogonal"]


def calibrated(model, targets=None):
    return gather(model, target_layers(model, targets), [[BATCH]], frozenset({"gradient", "inputs", "outputs"}), 6)


def attached(lane, family="llama", targets=None):
    model = tiny(family)
    return ov.attach(model, [lane], targets, calibration=calibrated(model, targets))


def squares(W, by, calibration):
    if by == "eva":
        found = np.sort(np.linalg.eigvalsh(calibration.covariance.double().numpy()))[::-1]
        return found / found.sum()
    M = W if by == "energy" else calibration.gradient
    found = np.linalg.svd(M.detach().double().numpy(), compute_uv=False) ** 2
    return found / found.sum() if by == "energy" else found


@pytest.mark.parametrize("by", RANKED_BY)
@pytest.mark.parametrize(("init", "trained"), [("lora", (1, 1)), ("mica", (0, 1)), ("milora", (1, 1))])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_next_rank_goes_to_the_layer_whose_next_square_is_the_largest_that_can_be_paid(family, init, trained, by):
    r, told = 3, calibrated(tiny(family))
    lanes = attached(Lane(init, r=r, rank_by=by), family)
    weights = {name: weight_of(layer) for name, layer in target_layers(tiny(family)).items()}
    ranks = dict.fromkeys(weights, 0)
    next_ones = {name: iter(squares(W, by, told[name])[: 2 * r].tolist()) for name, W in weights.items()}
    heads = {name: next(each) for name, each in next_ones.items()}
    costs = {name: trained[0] * W.shape[0] + trained[1] * W.shape[1] for name, W in weights.items()}
    left = r * sum(costs.values())
    while payable := {name: head for name, head in heads.items() if costs[name] <= left}:
        name = max(payable, key=payable.__getitem__)
        ranks[name] += 1
        left -= costs[name]
        heads[name] = next(next_ones[name], -1.0)
        if heads[name] < 0:
            del heads[name]
    assert len(set(ranks.values())) > 2
    ranks = {name: rank for name, rank in ranks.items() if rank}
    assert {name: of[0] for name, of in lanes.plan.ranks.items()} == ranks
    assert {name: len(lanes.factors(name, 0).A) for name in lanes.layers} == ranks
    (count,) = lanes.plan.parameters
    assert count == r * sum(costs.values()) - left == int(lanes.trained().sum())


def test_the_parameters_are_those_of_one_rank_to_less_than_a_rank_of_a_layer():
    drawn = random.Random(0)
    for _ in range(200):
        layers = [
            RankedLayer(sorted((drawn.random() for _ in range(size)), reverse=True), drawn.randrange(1, 99), size)
            for size in (drawn.randrange(4, 40) for _ in range(drawn.randrange(1, 12)))
        ]
        r = drawn.randrange(1, 5)
        ranks = ranks_within(layers, r)
        total = r * sum(layer.cost for layer in layers)
        used = sum(n * layer.cost for n, layer in zip(ranks, layers, strict=True))
        could_have_more = [x.cost for n, x in zip(ranks, layers, strict=True) if n < min(RHO * r, x.most)]
        assert used <= total
        assert used == total or total - used < min(could_have_more)
        assert all(0 <= n <= min(RHO * r, x.most) for n, x in zip(ranks, layers, strict=True))


def test_eva_gives_the_ranks_that_peft_gives_from_the_same_tokens():
    """PEFT counts ranks, not parameters, so one rank of each layer has as many; and they read different inputs."""
    targets = ("q_proj", "o_proj")
    for r in (2, 3, 4):
        model = tiny("llama", blocks=3)
        lanes = ov.attach(model, [Lane("eva", r=r, rank_by="eva")], targets, calibration=calibrated(model, targets))
        config = peft.LoraConfig(
            r=r, target_modules=list(targets), init_lora_weights="eva", eva_config=peft.EvaConfig(tau=0.999)
        )
        theirs = peft.get_peft_model(tiny("llama", blocks=3), config)
        peft.initialize_lora_eva_weights(theirs, [{"input_ids": BATCH.input_ids}], show_progress_bar=False)
        adapted = {
            name.removeprefix("base_model.model."): layer
            for name, layer in theirs.named_modules()
            if isinstance(layer, peft.tuners.lora.LoraLayer)
        }
        found = {name: layer.r["default"] for name, layer in adapted.items()}
        assert found == {name: of[0] for name, of in lanes.plan.ranks.items()}
        assert len(set(found.values())) > 1
        assert {layer.scaling["default"] for layer in adapted.values()} == {8 / r}


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("by", RANKED_BY)
def test_no_start_changes_the_function_by_its_ranks_and_each_layer_has_the_start_of_its_rank(init, by):
    lane = Lane(init, r=2, rank_by=by, alpha=6)
    lanes = attached(lane)
    ids = tokens(2, 9)
    with torch.no_grad():
        with lanes.off():
            base = lanes.model(input_ids=ids).logits
        changed = not INITIALIZERS[init].keeps_function
        assert torch.allclose(lanes.model(input_ids=ids).logits, base, atol=1e-5) != changed
    told = calibrated(tiny("llama"))
    for name, (rank,) in lanes.plan.ranks.items():
        one = ov.attach(tiny("llama"), [Lane(init, r=rank, alpha=3.0 * rank)], [name], calibration={name: told[name]})
        ours, theirs = lanes.factors(name, 0), one.factors(name, 0)
        assert torch.equal(ours.A, theirs.A)
        assert torch.equal(ours.B, theirs.B)
    assert lanes.scale.tolist() == [3.0]


LANES = (
    Lane("lora", r=2, rank_by="gradient", lr=1e-2),
    Lane("olora", r=2, rank_by="energy", lr=1e-2, alpha=5, rslora=True),
    Lane("pissa", r=2, rank_by="eva", dim=50),
    Lane("mica", params=10_000, rank_by="gradient"),
    Lane("lora", r=3),
)
CONFIG = small(LANES, steps=4, eval_every=2)


def test_a_race_goes_on_bitwise_from_its_state_and_from_its_folder(tmp_path):
    whole = ov.race(CONFIG)
    steps = list(whole)
    again = resumed(CONFIG, 2)
    assert list(again) == steps[2:]
    assert torch.equal(again.lanes.theta, whole.lanes.theta)
    started = iter(runs.start(CONFIG, tmp_path / "run"))
    assert [next(started) for _ in range(2)] == steps[:2]
    started.close()
    assert list(runs.resume_run(tmp_path / "run")) == steps[2:]
    saved = ov.load_run(tmp_path / "run")
    assert RaceRecord.of_run(saved).ranks == {n: list(of) for n, of in whole.lanes.plan.ranks.items()}
    snapshot = whole.snapshot()
    snapshot["ranks"] = snapshot["ranks"].flip(0)
    with pytest.raises(ValueError, match=r"^the ranks by layer come out otherwise here than where the race began$"):
        whole.check_snapshot(snapshot)


@pytest.mark.parametrize(("k", "form"), [(0, "lora"), (1, "lora"), (1, "olora"), (2, "lora"), (3, "lora")])
def test_peft_reads_the_ranks_of_an_export_and_has_its_logits(k, form, tmp_path):
    race = ov.race(CONFIG)
    list(race)
    lanes = race.lanes
    folder = ov.write_peft(lanes, k, tmp_path / "adapter", form)
    found = ov.read_back(lanes, k, folder)
    assert found.by.startswith("PEFT")
    assert not found.problem, found.problem
    with lanes.only(k), torch.no_grad():
        ours = race.model(input_ids=torch.arange(9)[None]).logits
    theirs = peft.PeftModel.from_pretrained(ov.load_model("glassllm")[0], str(folder))
    torch.testing.assert_close(theirs(input_ids=torch.arange(9)[None]).logits, ours, rtol=1e-4, atol=1e-4)
    twice = 2 if (k, form) in ((1, "lora"), (2, "lora")) else 1
    layers = {
        name.removeprefix("base_model.model."): layer
        for name, layer in theirs.named_modules()
        if isinstance(layer, peft.tuners.lora.LoraLayer)
    }
    assert {name: layer.r["default"] for name, layer in layers.items()} == {
        name: twice * of[k] for name, of in lanes.plan.ranks.items() if of[k]
    }
    assert {round(layer.scaling["default"], 9) for layer in layers.values()} == {round(race.config.lanes[k].scale, 9)}
    read = ov.read_peft(ov.load_model("glassllm")[0], folder)
    for name in lanes.plan.layers_of(k):
        torch.testing.assert_close(read.delta(name, 0), lanes.delta(name, k), rtol=1e-4, atol=1e-6)


def test_lanes_beside_one_with_ranks_by_layer_have_the_steps_that_they_have_without_it():
    plain = (Lane("lora", r=2), Lane("olora", r=3))
    exact = small((*plain, Lane("pissa", r=2, rank_by="gradient")), dtype="float64")
    beside, without = list(ov.race(exact)), list(ov.race(replace(exact, lanes=plain)))
    for step, other in zip(beside, without, strict=True):
        np.testing.assert_allclose(step.loss[:2], other.loss, rtol=1e-9)


def test_the_bars_are_the_ranks_and_lanes_of_the_same_ranks_have_one_row():
    lanes = (*LANES[:2], replace(LANES[0], seed=1), Lane("full"))
    race = ov.race(small(lanes))
    view = race_view(RaceRecord.of(race))
    bars = view.ranks_by_layer["data"]
    assert [bar["name"] for bar in bars] == [view.styles[k].label for k in (0, 1)]
    for bar, k in zip(bars, (0, 1), strict=True):
        feet, tops = np.array(bar["y"][::3]), np.array(bar["y"][1::3])
        ranks = np.array([of[k] for of in race.lanes.plan.ranks.values()])
        np.testing.assert_allclose((feet - tops) / np.abs(feet - tops).max(), ranks / ranks.max(), atol=2e-3)
        assert [text.split("rank ")[1] for text in bar["text"][::3]] == list(map(str, ranks))
    assert view.news["ranks"] == len(race.lanes.layers)
    assert race_view(RaceRecord.of(ov.race(small()))).news["ranks"] == 0


def test_the_key_is_named_in_labels_and_on_pages():
    lanes = [*ov.parse_lanes("lora:rank_by=energy/eva"), Lane("lora")]
    assert labels(lanes) == ("lora@rank_by=energy", "lora@rank_by=eva", "lora@rank_by=none")
    assert display_names(lanes) == ("LoRA ranks by energy", "LoRA ranks by eva", "LoRA")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--lane lora:rank_by=size", "unknown rank_by 'size'; choose from energy, gradient, eva"),
        ("--lane full:rank_by=energy", "rank_by=energy is not possible for full, which has no rank"),
        ("--lane orthogonal:rank_by=eva", "rank_by=eva is not possible for orthogonal, which needs even ranks"),
        (
            "--lane lora:rank_by=eva --chain --task number-words,uppercase",
            "rank_by=eva would give other ranks on each lane's own base: it cannot be in a chain",
        ),
    ],
)
def test_what_cannot_have_ranks_by_layer_is_refused_in_one_sentence(words, sentence):
    done = run("race", "--task", "number-words", "--keep", "none", "--steps", "1", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr.strip().splitlines()[-1]


def test_what_lacks_the_data_for_its_ranks_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"^'rank_by=gradient' needs the gradient of W over some data: use it"):
        ov.attach(tiny("llama"), [Lane("lora", r=2, rank_by="gradient")])
    folder = tiny_folder("llama", tmp_path / "model")
    with pytest.raises(ValueError, match=r"^rank_by=energy needs the model in memory, and its folder is read"):
        start_folder(folder, Lane("olora", r=2, rank_by="energy"), tmp_path / "out")
