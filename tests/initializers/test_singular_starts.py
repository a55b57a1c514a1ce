"""The starts from singular vectors: PiSSA and MiLoRA, exact and fast."""

import pytest
import scipy.linalg
import scipy.stats
import torch
from support.starts import EPS, SHAPES, assert_close, every_dtype, every_shape, ranks, start, weight

import olora_viz


@every_shape
@every_dtype
@pytest.mark.parametrize("s", [1.0, 0.25, 3.0])
def test_pissa_is_the_truncated_svd_shared_evenly(shape, dtype, s):
    W = weight(shape, dtype)
    U, S, Vh = (torch.tensor(part) for part in scipy.linalg.svd(W.double().numpy(), False))
    for r in ranks("pissa", shape):
        found = start("pissa", W, r, s)
        A, B = found.A.double(), found.B.double()
        assert_close(s * B @ A, U[:, :r] * S[:r] @ Vh[:r], 10 * EPS[dtype])
        assert_close(A @ A.mT, torch.diag(S[:r] / s), 10 * EPS[dtype])
        assert_close(B.mT @ B, torch.diag(S[:r] / s), 10 * EPS[dtype])


@every_shape
@every_dtype
@pytest.mark.parametrize("s", [1.0, 0.25, 3.0])
def test_milora_is_what_the_best_approximation_leaves(shape, dtype, s):
    W = weight(shape, dtype)
    U, S, Vh = (torch.tensor(part) for part in scipy.linalg.svd(W.double().numpy(), False))
    for r in ranks("milora", shape):
        found = start("milora", W, r, s)
        A, B = found.A.double(), found.B.double()
        assert_close(s * B @ A, U[:, -r:] * S[-r:] @ Vh[-r:], 10 * EPS[dtype])
        assert_close(B.mT @ B, torch.diag(S[-r:].flip(0) / s), 10 * EPS[dtype])


def test_pissa_and_milora_together_make_up_the_weight():
    W = weight((24, 40))
    head, tail = start("pissa", W, 10), start("milora", W, 14)
    assert_close(head.B @ head.A + tail.B @ tail.A, W, 1e-12)


@pytest.mark.parametrize("name", ["pissa", "pissa_fast", "milora"])
def test_the_largest_entry_of_each_singular_vector_is_positive(name):
    for shape in [*SHAPES.values(), (160, 170)]:
        B = start(name, weight(shape), 6).B
        assert (B.gather(0, B.abs().argmax(0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("name", ["pissa", "pissa_fast", "milora"])
def test_singular_starts_of_a_zero_weight_are_finite_and_zero(name):
    found = start(name, torch.zeros(160, 170), 4)
    assert torch.equal(found.A, torch.zeros(4, 170))
    assert torch.equal(found.B, torch.zeros(160, 4))


@pytest.mark.parametrize("shape", [(300, 260), (260, 300)])
@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_fast_pissa_reaches_the_energy_of_the_exact_one(shape, decay):
    k = min(shape)
    U, V = (torch.linalg.qr(weight((side, k), seed=side)).Q for side in shape)
    W = U * torch.arange(1, k + 1, dtype=torch.float64) ** -decay @ V.mT
    best, found = start("pissa", W, 8), start("pissa_fast", W, 8)
    assert (found.B @ found.A).norm() > 0.999 * (best.B @ best.A).norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fast_pissa_is_exact_where_the_weight_has_no_more_rank_than_asked_for(dtype):
    W = weight((160, 3), dtype) @ weight((3, 170), dtype, seed=2)
    found = start("pissa_fast", W, 6, s=2.0)
    assert_close(2 * found.B @ found.A, W, EPS[dtype])


@every_shape
def test_fast_pissa_is_the_exact_one_on_small_layers(shape):
    W = weight(shape)
    assert torch.equal(start("pissa_fast", W, 6).A, start("pissa", W, 6).A)


def test_more_iterations_of_fast_pissa_come_closer():
    W = weight((300, 260))
    best = start("pissa", W, 8)
    errors = [(olora_viz.pissa(W, 8, niter=niter).A.norm() - best.A.norm()).abs() for niter in (0, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3 * best.A.norm()
