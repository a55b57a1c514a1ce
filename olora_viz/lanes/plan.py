"""The plan of an attachment, resolved once: the layers with adapters, the lanes and their needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from olora_viz.initializers import INITIALIZERS, Calibration, Initializer, lacking
from olora_viz.initializers.calibration import READS
from olora_viz.initializers.start import check_rank
from olora_viz.lanes.coverage import Coverage, coverage_of
from olora_viz.lanes.experts import ExpertLinear
from olora_viz.lanes.lane import Lane, Targets, check_count
from olora_viz.lanes.layers import adaptable_layers, check_finite, target_layers, weight_of
from olora_viz.lanes.layout import Layout


@dataclass(frozen=True, eq=False)
class AdapterPlan:
    """K lanes on some layers of a model; made by `plan_adapters`, which changes no weight."""

    model: nn.Module
    layers: Mapping[str, nn.Module]
    """The layers that get adapters of any lane, by name and in the model's order."""
    lanes: tuple[Lane, ...]
    chosen: Mapping[Targets, Collection[str]]
    """The names of the layers that a lane adapts, by its targets."""

    @cached_property
    def starts(self) -> tuple[Initializer, ...]:
        """The initialization of each lane, unaffected by later changes of the registry."""
        return tuple(INITIALIZERS[lane.init] for lane in self.lanes)

    @cached_property
    def ranks(self) -> dict[str, tuple[int, ...]]:
        """The rank of every lane in each layer, 0 for a lane that leaves it out.

        That of a dense lane is out, since its B is the identity.
        """
        return {
            name: tuple(
                (shape[0] if start.dense else lane.r) if name in self.chosen[lane.targets] else 0
                for lane, start in zip(self.lanes, self.starts, strict=True)
            )
            for name, shape in self.shapes.items()
        }

    @cached_property
    def dense(self) -> tuple[int, ...]:
        """The lanes that train the whole ΔW, see `Initializer.dense`."""
        return tuple(k for k, start in enumerate(self.starts) if start.dense)

    @cached_property
    def layout(self) -> Layout:
        """Where theta holds the parameters of every lane."""
        return Layout(self.shapes, self.ranks, self.dense)

    def layers_of(self, k: int) -> tuple[str, ...]:
        """Return the names of the layers that lane k adapts."""
        return tuple(name for name, ranks in self.ranks.items() if ranks[k])

    @property
    def left_out(self) -> Bool[np.ndarray, "K L"]:
        """Whether lane k leaves out layer l."""
        return np.array([*self.ranks.values()]).T == 0

    @property
    def parameters(self) -> tuple[int, ...]:
        """(K) number of trained parameters of each lane."""
        shapes = self.shapes
        return tuple(
            sum(
                shapes[name][1] * ranks[k] + shapes[name][0] * ranks[k] * (not start.frozen_B)
                for name, ranks in self.ranks.items()
            )
            for k, start in enumerate(self.starts)
        )

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
        """The weights of the model in these layers, and those that every lane leaves out."""
        return coverage_of(self.model, self.layers)

    @cached_property
    def coverages(self) -> dict[Targets, Coverage]:
        """The same for the lanes with certain targets."""
        return {
            targets: coverage_of(
                self.model,
                {name: its for name, its in self.layers.items() if name in self.chosen[targets]},
            )
            for targets in dict.fromkeys(lane.targets for lane in self.lanes)
        }

    @property
    def rank(self) -> int:
        """The largest rank of any lane that is not dense; 0 if all are."""
        ranks = (lane.r for k, lane in enumerate(self.lanes) if k not in self.dense)
        return max(ranks, default=0)

    @property
    def needs(self) -> frozenset[str]:
        """The statistics that the starts need, of ``gradient``, ``inputs`` and ``outputs``."""
        return frozenset(one for k in self._informed for one in READS[self.starts[k].needs])

    @property
    def calibrated(self) -> dict[str, nn.Module]:
        """The layers of the lanes whose starts need it, like `layers`."""
        its = {name for k in self._informed for name in self.layers_of(k)}
        return {name: layer for name, layer in self.layers.items() if name in its}

    @property
    def _informed(self) -> list[int]:
        return [k for k, start in enumerate(self.starts) if start.needs]

    @property
    def frozen_B(self) -> list[int]:
        """The lanes whose B is not trained."""
        return [k for k, start in enumerate(self.starts) if start.frozen_B]

    @property
    def unsubtracted(self) -> list[int]:
        """The lanes whose initialization changes the model's function at step 0."""
        return [k for k, start in enumerate(self.starts) if not start.keeps_function]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of theta: float32, or float64 if the weights are."""
        return torch.promote_types(next(iter(self.weights.values())).dtype, torch.float32)

    @property
    def device(self) -> torch.device:
        """The device of the weights and of theta."""
        return next(iter(self.weights.values())).device

    def with_lanes(self, lanes: Sequence[Lane]) -> AdapterPlan:
        """Return the layers of some other lanes, whose targets are among those of these lanes.

        Raises
        ------
        ValueError : no lane or too many, a rank above min(out, in) of a layer, dropout on experts.
        """
        check_count(len(lanes))
        used = {name for lane in lanes for name in self.chosen[lane.targets]}
        layers = {name: layer for name, layer in self.layers.items() if name in used}
        made = replace(self, layers=layers, lanes=tuple(lanes))
        for name, W in made.weights.items():
            its = [k for k, r in enumerate(made.ranks[name]) if r]
            for lane, start in ((made.lanes[k], made.starts[k]) for k in its):
                check_rank(W, 1 if start.dense else lane.r, name, start.vectors)
                if lane.dropout and isinstance(made.layers[name], ExpertLinear):
                    raise ValueError(
                        f"dropout {lane.dropout:g} is not possible on experts, whose inputs the "
                        f"router chooses, such as {name!r}: set it to 0, or name other targets"
                    )
        return made

    def check_calibration(self, calibration: Mapping[str, Calibration]) -> None:
        """Raise if an initialization lacks the calibration data that it needs.

        Raises
        ------
        ValueError : a lane starts from calibration data that a layer does not have.
        """
        for k in self._informed:
            if not calibration.keys() >= set(self.layers_of(k)):
                raise lacking(self.starts[k].name, self.starts[k].needs)


def plan_adapters(
    model: nn.Module,
    lanes: Sequence[Lane],
    targets: Sequence[str] | None = None,
    bypassed: Collection[str] = (),
) -> AdapterPlan:
    """Resolve which lanes adapt which layers, and check that all lanes can start there.

    Parameters
    ----------
    model, lanes : of `attach`.
    targets : of `attach`, for the lanes without their own targets.
    bypassed : layers that get no adapters, see `target_layers`.

    Raises
    ------
    ValueError : no lane or too many, a target that matches nothing, a rank above min(out, in) of a
        layer, a weight that is not finite.
    """
    chosen = {
        its: target_layers(model, targets if its is None else its, bypassed)
        for its in dict.fromkeys(lane.targets for lane in lanes)
    }
    plan = AdapterPlan(model, adaptable_layers(model, bypassed), (), chosen).with_lanes(lanes)
    check_finite(plan.layers)
    return plan
