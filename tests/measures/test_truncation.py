"""The comparison of a start with its weight, and what the paper claims of it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.starts import CLOSE, every_from_weight, every_shape, gaussian, weight

from olora_viz.measures import spectra
from olora_viz.measures import truncation as module
from olora_viz.measures.spectra import singular_values
from olora_viz.measures.truncation import Weight, is_part, truncation

PROJECTIONS = ("olora", "olora_pivoted", "random_orthonormal", "sketch", "pissa")


def test_the_counterexample_of_two_by_two():
    found = truncation(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 1)
    golden = (1 + math.sqrt(5)) / 2
    torch.testing.assert_close(found.sigma_W, torch.tensor([golden, golden - 1], dtype=torch.float64), **CLOSE)
    assert math.isclose(found.sigma_BA.item(), math.sqrt(2), rel_tol=1e-12)
    assert found.bounded
    assert not found.subset
    assert math.isclose(found.distance.item(), golden - math.sqrt(2), rel_tol=1e-9)
    assert math.isclose(found.energy, 2 / 3, rel_tol=1e-12)


@every_from_weight
def test_the_conditioning_of_a_start_is_numpys(name):
    found = truncation(weight((24, 40)), 6, name)
    A, B = found.start.A.numpy(), found.start.B.numpy()
    for ours, factor in ((found.condition_A, A), (found.condition_B, B)):
        theirs = np.linalg.cond(factor) if factor.any() else math.nan
        if theirs < 1e10:
            assert ours == pytest.approx(theirs, rel=1e-9)
        else:  # of deficient rank: what divides is rounding
            assert ours > 1e10 or math.isnan(theirs)
    assert found.orthogonality_error == pytest.approx(np.linalg.norm(B.T @ B - np.eye(6)), abs=1e-9)
    if not B.any():
        assert math.isnan(found.condition_B)
        assert found.effective_rank == 0


def test_for_a_diagonal_the_claim_is_true_and_olora_may_still_take_the_smallest():
    W = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    found = truncation(W, 2)
    assert found.subset
    assert found.bounded
    assert found.sigma_BA.tolist() == [2.0, 1.0]
    torch.testing.assert_close(found.angles, torch.tensor([90.0, 90.0]).double())
    assert math.isclose(found.energy, 5 / 30, rel_tol=1e-12)
    assert truncation(W, 2, "olora_pivoted").sigma_BA.tolist() == [4.0, 3.0]


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)])
@pytest.mark.parametrize("permuted", [False, True])
@pytest.mark.parametrize("small", [2, spectra.SMALL])
def test_the_leading_vectors_alone_give_the_numbers_of_all(shape, permuted, small, monkeypatch):
    exact = Weight(weight(shape))
    monkeypatch.setattr(module, "LARGE", 2)
    monkeypatch.setattr(spectra, "SMALL", small)
    some = Weight(weight(shape))
    if permuted:
        order = torch.randperm(shape[1], generator=torch.Generator().manual_seed(0))
        exact, some = exact.permuted(order), some.permuted(order)
    for init in ("olora", "pissa", "sketch"):
        ours, theirs = truncation(some, 6, init), truncation(exact, 6, init)
        torch.testing.assert_close(ours.sigma_W, theirs.sigma_W, **CLOSE)
        torch.testing.assert_close(ours.sigma_BA, theirs.sigma_BA, **CLOSE)
        torch.testing.assert_close(ours.angles, theirs.angles, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.start.B @ ours.start.A, theirs.start.B @ theirs.start.A, **CLOSE)
        assert (ours.bounded, ours.subset) == (theirs.bounded, theirs.subset)
    assert some._U.shape == (shape[0], 6)
    assert some.U.shape == exact.U.shape


def test_vectors_of_small_singular_values_are_those_of_the_whole_decomposition(monkeypatch):
    monkeypatch.setattr(module, "LARGE", 2)
    W = Weight(torch.diag(torch.tensor([1.0, 1e-3, 1e-9, 1e-12])))
    for r in range(1, 5):
        torch.testing.assert_close(W.leading(r).abs(), torch.eye(4).double()[:, :r])
    assert W.sigma.tolist() == torch.linalg.svdvals(W.W).tolist()


def test_for_a_projector_all_values_are_ones_where_the_columns_span_enough():
    Q = torch.linalg.qr(gaussian(8, 3)).Q
    found = truncation(Q @ Q.T, 3)
    assert found.subset
    assert found.bounded
    assert math.isclose(found.energy, 1.0, rel_tol=1e-12)
    assert (found.angles < 1e-6).all()


@every_shape
def test_at_full_rank_nothing_is_left_out_and_the_claim_is_true(shape):
    found = truncation(weight(shape), min(shape))
    assert found.subset
    assert math.isclose(found.energy, 1.0, rel_tol=1e-12)


@every_shape
def test_on_a_generic_weight_the_claim_is_false_for_olora_and_true_for_triplets(shape):
    W = weight(shape)
    assert not truncation(W, 6).subset
    assert truncation(W, 6).bounded
    assert truncation(W, 6, "pissa").subset
    assert truncation(W, 6, "milora").subset


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 9), st.integers(1, 9), st.sampled_from(PROJECTIONS))
def test_the_bounds_hold_for_every_projection_of_every_matrix(data, out, features, name):
    entries = data.draw(st.lists(st.integers(-4, 4), min_size=out * features, max_size=out * features))
    W = torch.tensor(entries, dtype=torch.float64).reshape(out, features)
    r = data.draw(st.integers(1, min(out, features)))
    if not W.any():
        with pytest.raises(ValueError, match="the matrix is zero"):
            truncation(W, r, name)
        return
    found = truncation(W, r, name)
    assert found.bounded
    sigma = np.linalg.svd(W.numpy(), compute_uv=False)
    assert found.energy <= (sigma[:r] ** 2).sum() / (sigma**2).sum() + 1e-9
    for i in range(r):
        assert found.upper[i] == pytest.approx(sigma[i], abs=1e-9)
        j = i + out - r
        assert found.lower[i] == pytest.approx(sigma[j] if j < len(sigma) else 0.0, abs=1e-9)


def test_a_permutation_of_the_inputs_moves_olora_and_leaves_the_weight_and_pivoting_alone():
    W = Weight(weight((24, 40)))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    other = W.permuted(order)
    torch.testing.assert_close(singular_values(other.W), W.sigma, **CLOSE)
    moved = (truncation(W, 5).sigma_BA - truncation(other, 5).sigma_BA).abs().max()
    assert moved > 0.01
    torch.testing.assert_close(
        truncation(W, 5, "olora_pivoted").sigma_BA, truncation(other, 5, "olora_pivoted").sigma_BA, **CLOSE
    )


def test_each_value_of_the_weight_counts_once():
    many = torch.tensor([3.0, 2.0, 1.0])
    assert is_part(torch.tensor([3.0, 1.0]), many, 1e-9)
    assert not is_part(torch.tensor([2.0, 2.0]), many, 1e-9)
    assert not is_part(torch.tensor([2.5]), many, 1e-9)
    assert not is_part(torch.tensor([0.5]), many, 1e-9)


def test_angles_are_not_given_where_there_is_no_top_subspace():
    assert truncation(torch.eye(4), 2).angles is None
    assert truncation(weight((9, 9)), 2, "lora").angles is None


@pytest.mark.parametrize(
    ("W", "r", "message"),
    [
        (torch.zeros(3, 3), 1, "the matrix is zero"),
        (torch.tensor([[1.0, math.nan]]), 1, "not finite"),
        (torch.eye(3), 4, "rank 4 exceeds min"),
    ],
)
def test_what_has_no_truncation_is_named(W, r, message):
    with pytest.raises(ValueError, match=message):
        truncation(W, r)


def test_an_unknown_start_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="unknown initialization 'olra'; did you mean 'olora'"):
        truncation(torch.eye(3), 1, "olra")
