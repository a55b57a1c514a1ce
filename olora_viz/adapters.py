"""Lanes: K adapters on one frozen model, every parameter in one matrix `theta`.

The model itself is never changed: attaching overrides the `forward` of the targeted layers,
detaching takes that back.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from olora_viz.initializers import INITIALIZERS, Evidence, lacking
from olora_viz.initializers.start import Start, check_rank
from olora_viz.lane import MAX_LANES, Lane, labels
from olora_viz.lane_linear import LaneLinear
from olora_viz.layers import common_owner, target_layers, weight_of

Progress = Callable[[float, str], None]
"""Told the fraction done, 0 to 1, and what happens now; may raise, to stop."""


@dataclass
class _Slot:
    """Where one layer's A and B lie in a row of theta."""

    layer: nn.Module
    out_features: int
    in_features: int
    at: int = 0
    views: tuple[Tensor, Tensor] | None = field(default=None, repr=False)
    start_views: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    def sizes(self, rank: int) -> tuple[int, int]:
        return rank * self.in_features, self.out_features * rank


class Lanes:
    """K adapters on one frozen model; made by `attach`.

    Attributes
    ----------
    theta : (K, P) float32. Row k holds every A and B of lane k. A lane whose rank is below
        the largest one is padded with zeros, which get zero gradient and stay zero.
    start : (K, P), theta at step 0.
    frozen : (K, P), what of theta stays as it started and gets no gradient: the B of the lanes
        whose initialization says so. None where there is no such lane.
    """

    def __init__(
        self,
        model: nn.Module,
        lanes: Sequence[Lane],
        layers: dict[str, nn.Module],
        starts: Callable[[str, Tensor, Lane], Start],
        progress: Progress | None = None,
    ) -> None:
        self.model, self.lanes, self.labels = model, tuple(lanes), labels(tuple(lanes))
        self.rank = max(lane.r for lane in lanes)
        self._slots: dict[str, _Slot] = {}
        at = 0
        for name, layer in layers.items():
            out_features, in_features = weight_of(layer).shape
            slot = self._slots[name] = _Slot(layer, out_features, in_features, at)
            at += sum(slot.sizes(self.rank))
        first = weight_of(next(iter(layers.values())))
        dtype = torch.promote_types(first.dtype, torch.float32)
        theta = torch.zeros(len(lanes), at, dtype=dtype, device=first.device)
        for i, (name, layer) in enumerate(layers.items()):
            if progress:
                progress(i / len(layers), "starting adapters")
            W = weight_of(layer).detach()
            made: dict[tuple[str, int, float, int], Start] = {}
            A, B = self._factors_in(theta, self._slots[name])
            for k, lane in enumerate(lanes):
                key = (lane.init, lane.r, lane.scale, lane.seed)
                if key not in made:
                    made[key] = starts(name, W, lane)
                _fill(A[k], B[k], made[key])
        self.start = theta
        self.theta = theta.clone().requires_grad_()
        self.scale = torch.tensor([lane.scale for lane in lanes], dtype=dtype, device=first.device)
        # Where every B⁰ or its A⁰ is zero, there is nothing to take off: half the thin products
        # suffice.
        self._from_zero = not any(
            (A.flatten(1).any(1) & B.flatten(1).any(1)).any()
            for A, B in (self._factors_in(theta, slot) for slot in self._slots.values())
        )
        self.frozen = self._frozen()
        if self.frozen is not None:
            # On theta itself, so that nothing sees a gradient of what is frozen: no norm, no
            # optimizer, no second derivative. Not a product: zero times NaN is NaN.
            self.theta.register_hook(partial(_masked, self.frozen))
        self._rows: slice | None = slice(0, len(lanes))
        self._now = self.theta
        self._hooked: torch.utils.hooks.RemovableHandle | None = None
        self._trainable = [p for p in model.parameters() if p.requires_grad]
        model.requires_grad_(False)
        self._hook()

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers that carry adapters, in the model's order."""
        return tuple(self._slots)

    @property
    def sizes(self) -> tuple[int, ...]:
        """(2L) columns of theta that each A and B takes: A before B, layer after layer."""
        return tuple(size for slot in self._slots.values() for size in slot.sizes(self.rank))

    @property
    def count(self) -> int:
        """K, the number of lanes."""
        return len(self.lanes)

    def check_lane(self, k: int) -> None:
        """Refuse a number that is no lane's."""
        if not 0 <= k < self.count:
            raise ValueError(f"lane {k} does not exist; there are lanes 0 to {self.count - 1}")

    def factors(self, layer: str, k: int) -> Start:
        """Return lane k's A (r, in) and B (out, r) of one layer, without the padding; see `put`."""
        return self._trimmed(self.theta.detach(), layer, k)

    def start_factors(self, layer: str, k: int) -> Start:
        """Return A⁰ and B⁰, as `factors` returns A and B."""
        return self._trimmed(self.start, layer, k)

    def gradient(self, layer: str, k: int) -> Start:
        """Return ∂L/∂A (r, in) and ∂L/∂B (out, r) of the last backward pass."""
        if self.theta.grad is None:
            raise ValueError("there is no gradient yet: call backward on a loss first")
        return self._trimmed(self.theta.grad, layer, k)

    def parts(self, layer: str | None = None) -> tuple[Tensor, ...]:
        """Return what the last forward pass was made with, in its graph: to differentiate by.

        Parameters
        ----------
        layer : for its A (k, r, in) and B (k, out, r) alone; ``None``: the rows (k, P) of theta
            that ran.
        """
        if layer is None:
            return (self._now,)
        views = self._slot(layer).views
        if views is None:
            raise ValueError("no forward pass has been made yet")
        return views

    def shapes(self, layer: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the shapes of a layer's A and B as theta holds them, with the largest rank."""
        slot = self._slot(layer)
        return (self.rank, slot.in_features), (slot.out_features, self.rank)

    def trained(self, layer: str | None = None) -> Bool[Tensor, "k n"]:
        """Say which parameters train, of those in `parts`, flat.

        The padding of a rank does not, nor does what is frozen.
        """
        assert self._rows is not None
        ranks = torch.tensor([lane.r for lane in self.lanes[self._rows]])
        real = torch.arange(self.rank) < ranks[:, None]  # (k, R)
        masks = []
        for slot in [self._slot(layer)] if layer else self._slots.values():
            masks.append(real[:, :, None].expand(-1, -1, slot.in_features).flatten(1))
            masks.append(real[:, None, :].expand(-1, slot.out_features, -1).flatten(1))
        mask = torch.cat(masks, dim=1).to(self.theta.device)
        if self.frozen is None:
            return mask
        frozen = self.frozen[self._rows]
        if layer:
            at = self._slots[layer].at
            frozen = frozen[:, at : at + mask.shape[1]]
        return mask & ~frozen

    @torch.no_grad()
    def put(self, layer: str, k: int, now: Start) -> None:
        """Set lane k's A and B of one layer, of the lane's rank or below."""
        A, B = self._factors_in(self.theta.detach(), self._slot(layer))
        _fill(A[k], B[k], now)

    @torch.no_grad()
    def delta(self, layer: str, k: int) -> Float[Tensor, "out in"]:
        """What training moved: ΔW = s (B A − B⁰ A⁰) of one layer and lane, (out, in)."""
        now, start = self.factors(layer, k), self.start_factors(layer, k)
        moved = (now.B - start.B) @ now.A + start.B @ (now.A - start.A)
        return self.scale[k] * moved

    @torch.no_grad()
    def merge(self, k: int) -> nn.Module:
        """Return a copy of the model with W + ΔW of lane k in its layers, and no lanes."""
        self.check_lane(k)
        attached = self._hooked is not None
        self._unhook()
        try:
            merged = copy.deepcopy(self.model)
        finally:
            if attached:
                self._hook()
        for name in self._slots:
            W = weight_of(merged.get_submodule(name))
            W.copy_(W.to(self.theta.dtype) + self.delta(name, k))
        return merged

    @contextmanager
    def some(self, rows: slice) -> Iterator[None]:
        """Run the lanes of a slice of theta's rows; the model then takes as many times batch."""
        with self._running(rows):
            yield

    @contextmanager
    def only(self, k: int) -> Iterator[None]:
        """Run lane k alone, on plain batches."""
        self.check_lane(k)
        with self._running(slice(k, k + 1)):
            yield

    @contextmanager
    def off(self) -> Iterator[None]:
        """Run the untouched base model, on plain batches."""
        with self._running(None):
            yield

    def detach(self) -> nn.Module:
        """Take the lanes off and return the base model, bitwise what it was."""
        self._unhook()
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        return self.model

    @contextmanager
    def _running(self, rows: slice | None) -> Iterator[None]:
        before, self._rows = self._rows, rows
        try:
            yield
        finally:
            self._rows = before

    def _trimmed(self, theta: Tensor, layer: str, k: int) -> Start:
        self.check_lane(k)
        A, B = self._factors_in(theta, self._slot(layer))
        r = self.lanes[k].r
        return Start(A=A[k, :r], B=B[k, :, :r])

    def _slot(self, layer: str) -> _Slot:
        if layer not in self._slots:
            raise ValueError(f"no adapter on layer {layer!r}; there are {', '.join(self._slots)}")
        return self._slots[layer]

    def _factors_in(self, theta: Tensor, slot: _Slot) -> tuple[Tensor, Tensor]:
        """View one layer's A (K, r, in) and B (K, out, r) in a matrix shaped like theta."""
        size_A, size_B = slot.sizes(self.rank)
        flat_A = theta[:, slot.at : slot.at + size_A]
        flat_B = theta[:, slot.at + size_A : slot.at + size_A + size_B]
        return self._shaped(slot, flat_A, flat_B)

    def _shaped(self, slot: _Slot, flat_A: Tensor, flat_B: Tensor) -> tuple[Tensor, Tensor]:
        return (
            flat_A.unflatten(1, (self.rank, slot.in_features)),
            flat_B.unflatten(1, (slot.out_features, self.rank)),
        )

    def _split(self, *_: object) -> None:
        """Cut theta into every A and B; one node of the graph, whatever the number of layers."""
        if self._rows is None:
            return
        self._now = self._chosen(self.theta)
        sizes = list(self.sizes)
        now = self._now.split(sizes, dim=1)
        start = self._chosen(self.start).split(sizes, dim=1)
        for i, slot in enumerate(self._slots.values()):
            slot.views = self._shaped(slot, now[2 * i], now[2 * i + 1])
            slot.start_views = self._shaped(slot, start[2 * i], start[2 * i + 1])

    def _frozen(self) -> Tensor | None:
        """Mark what is not trained."""
        frozen = [k for k, lane in enumerate(self.lanes) if INITIALIZERS[lane.init].frozen_B]
        if not frozen:
            return None
        mask = torch.zeros_like(self.theta, dtype=torch.bool)
        for slot in self._slots.values():
            _, B = self._factors_in(mask, slot)
            B[frozen] = True
        return mask

    def _chosen(self, theta: Tensor) -> Tensor:
        """Take the rows that run; where it is all of them, without a second gradient (K, P)."""
        assert self._rows is not None
        whole = self._rows == slice(0, self.count)
        return theta if whole else theta[self._rows]

    def _forward(self, slot: _Slot, original: Callable[[Tensor], Tensor], X: Tensor) -> Tensor:
        """Stand in for a targeted layer's forward."""
        if self._rows is None:
            return original(X)
        assert slot.views is not None
        K = self._rows.stop - self._rows.start
        if X.shape[0] % K:
            raise ValueError(
                f"with {K} lanes the model takes {K}·batch rows, lane after lane, not {X.shape[0]}"
            )
        start = None if self._from_zero else slot.start_views
        s = self.scale[self._rows, None, None]
        bias = slot.layer.bias
        return LaneLinear.apply(X, weight_of(slot.layer), bias, *slot.views, start, s)

    def _hook(self) -> None:
        for name, slot in self._slots.items():
            if "forward" in slot.layer.__dict__:
                raise ValueError(f"layer {name!r} carries lanes already; detach them first")
        for slot in self._slots.values():
            slot.layer.forward = partial(self._forward, slot, slot.layer.forward)
        owner = common_owner(self.model, list(self._slots))
        self._hooked = owner.register_forward_pre_hook(self._split)

    def _unhook(self) -> None:
        if self._hooked is None:
            return
        self._hooked.remove()
        self._hooked = None
        for slot in self._slots.values():
            del slot.layer.forward
            slot.views = slot.start_views = None


def attach(
    model: nn.Module,
    lanes: Sequence[Lane],
    targets: Sequence[str] | None = None,
    progress: Progress | None = None,
    evidence: Mapping[str, Evidence] | None = None,
) -> Lanes:
    """Put K lanes on a model and freeze the model.

    The model then takes K·batch rows, lane after lane, and returns as many; its function is
    unchanged until `theta` moves.

    Parameters
    ----------
    model : the base model; it is frozen until `Lanes.detach`.
    lanes : 1 to 64 contenders, of any mixture of initializations and ranks.
    targets : endings of layer names; ``None`` takes all linear layers inside the blocks.
    progress : told how far the making of the adapters is.
    evidence : by layer, for the initializations that start from a gradient or from inputs; a race
        gathers it by itself.

    Raises
    ------
    ValueError : no lane or too many, a rank above min(out, in) of a layer or a weight that is not
        finite (which are named), a target that matches nothing, a layer that carries lanes already,
        an initialization without the evidence that it needs.
    """
    if not 1 <= len(lanes) <= MAX_LANES:
        raise ValueError(f"a race takes 1 to {MAX_LANES} lanes, not {len(lanes)}")
    layers = target_layers(model, targets)
    check_starts(layers, lanes)
    evidence = evidence or {}
    for lane in lanes:
        needs = INITIALIZERS[lane.init].needs
        if needs and not layers.keys() <= evidence.keys():
            raise lacking(lane.init, needs)

    def starts(name: str, W: Tensor, lane: Lane) -> Start:
        return start_of(name, W, lane, evidence.get(name))

    return Lanes(model, lanes, layers, starts, progress)


def check_starts(layers: Mapping[str, nn.Module], lanes: Sequence[Lane]) -> None:
    """Refuse weights that lanes cannot start on, by the layer's name, before anything is made.

    Raises
    ------
    ValueError : a rank above min(out, in) of a layer, a weight that is not finite.
    """
    for name, layer in layers.items():
        W = weight_of(layer)
        for lane in lanes:
            check_rank(W, lane.r, name, INITIALIZERS[lane.init].vectors)
        if not W.isfinite().all():
            raise ValueError(f"the model's weight {name!r} holds NaN or infinity")


def start_of(name: str, W: Tensor, lane: Lane, evidence: Evidence | None = None) -> Start:
    """Make a lane's A⁰ and B⁰ for one layer, from random numbers that are the layer's own."""
    # torch's generator on the CPU looks at the low 32 bits of a seed only.
    generator = torch.Generator().manual_seed(zlib.crc32(f"{lane.seed} {name}".encode()))
    start = INITIALIZERS[lane.init].start
    return start(W, lane.r, s=lane.scale, generator=generator, evidence=evidence)


def _masked(frozen: Tensor, gradient: Tensor) -> Tensor:
    return gradient.masked_fill(frozen, 0.0)


def _fill(A: Tensor, B: Tensor, factors: Start) -> None:
    """Write factors of any rank into A (r, in) and B (out, r), and zeros behind them."""
    rank = factors.A.shape[0]
    A[:rank], A[rank:] = factors.A, 0.0
    B[:, :rank], B[:, rank:] = factors.B, 0.0
