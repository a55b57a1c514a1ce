"""Lanes: K adapters on one frozen model, every parameter in one matrix `theta`.

The model itself is never changed: attaching overrides the `forward` of the target layers, and detaching restores it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from olora_viz.initializers import Calibration, Start
from olora_viz.lanes.lane import BASE, Lane, labels, lanes_table
from olora_viz.lanes.layers import named_layers, weight_of
from olora_viz.lanes.linear import Dropout
from olora_viz.lanes.passes import Passes
from olora_viz.lanes.past import Past
from olora_viz.lanes.plan import (
    AdapterPlan,
    StartCache,
    StartOf,
    fill,
    frozen_mask,
    plan_adapters,
    start_from,
    start_matrix,
)
from olora_viz.machine.checks import described, expect, unknown
from olora_viz.machine.four_bit import FourBitLayer, unpack
from olora_viz.machine.process import Progress
from olora_viz.machine.wording import listed


class Lanes:
    """K adapters on one frozen model; made by `attach`.

    A lane is given by its number k, from 0, or by its label.

    Attributes:
        theta: (K, P) float32. Row k holds every A and B of lane k, and DoRA's m. Lanes of smaller rank in a layer are
            padded with zeros, which get zero gradient and stay zero; a lane has rank 0 in a layer that it leaves out.
        plan: the layers and lanes that take part.
        start: (K, P), the A⁰ and B⁰ of which s B⁰A⁰ is subtracted: theta at step 0, or zero for lanes whose
            initialization does not keep the model's function. Of full fine-tuning the update of the past.
        past: what earlier races merged into the lanes' bases; None if all of them start from W.
        fixed: by layer and lane, what a lane's own base in four bits and its start have more than the shared base.
        frozen: (K, P), mask of the entries of theta that are not trained: the B of lanes whose initialization freezes
            it. None if there is no such lane.
        after_detach: called by `detach`, to undo other changes to the model.

    Examples:
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> lanes = ov.attach(model, [ov.Lane("olora", r=4)], ["layers.0.*.q_proj"])
        >>> (layer,) = lanes.layers
        >>> factors = lanes.factors(layer, 0)
        >>> factors.B.shape, factors.A.shape
        (torch.Size([128, 4]), torch.Size([4, 128]))
        >>> bool(lanes.delta(layer, 0).any())  # nothing has moved yet
        False
        >>> lanes.put(layer, 0, ov.Start(A=2 * factors.A, B=factors.B))
        >>> bool(lanes.delta(layer, 0).any())
        True
    """

    def __init__(
        self,
        plan: AdapterPlan,
        start_of: StartOf,
        progress: Progress | None = None,
        past: Past | None = None,
        full: Mapping[str, Tensor] | None = None,
    ) -> None:
        if full is None and (reads := [each.start_from for each in plan.lanes if each.start_from != BASE]):
            raise ValueError(f"start_from={reads[0]} is for a race on a base in four bits: set its base to nf4")
        self.plan, self.model, self.past = plan, plan.model, past
        self.lanes, self.labels, self.rank = plan.lanes, labels(plan.lanes), plan.rank
        self._layout = plan.layout
        self.start, self.fixed = start_matrix(plan, start_of, progress, past, full)
        self.theta = self.start.clone().requires_grad_()
        self.start[plan.unsubtracted] = 0.0
        self.scale = self.start.new_tensor([lane.scale for lane in self.lanes])
        self.frozen = frozen_mask(plan, self.theta)
        self._passes = Passes(plan, self.theta, self.start, self.frozen, past, self.fixed)
        self.after_detach: Callable[[], None] = lambda: None
        self._handed_on: RemovableHandle | None = None
        self._trainable = [p for p in self.model.parameters() if p.requires_grad]
        self.model.requires_grad_(False)
        self._passes.begin()

    def __repr__(self) -> str:
        """Return how many lanes there are, and on what."""
        model = type(self.model).__name__
        return f"<Lanes on {model}: {listed(self.labels)}; {len(self.layers)} layers>"

    def _repr_html_(self) -> str:
        return lanes_table(self.lanes, repr(self)[1:-1])

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers with an adapter of any lane, in the model's order."""
        return self._layout.layers

    @property
    def sizes(self) -> tuple[int, ...]:
        """(2L) numbers of columns of theta for each A and B: A before B, layer after layer; DoRA's m are behind."""
        return self._layout.sizes

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters of a training loop of your own: a group for each lane, with its learning rate.

        A group has a lane's row of `theta`, a view, for any optimizer of torch; `theta.grad` moves there after every
        backward pass. Settings such as betas and weight decay are the optimizer's. Of a lane whose B is frozen, weight
        decay would shrink it.

        The backward pass after a step raises ValueError if the gradient of that step was not cleared. The rows are no
        parameters of the model, so `model.zero_grad()` does not clear them, nor does a trainer that calls it.

        Examples:
            >>> import torch
            >>> import olora_viz as ov
            >>> model, tokenizer = ov.load_model("glassllm")
            >>> lanes = ov.attach(model, [ov.Lane("lora"), ov.Lane("olora", lr=3e-4)])
            >>> optimizer = torch.optim.SGD(lanes.parameter_groups())
            >>> [group["lr"] for group in optimizer.param_groups]
            [0.001, 0.0003]
        """
        for label, lane in zip(self.labels, self.lanes, strict=True):
            if lane.dim is not None:
                raise ValueError(
                    f"lane {label!r} trains along {lane.dim} directions, which only a race does: leave out dim"
                )
            if lane.replays:
                raise ValueError(f"lane {label!r} has {lane.replay_words}, which only a race does: leave it out")
        rows = [nn.Parameter(row) for row in self.theta.detach()]
        computed_at = list(self.theta.detach().clone())  # the parameters to which each gradient belongs

        def hand_on(theta: Tensor) -> None:
            assert theta.grad is not None
            gradients, theta.grad = theta.grad, None
            for k, (row, gradient) in enumerate(zip(rows, gradients, strict=True)):
                if row.grad is None or not row.grad.any():
                    row.grad = gradient
                    computed_at[k].copy_(row.detach())
                elif torch.equal(row, computed_at[k]):
                    row.grad = row.grad + gradient
                else:
                    raise ValueError(
                        f"the gradient of lane {self.labels[k]!r} was not cleared after a step, and another one would "
                        "be added to it: call the optimizer's zero_grad() after every step; transformers' Trainer, "
                        "which clears and clips only the model's own parameters, takes an adapter of ov.start_peft"
                    )

        if self._handed_on is not None:
            self._handed_on.remove()
        self._handed_on = self.theta.register_post_accumulate_grad_hook(hand_on)
        return [{"params": [row], "lr": lane.lr} for row, lane in zip(rows, self.lanes, strict=True)]

    @property
    def count(self) -> int:
        """K, the number of lanes."""
        return len(self.lanes)

    def number(self, k: int | str) -> int:
        """Return the number of a lane, from 0, which is given or by its label.

        Raises:
            ValueError: there is no such lane.
        """
        if isinstance(k, str):
            if k not in self.labels:
                raise ValueError(unknown("lane", k, self.labels))
            return self.labels.index(k)
        if isinstance(k, bool) or not isinstance(k, int):
            raise ValueError(f"a lane is given by its number or its label, not {described(k)}")
        if not 0 <= k < self.count:
            raise ValueError(f"lane {k} does not exist; there are lanes 0 to {self.count - 1}")
        return k

    def factors(self, layer: str, k: int | str) -> Start:
        """Return lane k's A (r, in) and B (out, r) of one layer, without the padding; see `put`.

        If the lane leaves the layer out, r is 0. Of a dense lane, A is ΔW and B the identity.
        """
        return self._trimmed(self.theta.detach(), layer, k)

    def start_factors(self, layer: str, k: int | str) -> Start:
        """Return the subtracted A⁰ and B⁰, like `factors` for A and B."""
        return self._trimmed(self.start, layer, k)

    def magnitude(self, layer: str, k: int | str) -> Float[Tensor, " out"] | None:
        """Return m of one layer, which theta holds; None if the lane has no DoRA."""
        k = self.number(k)
        return self._layout.magnitudes(self.theta.detach(), layer)[k] if self.lanes[k].dora else None

    def gradient(self, layer: str, k: int | str) -> Start:
        """Return ∂L/∂A (r, in) and ∂L/∂B (out, r) of the last backward pass."""
        if self.theta.grad is None:
            raise ValueError("no gradient yet: call backward on a loss first")
        k = self.number(k)
        gradient = self._trimmed(self.theta.grad, layer, k)
        return Start(gradient.A, torch.zeros_like(gradient.B)) if k in self.plan.dense else gradient

    def parts(self, layer: str | None = None) -> tuple[Tensor, ...]:
        """Return the parameters of the last forward pass, in its graph, for differentiation.

        Args:
            layer: return its A (k, r, in) and B (k, out, r); ``None``: the active rows (k, P) of theta.
        """
        if layer is None:
            return (self._passes.current.now,)
        self.shapes(layer)
        if not self._passes.current.views:
            raise ValueError("no forward pass yet")
        return self._passes.current.views[layer]

    def shapes(self, layer: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the shapes of a layer's A and B in theta, with the largest rank."""
        return self._layout.shapes(layer)

    def trained(self, layer: str | None = None) -> Bool[Tensor, "k n"]:
        """Return a flat mask of the trained parameters in `parts`.

        Padding and frozen parameters are not trained.
        """
        rows = self._passes.current.rows
        assert rows is not None
        mask = self._layout.real(rows, layer).to(self.theta.device)
        if self.frozen is None:
            return mask
        frozen = self.frozen[rows]
        if layer:
            of_A, of_B = self._layout.columns(layer)
            frozen = frozen[:, of_A.start : of_B.stop]
        return mask & ~frozen

    @torch.no_grad()
    def put(self, layer: str, k: int | str, now: Start) -> None:
        """Set lane k's A and B of one layer, of at most the lane's rank; of a dense lane, B A."""
        k = self.number(k)
        A, B = self._layout.factors(self.theta.detach(), layer)
        if k in self.plan.dense:
            A[k, : len(now.B)] = now.B @ now.A
        else:
            fill(A[k], B[k], now)

    @torch.no_grad()
    def delta(self, layer: str, k: int | str) -> Float[Tensor, "out in"]:
        """Return the update ΔW = s (B A − B⁰ A⁰) of one layer and lane, (out, in), without that of its past.

        Of a lane with DoRA it is m ⊙ (W + ΔW) / ‖W + ΔW‖ − W.
        """
        k = self.number(k)
        now, start = self.factors(layer, k), self.start_factors(layer, k)
        if k in self.plan.dense:
            return now.A - start.A
        update = self.scale[k] * ((now.B - start.B) @ now.A + start.B @ (now.A - start.A))
        if (m := self.magnitude(layer, k)) is not None and len(now.A):
            factor = (m / self._passes.norms(layer)[k])[:, None]
            update = (factor - 1) * self.plan.weight(layer).to(m.dtype) + factor * update
        return update

    @torch.no_grad()
    def merged_factors(self, layer: str, k: int | str) -> Start:
        """Return A and B whose product is all that lane k adds to W in one layer: its past's update and its own.

        The scaling is in B. Of a dense lane A is that sum and B the identity; of DoRA it is W + ΔW before m.
        """
        k = self.number(k)
        now, start = self.factors(layer, k), self.start_factors(layer, k)
        if k in self.plan.dense:
            return now
        s = self.scale[k]
        if self.plan.starts[k].zero_product or k in self.plan.unsubtracted:
            own = Start(A=now.A, B=s * now.B)
        else:
            own = Start(A=torch.cat([now.A, now.A - start.A]), B=torch.cat([s * (now.B - start.B), s * start.B], 1))
        if self.past is None:
            return own
        before = self.past.layers[layer][k]
        return Start(A=torch.cat([own.A, before.A]), B=torch.cat([own.B, before.B], 1))

    def onward(self) -> Past:
        """Return the past of the lanes of a next race, into whose bases these are merged."""
        layers = {name: [self.merged_factors(name, k) for k in range(self.count)] for name in self.layers}
        return Past(1 if self.past is None else self.past.links + 1, layers)

    @torch.no_grad()
    def merge(self, k: int | str, dtype: torch.dtype | None = None) -> nn.Module:
        """Return a copy of the model with W + ΔW of lane k, and its past's update, without lanes.

        Args:
            dtype: of its weights; the sum is rounded to it once. By default that of the model.
        """
        k = self.number(k)
        merged = self.base()
        for layer in merged.modules():
            if isinstance(layer, FourBitLayer):
                unpack(layer)
        for parameter in merged.parameters() if dtype else ():  # no buffers, as where transformers loads a dtype
            parameter.data = parameter.data.to(dtype)
        layers = named_layers(merged)
        for name in self.plan.layers_of(k):
            W, update = weight_of(self.plan.layers[name]), self.delta(name, k)
            if self.past is not None:
                update = update + self.past.update(name, k)
            if k in self.fixed.get(name, {}):
                update = update + self.fixed[name][k]
            weight_of(layers[name]).copy_(W.to(self.theta.dtype) + update)
        return merged

    def base(self, *, shared: bool = False) -> nn.Module:
        """Return a copy of the model without lanes; `shared` copies no weight."""
        memo = {id(W): W for W in chain(self.model.parameters(), self.model.buffers())} if shared else {}
        attached = self._passes.begun
        self._passes.end()
        try:
            return copy.deepcopy(self.model, memo)
        finally:
            if attached:
                self._passes.begin()

    def some(self, rows: slice, dropout: Dropout | None = None) -> AbstractContextManager[None]:
        """Run a slice of the lanes, with dropout in a training step.

        The model then takes that many times the batch.
        """
        return self._passes.running(rows, dropout)

    def apart(self, rows: slice | None, theta: Tensor | None = None) -> AbstractContextManager[Tensor]:
        """Run a slice of the lanes, or none, in this thread, whatever lanes other threads run.

        The context is their rows of theta (k, P), a leaf that gets the gradient of backward passes: `theta` itself for
        all lanes, and for fewer a view. Contexts within it are this thread's too.

        Args:
            theta: other parameters of these lanes, (k, P), to run them with.
        """
        return self._passes.apart(rows, theta)

    def put_back(self) -> Callable[[], None]:
        """Return a function that runs the present lanes again in this thread, whatever an interrupt leaves behind."""
        return self._passes.put_back()

    def only(self, k: int | str) -> AbstractContextManager[None]:
        """Run lane k alone, on plain batches."""
        k = self.number(k)
        return self._passes.running(slice(k, k + 1))

    def off(self) -> AbstractContextManager[None]:
        """Run the base model, on plain batches: by the products of lanes, so up to rounding as without them."""
        return self._passes.running(None)

    def detach(self) -> nn.Module:
        """Remove the lanes and return the base model, bitwise unchanged."""
        self._passes.end()
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        self.after_detach()
        return self.model

    def _trimmed(self, theta: Tensor, layer: str, k: int | str) -> Start:
        k = self.number(k)
        A, B = self._layout.factors(theta, layer)
        r = self._layout.ranks[layer][k]
        if k in self.plan.dense:
            return Start(A=A[k, :r], B=torch.eye(B.shape[1], r, dtype=B.dtype, device=B.device))
        return Start(A=A[k, :r], B=B[k, :, :r])


def attach(
    model: nn.Module,
    lanes: Sequence[Lane],
    targets: Sequence[str] | None = None,
    progress: Progress | None = None,
    calibration: Mapping[str, Calibration] | None = None,
) -> Lanes:
    """Attach K lanes to a model and freeze the model.

    The model then takes K·batch rows, lane after lane, and returns as many; its function is unchanged until `theta`
    changes, but for initializations that do not keep it.

    Args:
        model: the base model; it is frozen until `Lanes.detach`.
        lanes: 1 to 64 contenders, of any mixture of initializations and ranks.
        targets: of the lanes without their own, see `target_layers`; ``None`` takes all linear layers inside the
            blocks.
        progress: called with the progress of initialization.
        calibration: by layer, for the initializations that need a gradient or inputs; a race gathers it automatically.

    Raises:
        ValueError: no lanes or too many, a rank above min(out, in) of a layer, a non-finite weight, a target that
            matches no layer, a layer that already has lanes, or an initialization without the calibration it needs.

    Examples:
        >>> import olora_viz as ov
        >>> model, tokenizer = ov.load_model("glassllm")
        >>> lanes = ov.attach(model, [ov.Lane("lora"), ov.Lane("olora", r=4)])
        >>> lanes
        <Lanes on LlamaForCausalLM: lora, olora; 28 layers>
        >>> row = tokenizer("Alice was beginning", return_tensors="pt").input_ids
        >>> of_lora, of_olora = model(row.repeat(2, 1)).logits  # lane after lane
        >>> bool((of_lora - of_olora).abs().max() < 1e-5)  # nothing has been trained yet
        True
        >>> model = lanes.detach()
    """
    expect(model, nn.Module, "a model, such as load_model('glassllm')[0]")
    expect(lanes, (list, tuple), "a list of Lane, such as [Lane('olora')]")
    for lane in lanes:
        expect(lane, Lane, "a list of Lane, such as [Lane('olora')]")
    return attach_planned(plan_adapters(model, lanes, targets), progress, calibration)


def attach_planned(
    plan: AdapterPlan,
    progress: Progress | None = None,
    calibration: Mapping[str, Calibration] | None = None,
    cached: StartCache | None = None,
    past: Past | None = None,
    full: Mapping[str, Tensor] | None = None,
) -> Lanes:
    """Attach the lanes of a plan to its model, see `attach`; `cached` is that of `start_from`.

    Args:
        past: what is merged into the lanes' bases, from which they start then.
        full: by layer, the weights before they were rounded to four bits; None if no lane starts from them.
    """
    calibration = calibration or {}
    plan.check_calibration(calibration)
    return Lanes(plan.with_ranks(calibration), start_from(calibration, cached, past), progress, past, full)
