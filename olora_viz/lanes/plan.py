"""What takes part, resolved once: the layers that carry adapters, the lanes, and what they need."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.initializers import INITIALIZERS, Calibration, Initializer, lacking
from olora_viz.initializers.start import check_rank
from olora_viz.lanes.coverage import Coverage, coverage_of
from olora_viz.lanes.experts import ExpertLinear
from olora_viz.lanes.lane import MAX_LANES, Lane
from olora_viz.lanes.layers import target_layers, weight_of


@dataclass(frozen=True, eq=False)
class AdapterPlan:
    """K lanes on some layers of a model; made and checked by `plan_adapters`, no weight touched."""

    model: nn.Module
    layers: Mapping[str, nn.Module]
    """The layers that get adapters, by name and in the model's order."""
    lanes: tuple[Lane, ...]

    @cached_property
    def starts(self) -> tuple[Initializer, ...]:
        """The initialization of each lane, unaffected by later changes of the registry."""
        return tuple(INITIALIZERS[lane.init] for lane in self.lanes)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """(out, in) of each layer's weight."""
        return {name: (W.shape[0], W.shape[1]) for name, W in self.weights.items()}

    @property
    def weights(self) -> dict[str, Tensor]:
        """Each layer's weight as (out, in), a view."""
        return {name: weight_of(layer) for name, layer in self.layers.items()}

    def weight(self, layer: str) -> Float[Tensor, "out in"]:
        """Return one layer's weight as (out, in), a view."""
        return weight_of(self.layers[layer])

    @cached_property
    def coverage(self) -> Coverage:
        """What the layers hold of the model's weights, and what is left out."""
        return coverage_of(self.model, self.layers)

    @property
    def rank(self) -> int:
        """The largest rank of any lane."""
        return max(lane.r for lane in self.lanes)

    @property
    def needs(self) -> frozenset[str]:
        """What the starts need to know of the data: of ``gradient`` and ``inputs``."""
        return frozenset(start.needs for start in self.starts) - {""}

    @property
    def frozen_B(self) -> list[int]:
        """The lanes whose B is not trained."""
        return [k for k, start in enumerate(self.starts) if start.frozen_B]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of theta: float32, or float64 where the weights are."""
        return torch.promote_types(next(iter(self.weights.values())).dtype, torch.float32)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and theta will be."""
        return next(iter(self.weights.values())).device

    def with_lanes(self, lanes: Sequence[Lane]) -> AdapterPlan:
        """Return the same layers with other lanes.

        Raises
        ------
        ValueError : no lane or too many, a rank above min(out, in) of a layer, dropout on experts.
        """
        if not 1 <= len(lanes) <= MAX_LANES:
            raise ValueError(f"a race takes 1 to {MAX_LANES} lanes, not {len(lanes)}")
        made = replace(self, lanes=tuple(lanes))
        for name, W in made.weights.items():
            for lane, start in zip(made.lanes, made.starts, strict=True):
                check_rank(W, lane.r, name, start.vectors)
                if lane.dropout and isinstance(made.layers[name], ExpertLinear):
                    raise ValueError(
                        f"dropout {lane.dropout:g} is not possible on experts, whose inputs the "
                        f"router chooses, such as {name!r}: set it to 0, or name other targets"
                    )
        return made

    def check_calibration(self, calibration: Mapping[str, Calibration]) -> None:
        """Refuse initializations that need statistics which are not there.

        Raises
        ------
        ValueError : a layer without calibration, and a lane that starts from some.
        """
        for start in self.starts:
            if start.needs and not self.layers.keys() <= calibration.keys():
                raise lacking(start.name, start.needs)


def plan_adapters(
    model: nn.Module,
    lanes: Sequence[Lane],
    targets: Sequence[str] | None = None,
    bypassed: Collection[str] = (),
) -> AdapterPlan:
    """Resolve which layers carry which lanes, and check that all lanes can start there.

    Parameters
    ----------
    model, lanes, targets : of `attach`.
    bypassed : layers that get no adapters, see `target_layers`.

    Raises
    ------
    ValueError : no lane or too many, a target that matches nothing, a rank above min(out, in) of a
        layer, a weight that is not finite.
    """
    plan = AdapterPlan(model, target_layers(model, targets, bypassed), ()).with_lanes(lanes)
    for name, W in plan.weights.items():
        if not W.isfinite().all():
            raise ValueError(f"the model's weight {name!r} holds NaN or infinity")
    return plan
