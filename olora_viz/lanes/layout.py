"""The layout of every A and B in a row of theta, one matrix for all lanes and layers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from olora_viz.machine.naming import listed

Factors = tuple[Tensor, Tensor]
"""A (K, rows, in) and B (K, out, r) of one layer, views of theta; rows is r, or with a dense lane
out if that is more."""


class Layout:
    """The columns of theta (K, P): the flattened A, then B, of one layer after the other.

    Parameters
    ----------
    shapes : (out, in) of each layer, in the model's order.
    ranks : the rank of every lane in each layer, 0 for a lane without an adapter there. A layer has
        room for the largest rank; smaller ones are padded with zeros.
    dense : the lanes whose B is the identity, for which there is no room; their A is (out, in).

    Attributes
    ----------
    layers : the names of the layers.
    sizes : (2L) numbers of columns of each A and B.
    """

    def __init__(
        self,
        shapes: Mapping[str, Sequence[int]],
        ranks: Mapping[str, Sequence[int]],
        dense: Collection[int] = (),
    ) -> None:
        self.layers = tuple(shapes)
        self.ranks = dict(ranks)
        self._ranks_of_B = {
            layer: [0 if k in dense else rank for k, rank in enumerate(its)]
            for layer, its in ranks.items()
        }
        self._shapes = {
            layer: ((max(ranks[layer]), into), (out, max(self._ranks_of_B[layer])))
            for layer, (out, into) in shapes.items()
        }
        self.sizes = tuple(rows * columns for its in self._shapes.values() for rows, columns in its)
        ends = torch.tensor(self.sizes).cumsum(0).tolist()
        self._starts = dict(zip(self.layers, [0, *ends[1::2]], strict=False))
        self.width = ends[-1]

    def shapes(self, layer: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the shapes of a layer's A and B as theta holds them, each with its largest rank.

        Raises
        ------
        ValueError : the layer has no adapter.
        """
        if layer not in self._shapes:
            raise ValueError(f"no adapter on layer {layer!r}; choose from {listed(self.layers)}")
        return self._shapes[layer]

    def columns(self, layer: str) -> tuple[slice, slice]:
        """Return the columns of a layer's A and of its B."""
        of_A, of_B = map(math.prod, self.shapes(layer))
        at = self._starts[layer]
        return slice(at, at + of_A), slice(at + of_A, at + of_A + of_B)

    def factors(self, theta: Tensor, layer: str) -> Factors:
        """View one layer's A and B in a matrix like theta, of as many rows."""
        shapes = self.shapes(layer)
        A, B = (
            theta[:, columns].unflatten(1, shape)
            for columns, shape in zip(self.columns(layer), shapes, strict=True)
        )
        return A, B

    def split(self, theta: Tensor) -> dict[str, Factors]:
        """View every A and B, in one node of the graph for any number of layers."""
        parts = iter(theta.split(list(self.sizes), dim=1))
        views = {}
        for layer in self.layers:
            of_A, of_B = self.shapes(layer)
            views[layer] = (next(parts).unflatten(1, of_A), next(parts).unflatten(1, of_B))
        return views

    def real(self, rows: slice, layer: str | None = None) -> Bool[Tensor, "k n"]:
        """Return the mask of some lanes' entries that are not padding, in one layer or all."""
        masks = []
        for name in [layer] if layer else self.layers:
            (rows_of_A, into), (out, rank) = self.shapes(name)
            of_A = _below(self.ranks[name][rows], rows_of_A)
            of_B = _below(self._ranks_of_B[name][rows], rank)
            masks.append(of_A[:, :, None].expand(-1, -1, into).flatten(1))
            masks.append(of_B[:, None, :].expand(-1, out, -1).flatten(1))
        return torch.cat(masks, dim=1)


def _below(ranks: Sequence[int], most: int) -> Bool[Tensor, "k most"]:
    """Return for each lane which of the numbers from 0 are below its rank."""
    return torch.arange(most) < torch.tensor(ranks)[:, None]
