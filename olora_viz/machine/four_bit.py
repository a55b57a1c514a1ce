"""Matrices that bitsandbytes keeps in four bits: numbers of 16 values, which blocks of weights scale.

References:
    Dettmers, Pagnoni, Holtzman and Zettlemoyer (2023), "QLoRA", arXiv:2305.14314.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STATE = ".quant_state.bitsandbytes__"
"""In the name of the tensor that says, as JSON, how a weight is stored; before it stands the weight's name."""

TENSORS_BESIDE = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
"""The other tensors of a weight, by the ends of their names; the nested ones are there if the scales are quantized."""

BYTES_UNPACKED = 2**19
"""The bytes that are unpacked at once, two weights each, so few that they stay in a cache."""


NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""The 16 values of four-bit NormalFloat."""

BLOCK, SCALES = 64, 256
"""Weights with one scale, and scales with one coarse scale where they are quantized in turn."""

SIZES = {"blocksize": BLOCK, "nested_blocksize": SCALES}


def nf4(W: Float[Tensor, "out in"], double: bool = False) -> Float[Tensor, "out in"]:
    """Round weights as NF4 does: to the nearest of 16 values, times the largest magnitude of each block of `BLOCK`.

    Blocks run along the rows.

    Args:
        double: whether the scales are quantized to 8 bits in turn, see `packed`.
    """
    if double:
        return dequantized(*packed(W), W.dtype)
    codes, scales = _nearest(W.float(), BLOCK, NF4)
    values = torch.tensor(NF4, device=W.device)
    return (values[codes] * scales).flatten()[: W.numel()].view_as(W).to(W.dtype)


def packed(W: Float[Tensor, "out in"]) -> tuple[Tensor, dict[str, Tensor], dict[str, Any]]:
    """Round weights to NF4, and the scales to 8 bits in turn, less their mean, as QLoRA does.

    That is not the default of bitsandbytes. There the nearest of 256 values is looked up, so that one in some hundred
    scales may get the second nearest.

    Returns:
        What `dequantized` takes.
    """
    codes, scales = _nearest(W.float(), BLOCK, NF4)
    mean = scales.mean()
    coded, coarse = _nearest(scales - mean, SCALES, dynamic_map().tolist())
    pairs = F.pad(codes.flatten()[: W.numel()], (0, W.numel() % 2)).view(-1, 2).byte()
    parts = {"absmax": coded.flatten()[: len(scales)].byte(), "nested_absmax": coarse.flatten()}
    state = {**SIZES, "shape": W.shape, "nested_offset": mean}
    return pairs[:, 0] << 4 | pairs[:, 1], parts | maps(W.device), state


@cache
def maps(device: torch.device) -> dict[str, Tensor]:
    """Return the values of four bits and of the scales' eight, of `packed`."""
    return {"quant_map": torch.tensor(NF4, device=device), "nested_quant_map": dynamic_map().to(device)}


def dynamic_map() -> Float[Tensor, " 256"]:
    """Return the 256 values of bitsandbytes' 8-bit scales: 2^i in the i-th of seven decades of each sign, and 0 and 1.

    References:
        Dettmers (2015), "8-Bit Approximations for Parallelism in Deep Learning", arXiv:1511.04561.
    """
    ends = [torch.linspace(0.1, 1, 2**i + 1) for i in range(7)]
    decades = [10 ** (i - 6) * ((each[:-1] + each[1:]) / 2) for i, each in enumerate(ends)]
    return torch.cat([*decades, *(-each for each in decades), torch.tensor([0.0, 1.0])]).sort().values


def _nearest(X: Tensor, size: int, of: Sequence[float]) -> tuple[Tensor, Float[Tensor, "blocks 1"]]:
    """Return which ascending value is nearest to each number over the largest one of its block, and that largest."""
    blocks = F.pad(X.flatten(), (0, -X.numel() % size)).view(-1, size)
    scales, values = blocks.abs().amax(1, keepdim=True), blocks.new_tensor(of)
    tiny = torch.finfo(blocks.dtype).tiny  # of a block of zeros
    return torch.bucketize(blocks / scales.clamp_min(tiny), (values[1:] + values[:-1]) / 2, out_int32=True), scales


def is_four_bit(quantization: object) -> bool:
    """Whether a config's ``quantization_config`` is that of bitsandbytes in four bits."""
    if not isinstance(quantization, dict):
        return False
    return quantization.get("quant_method") == "bitsandbytes" and quantization.get("load_in_4bit") is True


def dequantized(packed: Tensor, parts: Mapping[str, Tensor], state: Mapping[str, Any], dtype: torch.dtype) -> Tensor:
    """Return the weights, bitwise as ``bitsandbytes.functional.dequantize_4bit`` does.

    Args:
        packed: (bytes) two weights in each, the first one in the upper bits.
        parts: those of `TENSORS_BESIDE`: the 16 values of a weight, and the scale of each block.
        state: its ``shape`` and ``blocksize``, and those of nested scales.
        dtype: of the result.
    """
    scales = parts["absmax"].flatten()
    if "nested_absmax" in parts:
        coarse = parts["nested_absmax"].repeat_interleave(state["nested_blocksize"])[: len(scales)]
        scales = parts["nested_quant_map"][scales.int()] * coarse + state["nested_offset"]
    codes = torch.arange(256, device=packed.device)
    pairs = parts["quant_map"][torch.stack([codes >> 4, codes & 15], dim=1)]
    size, weights = state["blocksize"], torch.empty(2 * len(packed), dtype=dtype, device=packed.device)
    step = BYTES_UNPACKED // size * size
    for at in range(0, len(packed), step):
        values = pairs[packed[at : at + step].int()].flatten()
        first = 2 * at // size
        scale = scales[first : first + -(-len(values) // size)].repeat_interleave(size)
        weights[2 * at : 2 * at + len(values)] = values * scale[: len(values)]
    return weights[: torch.Size(state["shape"]).numel()].view(state["shape"])


class FourBitLayer(nn.Module):
    """A linear layer whose frozen weight is kept in four bits, and computed anew each time it is read.

    Attributes:
        shape, dtype: of the weight, (out, in).
        transposed: whether `weight` is (in, out).
    """

    shape: torch.Size
    dtype: torch.dtype
    transposed: bool
    packed: Tensor
    _buffers: Any

    @property
    def weight(self) -> Tensor:
        """The weight in the layer's own orientation."""
        parts = self._buffers | maps(self.packed.device)
        state = {**SIZES, "shape": self.shape, "nested_offset": parts.pop("nested_offset")}
        W = dequantized(parts.pop("packed"), parts, state, self.dtype)
        return W.T if self.transposed else W


@cache
def _four_bit_class(kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (FourBitLayer, kind), {})


def pack(layer: Any, transposed: bool) -> None:
    """Let a linear layer keep its weight in four bits, see `packed`.

    Args:
        transposed: whether it stores the weight as (in, out).
    """
    W = layer._parameters.pop("weight").detach()
    codes, parts, state = packed(W.T.contiguous() if transposed else W)
    layer.__class__ = _four_bit_class(type(layer))
    layer.shape, layer.dtype, layer.transposed = state["shape"], W.dtype, transposed
    own = {name: tensor for name, tensor in parts.items() if not name.endswith("quant_map")}
    for name, tensor in {"packed": codes, "nested_offset": state["nested_offset"], **own}.items():
        layer.register_buffer(name, tensor, persistent=False)


def unpack(layer: Any) -> None:
    """Give a layer its weight as numbers again: those that it computed with."""
    W = layer.weight
    layer.__class__ = type(layer).__mro__[2]
    for name in tuple(layer._buffers):
        del layer._buffers[name]
    del layer.shape, layer.dtype, layer.transposed
    layer.weight = nn.Parameter(W.contiguous(), requires_grad=False)
