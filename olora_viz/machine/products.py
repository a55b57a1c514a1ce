"""Which library multiplies with a frozen matrix: decided here, for lanes and for the base model alike."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor


def product(X: Tensor, W: Tensor, bias: Tensor | None = None, added: Tensor | None = None) -> Tensor:
    """Return X Wᵀ + bias + `added` (…, out), in the graph if one is recorded.

    The library depends on the matrix and not on the number of rows, so that two rows or more have the bits that they
    have among others. It adds before it rounds, and zeros change no bit.

    Args:
        X: (…, in).
        W: (out, in).
        bias: (out,).
        added: (…, out); it may be overwritten.
    """
    twice = bias is not None and added is not None
    if X.device.type == "cpu" and X.numel() and not torch.is_grad_enabled() and _is_for_onednn(X.dtype, twice):
        return _by_onednn(X, W, bias, added)
    if added is None:
        return F.linear(X, W, bias)
    if bias is None:
        return added.flatten(0, -2).addmm_(X.flatten(0, -2), W.mT).view(added.shape)
    return F.linear(X, W, bias).add_(added)  # rounded twice: a product takes either bias or `added`


def _by_onednn(X: Tensor, W: Tensor, bias: Tensor | None, added: Tensor | None) -> Tensor:
    multiply, X = torch.ops.mkldnn._linear_pointwise, X.contiguous()
    W = W if W.is_contiguous() or W.mT.is_contiguous() else W.contiguous()  # there is fast code for these two
    return multiply(X, W, bias, "none", [], "") if added is None else multiply.binary(X, added, W, bias, "add")


@cache
def _is_for_onednn(dtype: torch.dtype, twice: bool) -> bool:
    """Whether oneDNN multiplies faster than what `F.linear` calls, or rounds once where that rounds `twice`.

    In float32 `F.linear` calls MKL, which leaves AVX-512 unused, and half of the speed, on processors that are not
    Intel's. The product is not part of torch's public names, so this version may lack it.
    """
    about, ones = Path("/proc/cpuinfo"), torch.ones(2, 2, dtype=dtype)
    is_slow = (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkl.is_available()
        and about.exists()
        and "GenuineIntel" not in about.read_text()
    )
    try:
        wanted = twice if dtype.itemsize == 2 else is_slow
        return wanted and torch.equal(_by_onednn(ones, ones, ones[0], ones), ones @ ones + 2)
    except (AttributeError, RuntimeError, TypeError):
        return False
