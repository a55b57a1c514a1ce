"""The caches of the Spectrum page: models, weights and starts."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor

from olora_viz.initializers import INITIALIZERS, Start, check_rank
from olora_viz.machine.naming import unknown
from olora_viz.measures.layer_spectra import energies, energy_ranks, layers_like
from olora_viz.measures.spectra import captured_energies, optimal_energy
from olora_viz.measures.truncation import Truncation, Weight, compared
from olora_viz.models import load_model

T = TypeVar("T")

MOST_RANK = 256
"""The largest rank that the page offers."""


class Kept:
    """The latest few results of slow computations, each computed once, even with many threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._busy: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the known result, or compute it."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:
            with self._lock:
                if key in self._known:
                    return self._known[key]
            made = make()
            with self._lock:
                self._known[key] = made
                while len(self._known) > self._most:
                    self._known.popitem(last=False)
                self._busy.pop(key, None)
            return made


class Lab:
    """Computes the data of the Spectrum page, and caches slow results."""

    def __init__(self) -> None:
        self._models, self._weights = Kept(2), Kept(12)
        self._starts, self._curves, self._maps = Kept(60), Kept(60), Kept(60)

    def layers(self, model: str) -> dict[str, Tensor]:
        """Return a model's weights by the names of their layers."""
        return self._models.get(model, lambda: layers_like(load_model(model)[0]))

    def weight(self, model: str, layer: str) -> Weight:
        """Return one weight with its decomposition."""
        layers = self.layers(model)
        if layer not in layers:
            raise ValueError(unknown("layer", str(layer)[:120], layers))
        return self.decomposed((model, layer), layers[layer])

    def decomposed(self, key: Hashable, W: Tensor) -> Weight:
        """Return a matrix with its decomposition, kept under a key."""

        def make() -> Weight:
            weight = Weight(W)
            assert weight.U is not None
            return weight

        return self._weights.get(key, make)

    def permuted(self, key: Hashable, weight: Weight, number: int) -> Weight:
        """Return a weight with its input features in a random order; `number` is its seed."""
        generator = torch.Generator().manual_seed(number)
        order = torch.randperm(weight.W.shape[1], generator=generator)
        return self._weights.get((key, "permuted"), lambda: weight.permuted(order))

    def truncation(self, key: Hashable, weight: Weight, rank: int, init: str) -> Truncation:
        """Compare a start with its weight; a nested start is cut from the largest rank."""
        check_rank(weight.W, rank)
        if INITIALIZERS[init].nested:
            most = min(MOST_RANK, len(weight.sigma))
            whole = self._starts.get((key, init), lambda: _start(weight, most, init))
            return compared(weight, init, Start(A=whole.A[:rank], B=whole.B[:, :rank]))
        start = self._starts.get((key, init, rank), lambda: _start(weight, rank, init))
        return compared(weight, init, start)

    def curve(self, key: Hashable, weight: Weight, init: str) -> list[float]:
        """Return the energy that a start captures, for every rank of `ranks`."""
        ranks = self.ranks(weight)
        return self._curves.get((key, init), lambda: energies(weight, init, ranks))

    def optimum(self, weight: Weight) -> list[float]:
        """Return the largest energy that a matrix of each rank can capture."""
        return [optimal_energy(weight.sigma, r) for r in self.ranks(weight)]

    def ranks(self, weight: Weight) -> list[int]:
        """Return the ranks of the energy curves."""
        return energy_ranks(len(weight.sigma), MOST_RANK)

    def energy_map(self, model: str, rank: int, init: str) -> dict[str, float]:
        """Return the energy that a start captures in every layer large enough for the rank."""
        most = 1 << (rank - 1).bit_length() if INITIALIZERS[init].nested else rank

        def make() -> dict[str, Tensor]:  # a nested start contains those of all smaller ranks
            return {
                name: captured_energies(W, _start(Weight(W), min(most, *W.shape), init))
                for name, W in self.layers(model).items()
            }

        known = self._maps.get((model, most, init), make)
        return {name: float(each[rank - 1]) for name, each in known.items() if rank <= len(each)}


def _start(weight: Weight, rank: int, init: str) -> Start:
    return INITIALIZERS[init].start(weight.W, rank, generator=torch.Generator().manual_seed(0))
