"""Laws of the spectra; oracles are SciPy, NumPy, dense products and hand algebra, in float64."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.starts import CLOSE, FROM_W, every, every_from_weight, every_shape, gaussian, start, weight

from olora_viz.initializers import INITIALIZERS, Start
from olora_viz.initializers.olora_pivoted import greedy_pivots
from olora_viz.machine.memory import Meter
from olora_viz.measures.spectra import (
    captured_energy,
    condition_number,
    effective_rank,
    moved_factors,
    optimal_energy,
    orthogonality_error,
    principal_angles,
    product_singular_values,
    random_energy,
    singular_values,
    stable_rank,
)
from olora_viz.measures.truncation import Weight, energies, intruder_dimensions, truncation

# Singular values -------------------------------------------------------------------------------


@every_shape
def test_singular_values_are_scipys(shape):
    W = weight(shape)
    kept = W.clone()
    torch.testing.assert_close(singular_values(W), torch.tensor(scipy.linalg.svdvals(W.numpy())), **CLOSE)
    torch.testing.assert_close(singular_values(torch.stack([2 * W, W]))[1], singular_values(W), **CLOSE)
    assert torch.equal(W, kept)


@pytest.mark.parametrize(("out", "r", "features"), [(9, 3, 7), (3, 5, 9), (9, 5, 3), (4, 8, 4)])
def test_a_product_has_the_singular_values_of_its_dense_matrix(out, r, features):
    B, A = gaussian(6, out, r), gaussian(6, r, features, seed=1)
    ours = product_singular_values(B, A)
    dense = torch.linalg.svdvals(B @ A)
    assert ours.shape == (6, r)
    k = min(r, out, features)
    torch.testing.assert_close(ours[:, :k], dense[:, :k], **CLOSE)
    assert (ours[:, k:] == 0).all()


def test_what_moved_is_the_difference_of_the_products_and_exactly_zero_at_the_start():
    first = Start(A=gaussian(3, 8), B=gaussian(6, 3, seed=1))
    now = Start(A=first.A + 1e-6 * gaussian(3, 8, seed=2), B=first.B + gaussian(6, 3, seed=3))
    moved = moved_factors(now, first)
    torch.testing.assert_close(moved.B @ moved.A, now.B @ now.A - first.B @ first.A, **CLOSE)
    still = moved_factors(first, first)
    assert (product_singular_values(still.B, still.A) == 0).all()


def test_what_moved_a_little_keeps_its_digits_in_float32():
    first = Start(A=gaussian(4, 40).float(), B=gaussian(30, 4, seed=1).float())
    now = Start(A=first.A + 1e-4 * gaussian(4, 40, seed=2).float(), B=first.B)
    moved = moved_factors(now, first)
    exact = torch.linalg.svdvals(now.B.double() @ now.A.double() - first.B.double() @ first.A.double())[:4]
    ours = product_singular_values(moved.B, moved.A)[:4]
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=0)


# Ranks and conditioning --------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9))
def test_ranks_lie_between_one_and_the_rank(values):
    sigma = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    for rank in (stable_rank(sigma), effective_rank(sigma)):
        assert 1 - 1e-9 <= rank <= len(values) + 1e-9
    p = sigma / sigma.sum()
    assert math.isclose(effective_rank(sigma), math.exp(scipy.stats.entropy(p)), rel_tol=1e-9)
    assert math.isclose(stable_rank(sigma), sigma.norm() ** 2 / sigma[0] ** 2, rel_tol=1e-9)
    assert condition_number(sigma) == sigma[0] / sigma[-1]


def test_ranks_of_known_spectra():
    flat, one = torch.ones(2, 5).double(), torch.tensor([[3.0, 0, 0]]).double()
    for rank in (stable_rank, effective_rank):
        torch.testing.assert_close(rank(flat), torch.full((2,), 5.0).double())
        torch.testing.assert_close(rank(one), torch.ones(1).double())
        assert rank(torch.zeros(4).double()) == 0
    assert condition_number(torch.tensor([2.0, 0.0])) == math.inf
    assert condition_number(torch.zeros(2)).isnan()


def test_the_defect_is_zero_for_orthonormal_columns_and_the_root_of_r_for_none():
    Q = torch.linalg.qr(gaussian(3, 9, 4)).Q
    assert (orthogonality_error(Q) < 1e-14).all()
    assert orthogonality_error(torch.zeros(9, 4)) == 2.0
    assert math.isclose(orthogonality_error(2 * Q[0]), 3 * 2.0)


# Angles ----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 99), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 1e-5, 1e-9]))
def test_principal_angles_are_scipys_also_where_they_are_tiny(seed, p, q, apart):
    P = torch.linalg.qr(gaussian(12, p, seed=seed)).Q
    near = P[:, : min(p, q)] + apart * gaussian(12, min(p, q), seed=seed + 1)
    Q = torch.linalg.qr(torch.cat([near, gaussian(12, q - min(p, q), seed=seed + 2)], 1)).Q
    theirs = np.sort(np.rad2deg(scipy.linalg.subspace_angles(P.numpy(), Q.numpy())))
    np.testing.assert_allclose(principal_angles(P, Q), theirs, rtol=1e-5, atol=1e-12)


def test_principal_angles_come_for_many_pairs_at_once():
    P = torch.linalg.qr(gaussian(5, 9, 3)).Q
    Q = torch.linalg.qr(gaussian(5, 9, 2, seed=1)).Q
    for k, angles in enumerate(principal_angles(P, Q)):
        torch.testing.assert_close(angles, principal_angles(P[k], Q[k]), **CLOSE)


# Energy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "compute", [lambda W: captured_energy(W, Start(W[:4], W[:, :4])), lambda W: greedy_pivots(W, 4)]
)
@pytest.mark.parametrize("shape", [(2048, 1024), (1024, 2048)])
def test_the_squares_of_a_large_weight_are_never_in_memory_as_a_whole(shape, compute):
    W = gaussian(*shape)
    with Meter() as meter:
        compute(W)
    assert max(meter.live) < 0.6 * W.nbytes


@every
@every_shape
def test_captured_energy_is_what_the_dense_product_leaves_out(name, shape):
    W, r = weight(shape), 6
    made = start(name, W, r)
    left = torch.linalg.norm(W - made.B @ made.A) ** 2 / torch.linalg.norm(W) ** 2
    assert math.isclose(captured_energy(W, made), 1 - left, abs_tol=1e-12)
    assert captured_energy(W, made) <= optimal_energy(singular_values(W), r) + 1e-12


@every_from_weight
def test_energies_of_all_ranks_are_those_of_each(name):
    weight_ = Weight(weight((24, 40)))
    ranks = [2, 6, 24] if name == "orthogonal" else [1, 5, 24]
    each = [truncation(weight_, r, name).energy for r in ranks]
    np.testing.assert_allclose(energies(weight_, name, ranks), each, atol=1e-12)


@every_shape
def test_pissa_reaches_the_optimum_and_a_zero_product_takes_nothing(shape):
    W = weight(shape)
    found = {name: truncation(W, 6, name) for name in FROM_W}
    assert math.isclose(found["pissa"].energy, found["pissa"].energy_optimal, abs_tol=1e-12)
    for name in FROM_W:
        if INITIALIZERS[name].zero_product:
            assert abs(found[name].energy) < 1e-12


def test_random_bases_capture_r_of_out_on_average():
    W = weight((24, 40))
    energies = [captured_energy(W, start("random_orthonormal", W, 6, seed=seed)) for seed in range(400)]
    error = np.std(energies) / math.sqrt(len(energies))
    assert abs(np.mean(energies) - random_energy(24, 6)) < 4 * error


# Intruders -------------------------------------------------------------------------------------


def test_a_strong_update_in_a_new_direction_is_one_intruder():
    W = torch.diag(torch.tensor([5.0, 4.0, 3.0, 0, 0, 0, 0, 0, 0])).double()
    u = torch.tensor([0, 0, 0, 1.0, 1, 1, 1, 1, 1]).double() / math.sqrt(6)
    moved = Start(A=10 * u[None], B=u[:, None])
    found = intruder_dimensions(W, moved, top=4)
    assert found.count == 1
    torch.testing.assert_close(found.sigma, torch.tensor([10.0, 5, 4, 3]).double())
    assert found.similarity[0] < 1e-9
    assert (found.similarity[1:] > 1 - 1e-9).all()


def test_no_update_and_a_scaled_one_bring_no_intruders():
    W = weight((20, 30))
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    for factor in (0.0, 0.7):
        moved = Start(A=factor * S[:3, None] * Vh[:3], B=U[:, :3])
        assert intruder_dimensions(W, moved).count == 0


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (6, 8)])
@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_intruders_are_those_of_whole_decompositions(shape, size):
    drawn = torch.Generator().manual_seed(0)
    W = weight(shape)
    A, B = (torch.randn(n, generator=drawn).double() for n in ((2, shape[1]), (shape[0], 2)))
    found = intruder_dimensions(W, Start(A=size * A, B=B))
    U, sigma, _ = torch.linalg.svd(W + size * B @ A, full_matrices=False)
    similarity = (torch.linalg.svd(W, full_matrices=False).U.mT @ U[:, :10]).abs().amax(0)
    torch.testing.assert_close(found.sigma, sigma[:10])
    torch.testing.assert_close(found.similarity, similarity, rtol=0, atol=1e-9)
    assert found.count == int((similarity < 0.5).sum())


def test_all_vectors_are_intruders_where_the_weight_is_zero():
    found = intruder_dimensions(torch.zeros(4, 5), Start(A=torch.eye(2, 5), B=torch.eye(4, 2)), top=2)
    assert found.similarity.tolist() == [0.0, 0.0]
