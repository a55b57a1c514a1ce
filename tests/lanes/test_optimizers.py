"""Each optimizer moves a lane as the library or the formula it is from moves one adapter alone."""

from collections.abc import Sequence

import numpy as np
import peft.optimizers.lorafa as peft_lorafa
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_lorafa_optimizer, create_riemannian_optimizer
from torch import Tensor, nn

import olora_viz as ov
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_spec import parse_lanes
from olora_viz.lanes.optimizer import LaneOptimizer
from olora_viz.lanes.optimizers import OPTIMIZERS
from olora_viz.lanes.optimizers.muon import orthogonalized
from olora_viz.lanes.plan import Layout

SHAPES = {"0": (24, 16), "1": (16, 24), "2": (24, 16)}
"""(out, in): two layers of one shape, and one of another."""
STEPS = 20
OTHERS = [name for name in OPTIMIZERS if name != Lane.opt]


class Model(nn.Module):
    """Layers of SHAPES, which need not fit together: gradients are given."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(into, out, bias=False) for out, into in SHAPES.values())


def with_peft(lane: Lane, row: Tensor) -> tuple[nn.Module, list[tuple[nn.Parameter, nn.Parameter]]]:
    """Return PEFT's model with the A and B of a lane's row of theta."""
    config = LoraConfig(r=lane.r, lora_alpha=int(lane.lora_alpha), target_modules=list(SHAPES))
    model = get_peft_model(Model(), config)
    pairs = []
    for name, (A, B) in Layout(SHAPES, {key: [lane.r] for key in SHAPES}).split(row[None])[0].items():
        layer = model.get_submodule(f"base_model.model.layers.{name}")
        of_A, of_B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        of_A.data, of_B.data = A[0].clone(), B[0].clone()
        pairs.append((of_A, of_B))
    return model, pairs


def optimizer_of(
    lane: Lane, model: nn.Module, pairs: list[tuple[nn.Parameter, nn.Parameter]]
) -> torch.optim.Optimizer:
    """Return the oracle."""
    parameters = [each for pair in pairs for each in pair]
    betas = (lane.beta1, lane.beta2)
    if lane.opt == "sgd":
        momentum = 0.9 if lane.momentum is None else lane.momentum
        return torch.optim.SGD(parameters, lr=lane.lr, momentum=momentum)
    if lane.opt == "muon":
        momentum = 0.95 if lane.momentum is None else lane.momentum
        return torch.optim.Muon(parameters, lr=lane.lr, momentum=momentum, weight_decay=lane.weight_decay)
    if lane.opt == "riemannian":
        return create_riemannian_optimizer(
            model, torch.optim.AdamW, lr=lane.lr, reg=lane.damping, betas=betas, weight_decay=lane.weight_decay
        )
    made = create_lorafa_optimizer(model, r=lane.r, lora_alpha=int(lane.lora_alpha), lr=lane.lr)
    for group in made.param_groups:
        group["eps"] = 0.0  # torch adds its ε after the correction of the bias, PEFT before it
        group["betas"] = betas
    return made


LANES = (
    Lane("lora", r=4, lr=0.1, opt="sgd"),
    Lane("lora", r=4, lr=0.2, opt="sgd", momentum=0.5),
    Lane("lora", r=4, lr=0.2, opt="sgd", momentum=0.0),
    Lane("lora", r=4, lr=0.02, opt="muon"),
    Lane("lora", r=4, lr=0.02, opt="muon", momentum=0.8, weight_decay=0.3),
    Lane("lora", r=4, lr=0.01, opt="riemannian"),
    Lane("lora", r=4, lr=0.01, opt="riemannian", damping=1.0, beta1=0.5, weight_decay=0.3),
    Lane("lora", r=4, lr=0.01, opt="lora_fa"),
    Lane("lora", r=4, alpha=8, lr=0.01, opt="lora_fa", beta1=0.5, beta2=0.9),
)


def layout_of(lanes: Sequence[Lane]) -> Layout:
    return Layout(SHAPES, {name: [lane.r for lane in lanes] for name in SHAPES})


def begun(lanes: Sequence[Lane]) -> tuple[Tensor, LaneOptimizer, Tensor]:
    """Return theta, its optimizer, and which entries are not trained; each lane as it would begin alone."""
    layout = layout_of(lanes)
    theta, frozen = torch.zeros(len(lanes), layout.width), torch.zeros(len(lanes), layout.width, dtype=torch.bool)
    for name in SHAPES:
        A, B = layout.factors(theta, name)
        of_A, _ = layout.factors(frozen, name)
        for k, lane in enumerate(lanes):
            generator = torch.Generator().manual_seed(int(name))
            A[k, : lane.r] = torch.randn(A[k, : lane.r].shape, generator=generator)
            B[k, :, : lane.r] = torch.randn(B[k, :, : lane.r].shape, generator=generator)
            of_A[k] = OPTIMIZERS[lane.opt].freezes_A
    theta.requires_grad_()
    return theta, LaneOptimizer(theta, lanes, layout, frozen), frozen


def step(theta: Tensor, optimizer: LaneOptimizer, frozen: Tensor, lanes: Sequence[Lane], number: int) -> None:
    """Move the lanes along gradients that depend on the step and the layer alone."""
    layout, gradient = layout_of(lanes), torch.zeros_like(theta)
    for name in SHAPES:
        A, B = layout.factors(gradient, name)
        for k, lane in enumerate(lanes):
            generator = torch.Generator().manual_seed(100 * number + int(name))
            A[k, : lane.r] = torch.randn(A[k, : lane.r].shape, generator=generator)
            B[k, :, : lane.r] = torch.randn(B[k, :, : lane.r].shape, generator=generator)
    theta.grad = gradient.masked_fill(frozen, 0.0)
    rates = np.array([lane.lr for lane in lanes])
    out = optimizer.step(rates, optimizer.norms(), np.zeros(len(lanes), dtype=bool), optimizer.before_update())
    assert not out.any()


@pytest.mark.parametrize(
    "lane", LANES, ids=lambda lane: lane.words("opt", "momentum", "damping", "weight_decay", "beta1")
)
def test_an_optimizer_moves_a_lane_as_its_oracle_does(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peft_lorafa, "is_bf16_available", lambda: False)
    theta, optimizer, frozen = begun([lane])
    layout = layout_of([lane])
    model, pairs = with_peft(lane, theta.detach()[0])
    oracle = optimizer_of(lane, model, pairs)
    exact = [[part.detach().clone() for part in pair] for pair in pairs]
    moments = [[torch.zeros_like(part) for part in pair] for pair in pairs]
    for number in range(STEPS):
        step(theta, optimizer, frozen, [lane], number)
        assert theta.grad is not None
        for i, ((A, B), name) in enumerate(zip(pairs, SHAPES, strict=True)):
            generator = torch.Generator().manual_seed(100 * number + int(name))
            A.grad = torch.randn(A.shape, generator=generator)
            B.grad = torch.randn(B.shape, generator=generator)
            if lane.opt == "muon":  # the library's formula in float32
                momentum = 0.95 if lane.momentum is None else lane.momentum
                for j, part in enumerate((A, B)):
                    assert part.grad is not None
                    moments[i][j] = momentum * moments[i][j] + part.grad
                    turned = newton_schulz(part.grad + momentum * moments[i][j])
                    exact[i][j] *= 1 - lane.lr * lane.weight_decay
                    exact[i][j] -= lane.lr * max(1, part.shape[0] / part.shape[1]) ** 0.5 * turned
            if lane.opt == "lora_fa":
                A.grad = None
        oracle.step()
    for (A, B), of, name in zip(pairs, exact, SHAPES, strict=True):
        ours = [part[0] for part in layout.factors(theta.detach(), name)]
        if lane.opt == "muon":
            torch.testing.assert_close(ours, of, rtol=1e-5, atol=1e-6)
        rough = lane.opt == "muon"  # torch orthogonalizes in bfloat16
        torch.testing.assert_close(ours, [A.data, B.data], rtol=0, atol=2e-2 if rough else 2e-6)


def newton_schulz(M: Tensor) -> Tensor:
    """Write out five steps of the quintic iteration for one matrix."""
    wide = M.shape[0] <= M.shape[1]
    X = (M if wide else M.T) / max(float(torch.linalg.matrix_norm(M)), 1e-7)
    for _ in range(5):
        S = X @ X.T
        X = 3.4445 * X + (-4.7750 * S + 2.0315 * S @ S) @ X
    return X if wide else X.T


def test_orthogonalized_matrices_keep_their_singular_vectors() -> None:
    M = torch.randn(3, 8, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    U, _, Vh = torch.linalg.svd(M, full_matrices=False)
    turned = U.mT @ orthogonalized(M) @ Vh.mT
    values = turned.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(turned, torch.diag_embed(values), rtol=0, atol=1e-12)
    assert 0.6 < values.min() < values.max() < 1.3
    torch.testing.assert_close(orthogonalized(M.mT), orthogonalized(M).mT, rtol=0, atol=0)
    assert not orthogonalized(torch.zeros(2, 3)).any()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_lane_moves_beside_others_of_other_ranks_as_it_moves_alone(name: str) -> None:
    mine = Lane("lora", r=4, lr=0.01, opt=name)
    others = [Lane("lora", r=7, lr=0.02, opt=each) for each in OPTIMIZERS]
    together = [*others[:2], mine, *others[2:]]
    alone, beside = begun([mine]), begun(together)
    for number in range(5):
        step(*alone, [mine], number)
        step(*beside, together, number)
    for layer in SHAPES:
        its = [part[0] for part in layout_of([mine]).factors(alone[0].detach(), layer)]
        A, B = (part[2] for part in layout_of(together).factors(beside[0].detach(), layer))
        torch.testing.assert_close([A[:4], B[:, :4]], its, rtol=1e-5, atol=1e-6)
        assert not A[4:].any(), "padding stays zero"
        assert not B[:, 4:].any()


@pytest.mark.parametrize("name", OTHERS)
def test_an_update_that_is_not_finite_leaves_row_and_moments_as_they_were(name: str) -> None:
    lanes = [Lane("lora", r=4), Lane("lora", r=4, lr=1.0, opt=name)]
    theta, optimizer, frozen = begun(lanes)
    step(theta, optimizer, frozen, lanes, 0)
    before, state = theta.detach().clone(), optimizer.state()
    theta.grad = torch.full_like(theta, float("nan"))
    theta.grad[0] = 1.0
    failed = optimizer.step(
        np.array([1e-3, 1.0]), optimizer.norms(), np.zeros(2, dtype=bool), optimizer.before_update()
    )
    assert failed.tolist() == [False, True]
    assert torch.equal(theta[1], before[1])
    assert not torch.equal(theta[0], before[0])
    assert all(torch.equal(tensor[1], state[key][1]) for key, tensor in optimizer.state().items())


@pytest.mark.parametrize("name", OTHERS)
def test_a_restored_optimizer_goes_on_bitwise(name: str) -> None:
    lanes = [Lane("lora", r=4), Lane("lora", r=4, opt=name, weight_decay=0.1)]
    whole = begun(lanes)
    for number in range(3):
        step(*whole, lanes, number)
    theta = whole[0].detach().clone().requires_grad_()
    again = theta, LaneOptimizer(theta, lanes, layout_of(lanes), whole[2]), whole[2]
    again[1].restore(whole[1].state())
    for number in range(3, 6):
        step(*whole, lanes, number)
        step(*again, lanes, number)
    assert torch.equal(whole[0], theta)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("lora:opt=adagrad", "unknown optimizer 'adagrad'; choose from adamw, sgd, muon, riemannian, lora_fa"),
        ("lora:momentum=0.5", "momentum 0.5 is not a key of opt adamw: it goes with sgd and muon"),
        ("lora:opt=sgd,beta1=0.5", "beta1 0.5 is not a key of opt sgd: it goes with adamw, riemannian and lora_fa"),
        ("lora:opt=muon,damping=1", "damping 1 is not a key of opt muon: it goes with riemannian"),
        ("lora:opt=lora_fa,lora_plus=4", "lora_plus 4 is not a key of opt lora_fa: it goes with adamw, sgd, muon and"),
        ("lora:opt=sgd,momentum=1", "momentum must be a number from 0 to below 1, not 1.0"),
        ("lora:opt=riemannian,damping=0", "damping must be a positive number, not 0.0"),
        ("full:opt=riemannian", "opt riemannian is not possible for full, which has no A and B"),
        ("mica:opt=lora_fa", "opt lora_fa trains B alone, and mica A alone: nothing would be trained"),
        ("lora:opt=sgd,lr=fair", "opt sgd and a fair rate do not go together: the fair rate is for adamw"),
        ("lora:opt=sgd,dim=8", "dim 8 and opt sgd do not go together: the other optimizers move A and B"),
    ],
)  # fmt: skip
def test_keys_that_do_not_go_together_are_refused_in_one_sentence(spec: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_lanes(spec)


@pytest.mark.parametrize("name", OTHERS)
def test_every_start_trains_with_every_optimizer(name: str) -> None:
    starts = ("lora", "olora", "pissa", "olora_unsubtracted", "full")
    lanes = [Lane(each, r=2, opt=name) for each in starts if each != "full" or OPTIMIZERS[name].takes_dense]
    racing = ov.race(
        ov.RaceConfig(lanes=(Lane("lora", r=2), *lanes), steps=2, batch_size=2, eval_every=0, task="addition")
    )
    before = [racing.lanes.factors(layer, k) for k in range(1 + len(lanes)) for layer in racing.lanes.layers]
    before = [(pair.A.clone(), pair.B.clone()) for pair in before]
    steps = list(racing)
    after = [racing.lanes.factors(layer, k) for k in range(1 + len(lanes)) for layer in racing.lanes.layers]
    racing.lanes.detach()
    assert not steps[-1].out.any()
    layers = len(after) // (1 + len(lanes))
    for (A, _), now in zip(before[layers:], after[layers:], strict=True):
        assert torch.equal(A, now.A) == OPTIMIZERS[name].freezes_A
        assert now.A.isfinite().all()
        assert now.B.isfinite().all()
    assert np.isfinite(steps[-1].loss).all()
