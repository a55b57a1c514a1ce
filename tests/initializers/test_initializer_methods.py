"""What each initialization is, by itself; oracles are SciPy, torch, PEFT and hand algebra."""

import numpy as np
import peft
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.starts import (
    DETERMINISTIC,
    EPS,
    PROJECTIONS,
    assert_close,
    every_dtype,
    every_shape,
    ranks,
    start,
    weight,
)

from olora_viz.initializers.olora_pivoted import greedy_pivots

# Projections: B orthonormal, A = BᵀW -----------------------------------------------------------


@pytest.mark.parametrize("name", PROJECTIONS)
@every_shape
@every_dtype
def test_b_is_orthonormal_and_a_is_the_weight_in_that_basis(name, shape, dtype):
    W = weight(shape, dtype)
    for r in ranks(name, shape):
        found = start(name, W, r, s=0.5)
        assert_close(found.B.mT @ found.B, torch.eye(r).to(found.B), EPS[dtype])
        assert_close(found.A, found.B.mT @ W.to(found.B), EPS[dtype])


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_b_stays_orthonormal_where_the_weight_runs_out_of_rank(name, rank, dtype):
    factors = weight((24, rank), dtype), weight((rank, 32), dtype, seed=2)
    W = factors[0] @ factors[1]
    for r in (1, 6, 24):
        found = start(name, W, r)
        assert found.A.isfinite().all()
        assert_close(found.B.mT @ found.B, torch.eye(r, dtype=dtype), EPS[dtype])


@settings(max_examples=60, deadline=None)
@given(
    st.data(), st.sampled_from(PROJECTIONS), st.integers(1, 8), st.integers(1, 8), st.sampled_from([1e-12, 1.0, 1e12])
)
def test_b_is_orthonormal_for_any_small_integers_and_any_scale(data, name, out, features, scale):
    entries = st.lists(
        st.integers(-2, 2), min_size=out * features, max_size=out * features
    )  # zero columns, repeated columns and exact ties are common here
    W = torch.tensor(data.draw(entries), dtype=torch.float64).reshape(out, features) * scale
    r = data.draw(st.integers(1, min(out, features)))
    found = start(name, W, r)
    assert_close(found.B.mT @ found.B, torch.eye(r, dtype=torch.float64), 1e-12)
    assert found.A.abs().max() <= W.norm() * (1 + 1e-12)


@every_shape
def test_olora_is_the_head_of_the_full_qr(shape):
    W = weight(shape)
    Q, R = scipy.linalg.qr(W.numpy(), mode="economic")
    signs = np.where(np.diag(R) < 0, -1.0, 1.0)
    for r in ranks("olora", shape):
        found = start("olora", W, r)
        assert_close(found.B, (Q * signs)[:, :r], 1e-10)
        assert_close(found.A, (R * signs[:, None])[:r], 1e-10)
        assert (found.A.diagonal() > 0).all()


def test_olora_does_what_the_design_works_out_by_hand():
    found = start("olora", torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 1)
    assert_close(torch.linalg.svdvals(found.B @ found.A)[0], 2**0.5, 1e-6)


@every_shape
def test_pivoted_olora_is_the_head_of_scipys_pivoted_qr(shape):
    W = weight(shape)
    Q, R, pivots = scipy.linalg.qr(W.numpy(), mode="economic", pivoting=True)
    signs = np.where(np.diag(R) < 0, -1.0, 1.0)
    R = R[:, np.argsort(pivots)]
    for r in ranks("olora_pivoted", shape):
        found = start("olora_pivoted", W, r)
        assert_close(found.B, (Q * signs)[:, :r], 1e-10)
        assert_close(found.A, (R * signs[:, None])[:r], 1e-10)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_only_plain_olora_depends_on_the_order_of_the_input_features(name):
    W = weight((24, 40))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    one, two = start(name, W, 6), start(name, W[:, order], 6)
    same = torch.allclose(one.B @ one.A[:, order], two.B @ two.A, atol=1e-9)
    assert same == (name != "olora")


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_turning_the_outputs_turns_the_product_with_them(name):
    W = weight((24, 40))
    turn = torch.linalg.qr(weight((24, 24), seed=7)).Q
    one, two = start(name, W, 6), start(name, turn @ W, 6)
    assert_close(turn @ one.B @ one.A, two.B @ two.A, 1e-9)


def test_ties_between_columns_go_to_the_first():
    assert greedy_pivots(torch.eye(8), 5) == [0, 1, 2, 3, 4]
    assert greedy_pivots(torch.tensor(scipy.linalg.hadamard(8) / 3.0), 8) == list(range(8))
    # Equal up to rounding, which no two machines do alike.
    rotation = torch.linalg.qr(weight((64, 64))).Q
    assert greedy_pivots(1e6 * rotation, 20) == list(range(20))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 8), st.integers(1, 8), st.sampled_from([1e-12, 1.0, 1e12]))
def test_no_column_is_picked_twice_even_when_nothing_is_left(data, out, features, scale):
    entries = st.lists(st.integers(-1, 1), min_size=out * features, max_size=out * features)
    W = torch.tensor(data.draw(entries), dtype=torch.float64).reshape(out, features) * scale
    pivots = greedy_pivots(W, min(out, features))
    assert len(set(pivots)) == len(pivots) == min(out, features)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("apart", [1e-2, 1e-4])
def test_pivots_are_scipys_where_columns_are_nearly_parallel(dtype, apart):
    W = (weight((30, 1)) + apart * weight((30, 20), seed=4)).to(dtype)
    _, pivots = scipy.linalg.qr(W.double().numpy(), mode="r", pivoting=True)
    assert greedy_pivots(W, 12) == pivots[:12].tolist()


def test_a_random_basis_is_uniformly_distributed():
    # By Haar's measure the square of one entry of a unit vector in R^n is Beta(1/2, (n−1)/2).
    W = torch.zeros(6, 4, dtype=torch.float64)
    bases = [start("random_orthonormal", W, 2, seed=seed).B for seed in range(400)]
    entries = torch.stack([B[3, 1] for B in bases])
    assert scipy.stats.kstest(entries.square().numpy(), "beta", (0.5, 2.5)).pvalue > 0.01
    assert 0.42 < (entries > 0).double().mean() < 0.58


def test_a_sketch_captures_more_of_the_weight_than_a_random_basis():
    W = weight((40, 24)) @ torch.diag(0.6 ** torch.arange(24.0, dtype=torch.float64))
    assert start("sketch", W, 6).A.norm() > 1.2 * start("random_orthonormal", W, 6).A.norm()


# Parts of OLoRA and PiSSA ----------------------------------------------------------------------


@every_shape
def test_scaled_olora_has_the_trace_of_curvature_that_lora_has_in_expectation(shape):
    """By the Hessian of a loss that curves alike in all directions of W: the identity."""
    W, (out, into) = weight(shape), shape

    def trace(A, B):
        by_A = torch.einsum("or,ij->oirj", B, torch.eye(into, dtype=W.dtype))
        by_B = torch.einsum("pi,ok->oikp", A, torch.eye(out, dtype=W.dtype))
        J = torch.cat([by_A.reshape(out * into, -1), by_B.reshape(out * into, -1)], 1)
        return J.square().sum().item()  # of JᵀJ

    for r in (1, 6):
        found, olora = start("olora_scaled", W, r), start("olora", W, r)
        drawn = [start("lora", W, r, seed=seed) for seed in range(200)]
        lora = np.mean([trace(one.A, one.B) for one in drawn])
        assert trace(found.A, found.B) == pytest.approx(lora, rel=0.05)
        c = found.B.norm() / olora.B.norm()
        assert_close(found.B, c * olora.B, 1e-12)
        assert_close(found.A, c * olora.A, 1e-12)


@every_shape
@every_dtype
def test_flat_pissa_has_pissa_s_directions_and_no_sizes(shape, dtype):
    W = weight(shape, dtype)
    for r in ranks("pissa_flat", shape):
        found, pissa = start("pissa_flat", W, r, s=3.0), start("pissa", W, r)
        assert_close(found.A @ found.A.mT, torch.eye(r).to(found.A), EPS[dtype])
        assert_close(found.B.mT @ found.B, torch.eye(r).to(found.B), EPS[dtype])
        assert_close(pissa.A / pissa.A.norm(dim=1)[:, None], found.A, 10 * EPS[dtype])
        assert_close(pissa.B / pissa.B.norm(dim=0), found.B, 10 * EPS[dtype])


# The singular vectors of W in A alone ----------------------------------------------------------


@every_shape
@every_dtype
def test_rlpo_keeps_the_most_of_the_weight_and_rlmo_the_least(shape, dtype):
    W = weight(shape, dtype)
    S = torch.tensor(scipy.linalg.svdvals(W.double().numpy()))
    for r in ranks("rlpo", shape):
        for name, kept in (("rlpo", S[:r]), ("rlmo", S[-r:])):
            found = start(name, W, r, s=3.0)
            assert_close(found.A @ found.A.mT, torch.eye(r).to(found.A), EPS[dtype])
            assert_close((W.to(found.A) @ found.A.mT).norm().double(), kept.norm(), 100 * EPS[dtype])
            assert not found.B.any()


# Random factors --------------------------------------------------------------------------------


def test_loras_a_is_uniform_within_one_over_the_root_of_its_inputs():
    found = start("lora", torch.zeros(64, 400), 64)
    assert found.A.abs().max() <= 400**-0.5
    scaled = (found.A.flatten() * 400**0.5).numpy()
    assert scipy.stats.kstest(scaled, "uniform", (-1, 2)).pvalue > 0.01
    assert torch.equal(found.B, torch.zeros(64, 64))


def test_init_ab_is_lora_with_a_b_of_the_same_law_as_its_a():
    W = weight((800, 400))
    found, plain = start("init_ab", W, 8, seed=3), start("lora", W, 8, seed=3)
    assert torch.equal(found.A, plain.A)
    drawn = found.B.flatten() * 400**0.5
    assert scipy.stats.kstest(drawn.numpy(), scipy.stats.uniform(-1, 2).cdf).pvalue > 0.01
    assert found.B.var().item() == pytest.approx(1 / (3 * 400), rel=0.05)
    assert np.corrcoef(found.A.flatten()[:3200], found.B.flatten()[:3200])[0, 1] < 0.05


@pytest.mark.parametrize("r", [4, 64])
def test_gaussian_as_standard_deviation_is_one_over_the_rank(r):
    found = start("gaussian", torch.zeros(64, 2000), r)
    assert scipy.stats.kstest((found.A.flatten() * r).numpy(), "norm").pvalue > 0.01
    assert torch.equal(found.B, torch.zeros(64, r))


def test_both_factors_of_orthogonal_are_of_full_reach_though_their_product_is_zero():
    found = start("orthogonal", weight((24, 40)), 6)
    assert found.A.norm(dim=1).min() > 0.01
    assert found.B.norm(dim=0).min() > 0.01
    assert torch.linalg.matrix_rank(found.A) == torch.linalg.matrix_rank(found.B) == 3


# PEFT as the oracle ----------------------------------------------------------------------------


def peft_layer(W, r, alpha, init):
    """PEFT's LoRA layer around a copy of W, started by PEFT."""
    base = torch.nn.Sequential(torch.nn.Linear(W.shape[1], W.shape[0], bias=False))
    base[0].weight.data = W.clone()
    config = peft.LoraConfig(r=r, lora_alpha=alpha, target_modules=["0"], init_lora_weights=init)
    return peft.get_peft_model(base, config).base_model.model[0]


def factors(layer):
    return layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach()


@pytest.mark.parametrize("name", ["olora", "pissa"])
@every_shape
@pytest.mark.parametrize("alpha", [6, 15])
def test_the_product_is_pefts(name, shape, alpha):
    W = weight(shape, torch.float32)
    A, B = factors(peft_layer(W, 6, alpha, name))
    found = start(name, W, 6, s=alpha / 6)
    assert_close(found.B @ found.A, B @ A, 1e-5)
    # The factors too, up to the sign that each library takes as it falls.
    assert_close(found.A.abs(), A.abs(), 2e-4)
    assert_close(found.B.abs(), B.abs(), 2e-4)


@every_shape
def test_plain_lora_draws_pefts_numbers_from_the_same_seed(shape):
    W = weight(shape, torch.float32)
    for name, init in (("lora", True), ("gaussian", "gaussian")):
        layer = peft_layer(W, 6, 6, init)
        torch.manual_seed(7)
        layer.reset_lora_parameters("default", init)
        A, B = factors(layer)
        found = start(name, W, 6, seed=7)
        assert_close(found.A, A, 1e-7)
        assert torch.equal(found.B, B)


@every_shape
def test_orthogonal_draws_pefts_numbers_from_the_same_seed_up_to_the_sign_of_q(shape):
    W = weight(shape, torch.float32)
    layer = peft_layer(W, 6, 6, "orthogonal")
    torch.manual_seed(7)
    layer.orthogonal_init("default")
    A, B = factors(layer)
    found = start("orthogonal", W, 6, seed=7)
    assert_close(found.A.abs(), A.abs(), 1e-5)
    assert_close(found.B.abs(), B.abs(), 1e-5)
    assert_close(B @ A, torch.zeros(shape), 1e-5)
