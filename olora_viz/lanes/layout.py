"""The layout of every A and B in a row of theta, one matrix for all lanes and layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

Factors = tuple[Tensor, Tensor]
"""A (K, r, in) and B (K, out, r) of one layer, views of theta."""


class Layout:
    """The columns of theta (K, P): the flattened A, then B, of one layer after the other.

    Parameters
    ----------
    shapes : (out, in) of each layer, in the model's order.
    ranks : the rank of every lane in each layer, 0 for a lane without an adapter there. A layer has
        room for the largest rank; smaller ones are padded with zeros.

    Attributes
    ----------
    layers : the names of the layers.
    sizes : (2L) numbers of columns of each A and B.
    """

    def __init__(
        self, shapes: Mapping[str, Sequence[int]], ranks: Mapping[str, Sequence[int]]
    ) -> None:
        self.layers = tuple(shapes)
        self.ranks = dict(ranks)
        self._shapes = {layer: (*shape, max(ranks[layer])) for layer, shape in shapes.items()}
        self.sizes = tuple(
            size for out, into, rank in self._shapes.values() for size in (rank * into, out * rank)
        )
        ends = torch.tensor(self.sizes).cumsum(0).tolist()
        self._starts = dict(zip(self.layers, [0, *ends[1::2]], strict=False))
        self.width = ends[-1]

    def shapes(self, layer: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the shapes of a layer's A and B as theta holds them, with its largest rank.

        Raises
        ------
        ValueError : the layer has no adapter.
        """
        if layer not in self._shapes:
            raise ValueError(f"no adapter on layer {layer!r}; choose from {', '.join(self.layers)}")
        out, into, rank = self._shapes[layer]
        return (rank, into), (out, rank)

    def columns(self, layer: str) -> tuple[slice, slice]:
        """Return the columns of a layer's A and of its B."""
        (rank, into), (out, _) = self.shapes(layer)
        at = self._starts[layer]
        middle = at + rank * into
        return slice(at, middle), slice(middle, middle + out * rank)

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
            (rank, into), (out, _) = self.shapes(name)
            used = torch.arange(rank) < torch.tensor(self.ranks[name][rows])[:, None]  # (k, R)
            masks.append(used[:, :, None].expand(-1, -1, into).flatten(1))
            masks.append(used[:, None, :].expand(-1, out, -1).flatten(1))
        return torch.cat(masks, dim=1)
