"""What is read of the first batches is what autograd and NumPy say, and reading leaves no trace."""

import json

import numpy as np
import pytest
import torch
from support.races import resumed, small, steps_of
from support.starts import told
from support.tiny import CONTEXT, FAMILIES, VOCABULARY, tiny

from olora_viz.initializers import INITIALIZERS
from olora_viz.initializers.start import NEEDS
from olora_viz.lanes.adapters import attach
from olora_viz.lanes.calibration import CALIBRATION_BATCHES, _Inputs, gather, real_tokens
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import is_transposed, target_layers, weight_of
from olora_viz.lanes.plan import plan_adapters
from olora_viz.machine import memory
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import race
from olora_viz.tasks import Encoded, batch_indices, collate, losses

BOTH = frozenset({"gradient", "inputs"})
ALL = BOTH | {"outputs"}
INFORMED = [name for name, entry in INITIALIZERS.items() if entry.needs]
ALL_NEW = (*INFORMED, "mica")


def examples(count: int, seed: int) -> list[Encoded]:
    """Sequences of very different lengths, so that there is much padding."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for i in range(count):
        length = 4 + 5 * i % (CONTEXT - 6)
        ids = torch.randint(3, VOCABULARY, (length,), generator=generator)
        made.append(Encoded(tuple(ids.tolist()), length - 1 - i % 2))
    return made


GROUPS = [examples(4, seed=0), examples(3, seed=1)]
BATCHED = [collate(group, pad_id=0) for group in GROUPS]


def gathered(model, batches, needs, examples=0):
    """What is gathered of all linear layers, over batches of one part."""
    return gather(model, target_layers(model), [[batch] for batch in batches], needs, examples)


# Gathering -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_the_mean_of_autograd_s_over_the_batches(family):
    model = tiny(family, torch.float64)
    found = gathered(model, BATCHED, frozenset({"gradient"}))
    layers = target_layers(model)
    weights = [layer.weight.requires_grad_() for layer in layers.values()]
    loss = torch.stack([losses.lane_losses(model, batch, 1)[0] for batch in BATCHED]).mean()
    assert list(found) == list(layers)
    for (name, layer), G in zip(layers.items(), torch.autograd.grad(loss, weights), strict=True):
        G = G.T if is_transposed(layer) else G
        assert G.abs().max() > 0
        torch.testing.assert_close(found[name].gradient, G, rtol=1e-9, atol=1e-12)
        assert found[name].mean is found[name].covariance is None


@pytest.mark.parametrize("needs", [BOTH, frozenset({"inputs"})])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_inputs_are_those_of_every_token_read_alone_without_padding(family, needs):
    model = tiny(family, torch.float64)
    found = gathered(model, BATCHED, needs)
    seen: dict[str, list] = {name: [] for name in target_layers(model)}
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, given, name=name: seen[name].append(given[0].detach().flatten(0, -2))
        )
        for name, layer in target_layers(model).items()
    ]
    for example in (example for group in GROUPS for example in group):
        model(input_ids=torch.tensor([example.ids[:-1]]), use_cache=False)
    for hook in hooks:
        hook.remove()
    for name, rows in seen.items():
        X = torch.cat(rows).numpy()
        assert len(X) == sum(len(e.ids) - 1 for group in GROUPS for e in group)
        np.testing.assert_allclose(found[name].mean, X.mean(0), rtol=1e-8, atol=1e-10)
        covariance = np.cov(X.T, bias=True)
        np.testing.assert_allclose(found[name].covariance, covariance, rtol=1e-8, atol=1e-10)
        moment = X.T @ X / len(X)
        np.testing.assert_allclose(found[name].second_moment(), moment, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_squares_are_those_of_each_row_s_own_loss_whatever_the_batches(family):
    model = tiny(family, torch.float64)
    found = gathered(model, BATCHED, ALL)
    parts = [[batch, batch] for batch in BATCHED]  # each half of a batch
    seen = {name: [] for name in target_layers(model)}
    outputs = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, Y, name=name: outputs.update({name: Y}))
        for name, layer in target_layers(model).items()
    ]
    model.requires_grad_()
    for example in (example for group in GROUPS for example in group):
        alone = losses.lane_losses(model, collate([example], 0), 1)[0]
        made = torch.autograd.grad(alone, list(outputs.values()))
        for name, dY in zip(outputs, made, strict=True):
            seen[name].append(dY.flatten(0, -2))
    for hook in hooks:
        hook.remove()
    model.requires_grad_(False)
    plan = plan_adapters(model, [Lane("lora_da", r=1)])
    in_parts = gather(model, plan.calibrated, parts, plan.needs, 7)
    for name, dY in seen.items():
        squares = torch.cat(dY).square().mean(0)
        assert squares.max() > 0
        torch.testing.assert_close(found[name].squares, squares, rtol=1e-8, atol=1e-20)
        torch.testing.assert_close(in_parts[name].squares, squares, rtol=1e-8, atol=1e-20)
        assert in_parts[name].examples == 7


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_model_is_as_it_was(family):
    model = tiny(family)
    some = next(iter(target_layers(model).values())).weight.requires_grad_()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    gathered(model, BATCHED, BOTH)
    assert [p is some for p in model.parameters() if p.requires_grad] == [True]
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_the_same_batches_give_bitwise_the_same():
    first, second = (gathered(tiny("llama"), BATCHED, ALL) for _ in range(2))
    for name, one in first.items():
        for field in ("gradient", "mean", "covariance", "squares"):
            assert torch.equal(getattr(one, field), getattr(second[name], field))


def test_query_key_and_value_share_one_covariance_and_other_layers_do_not():
    found = gathered(tiny("llama"), BATCHED, BOTH)
    q, k, v, o = (found[f"model.layers.1.self_attn.{x}_proj"] for x in "qkvo")
    assert q.covariance is k.covariance is v.covariance
    assert o.covariance.shape == (32, 32)
    assert not torch.equal(q.covariance, found["model.layers.0.self_attn.q_proj"].covariance)


def test_a_bfloat16_model_is_summed_up_in_float32():
    model = tiny("llama")
    exact = gathered(model, BATCHED, BOTH)
    rough = gathered(model.to(torch.bfloat16), BATCHED, BOTH)
    for name, one in rough.items():
        for field in ("gradient", "mean", "covariance"):
            ours, theirs = getattr(one, field), getattr(exact[name], field)
            assert ours.dtype == torch.float32
            assert (ours - theirs).norm() < 0.1 * theirs.norm()


def test_inputs_far_off_centre_lose_no_digits():
    X = torch.randn(600, 5, generator=torch.Generator().manual_seed(0)) + 1000
    read = _Inputs(X[:50])
    for at in range(50, 600, 50):
        read.join(_Inputs(X[at : at + 50]))
    assert read.count == 600
    covariance = X.double().mT.cov(correction=0)
    torch.testing.assert_close((read.scatter / read.count).double(), covariance, rtol=1e-3, atol=1e-3)
    naive = X.mT @ X / 600 - torch.outer(X.mean(0), X.mean(0))
    assert (naive - covariance).abs().max() > 0.02, "the naive sum would do as well"


def test_tokens_are_told_from_padding_of_any_id():
    real = torch.cat([real_tokens(batch).sum(1) for batch in BATCHED]).tolist()
    lengths = [len(e.ids) - 1 for group in GROUPS for e in group]
    assert real == lengths
    assert len(set(lengths)) > 3


def test_a_model_that_is_not_finite_is_refused():
    model = tiny("llama")
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(ValueError, match="the loss of the first batches is nan before any"):
        gathered(model, BATCHED, BOTH)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_that_nothing_comes_through_is_named():
    model = tiny("llama")
    model.model.layers[1].mlp.idle = torch.nn.Linear(24, 24)
    with pytest.raises(ValueError, match=r"reaches layer 'model\.layers\.1\.mlp\.idle'"):
        gathered(model, BATCHED, BOTH)


# Without calibration ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INFORMED)
def test_a_start_that_is_told_nothing_says_what_it_lacks(name):
    what = NEEDS[INITIALIZERS[name].needs]
    sentence = f"'{name}' needs {what} over some data: use it in a race, or pass cal"
    with pytest.raises(ValueError, match=sentence):
        INITIALIZERS[name].start(torch.eye(8), 2)
    model = tiny("llama")
    with pytest.raises(ValueError, match=sentence):
        attach(model, [Lane("lora"), Lane(name, r=2)])
    partly = told(model)
    del partly["model.layers.1.mlp.up_proj"]
    with pytest.raises(ValueError, match=sentence):
        attach(model, [Lane(name, r=2)], calibration=partly)
    attach(model, [Lane("lora")]).detach()


@pytest.mark.parametrize("name", INFORMED)
def test_calibration_of_another_layer_is_refused(name):
    wrong = told(tiny("llama"))["model.layers.0.mlp.down_proj"]
    with pytest.raises(ValueError, match=r"the calibration's \w+ has shape \(.*\), but W needs \(.*8,?.*\)"):
        INITIALIZERS[name].start(torch.eye(8), 2, calibration=wrong)


def test_twice_the_rank_has_to_fit_where_two_vectors_are_taken_for_each():
    model = tiny("llama")
    with pytest.raises(ValueError, match=r"rank 9 needs 18 sing.* min\(out, in\) = 16 of '.*k_p"):
        attach(model, [Lane("lora_ga", r=9)], calibration=told(model))
    attach(model, [Lane("lora_ga", r=8)], calibration=told(model)).detach()


# Races -----------------------------------------------------------------------------------------


def config(inits=ALL_NEW, **changes) -> RaceConfig:
    lanes = tuple(Lane(init, lr=3e-3, r=4, alpha=6) for init in inits)
    return small(**{"lanes": lanes, **changes})


def test_a_race_reads_its_own_first_batches():
    running = race(config())
    model, _ = load_model("glassllm")
    train = running.data.train
    batches = [
        collate([train[i] for i in batch_indices(len(train), 4, 0, step)], 0) for step in range(CALIBRATION_BATCHES)
    ]
    calibration = gathered(model, batches, ALL, examples=len(train))
    by_hand = attach(model, running.config.lanes, calibration=calibration)
    assert torch.equal(running.lanes.start, by_hand.start)
    other = race(config(seed=1)).lanes.start
    for k, name in enumerate(ALL_NEW):
        assert torch.equal(running.lanes.start[k], other[k]) == (not INITIALIZERS[name].needs)


def test_a_race_from_calibration_repeats_and_resumes_bitwise():
    assert list(race(config())) == steps_of(config())
    assert list(resumed(config(), 2)) == steps_of(config())[2:]


@pytest.mark.parametrize(("inits", "reads"), [(("lora", "mica"), 0), (("lora", "eva"), CALIBRATION_BATCHES)])
def test_batches_are_read_only_where_a_lane_starts_from_them(inits, reads):
    said = []
    race(config(inits), progress=lambda done, text: said.append((done, text)))
    reading = [done for done, text in said if text == "reading the first batches"]
    assert reading == [i / CALIBRATION_BATCHES for i in range(reads)]


def test_only_what_a_lane_needs_is_read(monkeypatch):
    model = tiny("llama")
    for names, needs in (("lora mica", set()), ("eva corda", {"inputs"}), ("lora_ga eva", BOTH), ("lora_da", ALL)):
        plan = plan_adapters(model, [Lane(name, r=2) for name in names.split()])
        assert plan.needs == needs
    monkeypatch.setattr(torch.Tensor, "backward", lambda _: pytest.fail("a gradient was made"))
    race(config(("eva", "corda")))


def test_calibration_that_the_memory_does_not_hold_is_refused_before_it_is_read(monkeypatch):
    model, tokenizer = load_model("glassllm")
    weights = [weight_of(layer) for layer in target_layers(model).values()]
    for name, entries in (
        ("lora_ga", sum(W.numel() for W in weights)),
        ("eva", sum(W.shape[1] ** 2 for W in weights)),
    ):
        lane = Lane(name, r=1)
        monkeypatch.setattr(memory, "available_memory", lambda _, most=4 * entries: most)
        with pytest.raises(ValueError, match=r"a start from the \w+ of every layer .* needs .*MB"):
            race(config(lanes=(lane,)), model=model, tokenizer=tokenizer)
        monkeypatch.undo()
    attach(model, [Lane("lora")]).detach()


def test_a_rank_that_does_not_fit_is_refused_before_anything_is_read():
    said = []
    with pytest.raises(ValueError, match=r"rank 40 needs 80 singular vectors, .* = 64 of 'model"):
        race(config(lanes=(Lane("lora_ga", r=40),)), progress=lambda _, text: said.append(text))
    assert "reading the first batches" not in said


def test_a_config_with_the_new_names_survives_json():
    assert RaceConfig.from_json(json.loads(json.dumps(config().to_json()))) == config()
