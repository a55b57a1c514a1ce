"""A and B of some lanes and layers, as texts short enough to be looked at while a race goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.lane import Lane
from olora_viz.machine.wording import rounded
from olora_viz.measures.measure import Measure, Record
from olora_viz.measures.spectra import moved_factors, product_singular_values

MOST_SIDE = 128
"""Rows and columns of a picture at most: of a larger matrix each number is the mean of a block."""

MOST_PICTURED_LANES = 6
"""Lanes whose factors are looked at, the first of each start."""

MOST_PICTURED_LAYERS = 6
"""Layers that are looked at: of the first and the last of each kind some, evenly."""

MOST_NUMBERS = 200_000
"""Of a measurement: with more lanes, or a larger rank, there are fewer layers."""

LEVELS = 31
"""A number of a picture is one of 2 · 31 + 1 levels between the largest absolute value and its negative."""

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+"
"""The letters of the levels, the lowest first."""

DIGITS = 4
"""Significant digits of scales and singular values."""


@dataclass(frozen=True)
class Picture:
    """A matrix as a text: a letter of `ALPHABET` for each number, row by row, and the value of the highest level."""

    text: str
    scale: float
    rows: int
    columns: int

    @classmethod
    def of(cls, matrix: Float[Tensor, "m n"]) -> Picture:
        """Return the picture of a matrix.

        >>> Picture.of(torch.tensor([[0.0, 1.0], [-2.0, 0.5]]))
        Picture(text='fvAn', scale=2.0, rows=2, columns=2)
        """
        rows, columns = (min(side, MOST_SIDE) for side in matrix.shape)
        pooled = matrix.float()
        if matrix.shape != (rows, columns):
            pooled = adaptive_avg_pool2d(pooled[None], (rows, columns))[0]
        scale = rounded(pooled.abs().max().item(), DIGITS) if pooled.numel() else 0.0
        levels = (pooled / scale * LEVELS).round().clamp(-LEVELS, LEVELS) if scale else torch.zeros_like(pooled)
        letters = np.frombuffer(ALPHABET.encode(), np.uint8)[(levels + LEVELS).byte().cpu().numpy()]
        return cls(letters.tobytes().decode(), scale, rows, columns)

    @property
    def matrix(self) -> np.ndarray:
        """(rows, columns), up to half a level."""
        levels = np.array([ALPHABET.index(letter) for letter in self.text], dtype=float) - LEVELS
        return (levels * self.scale / LEVELS).reshape(self.rows, self.columns)


@dataclass(frozen=True)
class Pictured:
    """A and B of a lane in a layer, and the singular values of its ΔW."""

    A: Picture
    B: Picture
    sigma: tuple[float, ...] = ()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Pictured:
        """Read back what `asdict` returned."""
        A, B = (Picture(**values[name]) for name in ("A", "B"))
        if len(A.text) != A.rows * A.columns or len(B.text) != B.rows * B.columns:
            raise ValueError("a picture must have a letter for each number")
        return cls(A, B, tuple(map(float, values["sigma"])))


def learned(start: Pictured, moved: Pictured | None, scaling: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return A and B as they are, and ΔW = s (BA − B⁰A⁰), up to their levels.

    Args:
        moved: what has become of them since the start; None for nothing.
    """
    A, B = start.A.matrix, start.B.matrix
    if moved is None:
        return A, B, np.zeros((len(B), A.shape[1]))
    # A difference of two large products of rounded numbers would be lost in the rounding.
    delta = scaling * (B @ moved.A.matrix + moved.B.matrix @ (A + moved.A.matrix))
    return A + moved.A.matrix, B + moved.B.matrix, delta


@dataclass(frozen=True, eq=False, repr=False)
class Factors(Record):
    """What has become of A and B since the start, A − A⁰ and B − B⁰, of some lanes in some layers.

    Examples:
        >>> import olora_viz as ov
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> config = ov.RaceConfig(lanes=lanes, steps=1, factors_every=1, eval_size=4)
        >>> step = next(ov.race(config))
        >>> moved = step.factors.of["olora"]["model.layers.0.self_attn.q_proj"]
        >>> moved.A.matrix.shape, moved.B.matrix.shape
        ((8, 128), (128, 8))
    """

    of: dict[str, dict[str, Pictured]]
    """By the label of the lane, and by layer."""

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return plain values."""
        return {label: {layer: asdict(each) for layer, each in by.items()} for label, by in self.of.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any], labels: Sequence[str]) -> Factors:
        """Read back what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: the values have another form.
        """
        if not values.keys() <= set(labels):
            raise ValueError(f"factors of lanes that are not there: {', '.join(values.keys() - set(labels))}")
        return cls({label: {at: Pictured.from_json(one) for at, one in by.items()} for label, by in values.items()})

    def only(self, layers: Sequence[str]) -> Factors:
        """Return those of some layers."""
        return Factors({label: {at: by[at] for at in layers if at in by} for label, by in self.of.items()})


@dataclass(frozen=True)
class Inside:
    """What a lane's adapter is put into, and how it starts: pictures of W, and of A⁰ and B⁰, by layer."""

    weights: dict[str, Picture]
    shapes: dict[str, tuple[int, ...]]
    """(out, in) of W, of which a picture may have fewer."""
    start: Factors

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        weights = {layer: asdict(picture) for layer, picture in self.weights.items()}
        return {"weights": weights, "shapes": self.shapes, "start": self.start.to_json(())}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Inside:
        """Read back what `to_json` wrote."""
        weights = {layer: Picture(**each) for layer, each in values["weights"].items()}
        shapes: dict[str, tuple[int, ...]] = {layer: tuple(map(int, each)) for layer, each in values["shapes"].items()}
        return cls(weights, shapes, Factors.from_json(values["start"], tuple(values["start"])))

    @property
    def ends(self) -> list[str]:
        """The layers of which recordings and pages without a server have pictures: the first and the last one."""
        layers = list(self.weights)
        return list(dict.fromkeys([layers[0], layers[-1]])) if layers else []

    def only(self, layers: Sequence[str]) -> Inside:
        """Return the same of some layers."""
        weights = {layer: self.weights[layer] for layer in layers}
        shapes = {layer: self.shapes[layer] for layer in layers}
        return Inside(weights, shapes, self.start.only(layers))


def pictured_lanes(lanes: Sequence[Lane], others: Sequence[int] = ()) -> list[int]:
    """Return the numbers of the lanes that are looked at: the first of each start and rank.

    Args:
        others: those that are not: dense ones have no factors, and of what is not subtracted no start is kept.

    >>> pictured_lanes([Lane("lora"), Lane("lora", lr=1e-2), Lane("olora"), Lane("lora", r=4)])
    [0, 2, 3]
    """
    first: dict[tuple[str, int, str | None], int] = {}
    for k, lane in enumerate(lanes):
        if k not in others:
            first.setdefault((lane.init, lane.r, lane.rank_by), k)
    return list(first.values())[:MOST_PICTURED_LANES]


def pictured_layers(layers: Sequence[str], numbers: int = 0) -> list[str]:
    """Return the layers that are looked at: of the first and the last of each kind some, evenly, in their order.

    Args:
        numbers: of all lanes in a layer at most.

    >>> pictured_layers([f"layers.{block}.{kind}" for block in range(4) for kind in ("q_proj", "k_proj")])
    ['layers.0.q_proj', 'layers.0.k_proj', 'layers.3.q_proj', 'layers.3.k_proj']
    """
    ends: dict[str, list[str]] = {}
    for layer in layers:
        ends.setdefault(layer.rpartition(".")[2], []).append(layer)
    chosen = {name for each in ends.values() for name in (each[0], each[-1])}
    most = min(MOST_PICTURED_LAYERS, max(1, MOST_NUMBERS // max(1, numbers)))
    ordered = [layer for layer in layers if layer in chosen]
    places = np.linspace(0, len(ordered) - 1, min(most, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


@torch.no_grad()
def factors(lanes: Lanes) -> Factors:
    """Picture what has become of A and B since the start, see `Factors`."""
    return _pictured(lanes, lambda now, start: now - start)


@torch.no_grad()
def inside(lanes: Lanes) -> Inside:
    """Picture the weights of the layers that are looked at, and the factors that their adapters start from."""
    start, plan = _pictured(lanes, lambda _, start: start), lanes.plan
    layers = list(dict.fromkeys(layer for by in start.of.values() for layer in by))
    weights = {layer: Picture.of(plan.weight(layer).detach()) for layer in layers}
    shapes = {layer: tuple(plan.weight(layer).shape) for layer in layers}
    return Inside(weights, shapes, start)


def _pictured(lanes: Lanes, part: Callable[[Tensor, Tensor], Tensor]) -> Factors:
    chosen = pictured_lanes(lanes.lanes, [*lanes.plan.dense, *lanes.plan.unsubtracted])
    layers = pictured_layers(lanes.layers, sum(2 * MOST_SIDE * lanes.lanes[k].r for k in chosen))
    by: dict[str, dict[str, Pictured]] = {}
    for k in chosen:
        for layer in layers:
            now, start = lanes.factors(layer, k), lanes.start_factors(layer, k)
            if now.A.numel():
                A, B, moved = part(now.A, start.A), part(now.B, start.B), moved_factors(now, start)
                sigma = lanes.scale[k] * product_singular_values(moved.B, moved.A)[: len(A)]
                digits = tuple(rounded(value, DIGITS) for value in sigma.tolist())
                by.setdefault(lanes.labels[k], {})[layer] = Pictured(Picture.of(A), Picture.of(B), digits)
    return Factors(by)


FACTORS_INSIDE = Measure(
    key="factors",
    title="Inside the adapters",
    unit="A and B since the start",
    scale="linear",
    compute=lambda race: factors(race.lanes),
    shape="(K, layers, r)",
    record=Factors,
    every="factors_every",
    cost="A small SVD for each layer and lane that is looked at.",
)
