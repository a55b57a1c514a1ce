"""Starts from a gradient, from inputs, and with a frozen B; oracles are SciPy and algebra."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from support.starts import EPS, assert_close, calibration, every_dtype, every_shape, ranks, start, weight

from olora_viz import INITIALIZERS, Calibration, corda, eva, lora_da, lora_ga, lora_null, lora_one


def svd(G):
    return (torch.tensor(part) for part in scipy.linalg.svd(G.double().numpy(), False))


# LoRA-GA ---------------------------------------------------------------------------------------


@every_shape
@every_dtype
def test_lora_ga_takes_r_right_vectors_of_the_gradient_and_the_next_r_left_ones(shape, dtype):
    W, told = weight(shape, dtype), calibration(shape)
    U, S, Vh = svd(told.gradient)
    for r in ranks("lora_ga", shape):
        found = start("lora_ga", W, r, s=3.0)
        stable = shape[0] ** 0.25 / 4
        tolerance = 100 * EPS[dtype]
        assert_close(found.A.double().abs(), Vh[:r].abs(), tolerance)
        B = U[:, r : 2 * r] * S[r : 2 * r] * stable
        assert_close(found.B.double().abs(), B.abs(), tolerance)


def test_one_step_from_the_paper_s_lora_ga_is_the_best_step_of_rank_2r():
    """To first order B moves by −G Aᵀ and A by −Bᵀ G: W along the 2r leading triplets of G."""
    W, told, r = weight((24, 40)), calibration((24, 40)), 5
    found = lora_ga(W, r, calibration=told, weighted=False)
    G = told.gradient
    moved = G @ found.A.mT @ found.A + found.B @ found.B.mT @ G
    U, S, Vh = svd(G)
    assert_close(moved * 16 / 24**0.5, (U[:, : 2 * r] * S[: 2 * r]) @ Vh[: 2 * r], 1e-10)


def test_the_paper_s_lora_ga_does_not_depend_on_the_size_of_the_gradient():
    W, G = weight((24, 40)), calibration((24, 40)).gradient
    for weighted in (True, False):
        one = lora_ga(W, 5, calibration=Calibration(G), weighted=weighted)
        ten = lora_ga(W, 5, calibration=Calibration(10 * G), weighted=weighted)
        assert_close(ten.A, one.A, 1e-10)
        assert_close(ten.B, one.B * (10 if weighted else 1), 1e-10)


# LoRA-One --------------------------------------------------------------------------------------


@every_shape
@every_dtype
def test_lora_one_is_the_best_step_of_rank_r_against_the_gradient(shape, dtype):
    W, told = weight(shape, dtype), calibration(shape)
    U, S, Vh = svd(told.gradient)
    for r in ranks("lora_one", shape):
        found = start("lora_one", W, r, s=3.0)
        A, B = found.A.double(), found.B.double()
        assert_close(B @ A, -(U[:, :r] * S[:r]) @ Vh[:r] / (128 * S[0]), 100 * EPS[dtype])
        balanced = torch.diag(S[:r] / (128 * S[0]))
        assert_close(A @ A.mT, balanced, EPS[dtype])
        assert_close(B.mT @ B, balanced, EPS[dtype])


def test_lora_one_makes_the_loss_fall_to_first_order_as_far_as_rank_and_length_allow():
    W, told = weight((24, 40)), calibration((24, 40))
    found = start("lora_one", W, 5)
    S = scipy.linalg.svdvals(told.gradient.numpy())
    assert ((found.B @ found.A) * told.gradient).sum().item() == pytest.approx(-(S[:5] ** 2).sum() / (128 * S[0]))


@pytest.mark.parametrize("name", [lora_ga, lora_one])
def test_a_gradient_of_zeros_or_of_little_rank_gives_a_finite_start(name):
    W = weight((24, 40))
    few = weight((24, 2)) @ weight((2, 40))
    for G in (torch.zeros(24, 40), few):
        found = name(W, 6, calibration=Calibration(gradient=G))
        assert found.A.isfinite().all()
        assert found.B.isfinite().all()
    nothing = name(W, 6, calibration=Calibration(gradient=torch.zeros(24, 40)))
    assert not (nothing.B @ nothing.A).any()


# LoRA-DA ---------------------------------------------------------------------------------------


def natural_step(told):
    """D and Ω by the definitions, with SciPy's inverse."""
    Z, y = told.second_moment().numpy(), told.squares.numpy() + 1e-6
    inverse = scipy.linalg.inv(Z + 1e-6 * np.eye(len(Z)))
    D = -(told.gradient.numpy() @ inverse) / y[:, None]
    return D, 0.03 * (1 / y).sum() / told.examples * inverse - D.T @ D


@every_shape
@every_dtype
def test_lora_da_is_a_natural_step_on_the_directions_of_least_expected_error(shape, dtype):
    W, told = weight(shape, dtype), calibration(shape)
    D, guidance = natural_step(told)
    for r in ranks("lora_da", shape):
        found = start("lora_da", W, r, s=3.0)
        P = scipy.linalg.eigh(guidance)[1][:, :r]
        step = D @ P @ P.T / scipy.linalg.svdvals(D)[0]
        assert_close(1024 * (found.B @ found.A).double(), step, 100 * EPS[dtype])
        assert_close(1024 * (found.A @ found.A.mT).double(), torch.eye(r).double(), EPS[dtype])


def test_lora_da_in_a_space_alike_in_all_directions_without_variance_is_lora_one():
    """Zhang et al., remark 4.3: then the Fisher information says nothing."""
    G = calibration((24, 40)).gradient
    even = Calibration(G, torch.zeros(40), 5 * torch.eye(40), torch.full((24,), 2.0), 10**15)
    found, one = lora_da(weight((24, 40)), 6, calibration=even), start("lora_one", G, 6)
    assert_close(1024 * found.B @ found.A, 128 * one.B @ one.A, 1e-10)


def test_lora_da_on_few_examples_leaves_directions_that_few_inputs_excite():
    """The third direction asks for the largest step, and only many examples show that it is due."""
    G = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.05]])
    spread = torch.diag(torch.tensor([1.0, 1.0, 0.01]))
    told = Calibration(G, torch.zeros(3), spread, 10 * torch.ones(3), examples=1)
    few, many = (lora_da(torch.eye(3), 1, calibration=replace(told, examples=n)).A[0] * 32 for n in (1, 10**9))
    assert_close(few[2], 0.0, 1e-6)
    assert_close(many[2], 1.0, 1e-6)


def test_lora_da_is_what_the_authors_code_computes():
    """Recorded from github.com/zqy0126/LoRA-DA at 928f484, with 200 iterations of LOBPCG."""
    i, j = torch.arange(5.0).double()[:, None], torch.arange(12.0).double()[None]
    X = torch.sin(torch.arange(36.0).double()[:, None] * (1 + j) / 7) + 0.3 * torch.cos(j)
    told = Calibration(
        torch.cos(1 + 3 * i + j * j / 5), X.mean(0), X.mT.cov(correction=0), 0.5 + torch.arange(5.0) % 3, 50
    )
    found = lora_da(torch.zeros(5, 12), 2, calibration=told)
    theirs = [
        [-0.0901, -0.0300, 0.1343, 0.3364, 0.1918, -0.2452, 0.1717, 0.1174, -0.0911, -0.0281, 0.0786, -0.3822],
        [0.0485, 0.0367, -0.0156, -0.0965, -0.0747, 0.0712, -0.0506, -0.0571, 0.0461, 0.0017, -0.0066, 0.1302],
    ]
    assert_close(1024 * (found.B @ found.A)[:2], theirs, 2e-4)


def test_lora_da_of_a_zero_gradient_or_of_inputs_in_few_directions_is_finite():
    told = calibration((24, 40))
    x = weight((1, 40))[0]
    for changed in (
        replace(told, gradient=torch.zeros(24, 40)),
        replace(told, mean=x, covariance=torch.zeros(40, 40), squares=torch.zeros(24)),
    ):
        found = lora_da(weight((24, 40)), 6, calibration=changed)
        assert found.A.isfinite().all()
        assert found.B.isfinite().all()
        assert torch.linalg.matrix_norm(found.B @ found.A, 2) < 1.001 / 1024


# EVA -------------------------------------------------------------------------------------------


def test_eva_leaves_the_mean_of_the_inputs_out():
    told = calibration((24, 40))
    far = Calibration(mean=told.mean + 1000, covariance=told.covariance)
    W = weight((24, 40))
    assert torch.equal(eva(W, 6, calibration=far).A, eva(W, 6, calibration=told).A)


def test_eva_s_rows_are_orthonormal_and_keep_the_most_variance_that_r_rows_can():
    told = calibration((24, 40))
    A = start("eva", weight((24, 40)), 6).A
    assert_close(A @ A.mT, torch.eye(6).double(), 1e-12)
    kept = torch.trace(A @ told.covariance @ A.mT)
    assert_close(kept, scipy.linalg.eigvalsh(told.covariance.numpy())[-6:].sum(), 1e-10)


def test_eva_of_fewer_tokens_than_its_rank_has_orthonormal_rows_all_the_same():
    x = weight((1, 40))[0]
    found = eva(weight((24, 40)), 6, calibration=Calibration(mean=x, covariance=torch.outer(x, x)))
    assert_close(found.A[0].abs(), (x / x.norm()).abs(), 1e-10)
    assert_close(found.A @ found.A.mT, torch.eye(6).double(), 1e-12)


# CorDA -----------------------------------------------------------------------------------------


def damped(told: Calibration) -> torch.Tensor:
    C = told.second_moment()
    C = C / C.diagonal().mean()
    return C + 0.01 * torch.eye(len(C), dtype=C.dtype)


PLACES = {"corda": slice(None), "corda_kpm": slice(None, None, -1)}
BOTH_MODES = pytest.mark.parametrize(("name", "places"), PLACES.items(), ids=PLACES)
"""Of the singular triplets, the first ones or the last ones."""


@every_shape
@every_dtype
@BOTH_MODES
@pytest.mark.parametrize("s", [1.0, 0.25, 3.0])
def test_corda_is_the_paper_s_svd_times_the_inverse(shape, dtype, s, name, places):
    W, C = weight(shape, dtype), damped(calibration(shape))
    U, S, Vh = (torch.tensor(x) for x in scipy.linalg.svd((W.double() @ C).numpy(), False))
    order = list(range(len(S)))[places]
    for r in ranks(name, shape):
        at = order[:r]
        found = start(name, W, r, s)
        A = (S[at, None] / s).sqrt() * Vh[at] @ torch.linalg.inv(C)
        B = U[:, at] * (S[at] / s).sqrt()
        tolerance = 100 * EPS[dtype]
        assert_close(found.A.double().abs(), A.abs(), tolerance)
        assert_close(found.B.double().abs(), B.abs(), tolerance)
        assert_close((found.B @ found.A).double() * s, (U[:, at] * S[at]) @ Vh[at] @ C.inverse(), tolerance)


@every_shape
@BOTH_MODES
def test_corda_is_a_projection_of_w_and_leaves_the_least_of_w_times_c_or_the_most(shape, name, places):
    W, C, r = weight(shape), damped(calibration(shape)), 6
    found = start(name, W, r, s=2.0)
    product = 2 * found.B @ found.A
    Q = torch.linalg.qr(found.B).Q
    assert_close(product, Q @ Q.mT @ W, 1e-10)
    S = scipy.linalg.svdvals((W @ C).numpy())[places]
    assert_close(torch.linalg.norm((W - product) @ C) ** 2, (S[r:] ** 2).sum(), 1e-8)


@pytest.mark.parametrize(("name", "same"), [("corda", "pissa"), ("corda_kpm", "milora")])
def test_corda_with_inputs_alike_in_all_directions_is_pissa_and_its_other_mode_milora(name, same):
    even = Calibration(mean=torch.zeros(40), covariance=5 * torch.eye(40))
    found, other = INITIALIZERS[name].start(weight((24, 40)), 6, calibration=even), start(same, weight((24, 40)), 6)
    assert_close(found.B @ found.A, other.B @ other.A, 1e-10)


def test_corda_does_not_depend_on_the_unit_of_the_inputs():
    told, W = calibration((24, 40)), weight((24, 40))
    scaled = Calibration(mean=100 * told.mean, covariance=10_000 * told.covariance)
    one, two = corda(W, 6, calibration=told), corda(W, 6, calibration=scaled)
    assert_close(one.A, two.A, 1e-10)
    assert_close(one.B, two.B, 1e-10)


@pytest.mark.parametrize("name", ["corda", "corda_kpm"])
def test_corda_of_a_weight_of_little_rank_or_of_zeros_is_finite(name):
    few = weight((24, 3)) @ weight((3, 40), seed=2)
    for W in (torch.zeros(24, 40), few, few.float()):
        found = start(name, W, 6)
        assert_close((found.B @ found.A).double(), W.double() * (name == "corda"), 1e-5)
        assert found.A.isfinite().all()
        assert found.A.abs().max() < 10


# LoRA-Null -------------------------------------------------------------------------------------


@every_shape
@every_dtype
@pytest.mark.parametrize("s", [1.0, 0.25, 3.0])
def test_lora_null_is_the_weight_where_its_inputs_vary_least(shape, dtype, s):
    W, told = weight(shape, dtype), calibration(shape)
    _, vectors = scipy.linalg.eigh(told.second_moment().numpy())
    for r in ranks("lora_null", shape):
        found = start("lora_null", W, r, s)
        N = torch.tensor(vectors[:, :r])
        T = W.double() @ N @ N.mT
        tolerance = 100 * EPS[dtype]
        assert_close(s * (found.B @ found.A).double(), T, tolerance)
        balanced = torch.diag(torch.tensor(scipy.linalg.svdvals(T.numpy())[:r])) / s
        assert_close((found.A @ found.A.mT).double(), balanced, tolerance)
        assert_close((found.B.mT @ found.B).double(), balanced, tolerance)


def test_lora_null_is_not_met_by_inputs_that_leave_directions_out():
    X = weight((90, 30)) @ weight((30, 40), seed=2)  # in 30 of 40 dimensions
    told = Calibration(mean=X.mean(0), covariance=X.mT.cov(correction=0))
    found = lora_null(weight((24, 40)), 6, calibration=told)
    assert (found.A @ X.mT).abs().max() < 1e-6 * X.abs().max()
    assert found.A.norm() > 0.1


# MiCA ------------------------------------------------------------------------------------------


@every_shape
@every_dtype
def test_mica_s_b_is_the_last_r_left_singular_vectors_and_a_is_zero(shape, dtype):
    W = weight(shape, dtype)
    U, _, _ = svd(W)
    for r in ranks("mica", shape):
        found = start("mica", W, r, s=3.0)
        assert_close(found.B.double().abs(), U[:, -r:].flip(1).abs(), 100 * EPS[dtype])
        assert not found.A.any()
