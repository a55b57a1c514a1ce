"""The view of a weight's spectrum, and of a start in it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from markupsafe import Markup
from torch import Tensor

from olora_viz.figures.layout import Figure
from olora_viz.figures.spectrum import angles_figure, energy_figure, singular_values_figure
from olora_viz.initializers import INITIALIZERS, Start, check_rank, label_of
from olora_viz.lanes.layers import target_layers
from olora_viz.lanes.stored_weights import model_of
from olora_viz.machine.checks import unknown
from olora_viz.machine.memory import give_back
from olora_viz.machine.wording import percent
from olora_viz.measures.spectra import captured_energies, optimal_energy
from olora_viz.measures.truncation import (
    LARGE,
    Truncation,
    Weight,
    compared,
    energies,
    energy_ranks,
    known_weight,
    layers_like,
    start_in,
)
from olora_viz.views.html import TableCell, table

T = TypeVar("T")

MOST_RANK = 256
"""The largest rank that the page offers."""


MOST_MAPPED = 2**31
"""The most weights of a model's layers of which there is a map, which reads all of them."""


class ResultCache:
    """The latest results of slow computations, each computed once, even with many threads.

    Args:
        most: bytes of the results; the latest one stays, however large.
    """

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
            result = make()
            with self._lock:
                self._known[key] = result
                sizes = {known: max(LEAST_BYTES, _bytes(value)) for known, value in self._known.items()}
                size = sum(sizes.values())
                while size > self._most and len(self._known) > 1:
                    size -= sizes[self._known.popitem(last=False)[0]]
                self._busy.pop(key, None)
            return result

    def clear(self) -> None:
        """Forget all results."""
        with self._lock:
            self._known.clear()


LEAST_BYTES = 2**16
"""The bytes that a small result counts for, with its key."""


def _bytes(result: Any) -> int:
    """Return the memory of the tensors in a result; those of a skeleton have none."""
    parts = result.values() if isinstance(result, Mapping) else result if isinstance(result, tuple) else ()
    if isinstance(result, Weight):
        parts = (result.W,)
    elif isinstance(result, Start):
        parts = (result.A, result.B)
    own = result.nbytes if isinstance(result, Tensor) and not result.is_meta else 0
    return own + sum(map(_bytes, parts))


class Lab:
    """Computes the data of the Spectrum page, and caches slow results.

    Args:
        folders: the folders of models by the names that they have here, beside the names and paths of models.
    """

    def __init__(self, folders: Mapping[str, Path] = MappingProxyType({})) -> None:
        self.folders = folders
        self._models = ResultCache(2048 * 2**20)
        self._weights, self._starts, self._results = (ResultCache(192 * 2**20) for _ in range(3))

    def layers(self, model: str) -> Mapping[str, Tensor]:
        """Return a model's weights by the names of their layers; those of a folder have a shape alone."""
        return self._opened(model)[0]

    def _opened(self, model: str) -> tuple[Mapping[str, Tensor], Callable[[str], Tensor]]:
        def make() -> tuple[Mapping[str, Tensor], Callable[[str], Tensor]]:
            network, read = model_of(str(self.folders.get(model, model)), target_layers)
            layers = layers_like(network)
            return layers, read or layers.__getitem__

        return self._models.get(model, make)

    def has_map(self, model: str) -> bool:
        """Whether a model is small enough for a map of its layers."""
        return sum(W.numel() for W in self.layers(model).values()) <= MOST_MAPPED

    def weight(self, model: str, layer: str) -> Weight:
        """Return one weight with its decomposition."""
        layers, read = self._opened(model)
        if layer not in layers:
            raise ValueError(unknown("layer", str(layer)[:120], layers))

        def read_alone() -> Tensor:
            if min(layers[layer].shape) >= LARGE:  # and what soon is computed again makes room
                self._weights.clear()
                self._starts.clear()
                give_back()
            return read(layer)

        return self._weight((model, layer), read_alone)

    def decomposed(self, key: Hashable, W: Tensor) -> Weight:
        """Return a matrix with its decomposition, kept under a key."""
        return self._weight(key, lambda: W)

    def _weight(self, key: Hashable, read: Callable[[], Tensor]) -> Weight:
        """Return a weight, kept apart from its decomposition: reading it again takes less than computing that."""

        def make() -> Weight:
            W = read()

            def decompose() -> tuple[Tensor, Tensor]:
                nonlocal W
                weight = known_weight(W) if min(W.shape) >= LARGE else Weight(W)
                W = weight.W
                return weight.sigma, weight.leading(min(MOST_RANK, *W.shape)).clone()

            sigma, leading = self._results.get(("decomposition", key), decompose)
            return Weight(W, sigma, leading)

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
            whole = self._whole(key, weight, init)
            return compared(weight, init, Start(A=whole.A[:rank], B=whole.B[:, :rank]))
        start = self._starts.get((key, init, rank), lambda: start_in(weight, rank, init))
        return compared(weight, init, start)

    def _whole(self, key: Hashable, weight: Weight, init: str) -> Start:
        """Return the nested start of the largest rank."""

        def make() -> Start:
            start = start_in(weight, min(MOST_RANK, len(weight.sigma)), init)
            give_back()  # the gaps between the starts, a third of their size
            return start

        return self._starts.get((key, init), make)

    def curve(self, key: Hashable, weight: Weight, init: str) -> list[float]:
        """Return the energy that a start captures, for every rank of `ranks`."""
        ranks = self.ranks(weight)

        def make() -> list[float]:
            if not INITIALIZERS[init].nested:
                return energies(weight, init, ranks)
            captured = captured_energies(weight.W, self._whole(key, weight, init))
            return [float(captured[r - 1]) for r in ranks]

        return self._results.get(("curve", key, init), make)

    def optimum(self, weight: Weight) -> list[float]:
        """Return the largest energy that a matrix of each rank can capture."""
        return [optimal_energy(weight.sigma, r) for r in self.ranks(weight)]

    def ranks(self, weight: Weight) -> list[int]:
        """Return the ranks of the energy curves."""
        return energy_ranks(len(weight.sigma), MOST_RANK)

    def figures(
        self, key: Hashable, weight: Weight, rank: int, drawn: Sequence[Truncation], run: str
    ) -> dict[str, Figure]:
        """Draw some starts in a weight: singular values, energy by rank, and angles.

        Args:
            run: changes with the weight, see `measure_figure`.
        """
        ranks = [r for r in self.ranks(weight) if r <= max(32, 8 * rank)]
        inits = [each.init for each in drawn if each.init != "pissa"]  # whose curve is the optimum
        curves = {init: self.curve(key, weight, init)[: len(ranks)] for init in inits}
        optimum = self.optimum(weight)[: len(ranks)]
        return {
            "singular": singular_values_figure(drawn, run=run),
            "energy": energy_figure(ranks, curves, optimum, weight.W.shape[0], rank, run=run),
            "angles": angles_figure(drawn, run=run),
        }

    def energy_map(self, model: str, rank: int, init: str) -> dict[str, float]:
        """Return the energy that a start captures in every layer large enough for the rank."""
        most = 1 << (rank - 1).bit_length() if INITIALIZERS[init].nested else rank

        layers, read = self._opened(model)

        def of_layer(name: str) -> Tensor:
            weight = Weight(read(name))
            return captured_energies(weight.W, start_in(weight, min(most, *weight.W.shape), init))

        # A nested start contains those of all smaller ranks.
        known = self._results.get(("map", model, most, init), lambda: {name: of_layer(name) for name in layers})
        return {name: float(each[rank - 1]) for name, each in known.items() if rank <= len(each)}


def verdict(olora: Truncation) -> Markup:
    """Return the paper's claim and the verdict for this weight and rank."""
    i = olora.worst
    sigma = float(olora.sigma_BA[i])
    if olora.subset:
        words = Markup("Each σᵢ(Q<sub>r</sub>R<sub>r</sub>) is one of W's, to rounding.")
    else:
        above = [x for x in olora.sigma_W.tolist() if x > sigma]
        below = [x for x in olora.sigma_W.tolist() if x <= sigma]
        between = f"lies between W's {_n(above[-1])} and {_n(below[0])}" if above and below else "is beyond those of W"
        words = Markup(
            "OLoRA's {} value, {}, {}; the nearest is {} away. Q<sub>r</sub>R<sub>r</sub> = Q<sub>r</sub>Q<sub>r</sub>"
            "ᵀW is a projection of W: its values can only shrink, and need not equal those of W."
        ).format(_nth(i + 1), _n(sigma), between, f"{float(olora.distance[i]):.2g}")
    claims = [("bounded by σᵢ(W)", _holds(olora.bounded)), ("a subset of σ(W)", _holds(olora.subset))]
    return Markup(
        '<h2>The paper\'s claim, on this matrix</h2><p class="say">“The singular values of Q<sub>r</sub>R<sub>r</sub> '
        'are a subset of those of W.”</p>{}<p class="hint">{}</p>'
    ).format(table((), claims, kind="verdict"), words)


def energy_table(starts: Sequence[Truncation], unpermuted: Truncation | None) -> Markup:
    """Return the table of the energy each start captures, the highest first.

    Args:
        unpermuted: OLoRA's start in W's own order of columns, if they are permuted.
    """
    first = starts[0]
    best, permuted = first.energy_optimal, ", permuted" if unpermuted else ""
    rows = [("SVD, the optimum", "pissa", best)]
    for start in starts:
        if start.init != "pissa":
            rows.append((label_of(start.init) + permuted * (start.init == "olora"), start.init, start.energy))
    if unpermuted:
        rows.append(("OLoRA, W's own order", "olora", unpermuted.energy))
    rows.sort(key=lambda row: -row[2])
    least = rows[-1][2]
    cells = [(_start_cell(init, label), *shares(energy, best)) for label, init, energy in rows]
    head = (f"start, rank {first.rank}", "energy", "of best")
    base = ("random, expected", *shares(first.energy_random, best))
    drawn = Markup("<h2>How much of W does it keep?</h2>") + table(head, cells, kind="standing", base=[base])
    if least < 0:
        words = f"None: BA is no part of W; W − BA has up to {percent(1 - least)} of ‖W‖²."
        drawn += Markup('<p class="foot">{}</p>').format(words)
    return drawn


def factors(starts: Sequence[Truncation]) -> Markup:
    """Return the table of how each start's factors are conditioned."""
    condition = "largest over smallest singular value"
    head = (
        "start",
        TableCell("eff. rank", "exp of the entropy of the singular values of BA"),
        TableCell("cond A", condition),
        TableCell("cond B", condition),
        TableCell("‖BᵀB−I‖", "how far B is from orthonormal columns"),
    )
    rows = [
        (
            _start_cell(start.init, label_of(start.init)), f"{start.effective_rank:.1f}",
            _ratio(start.condition_A), _ratio(start.condition_B),
            f"{0.0 if start.orthogonality_error < 1e-9 else start.orthogonality_error:.2g}",
        )
        for start in starts
    ]  # fmt: skip
    title = Markup('<h2>What does it start from? <span class="hint">conditioning of the factors</span></h2>')
    return title + table(head, rows, kind="standing")


def seeing(starts: Mapping[str, Truncation], permuted: bool) -> Markup:
    """Return a few sentences on what the charts show."""
    olora, best = starts["olora"], starts["olora"].energy_optimal
    sentences: list[str] = [
        Markup("OLoRA keeps <b>{} of what rank {} could keep</b>, {} a random basis does on average ({}).").format(
            percent(olora.energy / best),
            olora.rank,
            _compare(olora.energy, olora.energy_random),
            percent(olora.energy_random / best),
        )
    ]
    if "sketch" in starts:
        mixed = starts["sketch"].energy
        adds_nothing = olora.energy < 1.05 * mixed
        adds = "taking the first columns adds nothing here." if adds_nothing else "the first columns keep more here."
        sentences.append(f"A random mixture of all columns keeps {percent(mixed / best)}: {adds}")
    if olora.angles is not None:
        near, far = float(olora.angles[0]), float(olora.angles[-1])
        direction = Markup("Its direction is <b>{:.0f}°</b> away from W's top one.").format(near)
        if olora.rank > 1:
            direction = Markup(
                "Its nearest direction to W's top {} is <b>{:.0f}°</b> away, its farthest {:.0f}°."
            ).format(olora.rank, near, far)
        sentences.append(direction)
    foot = "OLoRA takes the first r columns of W, but their order is arbitrary: a permutation changes its start."
    if permuted:
        foot = (
            "The columns are permuted. The singular values of W and the start of pivoted QR do not change, since they "
            "depend on all columns. OLoRA takes the first ones, so its start does."
        )
    return Markup('<h2>What you are seeing</h2><p class="say">{}</p><p class="foot">{}</p>').format(
        Markup(" ").join(sentences), foot
    )


def _start_cell(init: str, label: str) -> Markup:
    """Return a row's head: a start's mark and its label."""
    return Markup('<span class="mark solid" style="--lane:var(--{})"></span>{}').format(init, label)


def shares(energy: float, best: float) -> tuple[str, str]:
    """Return an energy, and its share of the best one; of a BA that is no part of W, that there is none."""
    return (percent(energy, 1), percent(energy / best)) if energy >= 0 else ("none", "–")


def _compare(energy: float, random: float) -> str:
    if energy < 0.9 * random:
        return "less than"
    return "as much as" if energy <= 1.1 * random else "more than"


def _holds(yes: bool) -> Markup:
    kind, word = ("ok", "holds") if yes else ("no", "fails")
    return Markup('<span class="pill {}">{}</span>').format(kind, word)


def _ratio(x: float) -> str:
    return f"{x:.3g}" if x < 1e6 else "∞"


def _nth(n: int) -> str:
    if n == 1:
        return "largest"
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def _n(x: float) -> str:
    return f"{x:.4g}"
