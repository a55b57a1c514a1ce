"""Experts that are 3-D parameters carry lanes by the laws of linear layers."""

from functools import partial

import pytest
import torch
import transformers as hf
from support.mixtures import EXPERTS, IDS, MIXED, MIXTURES, SIZES, close, disturb, logits, mixture
from support.starts import calibration, every_that_keeps_the_function
from support.tiny import tokens
from torch.func import functional_call

from olora_viz.lanes.adapters import Lanes, attach, attach_planned
from olora_viz.lanes.calibration import gather, real_tokens
from olora_viz.lanes.experts import UnrolledExperts
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import expert_layers, target_layers, target_name, weight_of
from olora_viz.lanes.memory import Footprint
from olora_viz.lanes.plan import plan_adapters
from olora_viz.machine.memory import Meter
from olora_viz.tasks import Encoded, collate
from olora_viz.tasks.batches import Batch, Size
from olora_viz.tasks.losses import lane_losses


def dense(lanes: Lanes, k: int, factors) -> dict[str, torch.Tensor]:
    """W + s (B A − B⁰A⁰), spelled out as the model's parameters."""
    slices: dict[str, list[torch.Tensor]] = {}
    for name, layer in lanes.plan.layers.items():
        (A, B), start = factors[name], lanes.start_factors(name, k)
        W = weight_of(layer) + lanes.lanes[k].scale * (B @ A - start.B @ start.A)
        if target_name(name, layer) == name:
            slices[f"{name}.weight"] = [W]
        else:
            turned = layer.experts.module.is_transposed
            slices.setdefault(target_name(name, layer), []).append(W.T if turned else W)
    return {name: its[0] if name.endswith(".weight") else torch.stack(its) for name, its in slices.items()}


@every_that_keeps_the_function
@pytest.mark.parametrize("family", MIXTURES)
def test_the_function_at_step_0_is_the_base_s(family, init):
    model = mixture(family, torch.float64)
    layers = target_layers(model, EXPERTS)
    told = {name: calibration(tuple(weight_of(layer).shape)) for name, layer in layers.items()}
    lanes = attach(model, [Lane(init, r=4, alpha=10), Lane(init, r=2)], EXPERTS, calibration=told)
    with lanes.off():
        base = logits(model, 2)
    close(logits(model, 2), base)


@pytest.mark.parametrize("experts", ["eager", "batched_mm"])
@pytest.mark.parametrize("family", MIXTURES)
def test_function_and_gradients_of_each_lane_are_those_of_the_dense_formula(family, experts):
    model = mixture(family, torch.float64, experts)
    lanes = attach(model, MIXED, [*EXPERTS, "q_proj"])
    disturb(lanes)
    together = logits(model, 3).unflatten(0, (3, -1))
    losses = together.logsumexp(-1).square().mean((1, 2))
    losses.sum().backward()
    for k in range(3):
        factors = {}
        for name in lanes.layers:
            now = lanes.factors(name, k)
            factors[name] = now.A.clone().requires_grad_(), now.B.clone().requires_grad_()
        weights = dense(lanes, k, factors)
        with lanes.off():
            expected = functional_call(model, weights, kwargs={"input_ids": IDS, "use_cache": False}).logits
        close(together[k], expected)
        with lanes.only(k):
            close(logits(model), expected)
        close(logits(lanes.merge(k)), expected)
        expected.logsumexp(-1).square().mean().backward()
        for name, (A, B) in factors.items():
            gradient = lanes.gradient(name, k)
            zero = torch.zeros_like
            close(gradient.A, zero(A) if A.grad is None else A.grad)
            close(gradient.B, zero(B) if B.grad is None else B.grad)


@pytest.mark.parametrize("family", MIXTURES)
def test_delta_is_what_merging_adds_to_each_matrix(family):
    lanes = attach(mixture(family), MIXED, EXPERTS)
    disturb(lanes)
    merged = expert_layers(lanes.merge(1))
    for name, W in lanes.plan.weights.items():
        torch.testing.assert_close(merged[name].weight - W, lanes.delta(name, 1))


@pytest.mark.parametrize("family", MIXTURES)
def test_a_model_comes_back_bitwise_as_it_was(family):
    model = mixture(family)
    base, before = logits(model), {name: p.clone() for name, p in model.named_parameters()}
    lanes = attach(model, MIXED, EXPERTS)
    with lanes.off():
        assert torch.equal(logits(model), base)
    with pytest.raises(ValueError, match="already has lanes; detach them first"):
        attach(model, MIXED, ["experts.down_proj"])
    lanes.detach()
    assert torch.equal(logits(model), base)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_a_lane_that_has_diverged_changes_others_by_rounding_alone():
    model = mixture("mixtral", torch.float64)
    lanes = attach(model, MIXED, EXPERTS)
    disturb(lanes)

    def run():
        lanes.theta.grad = None
        out = logits(model, 3).unflatten(0, (3, -1))
        out.square().mean((1, 2, 3)).sum().backward()
        return out.detach(), lanes.theta.grad

    before = run()
    with torch.no_grad():
        lanes.theta[1] = float("nan")
    after = run()
    assert after[0][1].isnan().all()
    for k in (0, 2):
        close(after[0][k], before[0][k])
        close(after[1][k], before[1][k])


def modules():
    """Modules of experts as they differ: gated or not, turned, with biases, with a norm."""
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
    from transformers.models.mixtral.modeling_mixtral import MixtralExperts
    from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHExperts

    nemotron = hf.NemotronHConfig(hidden_size=24, moe_intermediate_size=12, n_routed_experts=4, mlp_hidden_act="relu2")
    gpt_oss = hf.GptOssConfig(**SIZES, num_local_experts=4)
    return (
        MixtralExperts(hf.MixtralConfig(**SIZES, num_local_experts=4)),
        GptOssExperts(gpt_oss),
        NemotronHExperts(nemotron),
    )


@pytest.mark.parametrize("module", modules(), ids=lambda its: type(its).__name__)
def test_unrolled_experts_compute_what_the_module_does(module):
    module.config._experts_implementation = "eager"
    for parameter in module.double().parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    X, weights = torch.randn(24, 24).double(), torch.rand(24, 2).double()
    chosen = torch.rand(24, 4).topk(2).indices
    for K in (1, 3):
        close(UnrolledExperts(module).forward(K, X, chosen, weights), module(X, chosen, weights))


def test_experts_are_targets_only_where_their_module_is_named():
    model = mixture("mixtral")
    assert not expert_layers(model).keys() & target_layers(model).keys()
    assert len(target_layers(model, EXPERTS)) == len(expert_layers(model)) == 2 * 2 * 4
    found = list(target_layers(model, ["experts.down_proj", "v_proj"]))
    assert found[0] == "model.layers.0.self_attn.v_proj"
    assert found[1:5] == [f"model.layers.0.mlp.experts.down_proj.{e}" for e in range(4)]
    with pytest.raises(ValueError, match=r"'down_proj'; of experts, 'experts\.down_proj' does; choose from experts\."):
        target_layers(model, ["down_proj"])
    mixed = hf.Qwen3MoeConfig(**SIZES, num_experts=4, mlp_only_layers=[0])
    with torch.random.fork_rng(devices=[]):
        dense_first = hf.AutoModelForCausalLM.from_config(mixed)
    assert list(target_layers(dense_first, ["down_proj"])) == ["model.layers.0.mlp.down_proj"]


def test_memory_is_that_of_the_experts_that_a_token_reads():
    model = mixture("qwen3_moe")
    plan = plan_adapters(model, [Lane("olora", r=2)], EXPERTS)
    size = Size(3, 40, 60)
    ids = torch.randint(0, 40, (size.rows, size.width), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids, torch.arange(60), ids.flatten()[:60], torch.zeros(60, dtype=torch.int64))
    footprint = Footprint.of(plan)
    lanes = attach_planned(plan)
    with Meter(model.parameters()) as meter:
        lane_losses(model, batch, 1).sum().backward()
    lanes.detach()
    assert 1 <= footprint.training.bytes(size) / max(meter.live) <= 2


def test_dropout_on_experts_is_refused_by_name():
    with pytest.raises(ValueError, match=r"dropout 0\.1 is not possible on experts.*gate_up_proj"):
        plan_adapters(mixture("mixtral"), [Lane("lora", dropout=0.1, r=2)], EXPERTS)


@pytest.mark.parametrize("family", MIXTURES)
def test_coverage_counts_the_matrices_of_experts_and_their_weights(family):
    model = mixture(family)
    found = plan_adapters(model, [Lane("lora", r=2)], [*EXPERTS, "q_proj"]).coverage
    weights = {name: p.numel() for name, p in model.named_parameters()}
    experts = sum(n for name, n in weights.items() if name.endswith(EXPERTS))
    queries = sum(n for name, n in weights.items() if name.endswith("q_proj.weight"))
    assert found.weights == sum(weights.values())
    assert found.adapted == experts + queries
    assert (found.layers, found.experts) == (2, len(expert_layers(model)))
    assert "3-D experts" not in found.left_out
    assert found.extent == f"2 layers and {found.experts} expert matrices"


@pytest.mark.parametrize("family", MIXTURES)
def test_calibration_is_autograd_s_gradient_and_the_inputs_of_real_tokens(family):
    model = mixture(family, torch.float64, "eager")
    examples = [Encoded(tuple(tokens(1, n, seed=n)[0].tolist()), n - 2) for n in (6, 9, 14)]
    batch = collate(examples, pad_id=0)
    read = {}
    hooks = [
        layer.experts.module.register_forward_pre_hook(partial(keep, read)) for layer in expert_layers(model).values()
    ]
    lane_losses(model, batch, 1).sum().backward()
    for hook in hooks:
        hook.remove()
    needs = frozenset({"gradient", "inputs", "outputs"})
    layers = target_layers(model, EXPERTS)
    found = gather(model, layers, [[batch]], needs)
    apart = gather(model, layers, [[collate([example], pad_id=0)] for example in examples], needs)
    for name, layer in expert_layers(model).items():
        G = layer.stored.grad[layer.index]
        close(found[name].gradient, G.T if layer.experts.module.is_transposed else G)
        if layer.parameter == "gate_up_proj":
            X, chosen = read[layer.experts.module]
            rows = X[real_tokens(batch).flatten() & (chosen == layer.index).any(1)]
            close(found[name].mean, rows.mean(0))
            close(found[name].covariance, rows.T.cov(correction=0))
        close(found[name].squares, apart[name].squares)
    assert any(one.squares.max() > 0 for one in found.values())


def keep(read: dict, module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
    read[module] = given[0].detach(), given[1]
