"""Laws of the initializations, held for every one of them."""

from pathlib import Path

import pytest
import torch
from support.starts import assert_close, every, start, weight

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


@every
def test_it_keeps_the_laws_of_every_start(name):
    report = olora_viz.check_initializer(name)
    assert report.ok, report


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
