"""Starts from a gradient, from inputs, and with a frozen B; oracles are PEFT, SciPy and algebra."""

import dataclasses
import importlib.util
import sys
import types

import peft
import pytest
import scipy.linalg
import torch
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.loraga import preprocess_loraga
from peft.utils.incremental_pca import IncrementalPCA
from starts import EPS, assert_close, calibration, every_dtype, every_shape, ranks, start, weight
from tiny import tiny, tokens

from olora_viz.initializers import Calibration, corda, eva, lora_ga, lora_one
from olora_viz.lanes.adapters import attach
from olora_viz.lanes.calibration import gather
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import weight_of
from olora_viz.tasks import Encoded, collate
from olora_viz.tasks.losses import lane_losses

ROWS = [Encoded(tuple(row), 5) for row in tokens(3, 12).tolist()]
BATCHES = [collate(ROWS[:2], 0), collate(ROWS[2:], 0)]


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
    assert ((found.B @ found.A) * told.gradient).sum().item() == pytest.approx(
        -(S[:5] ** 2).sum() / (128 * S[0])
    )


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


# EVA -------------------------------------------------------------------------------------------


@every_shape
@pytest.mark.parametrize("r", [1, 6])
def test_eva_s_a_is_the_principal_components_of_peft(shape, r):
    """PEFT's own PCA, over three batches, with an exact SVD; the signs too."""
    X = weight((3 * shape[1], shape[1]), seed=5) + weight((1, shape[1]), seed=6)
    pca = IncrementalPCA(n_components=shape[1])
    for batch in X.clone().split(shape[1]):
        pca.partial_fit(batch)
    found = start("eva", weight(shape), r)
    assert_close(found.A, pca.components_[:r], 1e-8)
    assert not found.B.any()


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


@every_shape
@every_dtype
@pytest.mark.parametrize("s", [1.0, 0.25, 3.0])
def test_corda_is_the_paper_s_svd_times_the_inverse(shape, dtype, s):
    W, C = weight(shape, dtype), damped(calibration(shape))
    U, S, Vh = svd(W.double() @ C)
    for r in ranks("corda", shape):
        found = start("corda", W, r, s)
        A = (S[:r, None] / s).sqrt() * Vh[:r] @ torch.linalg.inv(C)
        B = U[:, :r] * (S[:r] / s).sqrt()
        tolerance = 100 * EPS[dtype]
        assert_close(found.A.double().abs(), A.abs(), tolerance)
        assert_close(found.B.double().abs(), B.abs(), tolerance)
        assert_close((found.B @ found.A).double() * s, (U[:, :r] * S[:r]) @ Vh[:r] @ C.inverse(),
                     tolerance)  # fmt: skip


@every_shape
def test_corda_is_a_projection_of_w_and_leaves_the_least_of_w_times_c(shape):
    W, C, r = weight(shape), damped(calibration(shape)), 6
    found = start("corda", W, r, s=2.0)
    product = 2 * found.B @ found.A
    Q = torch.linalg.qr(found.B).Q
    assert_close(product, Q @ Q.mT @ W, 1e-10)
    S = scipy.linalg.svdvals((W @ C).numpy())
    assert_close(torch.linalg.norm((W - product) @ C) ** 2, (S[r:] ** 2).sum(), 1e-8)


def test_corda_with_inputs_alike_in_all_directions_is_pissa():
    even = Calibration(mean=torch.zeros(40), covariance=5 * torch.eye(40))
    found, pissa = corda(weight((24, 40)), 6, calibration=even), start("pissa", weight((24, 40)), 6)
    assert_close(found.B @ found.A, pissa.B @ pissa.A, 1e-10)


def test_corda_does_not_depend_on_the_unit_of_the_inputs():
    told, W = calibration((24, 40)), weight((24, 40))
    scaled = Calibration(mean=100 * told.mean, covariance=10_000 * told.covariance)
    one, two = corda(W, 6, calibration=told), corda(W, 6, calibration=scaled)
    assert_close(one.A, two.A, 1e-10)
    assert_close(one.B, two.B, 1e-10)


def test_corda_of_a_weight_of_little_rank_or_of_zeros_is_finite():
    told = calibration((24, 40))
    few = weight((24, 3)) @ weight((3, 40), seed=2)
    for W in (torch.zeros(24, 40), few, few.float()):
        found = corda(W, 6, calibration=told)
        assert_close((found.B @ found.A).double(), W.double(), 1e-5)
        assert found.A.isfinite().all()
        assert found.A.abs().max() < 10


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


# PEFT's own starts, on a model -----------------------------------------------------------------

TARGETS = ("q_proj", "k_proj", "up_proj", "down_proj")


def preprocess_corda(*given) -> None:
    """PEFT's; it imports attrs, which PEFT does not depend on, and takes one decorator of it."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("attr") is None:
            stand_in = types.ModuleType("attr")
            stand_in.dataclass = dataclasses.dataclass
            patch.setitem(sys.modules, "attr", stand_in)
        importlib.import_module("peft.tuners.lora.corda").preprocess_corda(*given)


def with_peft(model, init, r, alpha, **more):
    config = peft.LoraConfig(
        r=r, lora_alpha=alpha, target_modules=list(TARGETS), init_lora_weights=init, **more
    )
    if init == "lora_ga":

        def backward():
            for batch in BATCHES:
                lane_losses(model, batch, 1).sum().backward()

        preprocess_loraga(model, config, backward)
    if init == "corda":
        preprocess_corda(model, config, lambda: model(input_ids=BATCHES[1].input_ids))
    return peft.get_peft_model(model, config).base_model.model


def their_factors(model, name):
    layer = model.get_submodule(name)
    A, B = (getattr(layer, f"lora_{x}")["default"].weight.detach() for x in "AB")
    return A, B, weight_of(layer.base_layer)


def our_lanes(init, r, alpha, batches):
    """One lane; where q, k, up and down are all the layers that there are."""
    model = tiny("llama")
    needs = frozenset({"gradient", "inputs"})
    told = gather(model, batches, needs, TARGETS)
    return attach(model, [Lane(init, r=r, alpha=alpha)], TARGETS, calibration=told)


def test_lora_ga_is_peft_s_own_from_the_same_batches():
    """At r = 6 PEFT's randomized SVD is exact on these layers, of 16 to 40 features."""
    r, alpha = 6, 9
    lanes = our_lanes("lora_ga", r, alpha, BATCHES)
    theirs = with_peft(
        tiny("llama"), "lora_ga", r, alpha, lora_ga_config=peft.LoraGAConfig(direction="ArB2r")
    )
    for name in lanes.layers:
        ours = lanes.start_factors(name, 0)
        A, B, base = their_factors(theirs, name)
        assert B.norm() > 1e-3
        scale = B.abs().max().item()
        assert_close(ours.A.abs(), A.abs(), 2e-3)
        assert_close(ours.B.abs() / scale, B.abs() / scale, 2e-3)
        # Of vectors of different triplets, the signs are free: PEFT's as they fall.
        signs = (ours.A * A).sum(1).sign() * (ours.B * B).sum(0).sign()
        W = weight_of(lanes.model.get_submodule(name))
        assert_close(W - 1.5 * ours.B * signs @ ours.A, base, 1e-4)


def test_corda_is_peft_s_own_from_the_same_tokens_but_for_the_unit_of_the_inputs():
    """PEFT divides a batch by its largest entry and sums over tokens: a number for each layer."""
    r, alpha = 6, 9
    lanes = our_lanes("corda", r, alpha, BATCHES[1:])
    theirs = with_peft(tiny("llama"), "corda", r, alpha, corda_config=CordaConfig())
    for name in lanes.layers:
        ours = lanes.start_factors(name, 0)
        A, B, base = their_factors(theirs, name)
        W = weight_of(lanes.model.get_submodule(name))
        assert_close(ours.B @ ours.A, B @ A, 1e-3)
        assert_close(W - 1.5 * ours.B @ ours.A, base, 1e-3)
        unit = (ours.B.norm() / B.norm()).item()
        assert_close(ours.B.abs(), unit * B.abs(), 2e-3)
        assert_close(ours.A.abs(), A.abs() / unit, 5e-3)


def test_mica_is_peft_s_own_with_its_columns_turned_round():
    lanes = our_lanes("mica", 6, 9, BATCHES)
    theirs = with_peft(tiny("llama"), "mica", 6, 9)
    for name in lanes.layers:
        ours = lanes.start_factors(name, 0)
        A, B, _ = their_factors(theirs, name)
        assert_close(ours.B.flip(1).abs(), B.abs(), 2e-4)
        assert torch.equal(ours.A, A)


def test_eva_spans_what_peft_s_own_does_from_the_same_tokens():
    """PEFT's PCA is randomized and stops early, hence angles, and a little less of the variance."""
    r = 4
    lanes = our_lanes("eva", r, 4, BATCHES[:1])
    told = gather(tiny("llama"), BATCHES[:1], frozenset({"inputs"}), TARGETS)
    config = peft.LoraConfig(
        r=r, lora_alpha=4, target_modules=list(TARGETS), init_lora_weights="eva",
        eva_config=peft.EvaConfig(rho=1.0, tau=0.999),
    )  # fmt: skip
    model = peft.get_peft_model(tiny("llama"), config)
    data = [{"input_ids": BATCHES[0].input_ids}]
    peft.initialize_lora_eva_weights(model, data, show_progress_bar=False)
    for name in lanes.layers:
        A, B, _ = their_factors(model.base_model.model, name)
        assert not B.any()
        ours = lanes.start_factors(name, 0).A
        assert scipy.linalg.subspace_angles(ours.T.numpy(), A.T.numpy()).max() < 0.15
        kept, theirs = (torch.trace(F @ told[name].covariance @ F.T) for F in (ours, A))
        assert 0.999 * kept < theirs < 1.00001 * kept
