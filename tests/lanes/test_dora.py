"""DoRA of a lane: PEFT's, from every start, beside other lanes and without a change to them."""

from contextlib import closing
from functools import partial

import numpy as np
import peft
import pytest
import torch
from peft.optimizers import create_loraplus_optimizer
from support.nightly import at_night
from support.pefts import IDS, logits
from support.races import resumed, small
from support.starts import told
from support.tiny import tiny
from torch import nn

import olora_viz as ov
from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.adapters import Lanes, attach
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import is_transposed, weight_of
from olora_viz.lanes.linear import Dropout
from olora_viz.lanes.passes import EvalMode
from olora_viz.lanes.plan import plan_adapters
from olora_viz.lanes.stored_adapter import read_adapter
from olora_viz.races.race import race
from olora_viz.tasks import batch_indices, collate, encode, load_task
from olora_viz.tasks.losses import lane_losses

STARTS = [name for name, entry in INITIALIZERS.items() if not entry.dense]
KEEPING = [name for name in STARTS if INITIALIZERS[name].keeps_function]
DAILY = ("lora", "olora", "olora_unsubtracted")


def moved(lanes: Lanes, seed: int = 0) -> Lanes:
    """Move every A, B and m away from the start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for k in range(lanes.count):
            for name in lanes.plan.layers_of(k):
                now, m = lanes.factors(name, k), lanes.magnitude(name, k)
                for part in (now.A, now.B, *([] if m is None else [m])):
                    part += 0.1 * torch.randn(part.shape, generator=generator, dtype=part.dtype)
    return lanes


def by_peft(lanes: Lanes, k: int, base: nn.Module) -> nn.Module:
    """Return PEFT's DoRA with the A, B and m of a lane, on W − s B⁰A⁰."""
    lane = lanes.lanes[k]
    names = lanes.plan.layers_of(k)
    config = peft.LoraConfig(
        r=lane.r, lora_alpha=lane.lora_alpha, target_modules=list(names), use_dora=True,
        lora_dropout=lane.dropout, fan_in_fan_out=any(is_transposed(lanes.plan.layers[name]) for name in names),
    )  # fmt: skip
    theirs = peft.get_peft_model(base, config)
    for name in names:
        layer, now, start = theirs.get_submodule(f"base_model.model.{name}"), lanes.factors(name, k), None
        start = lanes.start_factors(name, k)
        weight_of(layer.base_layer).data -= lane.scale * start.B @ start.A
        layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data = now.A.clone(), now.B.clone()
        layer.lora_magnitude_vector["default"].weight.data = lanes.magnitude(name, k).clone()
    return theirs.eval()


def parts_of(theirs: nn.Module, name: str) -> list[nn.Parameter]:
    """Return PEFT's A, B and m of a layer."""
    layer = theirs.get_submodule(f"base_model.model.{name}")
    return [each["default"].weight for each in (layer.lora_A, layer.lora_B, layer.lora_magnitude_vector)]


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("family", ["llama", *at_night("gpt2", "opt", "qwen3")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_step_0_a_lane_with_dora_is_bitwise_the_lane_without(family, init, dtype):
    model = tiny(family).to(dtype)
    plain = Lane(init, r=4, alpha=10)
    lanes = attach(model, [plain, plain.replace(dora=True), Lane("olora", r=4)], calibration=told(model))
    without, with_it, _ = model(input_ids=IDS.repeat(3, 1), use_cache=False).logits.chunk(3)
    assert torch.equal(with_it, without)
    with lanes.off():
        base = model(input_ids=IDS.repeat(3, 1), use_cache=False).logits.chunk(3)[0]
    assert torch.equal(base, with_it) == INITIALIZERS[init].keeps_function
    with torch.no_grad():
        m = lanes.magnitude(lanes.layers[0], 1)
        assert m is not None
        m *= 1.5
    assert not torch.equal(model(input_ids=IDS.repeat(3, 1), use_cache=False).logits.chunk(3)[1], without)


@pytest.mark.parametrize("init", STARTS)
def test_the_magnitudes_of_a_start_are_the_norms_of_the_rows(init):
    model = tiny("gpt2", torch.float64)
    lanes = attach(model, [Lane(init, r=4, alpha=10, dora=True)], calibration=told(model))
    for name in lanes.layers:
        now, start = lanes.factors(name, 0), lanes.start_factors(name, 0)
        W = lanes.plan.weight(name) + lanes.lanes[0].scale * (now.B @ now.A - start.B @ start.A)
        torch.testing.assert_close(lanes.magnitude(name, 0), W.norm(dim=1), rtol=1e-10, atol=0)


@pytest.mark.parametrize("init", [*DAILY, *at_night(*(init for init in STARTS if init not in DAILY))])
@pytest.mark.parametrize("family", ["llama", "gpt2", *at_night("opt", "qwen3")])
def test_forward_and_gradients_are_those_of_peft(family, init):
    model = tiny(family)
    its = [Lane("lora", r=6), Lane(init, r=4, alpha=10, dora=True), Lane("olora", r=4)]
    lanes = moved(attach(model, its, calibration=told(model)))
    theirs = by_peft(lanes, 1, tiny(family))
    wanted = theirs(input_ids=IDS, use_cache=False).logits
    found = model(input_ids=IDS.repeat(3, 1), use_cache=False).logits.chunk(3)[1]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6 * max(1.0, float(wanted.abs().max())) * 5)
    G = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    (wanted * G).sum().backward()
    (found * G).sum().backward()
    gradient = lanes.theta.grad
    for name in lanes.layers:
        (A, B), m = lanes._layout.factors(gradient, name), lanes._layout.magnitudes(gradient, name)
        ours = [A[1, :4], B[1, :, :4], m[1]]
        for one, part in zip(ours, parts_of(theirs, name), strict=True):
            torch.testing.assert_close(one, part.grad, rtol=1e-4, atol=2e-5 * float(part.grad.abs().max()))
        assert not m[[0, 2]].any(), "padding has no gradient"


SETTINGS = [
    {}, {"weight_decay": 0.3}, {"lora_plus": 4.0}, {"opt": "sgd", "lr": 0.1}, {"clip": 0.25},
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(settings) or "plain")
@pytest.mark.parametrize("init", ["lora", "olora"])
def test_twenty_steps_are_those_of_peft(init, settings):
    """In float64, with torch's AdamW on A, B and m alike, or PEFT's LoRA+."""
    lane = Lane(init, **{"r": 4, "lr": 1e-2, "alpha": 8, "dora": True, **settings})
    racing = race(small((Lane("pissa", r=2), lane), steps=20, dtype="float64"))
    model, _ = ov.load_model("glassllm", dtype=torch.float64)
    theirs = by_peft(racing.lanes, 1, model)
    trained = [part for part in theirs.parameters() if part.requires_grad]
    if lane.opt == "sgd":
        optimizer = torch.optim.SGD(trained, lr=lane.lr, momentum=0.9)
    elif lane.lora_plus == 1:
        optimizer = torch.optim.AdamW(trained, lr=lane.lr, weight_decay=lane.weight_decay)
    else:
        optimizer = create_loraplus_optimizer(theirs, torch.optim.AdamW, lr=lane.lr, loraplus_lr_ratio=lane.lora_plus)
    train = encode(load_task("number-words", 0).train, ov.load_model("glassllm")[1], context=128).kept
    for step in racing:
        batch = collate([train[i] for i in batch_indices(len(train), 4, 0, step.step - 1)], 0)
        optimizer.zero_grad()
        (loss,) = lane_losses(theirs.base_model.model, batch, 1)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, lane.clip or float("inf"))
        optimizer.step()
        np.testing.assert_allclose([step.loss[1], step.grad_norm[1]], [loss.item(), norm.item()], rtol=1e-7)
    for name in racing.lanes.layers:
        now = racing.lanes.factors(name, 1)
        for one, part in zip((now.A, now.B, racing.lanes.magnitude(name, 1)), parts_of(theirs, name), strict=True):
            torch.testing.assert_close(one, part.data, rtol=1e-7, atol=1e-8)
    assert racing.lanes.plan.parameters[1] == sum(part.numel() for part in trained)


@pytest.mark.parametrize("init", ["lora", "olora"])
@pytest.mark.parametrize("bias", [False, True])
def test_with_dropout_the_base_reads_the_dropped_inputs_as_in_peft(init, bias, monkeypatch):
    lane = Lane(init, r=3, alpha=6, dropout=0.4, dora=True)
    torch.manual_seed(0)
    layer = nn.Linear(12, 16, bias=bias, dtype=torch.float64)
    base = nn.Sequential(nn.Linear(12, 16, bias=bias, dtype=torch.float64))
    base.load_state_dict({f"0.{key}": value for key, value in layer.state_dict().items()})
    model = nn.Sequential(layer)
    lanes = moved(attach(model, [Lane("lora", r=3), lane]))
    theirs = by_peft(lanes, 1, base).train()
    X = torch.randn(4, 5, 12, dtype=torch.float64)
    dropout = Dropout(lanes.lanes, (7, 0))
    kept = ((X[2:] + dropout.noise("0", 1, X[2:])) / X[2:]).round(decimals=9)
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, *_: x * kept)
    ours_X, theirs_X = X.clone().requires_grad_(), X[2:].clone().requires_grad_()
    Y = theirs(theirs_X)
    G = torch.randn(Y.shape, dtype=torch.float64)
    (Y * G).sum().backward()
    monkeypatch.undo()
    with lanes.some(slice(0, 2), dropout):
        found = model(ours_X)[2:]
    (found * G).sum().backward()
    torch.testing.assert_close(found, Y)
    torch.testing.assert_close(ours_X.grad[2:], theirs_X.grad)
    gradient = lanes.theta.grad
    ours = *(part[1] for part in lanes._layout.factors(gradient, "0")), lanes._layout.magnitudes(gradient, "0")[1]
    for one, part in zip(ours, parts_of(theirs, "0"), strict=True):
        torch.testing.assert_close(one, part.grad)


MIXED = (
    Lane("lora", r=4, lr=3e-3, dora=True), Lane("olora", r=4), Lane("olora", r=4, dora=True),
    Lane("pissa", r=4, dropout=0.2, dora=True), Lane("lora", r=4, lr=3e-3), Lane("olora", r=4, lr=1e30, dora=True),
)  # fmt: skip
config = partial(small, lanes=MIXED, eval_every=2)


@pytest.mark.parametrize("k", range(len(MIXED)))
def test_a_lane_trains_bitwise_beside_lanes_with_dora_and_without_as_it_does_alone(k):
    """Alone it is twice in its race, since one lane alone has other products."""
    mixed = race(config())
    alone = race(config(lanes=(MIXED[k], MIXED[k])))
    for step, other in zip(mixed, alone, strict=k != 5):  # whose race ends as it diverges
        np.testing.assert_array_equal([step.loss[k]] * 2, other.loss)
        np.testing.assert_array_equal(step.status[k], other.status[0])
    for name in alone.lanes.layers:
        ours, its = mixed.lanes.factors(name, k), alone.lanes.factors(name, 0)
        assert torch.equal(ours.A, its.A)
        assert torch.equal(ours.B, its.B)
        m, its_m = mixed.lanes.magnitude(name, k), alone.lanes.magnitude(name, 0)
        assert m is None if its_m is None else torch.equal(m, its_m)
    padding = mixed.lanes._layout.sizes_of_m
    assert not mixed.lanes.theta[[1, 4], -sum(padding) :].any()


def test_a_race_goes_on_from_its_state_bitwise():
    whole, again = race(config()), resumed(config(), 2)
    steps = list(whole)
    assert list(again) == steps[2:]
    assert torch.equal(again.lanes.theta, whole.lanes.theta)


def test_one_lane_and_a_part_of_the_lanes_answer_as_all_do():
    model = tiny("llama")
    lanes = moved(attach(model, [Lane("lora", r=3), Lane("olora", r=4, dora=True), Lane("lora", r=4, dora=True)]))
    whole = model(input_ids=IDS.repeat(3, 1), use_cache=False).logits.chunk(3)
    for k in range(3):
        with lanes.only(k):
            torch.testing.assert_close(logits(model), whole[k])
    with lanes.some(slice(1, 3)):
        torch.testing.assert_close(model(input_ids=IDS.repeat(2, 1), use_cache=False).logits, torch.cat(whole[1:]))


def test_the_curvature_holds_the_norms_fixed():
    """The Hessian of a layer's loss with n as a number, by torch on the formula."""
    torch.manual_seed(0)
    layer = nn.Linear(5, 4, dtype=torch.float64)
    X, G = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    W, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    lanes = moved(attach(nn.Sequential(layer), [Lane("olora", r=2, dora=True)]))
    start = lanes.start_factors("0", 0)
    n = lanes._passes.norms("0")[0]

    def loss(theta: torch.Tensor) -> torch.Tensor:
        A, B, m = theta[:10].view(2, 5), theta[10:18].view(4, 2), theta[18:]
        return ((X @ ((m / n)[:, None] * (W + B @ A - start.B @ start.A)).T + bias).square() * G).sum()

    H = torch.autograd.functional.hessian(loss, lanes.theta.detach()[0])
    values = torch.linalg.eigvalsh(H)
    found = ov.curvature(lanes, lambda: (lanes.model(X).square() * G).sum()[None], steps=22, probes=0)
    np.testing.assert_allclose([found.lambda_min[0], found.lambda_max[0]], values[[0, -1]], rtol=1e-4)


@pytest.mark.parametrize("init", ["lora", "olora", "pissa", "olora_unsubtracted"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_export_is_read_by_peft_and_by_us_and_merges_to_the_lane(family, init, tmp_path):
    model = tiny(family)
    lanes = moved(attach(model, [Lane("lora", r=2), Lane(init, r=4, alpha=10, dora=True)]))
    folder = ov.write_peft(lanes, 1, tmp_path / "adapter")
    back = ov.read_back(lanes, 1, folder)
    assert not back.problem
    assert back.by.startswith("PEFT")
    assert read_adapter(folder).config["use_dora"]
    with closing(EvalMode(model)), lanes.only(1):
        wanted = logits(model)
    theirs = tiny(family)
    again = ov.read_peft(theirs, folder)
    assert again.lanes[0].dora
    torch.testing.assert_close(logits(theirs), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(lanes.merge(1)), wanted, rtol=1e-4, atol=1e-4)
    with torch.no_grad():  # all that differs is m
        for name in again.layers:
            again.magnitude(name, 0).mul_(1.1)
    assert (logits(theirs) - wanted).abs().max() > 1e-2


def test_the_olora_form_is_completed_by_peft_from_the_base(tmp_path):
    model = tiny("llama")
    lanes = moved(attach(model, [Lane("olora", r=4, alpha=10, dora=True)]))
    assert not ov.read_back(lanes, 0, ov.write_peft(lanes, 0, tmp_path / "adapter", form="olora")).problem


def test_a_magnitude_that_is_not_finite_is_not_exported(tmp_path):
    lanes = attach(tiny("llama"), [Lane("lora", r=2, dora=True)])
    lanes.magnitude(lanes.layers[0], 0)[0] = float("nan")
    with pytest.raises(ValueError, match="lane 'lora' holds NaN or infinity in DoRA's m"):
        ov.write_peft(lanes, 0, tmp_path / "adapter")


def test_dora_counts_among_the_parameters_and_finds_its_rank():
    model, _ = ov.load_model("glassllm")
    plain, with_it = (plan_adapters(model, [Lane("lora", r=8, dora=dora)]) for dora in (False, True))
    more = sum(out for out, _ in with_it.shapes.values())
    assert with_it.parameters[0] == plain.parameters[0] + more
    (of_count,) = plan_adapters(model, [Lane("lora", params=plain.parameters[0] + more, dora=True)]).lanes
    assert of_count.r == 8


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("full:dora=1", "dora is not possible for full, which has no A and B"),
        ("pissa:dora=1,start_from=residual", "start_from=residual and dora do not go together: each lane would have"),
        ("lora:dora=maybe", "dora must be true or false, not 'maybe'"),
        ("lora:dora=1,dim=4", "dim 4 and dora True do not go together: a direction moves A and B alone"),
        *(
            (f"lora:dora=1,opt={opt}", f"dora trains a vector beside A and B, which opt {opt} cannot: it goes with")
            for opt in ("muon", "riemannian", "lora_fa")
        ),
    ],
)
def test_what_does_not_go_with_dora_is_refused_in_a_sentence(spec, sentence):
    with pytest.raises(ValueError, match=sentence):
        ov.parse_lanes(spec)


def test_dora_in_a_chain_is_refused():
    with pytest.raises(ValueError, match="lane 'olora' has dora: what it changes has no low rank, so it cannot be"):
        ov.chain(small((Lane("olora", r=2, dora=True),)), ["addition", "uppercase"])


def test_a_row_of_zeros_is_refused():
    layer = nn.Linear(6, 4)
    layer.weight.data[2] = 0.0
    with pytest.raises(ValueError, match="row 2 of layer '0' is zero: DoRA cannot scale it"):
        attach(nn.Sequential(layer), [Lane("lora", r=2, dora=True)])
    attach(nn.Sequential(layer), [Lane("lora", r=2)])
