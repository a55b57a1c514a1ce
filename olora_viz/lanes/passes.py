"""Forward passes of K lanes: which lanes run, in which mode, and the first pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from olora_viz.lanes.dora import DoraLayer
from olora_viz.lanes.experts import UnrolledExperts, override, unrolled
from olora_viz.lanes.layers import called_module, common_owner, is_linear, weight_of
from olora_viz.lanes.linear import Dropout, FrozenLinear, LaneLinear, add_dense, add_fixed
from olora_viz.lanes.past import Past
from olora_viz.lanes.plan import AdapterPlan, Factors, Fixed
from olora_viz.machine.files import reason
from olora_viz.machine.products import product
from olora_viz.tasks.losses import context_of


class EvalMode:
    """Keeps a model in eval mode, so without dropout, until it is closed."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._training: list[nn.Module] = []
        self.open()

    def open(self) -> None:
        """Enter eval mode, unless the model is already in it."""
        training = [module for module in self._model.modules() if module.training]
        self._training += training
        for module in training:
            module.training = False

    def close(self) -> None:
        """Restore the mode of every module."""
        training, self._training = self._training, []
        for module in training:
            module.training = True


@dataclass
class Pass:
    """Which lanes the model runs, and their parameters in the last forward pass."""

    rows: slice | None
    """The active lanes; None for the base model alone."""
    now: Tensor
    """(k, P), the rows of theta in the last forward pass, in its graph."""
    dropout: Dropout | None = None
    views: dict[str, Factors] = field(default_factory=dict)
    """A and B of every layer in the last forward pass, views of `now`."""
    start_views: dict[str, Factors] = field(default_factory=dict)
    """The same of the subtracted start."""
    magnitudes: dict[str, Tensor] = field(default_factory=dict)
    """m of every layer in the last forward pass, of the lanes with DoRA; () if there are none."""
    leaf: tuple[slice, Tensor] | None = None
    """Some lanes, and (k, P) to use as their rows of theta."""


class Passes:
    """Makes the layers of a plan add the adapters of the active lanes, from `begin` to `end`.

    Args:
        plan: the layers, and where theta holds their A and B.
        theta, start: (K, P), of `Lanes`; theta gets m of the lanes with DoRA.
        frozen: (K, P), mask of entries without a gradient; None if there are none.
        past: what was merged into the lanes' bases before; None if nothing was.
        fixed: by layer and lane, what its own base has more than the shared one, (out, in).
    """

    def __init__(
        self,
        plan: AdapterPlan,
        theta: Float[Tensor, "K P"],
        start: Float[Tensor, "K P"],
        frozen: Bool[Tensor, "K P"] | None = None,
        past: Past | None = None,
        fixed: Fixed | None = None,
    ) -> None:
        self._fixed = fixed or {}
        self._plan, self._theta, self._start, self._frozen = plan, theta, start, frozen
        self._scale = start.new_tensor([lane.scale for lane in plan.lanes])
        # If every B⁰ or its A⁰ is zero, there is nothing to subtract, and half the thin products suffice.
        views, _ = plan.layout.split(start)
        self._from_zero = not any((A.flatten(1).any(1) & B.flatten(1).any(1)).any() for A, B in views.values())
        self._past = {} if past is None else {name: past.stacked(name, plan.dense) for name in plan.layers}
        self._shared, self._apart = Pass(slice(0, len(theta)), theta), threading.local()
        self._restore: list[Callable[[], None]] = []
        self._keep_frozen(theta, slice(None))
        self._dora: dict[str, DoraLayer] = {}
        for name, its in self._plan.ranks.items():
            if dora := [k for k in plan.dora if its[k]]:
                self._dora[name] = DoraLayer(name, plan.weight(name), theta.dtype)
                m, n = plan.layout.magnitudes(theta.detach(), name), self.norms(name)
                m[dora] = n[dora]

    def norms(self, name: str) -> Float[Tensor, "K out"]:
        """Return the norms of the rows of W + ΔW of all lanes in a layer with DoRA."""
        factors, start = (self._plan.layout.factors(each.detach(), name) for each in (self._theta, self._start))
        own = self._low(*factors, None if self._from_zero else start)
        return self._dora[name].norms(self._plan.weight(name), *own, self._scale[:, None, None])

    @staticmethod
    def _low(A: Tensor, B: Tensor, start: Factors | None) -> tuple[Tensor, Tensor, Factors | None]:
        """Return A, B and the start without the rows of A that only dense lanes have."""
        rank = B.shape[2]
        return (A[:, :rank] if rank < A.shape[1] else A), B, start and (start[0][:, :rank], start[1])

    @property
    def current(self) -> Pass:
        """The pass of this thread, if it runs lanes `apart`; otherwise that of all other threads."""
        return getattr(self._apart, "current", None) or self._shared

    @property
    def begun(self) -> bool:
        """Whether the model runs with lanes."""
        return bool(self._restore)

    def begin(self) -> None:
        """Override the forward of the layers, and of the experts that they are part of."""
        layers, one = self._plan.layers, next(self._plan.model.parameters()).new_ones(1, 1)
        product(one, one)  # it asks about the machine here, not within a pass whose operations are counted
        adapted = {id(layer) for layer in layers.values()}
        others = {
            path: (module, partial(_base, module))
            for path, module in self._plan.model.named_modules()
            if is_linear(module) and id(module) not in adapted and "forward" not in module.__dict__
        }
        restore = override(
            {name: (layer, partial(self._layer, name)) for name, layer in layers.items()}
            | {path: (experts.module, partial(self._experts, experts)) for path, experts in unrolled(layers).items()}
            | others
        )
        called = [called_module(*item) for item in layers.items()]
        hook = common_owner(self._plan.model, called).register_forward_pre_hook(self.split)
        self._restore = [restore, hook.remove]

    def end(self) -> None:
        """Restore the forward of every layer."""
        for restore in self._restore:
            restore()
        self._restore, self._shared.views, self._shared.start_views, self._shared.magnitudes = [], {}, {}, {}

    @contextmanager
    def running(self, rows: slice | None, dropout: Dropout | None = None) -> Generator[None]:
        """Activate other lanes, or none."""
        now = self.current
        before = now.rows, now.dropout
        now.rows, now.dropout = rows, dropout
        try:
            yield
        finally:
            now.rows, now.dropout = before

    @contextmanager
    def apart(self, rows: slice | None, theta: Tensor | None = None) -> Generator[Tensor]:
        """Activate lanes, or none, in this thread, whatever runs in others; see `Lanes.apart`."""
        before, leaf = getattr(self._apart, "current", None), self._theta
        if theta is not None:
            leaf = theta
        elif rows is not None and rows != slice(0, len(self._theta)):
            leaf = self._theta.detach()[rows].requires_grad_()
            self._keep_frozen(leaf, rows)
        self._apart.current = mine = Pass(rows, leaf, leaf=None if rows is None else (rows, leaf))
        try:
            yield leaf
        finally:
            if self.current is mine:  # it is not if `put_back` came before
                self._apart.current = before

    def put_back(self) -> Callable[[], None]:
        """Return a function that activates again, in this thread, the lanes that are active now.

        The contexts do so themselves, unless an interrupt comes while they end.
        """
        shared, apart = (self._shared.rows, self._shared.dropout), getattr(self._apart, "current", None)

        def activate() -> None:
            self._shared.rows, self._shared.dropout = shared
            self._apart.current = apart

        return activate

    def split(self, *_: object) -> None:
        """Split theta into every A and B, before the model's first layer with adapters."""
        now = self.current
        if now.rows is None:
            return
        now.now = now.leaf[1] if now.leaf and now.leaf[0] == now.rows else self._chosen(self._theta, now.rows)
        now.views, now.magnitudes = self._plan.layout.split(now.now)
        now.start_views = self._plan.layout.split(self._chosen(self._start, now.rows))[0]

    def _keep_frozen(self, theta: Tensor, rows: slice) -> None:
        """Let the frozen entries of some rows of theta have no gradient.

        On the leaf itself, so that no norm, optimizer or second derivative sees one. Not a product, since zero times
        NaN is NaN.
        """
        if self._frozen is not None:
            frozen = self._frozen[rows]
            theta.register_hook(lambda gradient: gradient.masked_fill(frozen, 0.0))

    @staticmethod
    def _chosen(theta: Tensor, rows: slice) -> Tensor:
        """Return the active rows; if all are active, without a second gradient (K, P)."""
        return theta if rows == slice(0, len(theta)) else theta[rows]

    def _layer(self, name: str, original: Callable[[Tensor], Tensor], X: Tensor) -> Tensor:
        """Replace the forward of a layer with adapters."""
        now = self.current
        layer: Any = self._plan.layers[name]
        if now.rows is None:
            return _base(layer, original, X)
        K = now.rows.stop - now.rows.start
        if X.shape[0] % K:
            raise ValueError(f"with {K} lanes the model needs {K}·batch rows, lane after lane, not {X.shape[0]}")
        s = self._scale[now.rows, None, None]
        A = now.views[name][0]
        low, B, start = self._low(*now.views[name], None if self._from_zero else now.start_views[name])
        read, bias = partial(weight_of, layer), layer.bias
        past = self._past and tuple(factor[now.rows] for factor in self._past[name])
        Y = LaneLinear.apply(X, read, bias, low, B, start, s, past or None)
        ranks = self._plan.ranks[name][now.rows]
        if dense := [k for k, rank in enumerate(ranks) if rank and now.rows.start + k in self._plan.dense]:
            Y = add_dense(Y, X, read, bias, A, dense)
        first = now.rows.start
        fixed = {k - first: E for k, E in self._fixed.get(name, {}).items() if first <= k < now.rows.stop}
        Y = add_fixed(Y, X, A, fixed) if fixed else Y
        if now.dropout:
            Y = now.dropout.add(name, Y, X, low, B, s, ranks)
        dora = [k - first for k in self._plan.dora if first <= k < now.rows.stop and ranks[k - first]]
        if not dora:
            return Y
        of_lanes = low, B, start, s, now.magnitudes[name]
        return self._dora[name].scale(Y, X, read, bias, *of_lanes, dora, now.dropout)

    def _experts(self, experts: UnrolledExperts, original: Callable[..., Tensor], *given: Tensor) -> Tensor:
        """Replace the forward of a module of experts by one that calls the layers above."""
        rows = self.current.rows
        if rows is None:
            return original(*given)
        return experts.forward(rows.stop - rows.start, *given)


def _base(layer: Any, original: Callable[[Tensor], Tensor], X: Tensor) -> Tensor:
    """Replace the forward of a layer without adapters, unless its weight or bias is trained."""
    if any(each.requires_grad for each in layer.parameters()):
        return original(X)
    return FrozenLinear.apply(X, partial(weight_of, layer), layer.bias)


TOKENS = 8
"""Length of the two rows that are read, at most the model's context."""


def sample(model: nn.Module) -> Int[Tensor, "1 T"]:
    """Return a row of tokens that a language model can read, the same at every call."""
    weight = model.get_input_embeddings().weight  # pyrefly: ignore[not-callable]
    length = min(TOKENS, context_of(model) or TOKENS)
    seeded = torch.Generator().manual_seed(0)
    return torch.randint(len(weight), (1, length), generator=seeded).to(weight.device)


@torch.no_grad()
def logits_of(model: nn.Module, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
    """Run a language model, in its current mode."""
    return model(input_ids=ids, use_cache=False).logits


def bypassed_modules(model: nn.Module, name: str) -> frozenset[str]:
    """Run a causal language model once, on two rows that differ in their last token, and name what it does not call.

    Returns:
        The modules that were not called although their parent was: the model reads their weights itself, like Mamba
        its ``dt_proj``, or does not use them.

    Raises:
        ValueError: the forward pass fails, or the model is not causal.
    """
    ids = sample(model).repeat(2, 1)
    vocabulary = len(model.get_input_embeddings().weight)  # pyrefly: ignore[not-callable]
    ids[1, -1] = (ids[0, -1] + 1) % vocabulary
    called: set[str] = {""}
    hooks = [
        module.register_forward_pre_hook(lambda *_, path=path: called.add(path))
        for path, module in model.named_modules()
    ]
    try:
        logits = logits_of(model, ids)
    except Exception as error:  # a model of unknown origin can fail anywhere
        raise ValueError(f"the forward pass of {name} fails: {reason(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    change = (logits[1] - logits[0]).abs().amax(-1)  # (T)
    if (change[:-1] > torch.finfo(logits.dtype).eps ** 0.5 * change[-1]).any():
        raise ValueError(
            f"{name} is not causal: its logits depend on later tokens, so it would see the answer "
            "it is asked for; a race needs a causal language model"
        )
    paths = {path for path, _ in model.named_modules()}
    return frozenset(path for path in paths - called if path.rpartition(".")[0] in called)
