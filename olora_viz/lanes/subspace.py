"""The random directions that a lane with `Lane.dim` trains along, in place of every entry of its A and B."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.lanes.plan import AdapterPlan


@dataclass(frozen=True, eq=False)
class Subspace:
    """The points θ⁰ + P v of d numbers v, for a lane's n trained entries θ (Li et al. 2018, arXiv 1804.08838).

    P (n, d) is the projection of Uni-LoRA (arXiv 2506.00799), with random signs: the entries are divided into d groups
    at random, whose sizes differ by 1 at most, and entry j of group i is θ⁰_j ± v_i / √(size of the group). So PᵀP is
    the identity, for every d up to n. Padding and frozen entries of theta are in no group.

    P is never made. Both of its products sum in one order, so they repeat bitwise on any device.
    """

    start: Float[Tensor, " n"]
    """θ⁰, in the order of `columns`."""
    columns: Tensor
    """(n,) the entries' columns of theta; the j-th one here is in group j mod d."""
    signs: Float[Tensor, " n"]
    """Each 1 or -1."""
    weights: Float[Tensor, " d"]
    """1 / √(size of the group)."""

    @classmethod
    def of(cls, row: Tensor, trained: Tensor, dim: int, seed: int) -> Subspace:
        """Draw the groups and the signs of a lane.

        Args:
            row: (P,), the lane's row of theta at step 0.
            trained: (P,), mask of the entries that are trained; there are `dim` of them or more.
            seed: the lane's. The entries are drawn in the same order for every `dim`.
        """
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} dim".encode()))
        columns = trained.nonzero().flatten()
        n = len(columns)
        columns = columns[torch.randperm(n, generator=generator).to(columns.device)]
        signs = torch.randint(2, (n,), generator=generator).to(row) * 2 - 1
        sizes = n // dim + (torch.arange(dim) < n % dim)
        return cls(row[columns], columns, signs, sizes.to(row).rsqrt())

    def project(self, gradient: Float[Tensor, " P"]) -> Float[Tensor, " d"]:
        """Return Pᵀ g, the gradient with respect to v, of that of a row of theta."""
        signed = gradient[self.columns] * self.signs
        rows = torch.nn.functional.pad(signed, (0, -len(signed) % len(self.weights))).view(-1, len(self.weights))
        return rows.sum(0) * self.weights

    def put(self, v: Float[Tensor, " d"], row: Float[Tensor, " P"]) -> None:
        """Write θ⁰ + P v into a row of theta."""
        dealt = (v * self.weights).repeat(-(-len(self.start) // len(v)))
        row[self.columns] = self.start + self.signs * dealt[: len(self.start)]


def subspaces(plan: AdapterPlan, theta: Float[Tensor, "K P"], frozen: Tensor | None) -> dict[int, Subspace]:
    """Return that of each lane with `Lane.dim`, from theta at step 0 and the mask of its frozen entries."""
    drawn = {}
    for k, lane in enumerate(plan.lanes):
        if lane.dim is not None:
            trained = plan.layout.real(slice(k, k + 1))[0].to(theta.device)
            trained = trained if frozen is None else trained & ~frozen[k]
            drawn[k] = Subspace.of(theta.detach()[k], trained, lane.dim, lane.seed)
    return drawn
