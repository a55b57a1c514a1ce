"""The start of a race: its lanes on the model, with calibration data and numbers for fair rates."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from torch import nn

from olora_viz.lanes.adapters import Lanes, attach_planned
from olora_viz.lanes.calibration import BATCHES, check_calibration, gather_planned
from olora_viz.lanes.chunks import check_adapters
from olora_viz.lanes.plan import plan_adapters
from olora_viz.machine.progress import Progress
from olora_viz.races.config import RaceConfig
from olora_viz.races.fair_rate import FairRate, proposals, reference_among, resolved
from olora_viz.tasks import Batch


@dataclass(frozen=True)
class RaceStart:
    """The participants of a race."""

    config: RaceConfig
    """Its set-up, in which fair rates are numbers."""
    lanes: Lanes
    fair_rates: list[FairRate]
    """Those of the lanes that requested them, in order."""


def attach_lanes(
    config: RaceConfig,
    model: nn.Module,
    bypassed: Collection[str],
    batch: Callable[[int], Batch],
    progress: Progress | None = None,
) -> RaceStart:
    """Put the lanes of a set-up on a model.

    Parameters
    ----------
    bypassed : layers that get no adapters, see `plan_adapters`.
    batch : called with the number of a step, 1 for the first.
    progress : called with the progress; raises to stop.

    Raises
    ------
    ValueError : a layer or a rank does not fit, a curvature gives no fair rate, or there is not
        enough memory.
    """
    name = repr(config.model)
    plan = plan_adapters(model, config.lanes, config.targets, bypassed)
    check_adapters(plan, name)
    calibration = None
    if plan.needs:
        check_calibration(plan, name)
        calibration = gather_planned(plan, [batch(i + 1) for i in range(BATCHES)], progress)
    fair = [lane for lane in plan.lanes if lane.fair]
    rates: list[FairRate] = []
    if fair:
        reference = reference_among(plan.lanes)
        rates = proposals(plan, fair, reference, batch(1), calibration, progress)
    config = resolved(config, rates)
    lanes = attach_planned(plan.with_lanes(config.lanes), progress, calibration)
    return RaceStart(config, lanes, rates)
