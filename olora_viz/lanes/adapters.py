"""Lanes: K adapters on one frozen model, every parameter in one matrix `theta`.

The model itself is never changed: attaching overrides the `forward` of the target layers, and
detaching restores it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from olora_viz.initializers import Calibration
from olora_viz.initializers.start import Start
from olora_viz.lanes.dropout import Dropout
from olora_viz.lanes.labels import labels
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import common_owner, weight_of
from olora_viz.lanes.layout import Factors, Layout
from olora_viz.lanes.linear import LaneLinear
from olora_viz.lanes.plan import AdapterPlan, plan_adapters
from olora_viz.lanes.starts import (
    StartOf,
    fill,
    from_zero,
    frozen_mask,
    start_from,
    start_matrix,
)
from olora_viz.machine.progress import Progress


class Lanes:
    """K adapters on one frozen model; made by `attach`.

    Attributes
    ----------
    theta : (K, P) float32. Row k holds every A and B of lane k. A lane whose rank is below
        the largest one is padded with zeros, which get zero gradient and stay zero.
    plan : the layers and lanes that take part.
    start : (K, P), theta at step 0.
    frozen : (K, P), what of theta stays as it started and gets no gradient: the B of the lanes
        whose initialization says so. None where there is no such lane.
    after_detach : called by `detach`, for whoever set the model up for the lanes.
    """

    def __init__(
        self, plan: AdapterPlan, start_of: StartOf, progress: Progress | None = None
    ) -> None:
        self.plan, self.model = plan, plan.model
        self.lanes, self.labels, self.rank = plan.lanes, labels(plan.lanes), plan.rank
        self._layout = Layout(plan.shapes, plan.rank)
        self.start = start_matrix(self._layout, plan, start_of, progress)
        self.theta = self.start.clone().requires_grad_()
        self.scale = self.start.new_tensor([lane.scale for lane in self.lanes])
        # Where every B⁰ or its A⁰ is zero, there is nothing to take off: half the thin products
        # suffice.
        self._from_zero = from_zero(self._layout, self.start)
        self.frozen = frozen = frozen_mask(self._layout, plan, self.theta)
        if frozen is not None:
            # On theta itself, so that nothing sees a gradient of what is frozen: no norm, no
            # optimizer, no second derivative. Not a product: zero times NaN is NaN.
            self.theta.register_hook(lambda gradient: gradient.masked_fill(frozen, 0.0))
        self._rows: slice | None = slice(0, self.count)
        self._dropout: Dropout | None = None
        self._now = self.theta
        self._views: dict[str, Factors] = {}
        self._start_views: dict[str, Factors] = {}
        self._hooked: torch.utils.hooks.RemovableHandle | None = None
        self.after_detach: Callable[[], None] = lambda: None
        self._trainable = [p for p in self.model.parameters() if p.requires_grad]
        self.model.requires_grad_(False)
        self._hook()

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers with adapters, in the model's order."""
        return self._layout.layers

    @property
    def sizes(self) -> tuple[int, ...]:
        """(2L) columns of theta that each A and B takes: A before B, layer after layer."""
        return self._layout.sizes

    @property
    def count(self) -> int:
        """K, the number of lanes."""
        return len(self.lanes)

    def check_lane(self, k: int) -> None:
        """Check the index of a lane."""
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
            raise ValueError("no gradient yet: call backward on a loss first")
        return self._trimmed(self.theta.grad, layer, k)

    def parts(self, layer: str | None = None) -> tuple[Tensor, ...]:
        """Return the parameters of the last forward pass, in its graph, for differentiation.

        Parameters
        ----------
        layer : return its A (k, r, in) and B (k, out, r); ``None``: the active rows (k, P) of
            theta.
        """
        if layer is None:
            return (self._now,)
        self.shapes(layer)
        if not self._views:
            raise ValueError("no forward pass yet")
        return self._views[layer]

    def shapes(self, layer: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the shapes of a layer's A and B in theta, with the largest rank."""
        return self._layout.shapes(layer)

    def trained(self, layer: str | None = None) -> Bool[Tensor, "k n"]:
        """Return a flat mask of the trained parameters in `parts`.

        Padding and frozen parameters are not trained.
        """
        assert self._rows is not None
        ranks = [lane.r for lane in self.lanes[self._rows]]
        mask = self._layout.real(ranks, layer).to(self.theta.device)
        if self.frozen is None:
            return mask
        frozen = self.frozen[self._rows]
        if layer:
            of_A, of_B = self._layout.columns(layer)
            frozen = frozen[:, of_A.start : of_B.stop]
        return mask & ~frozen

    @torch.no_grad()
    def put(self, layer: str, k: int, now: Start) -> None:
        """Set lane k's A and B of one layer, of the lane's rank or below."""
        A, B = self._layout.factors(self.theta.detach(), layer)
        fill(A[k], B[k], now)

    @torch.no_grad()
    def delta(self, layer: str, k: int) -> Float[Tensor, "out in"]:
        """Return the update ΔW = s (B A − B⁰ A⁰) of one layer and lane, (out, in)."""
        now, start = self.factors(layer, k), self.start_factors(layer, k)
        return self.scale[k] * ((now.B - start.B) @ now.A + start.B @ (now.A - start.A))

    @torch.no_grad()
    def merge(self, k: int) -> nn.Module:
        """Return a copy of the model with W + ΔW of lane k, without lanes."""
        self.check_lane(k)
        merged = self.base()
        for name in self.layers:
            W = weight_of(merged.get_submodule(name))
            W.copy_(W.to(self.theta.dtype) + self.delta(name, k))
        return merged

    def base(self, *, shared: bool = False) -> nn.Module:
        """Return a copy of the model without lanes; `shared` copies no weight."""
        memo = {id(W): W for W in self.model.parameters()} if shared else {}
        attached = self._hooked is not None
        self._unhook()
        try:
            return copy.deepcopy(self.model, memo)
        finally:
            if attached:
                self._hook()

    def some(self, rows: slice, dropout: Dropout | None = None) -> AbstractContextManager[None]:
        """Run a slice of the lanes, with dropout in a training step.

        The model then takes that many times the batch.
        """
        return self._running(rows, dropout)

    def only(self, k: int) -> AbstractContextManager[None]:
        """Run lane k alone, on plain batches."""
        self.check_lane(k)
        return self._running(slice(k, k + 1))

    def off(self) -> AbstractContextManager[None]:
        """Run the untouched base model, on plain batches."""
        return self._running(None)

    def detach(self) -> nn.Module:
        """Remove the lanes and return the base model, bitwise unchanged."""
        self._unhook()
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        self.after_detach()
        return self.model

    @contextmanager
    def _running(self, rows: slice | None, dropout: Dropout | None = None) -> Iterator[None]:
        before = self._rows, self._dropout
        self._rows, self._dropout = rows, dropout
        try:
            yield
        finally:
            self._rows, self._dropout = before

    def _trimmed(self, theta: Tensor, layer: str, k: int) -> Start:
        self.check_lane(k)
        A, B = self._layout.factors(theta, layer)
        r = self.lanes[k].r
        return Start(A=A[k, :r], B=B[k, :, :r])

    def _split(self, *_: object) -> None:
        """Split theta into every A and B, before the model's first layer with adapters."""
        if self._rows is None:
            return
        self._now = self._chosen(self.theta)
        self._views = self._layout.split(self._now)
        self._start_views = self._layout.split(self._chosen(self.start))

    def _chosen(self, theta: Tensor) -> Tensor:
        """Return the active rows; if all are active, without a second gradient (K, P)."""
        assert self._rows is not None
        whole = self._rows == slice(0, self.count)
        return theta if whole else theta[self._rows]

    def _forward(self, name: str, original: Callable[[Tensor], Tensor], X: Tensor) -> Tensor:
        """Replace the forward of a target layer."""
        if self._rows is None:
            return original(X)
        K = self._rows.stop - self._rows.start
        if X.shape[0] % K:
            raise ValueError(
                f"with {K} lanes the model needs {K}·batch rows, lane after lane, not {X.shape[0]}"
            )
        start = None if self._from_zero else self._start_views[name]
        s = self.scale[self._rows, None, None]
        layer, (A, B) = self.plan.layers[name], self._views[name]
        Y = LaneLinear.apply(X, weight_of(layer), layer.bias, A, B, start, s)
        return self._dropout.add(name, Y, X, A, B, s) if self._dropout else Y

    def _hook(self) -> None:
        for name, layer in self.plan.layers.items():
            if "forward" in layer.__dict__:
                raise ValueError(f"layer {name!r} already has lanes; detach them first")
        for name, layer in self.plan.layers.items():
            layer.forward = partial(self._forward, name, layer.forward)
        owner = common_owner(self.model, list(self.layers))
        self._hooked = owner.register_forward_pre_hook(self._split)

    def _unhook(self) -> None:
        if self._hooked is None:
            return
        self._hooked.remove()
        self._hooked = None
        self._views, self._start_views = {}, {}
        for layer in self.plan.layers.values():
            del layer.forward


def attach(
    model: nn.Module,
    lanes: Sequence[Lane],
    targets: Sequence[str] | None = None,
    progress: Progress | None = None,
    calibration: Mapping[str, Calibration] | None = None,
) -> Lanes:
    """Attach K lanes to a model and freeze the model.

    The model then takes K·batch rows, lane after lane, and returns as many; its function is
    unchanged until `theta` moves.

    Parameters
    ----------
    model : the base model; it is frozen until `Lanes.detach`.
    lanes : 1 to 64 contenders, of any mixture of initializations and ranks.
    targets : suffixes of layer names; ``None`` takes all linear layers inside the blocks.
    progress : called with the progress of initialization.
    calibration : by layer, for the initializations that need a gradient or inputs; a race gathers
        it automatically.

    Raises
    ------
    ValueError : no lanes or too many, a rank above min(out, in) of a layer, a non-finite weight, a
        target that matches no layer, a layer that already has lanes, or an initialization without
        the calibration it needs.
    """
    return attach_planned(plan_adapters(model, lanes, targets), progress, calibration)


def attach_planned(
    plan: AdapterPlan,
    progress: Progress | None = None,
    calibration: Mapping[str, Calibration] | None = None,
) -> Lanes:
    """Put the lanes of a plan on its model, see `attach`."""
    calibration = calibration or {}
    plan.check_calibration(calibration)
    return Lanes(plan, start_from(calibration), progress)
