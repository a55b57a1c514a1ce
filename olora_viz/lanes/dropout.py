"""Dropout of the adapters' inputs, with masks that depend on the lane alone."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from olora_viz.lanes.lane import Lane


@dataclass(frozen=True)
class Dropout:
    """The dropout of one training step, of the lanes that are active in it; see `Lanes.some`.

    A lane's masks depend on its seed, the step and the layer, and on the shape of its own batch,
    never on the other lanes or the padding that they need, nor on the parts in which a batch is
    computed.

    Parameters
    ----------
    lanes : the active ones, in order.
    step : its number, and the index of the part of its batch.
    shapes : rows and tokens of each lane's batch without the padding that other lanes need;
        None if there is no such padding.
    wholes : for each lane the rows of its batch before this part, and the rows and tokens of the
        batch; None if it has one part.
    """

    lanes: tuple[Lane, ...]
    step: tuple[int, int]
    shapes: Sequence[tuple[int, int]] | None = None
    wholes: Sequence[tuple[int, int, int]] | None = None

    def add(
        self,
        layer: str,
        Y: Tensor,
        X: Tensor,
        A: Tensor,
        B: Tensor,
        s: Tensor,
        ranks: Sequence[int],
    ) -> Tensor:
        """Return Y_k + s_k B_k A_k (dropout(X_k) − X_k) for the lanes k that have dropout.

        Y already contains s B A X, so this equals PEFT: an adapter that reads dropout(X), on a base
        that reads X. Other lanes are unchanged, bit for bit.

        Parameters
        ----------
        Y, X : output and input of a layer, (K·n, …, features).
        A, B, s : (K, r, in), (K, out, r) and (K, 1, 1).
        ranks : (K) of the lanes in this layer, 0 for a lane that leaves it out.
        """
        found = [k for k, lane in enumerate(self.lanes) if lane.dropout and ranks[k]]
        if not found:
            return Y
        K = len(self.lanes)
        its = torch.tensor(found, device=X.device)
        noise = torch.stack([self._noise(layer, k, X.unflatten(0, (K, -1))[k]) for k in found])
        down, up = A[its].to(X.dtype), (s[its] * B[its]).to(X.dtype)
        moved = noise.flatten(1, -2) @ down.mT @ up.mT
        Y_lanes = Y.reshape(K, -1, Y.shape[-1])
        return Y_lanes.index_add(0, its, moved).view(Y.shape)

    def _noise(self, layer: str, k: int, X: Tensor) -> Tensor:
        """Return dropout(X) − X of lane k, (rows, …, in)."""
        lane = self.lanes[k]
        shape = self.shapes[k] if self.shapes else X.shape[:2]
        own = (*shape, X.shape[-1]) if X.dim() == 3 else X.shape
        number, part = self.step
        before, whole = 0, own
        if self.wholes and X.dim() == 3:  # the part's rows of the mask that one pass would draw
            before, whole = self.wholes[k][0], (*self.wholes[k][1:], X.shape[-1])
            part = 0
        generator = torch.Generator(X.device)
        generator.manual_seed(zlib.crc32(f"{lane.seed} {number}.{part} {layer}".encode()))
        drawn = torch.rand(whole, generator=generator, device=X.device)
        kept = drawn[before:][tuple(map(slice, own))] >= lane.dropout
        factor = X.new_zeros(X.shape)
        factor[tuple(map(slice, own))] = kept.to(X.dtype) / (1.0 - lane.dropout) - 1.0
        return X * factor
