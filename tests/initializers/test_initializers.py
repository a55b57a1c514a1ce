"""Laws of the initializations, held for every one of them."""

from pathlib import Path

import pytest
import torch
from support.starts import assert_close, calibration, every, every_case, every_dtype, start, weight

import olora_viz.initializers
from olora_viz.initializers import INITIALIZERS, check_rank

# The table -------------------------------------------------------------------------------------


def test_the_folder_listing_is_the_catalogue():
    folder = Path(olora_viz.initializers.__path__[0])
    shared = {"__init__", "catalogue", "start"}
    files = {path.stem for path in folder.glob("*.py")} - shared
    assert files == set(INITIALIZERS)


@every
def test_an_entry_names_its_own_function_and_says_where_it_comes_from(name):
    entry = INITIALIZERS[name]
    assert entry.name == name
    assert entry.start is getattr(olora_viz, name)
    assert "References" in entry.start.__doc__
    assert entry.summary.endswith(".")
    assert entry.label
    assert entry.source


def test_labels_are_distinct():
    assert len({entry.label for entry in INITIALIZERS.values()}) == len(INITIALIZERS)


# Laws of every initialization ------------------------------------------------------------------


@every_case
@every_dtype
def test_the_factors_are_finite_contiguous_and_in_float32_or_better(name, shape, r, dtype):
    W = weight(shape, dtype).requires_grad_()
    before = W.detach().clone()
    for s in (0.25, 3.0):
        found = start(name, W, r, s)
        assert found.A.shape == (r, shape[1])
        assert found.B.shape == (shape[0], r)
        for factor in (found.A, found.B):
            assert factor.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
            assert factor.isfinite().all()
            assert factor.is_contiguous()
            assert not factor.requires_grad
    assert torch.equal(W.detach(), before), "the weight was modified"


@every_case
def test_a_start_repeats_bitwise_from_its_seed(name, shape, r):
    W = weight(shape, torch.float32)
    one, two = start(name, W, r, seed=3), start(name, W.clone(), r, seed=3)
    assert torch.equal(one.A, two.A)
    assert torch.equal(one.B, two.B)


@every
def test_no_generator_stands_for_seed_zero_whatever_the_global_seed(name):
    W = weight((24, 40))
    torch.manual_seed(123)
    state = torch.get_rng_state()
    default = INITIALIZERS[name].start(W, 4, calibration=calibration(W.shape))
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    assert torch.equal(default.A, start(name, W, 4, seed=0).A)


@every
def test_the_seed_matters_exactly_where_the_table_says_random(name):
    # Large enough that pissa_fast has to sketch.
    W = weight((160, 170))
    one, two = start(name, W, 2, seed=1), start(name, W, 2, seed=2)
    assert INITIALIZERS[name].random == (not torch.equal(one.A, two.A))


@every_case
def test_the_product_is_zero_exactly_where_the_table_says_so(name, shape, r):
    found = start(name, weight(shape), r)
    largest = (found.B @ found.A).abs().max()
    assert INITIALIZERS[name].zero_product == bool(largest < 1e-12)


@every_case
def test_half_precision_weights_are_raised_before_anything_is_computed(name, shape, r):
    W = weight(shape, torch.bfloat16)
    half, single = start(name, W, r), start(name, W.float(), r)
    assert torch.equal(half.A, single.A)
    assert torch.equal(half.B, single.B)


@every_case
def test_float32_differs_from_float64_by_rounding_alone(name, shape, r):
    W = weight(shape, torch.float32)
    single, double = start(name, W, r), start(name, W.double(), r)
    # Bases of near-equal singular values rotate freely; the product is what is determined.
    assert_close((single.B @ single.A).double(), double.B @ double.A, 1e-4)


@every
def test_a_transposed_view_of_a_weight_is_as_good_as_a_copy(name):
    # GPT-2's Conv1D stores (in, out).
    W = weight((24, 40))
    view = W.mT.contiguous().mT
    assert_close(start(name, view, 4).A, start(name, W, 4).A, 1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@every
def test_a_start_on_cuda_equals_the_one_on_the_cpu_and_stays_there(name):
    W = weight((160, 170))
    on_gpu, on_cpu = start(name, W.cuda(), 4, s=2.0), start(name, W, 4, s=2.0)
    assert on_gpu.A.is_cuda
    assert on_gpu.B.is_cuda
    assert_close(on_gpu.A.cpu(), on_cpu.A, 1e-9)
    assert_close(on_gpu.B.cpu(), on_cpu.B, 1e-9)


# Errors ----------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("shape", [(16, 40), (40, 16)])
def test_a_rank_above_the_smaller_side_is_an_error(name, shape):
    with pytest.raises(ValueError, match=r"rank 18 exceeds min\(out, in\) = 16 of 'W'"):
        start(name, weight(shape), 18)


@every
@pytest.mark.parametrize("r", [0, -2])
def test_a_rank_below_one_is_an_error(name, r):
    with pytest.raises(ValueError, match=f"rank {r} for 'W' is below 1"):
        start(name, weight((8, 8)), r)


def test_the_error_names_the_layer():
    with pytest.raises(ValueError, match=r"rank 20 exceeds min\(out, in\) = 16 of 'h\.0\.c_attn'"):
        check_rank(torch.zeros(16, 64), 20, "h.0.c_attn")


def test_only_matrices_of_floating_point_numbers_have_a_start():
    with pytest.raises(ValueError, match=r"'W' must be a matrix .*\(2, 3, 4\)"):
        check_rank(torch.zeros(2, 3, 4), 1)
    with pytest.raises(ValueError, match="expected a weight W, a tensor"):
        INITIALIZERS["olora"].start([[1.0, 2.0]], 1)
    with pytest.raises(ValueError, match=r"dtype torch.int8 of 'W'"):
        check_rank(torch.zeros(3, 4, dtype=torch.int8), 1)


def test_orthogonal_refuses_an_odd_rank():
    with pytest.raises(ValueError, match="rank 5 is odd"):
        start("orthogonal", weight((8, 8)), 5)


@pytest.mark.parametrize("name", ["pissa", "pissa_fast", "milora", "corda", "corda_kpm", "lora_null"])
@pytest.mark.parametrize("s", [0.0, -1.0, float("inf"), float("nan")])
def test_singular_values_cannot_be_shared_out_over_a_scale_that_is_not_positive(name, s):
    with pytest.raises(ValueError, match=f"scale s = {s} is not a positive"):
        start(name, weight((8, 8)), 2, s=s)


def test_pissa_refuses_a_negative_number_of_iterations():
    with pytest.raises(ValueError, match="niter = -1"):
        olora_viz.pissa(weight((8, 8)), 2, niter=-1)
