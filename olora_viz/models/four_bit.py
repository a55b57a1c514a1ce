"""Matrices that bitsandbytes keeps in four bits: numbers of 16 values, which blocks of weights scale.

References:
    Dettmers, Pagnoni, Holtzman and Zettlemoyer (2023), "QLoRA", arXiv:2305.14314.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

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

BLOCK = 64
"""Weights with one scale."""


def nf4(W: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
    """Round weights as NF4 does: to the nearest of 16 values, times the largest magnitude of each block of `BLOCK`.

    Blocks run along the rows. The scales are not quantized in turn, as is the default of bitsandbytes.
    """
    blocks = F.pad(W.float().flatten(), (0, -W.numel() % BLOCK)).view(-1, BLOCK)
    scales, values = blocks.abs().amax(1, keepdim=True), blocks.new_tensor(NF4)
    tiny = torch.finfo(blocks.dtype).tiny  # of a block of zeros
    codes = torch.bucketize(blocks / scales.clamp_min(tiny), (values[1:] + values[:-1]) / 2, out_int32=True)
    return (values[codes] * scales).flatten()[: W.numel()].view_as(W).to(W.dtype)


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
    codes = torch.arange(256)
    pairs = parts["quant_map"][torch.stack([codes >> 4, codes & 15], dim=1)]
    size, weights = state["blocksize"], torch.empty(2 * len(packed), dtype=dtype)
    step = BYTES_UNPACKED // size * size
    for at in range(0, len(packed), step):
        values = pairs[packed[at : at + step].int()].flatten()
        first = 2 * at // size
        scale = scales[first : first + -(-len(values) // size)].repeat_interleave(size)
        weights[2 * at : 2 * at + len(values)] = values * scale[: len(values)]
    return weights[: torch.Size(state["shape"]).numel()].view(state["shape"])
