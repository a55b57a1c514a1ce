"""DoRA: of W + ΔW the directions of its rows, whose norms are trained beside A and B (Liu et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.lanes.linear import Dropout, LaneLinear, Read, by_lane, is_short, stacked
from olora_viz.machine.products import product


class DoraLayer:
    """One layer of the lanes with DoRA: W' = m ⊙ (W + ΔW) / n, with the norms n of the rows of W + ΔW (out, in).

    The frozen W stays one, shared by all lanes. With C = s [B − B⁰, B⁰] and D = [A; A − A⁰], ΔW = C D, so that

        n² = ‖W‖² + 2 rowsum((W Dᵀ) ⊙ C) + rowsum((C (D Dᵀ)) ⊙ C)

    needs thin products alone. At step 0 of a start that is subtracted C D = 0 as computed, and n is ‖W‖ bit for bit.
    No gradient goes through n, as in the paper and in PEFT.

    Args:
        name: of the layer.
        W: (out, in).
        dtype: of the norms, that of theta.

    Raises:
        ValueError: a row of W is zero, which has no direction.
    """

    def __init__(self, name: str, W: Float[Tensor, "out in"], dtype: torch.dtype) -> None:
        self.name, self._dtype = name, dtype
        self._squares = torch.linalg.vector_norm(W.detach(), dim=1, dtype=dtype).square()
        if len(zero := (self._squares == 0).nonzero()):
            raise ValueError(f"row {int(zero[0])} of layer {name!r} is zero: DoRA cannot scale it")

    @torch.no_grad()
    def norms(
        self, W: Tensor, A: Tensor, B: Tensor, start: tuple[Tensor, Tensor] | None, s: Tensor
    ) -> Float[Tensor, "k out"]:
        """Return n of some lanes, whose A, B, start and s are as those of `LaneLinear`."""
        D, C = stacked(A, B, start, s, None, self._dtype)
        WD = torch.bmm(W.to(self._dtype).expand(len(D), -1, -1), D.mT)
        return (self._squares + 2 * (WD * C).sum(-1) + (C @ (D @ D.mT) * C).sum(-1)).sqrt()

    def scale(
        self, Y: Tensor, X: Tensor, read: Read, bias: Tensor | None,
        A: Tensor, B: Tensor, start: tuple[Tensor, Tensor] | None, s: Tensor,
        m: Float[Tensor, "K out"], its: Sequence[int], dropout: Dropout | None,
    ) -> Tensor:  # fmt: skip
        """Return Y_k + (m/n − 1) ⊙ (Y_k − bias) for the lanes k in `its`; the others are unchanged, bit for bit.

        That is Y_k, bit for bit, where m = n. With dropout, which Y has already, the second Y_k is that of the dropped
        inputs alone, as in PEFT: they are the base's there too.

        Args:
            Y, X: output and input of the layer, (K·n, …, features).
            read, bias, A, B, start, s: as of `LaneLinear`.
            m: that of other lanes is not read.
        """
        wet = [k for k in its if dropout and dropout.lanes[k].dropout]
        whole, W = by_lane(Y, A), read()
        for some in filter(None, ([k for k in its if k not in wet], wet)):
            rows = torch.tensor(some, device=X.device)
            of = partial(_rows, rows=None if len(some) == len(A) else rows)
            own = of(A), of(B), start and (of(start[0]), of(start[1])), of(s)
            if some is wet and dropout:
                noise = [dropout.noise(self.name, k, X.unflatten(0, (len(A), -1))[k]) for k in some]
                bare = LaneLinear.apply(of(by_lane(X, A)) + torch.stack(noise).flatten(1, -2), read, None, *own)
            else:
                bare = of(whole) if bias is None else of(whole).to(self._dtype) - bias
            factor = (of(m) / self.norms(W, *own))[:, None] - 1
            moved = (factor * bare.to(self._dtype)).to(Y.dtype)
            whole = whole + moved if len(some) == len(A) else whole.index_add(0, rows, moved)
            if is_short(X) and some is not wet:
                with torch.no_grad():  # rounded once, as in `LaneLinear`
                    inputs, (down, up) = of(by_lane(X, A)), stacked(*own, None, X.dtype)
                    whole[rows] = product(inputs, W, bias, torch.bmm(torch.bmm(inputs, down.mT), up.mT) + moved)
        return whole.view(Y.shape)


def _rows(M: Tensor, rows: Tensor | None) -> Tensor:
    """Return some lanes of M, or all without a copy."""
    return M if rows is None else M.index_select(0, rows)
