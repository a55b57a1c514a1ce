"""The start of a race: its lanes on the model, with calibration data and numbers for fair rates."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

from olora_viz.lanes.adapters import Lanes, attach_planned
from olora_viz.lanes.calibration import (
    BATCHES,
    calibration_bytes,
    check_calibration,
    gather_planned,
)
from olora_viz.lanes.chunks import check_adapters
from olora_viz.lanes.footprint import Footprint
from olora_viz.lanes.plan import plan_adapters
from olora_viz.machine.progress import Progress
from olora_viz.measures.products import check_tracking
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import RaceData
from olora_viz.races.fair_rate import FairRate, proposals, reference_among, resolved
from olora_viz.races.parts import check_free, in_parts, judged_rows


@dataclass(frozen=True)
class RaceStart:
    """The participants of a race."""

    config: RaceConfig
    """Its set-up, in which fair rates are numbers, and the parts of a batch fit into memory."""
    data: RaceData
    """Its data in these parts."""
    footprint: Footprint
    """The memory of one lane's passes."""
    lanes: Lanes
    fair_rates: list[FairRate]
    """Those of the lanes that requested them, in order."""


def attach_lanes(
    config: RaceConfig,
    model: nn.Module,
    bypassed: Collection[str],
    data: RaceData,
    progress: Progress | None = None,
    *,
    resumed: bool = False,
) -> RaceStart:
    """Put the lanes of a set-up on a model.

    Parameters
    ----------
    bypassed : layers that get no adapters, see `plan_adapters`.
    data : of the set-up.
    progress : called with the progress; raises to stop.
    resumed : whether the set-up is that of a run that goes on, whose parts stay as they are.

    Raises
    ------
    ValueError : a layer or a rank does not fit, a curvature gives no fair rate, or there is not
        enough memory.
    """
    name = repr(config.model)
    plan = plan_adapters(model, config.lanes, config.targets, bypassed)
    check_adapters(plan, name, more=int(config.keep_best))
    if plan.needs:
        check_calibration(plan, name)
    footprint = Footprint.of(plan, branching=data.branching)
    if not resumed:
        config = in_parts(config, data, footprint, plan.device)
        data = data.in_parts(config)
    check_free(config, data, footprint, plan.device, calibration_bytes(plan))
    fair = [lane for lane in plan.lanes if lane.fair]
    if fair or config.curvature_every:
        check_tracking(plan, data.batch(1, config.seed).size)
    calibration = None
    if plan.needs:
        batches = [data.parts(i + 1, config.seed) for i in range(BATCHES)]
        calibration = gather_planned(plan, batches, data.about_held_out.train, progress)
    rates: list[FairRate] = []
    if fair:
        reference = reference_among(plan.lanes)
        rates = proposals(plan, fair, reference, data.batch(1, config.seed), calibration, progress)
    config = resolved(config, rates)
    lanes = attach_planned(plan.with_lanes(config.lanes), progress, calibration, data.kept.get)
    data = data.in_parts(config, judged_rows(config, data, footprint))
    return RaceStart(config, data, footprint, lanes, rates)
