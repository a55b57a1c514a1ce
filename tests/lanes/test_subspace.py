"""Lanes that train along a few random directions: as AdamW trains v with an explicit P, and no other lane notices."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from support.nightly import at_night
from support.races import resumed, small, steps_of
from torch import Tensor

from olora_viz.lanes.adapters import Lanes, attach
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.optimizer import LaneOptimizer
from olora_viz.lanes.subspace import Subspace, subspaces
from olora_viz.races.race import race

N = 30


def explicit(space: Subspace, width: int) -> Tensor:
    """Return P (width, d), column by column, as its definition says it."""
    P = torch.zeros(width, len(space.weights), dtype=torch.float64)
    for j, (column, sign) in enumerate(zip(space.columns.tolist(), space.signs.tolist(), strict=True)):
        P[column, j % P.shape[1]] = sign
    return P / P.norm(dim=0)


def drawn(dim: int, seed: int = 0, trained: Tensor | None = None) -> tuple[Tensor, Tensor, Subspace]:
    """Return a row, the mask of its trained entries and its subspace."""
    row = torch.randn(N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    trained = torch.arange(N) % 3 > 0 if trained is None else trained
    return row, trained, Subspace.of(row, trained, dim, seed)


@pytest.mark.parametrize("dim", [1, 3, 7, 19, 20])
def test_the_projection_is_isometric_and_both_of_its_products_are_those_of_the_explicit_one(dim: int) -> None:
    row, trained, space = drawn(dim)
    P = explicit(space, N)
    torch.testing.assert_close(P.T @ P, torch.eye(dim, dtype=torch.float64))
    assert not P[~trained].any()
    assert ((P != 0).sum(1) == trained).all()
    g, v = torch.randn(N, dtype=torch.float64), torch.randn(dim, dtype=torch.float64)
    torch.testing.assert_close(space.project(g), P.T @ g)
    now = row.clone()
    space.put(v, now)
    torch.testing.assert_close(now, row + P @ v)
    space.put(torch.zeros_like(v), now)
    assert torch.equal(now, row)


def test_the_seed_alone_draws_the_directions() -> None:
    (_, _, one), (_, _, same), (_, _, other) = drawn(5), drawn(5), drawn(5, seed=1)
    assert torch.equal(one.columns, same.columns)
    assert torch.equal(one.signs, same.signs)
    assert not torch.equal(one.columns, other.columns)


KINDS = (
    Lane("lora", lr=0.03, dim=7, r=3),
    Lane("olora", lr=0.1, dim=40, r=3, weight_decay=0.3, beta1=0.5, beta2=0.9, clip=0.05),
    Lane("full", lr=0.1, dim=11, seed=2),
    Lane("mica", lr=0.1, dim=5, r=2),
)


def regression(lanes: list[Lane]) -> tuple[torch.nn.Module, Lanes, Tensor, Tensor]:
    """Return two linear layers with lanes, inputs for each lane, and targets that another model computes."""
    generator = torch.Generator().manual_seed(0)
    wide, tall = (torch.nn.Linear(*shape, bias=False, dtype=torch.float64) for shape in ((6, 4), (4, 5)))
    for layer in (wide, tall):
        layer.weight.data = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
    model = torch.nn.Sequential(wide, torch.nn.Tanh(), tall)
    X = torch.randn(16, 6, generator=generator, dtype=torch.float64)
    goal = torch.randn(16, 5, generator=generator, dtype=torch.float64)
    return model, attach(model, lanes, ["0", "2"]), X, goal


@pytest.mark.parametrize("lane", KINDS, ids=lambda lane: lane.init)
def test_a_lane_trains_as_adamw_trains_v_alone_with_a_dense_projection(lane: Lane) -> None:
    """Lanes of other ranks beside it pad its row of theta."""
    beside = [Lane("lora", r=4, lr=0.1), lane, Lane("pissa", r=2, lr=0.1)]
    model, lanes, X, goal = regression(beside)
    spaces = subspaces(lanes.plan, lanes.theta, lanes.frozen)
    optimizer = LaneOptimizer(lanes.theta, lanes.lanes, lanes.plan.layout, lanes.frozen, spaces)
    single, (own,) = regression([beside[1]])[:2], [beside[1]]
    its = single[1]
    (space,) = subspaces(its.plan, its.theta, its.frozen).values()
    P, start = explicit(space, its.theta.shape[1]), its.theta.detach().clone()
    v = torch.zeros(lane.dim or 0, dtype=torch.float64, requires_grad=True)
    adamw = torch.optim.AdamW([v], lr=own.lr, betas=(own.beta1, own.beta2), weight_decay=own.weight_decay)
    for _ in range(20):
        lanes.theta.grad = None
        outputs = model(X.repeat(3, 1)).unflatten(0, (3, 16))
        losses = ((outputs - goal) ** 2).mean((1, 2))
        losses.sum().backward()
        with torch.no_grad():
            its.theta.copy_(start + P @ v)
        its.theta.grad = None
        loss = ((single[0](X) - goal) ** 2).mean()
        loss.backward()
        assert its.theta.grad is not None
        v.grad = P.T @ its.theta.grad[0]
        torch.testing.assert_close(losses[1], loss, rtol=1e-6, atol=0)
        norms = optimizer.norms()
        torch.testing.assert_close(norms[1], v.grad.norm(), rtol=1e-6, atol=0)
        if own.clip:
            torch.nn.utils.clip_grad_norm_([v], own.clip)
        adamw.step()
        rates = np.array([each.lr for each in beside])
        optimizer.step(rates, norms, np.zeros(3, dtype=bool), optimizer.before_update())
    for layer in lanes.layers:
        torch.testing.assert_close(
            lanes.delta(layer, 1), _delta(its, layer, start + P @ v.detach()), rtol=1e-6, atol=0
        )


def _delta(lanes: Lanes, layer: str, row: Tensor) -> Tensor:
    with torch.no_grad():
        lanes.theta.copy_(row)
    return lanes.delta(layer, 0)


LANES = (
    Lane("lora", r=2, lr=0.03, dim=64),
    Lane("olora", r=4, lr=0.03, dim=64, clip=0.5, weight_decay=0.1),
    Lane("lora", r=2, lr=3e-3),
    Lane("mica", r=3, lr=3e-3, dim=1, dropout=0.2),
    Lane("full", lr=0.03, dim=300),
)
config = partial(small, lanes=LANES, steps=4, batches="by-seed", eval_every=2, keep_best=True)


def test_as_many_directions_as_entries_train_as_the_lane_without_them() -> None:
    """P is then a signed permutation, with which Adam moves the same entries by the same amounts."""
    plain = Lane("olora", r=2, lr=3e-3)
    (count,) = race(small((plain,), dtype="float64")).lanes.plan.entries
    one, other = (steps_of(small((lane,), dtype="float64")) for lane in (plain, plain.replace(dim=count)))
    for step, same in zip(one, other, strict=True):
        np.testing.assert_allclose(step.loss, same.loss, rtol=1e-9)
        np.testing.assert_allclose(step.grad_norm, same.grad_norm, rtol=1e-7)


def test_lanes_without_directions_train_bitwise_as_if_no_lane_had_any() -> None:
    plain = steps_of(config(lanes=tuple(lane.replace(dim=None) for lane in LANES)))
    for step, other in zip(steps_of(config()), plain, strict=True):
        assert step.loss[2] == other.loss[2]
        assert step.grad_norm[2] == other.grad_norm[2]
    first, base = steps_of(config())[0], steps_of(config(lanes=LANES[2:3]))[0]
    np.testing.assert_allclose(first.loss[[0, 1, 2, 4]], base.loss[0], rtol=1e-5)  # the function is unchanged


def test_a_lane_moves_bitwise_the_same_beside_others_and_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    beside, alone = regression(list(KINDS))[1], [regression([lane])[1] for lane in KINDS]
    every = [beside, *alone]
    spaces = [subspaces(each.plan, each.theta, each.frozen) for each in every]
    adams = [
        LaneOptimizer(each.theta, each.lanes, each.plan.layout, each.frozen, of)
        for each, of in zip(every, spaces, strict=True)
    ]
    real = [each.plan.layout.real(slice(None)) for each in every]
    for _ in range(5):
        g = torch.randn(beside.theta.shape, generator=generator, dtype=torch.float64) * real[0]
        beside.theta.grad = g
        for k, each in enumerate(alone):
            each.theta.grad = torch.zeros_like(each.theta)
            each.theta.grad[0, real[k + 1][0]] = g[k, real[0][k]]
        for each, adam in zip(every, adams, strict=True):
            rates = np.array([lane.lr for lane in each.lanes])
            adam.step(rates, adam.norms(), np.zeros(len(rates), dtype=bool), adam.before_update())
    for k, each in enumerate(alone):
        assert torch.equal(beside.theta[k, real[0][k]], each.theta[0, real[k + 1][0]])
        assert not torch.equal(beside.theta[k], beside.start[k])


def test_a_race_repeats_and_goes_on_from_its_checkpoint_bitwise() -> None:
    assert list(race(config())) == steps_of(config())
    for at in (1, 2):
        later = resumed(config(), at)
        assert list(later) == steps_of(config())[at:]


def test_an_update_that_overflows_leaves_v_and_row_as_they_were() -> None:
    wild = Lane("lora", r=2, lr=1e37, dim=8)
    steps = list(race(small((*LANES[:1], wild), steps=6)))
    assert steps[-1].status[1] == "diverged"
    calm = list(race(small((LANES[0], LANES[0].replace(seed=1)), steps=6)))
    assert [step.loss[0] for step in steps] == [step.loss[0] for step in calm]


def test_what_cannot_be_done_is_refused_in_a_sentence() -> None:
    for keys, why in (
        ({"lora_plus": 4.0}, "dim 4 and lora_plus 4.0 do not go together: a direction moves A and B alike"),
        ({"fair": True}, "dim 4 and fair True do not go together"),
        ({"params": 100}, "dim 4 and params 100 do not go together: both say how many numbers the lane trains"),
    ):
        with pytest.raises(ValueError, match=re.escape(why)):
            Lane("lora", dim=4, **keys)
    with pytest.raises(ValueError, match="dim must be a whole number from 1 to 2147483647, not 0"):
        Lane("lora", dim=0)
    with pytest.raises(ValueError, match=re.escape("dim 40 exceeds the 38 entries of lora of rank 2 on these layers")):
        regression([Lane("lora", r=2, dim=40)])
    lanes = regression([Lane("lora", r=2, dim=38)])[1]
    assert lanes.plan.parameters == lanes.plan.entries == (38,)
    with pytest.raises(ValueError, match="lane 'lora' trains along 38 directions, which only a race does"):
        lanes.parameter_groups()


@pytest.mark.parametrize("dim", [4, *at_night(2, 8, 16)])
def test_one_entry_in_each_row_of_the_projection_learns_as_much_as_a_gaussian_one(dim: int) -> None:
    """Means over 24 draws of the loss after 200 steps differ by three of their standard errors at most."""
    ends: dict[str, list[float]] = {"one": [], "gaussian": []}
    for seed in range(24):
        model, lanes, X, goal = regression([Lane("olora", r=2, seed=seed, dim=dim)])
        (space,) = subspaces(lanes.plan, lanes.theta, lanes.frozen).values()
        start, n = lanes.theta.detach().clone(), lanes.theta.shape[1]
        dense = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for name, P in (("one", explicit(space, n)), ("gaussian", dense / n**0.5)):
            v = torch.zeros(dim, dtype=torch.float64, requires_grad=True)
            adamw = torch.optim.AdamW([v], lr=0.05, weight_decay=0.0)
            for _ in range(200):
                with torch.no_grad():
                    lanes.theta.copy_(start + P @ v)
                lanes.theta.grad = None
                loss = ((model(X) - goal) ** 2).mean()
                loss.backward()
                assert lanes.theta.grad is not None
                v.grad = P.T @ lanes.theta.grad[0]
                adamw.step()
            ends[name].append(float(loss.detach()))
    (one, gaussian), errors = map(np.mean, ends.values()), [np.std(each) / 24**0.5 for each in ends.values()]
    assert abs(one - gaussian) < 3 * np.hypot(*errors), (one, gaussian, errors)
