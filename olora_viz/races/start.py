"""What a race starts from: adapters, batches in parts, and the results at step 0."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from olora_viz.initializers import keeps_function
from olora_viz.lanes.adapters import Lanes, attach_planned
from olora_viz.lanes.calibration import CALIBRATION_BATCHES, calibration_bytes, check_calibration, gather
from olora_viz.lanes.groups import on_a_core
from olora_viz.lanes.memory import Footprint, check_adapters
from olora_viz.lanes.plan import plan_adapters
from olora_viz.machine import memory
from olora_viz.machine.memory import bytes_words
from olora_viz.machine.process import Progress
from olora_viz.measures.curvature import check_tracking
from olora_viz.measures.forgetting import AboutText, Forgotten
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import RaceData
from olora_viz.races.fair_rate import FairRate, proposals, reference_among, resolved

ROWS_JUDGED = 16
"""Rows of an evaluation's pass in a race of smaller batches: fewer take as long as these."""


def in_parts(config: RaceConfig, data: RaceData, footprint: Footprint, device: torch.device) -> RaceConfig:
    """Return the set-up with the fewest parts of a batch whose passes fit into memory.

    Loss and gradient of a step are the sums over its parts, so they change by rounding alone, see `backward`. The
    parts depend on the set-up and the machine, not on what is free at the moment.
    """
    limit = memory.pass_limit(device)
    if limit is None or needed(data, footprint, config.prompts_in_pass) <= limit:
        return config
    rows = _most(lambda rows: needed(data, footprint, rows) <= limit, config.prompts_in_pass)
    if not rows:
        raise ValueError(_too_long(data, footprint, limit))
    return replace(config, accumulate=-(-config.batch_size // rows))


def check_free(
    config: RaceConfig, data: RaceData, footprint: Footprint, device: torch.device, besides: int = 0
) -> None:
    """Check that a pass of one lane fits into what is free beside other data, in bytes.

    Raises:
        ValueError: it does not; the message has the numbers, and what would fit.
    """
    free = memory.available_memory(device)
    if free is None:
        return
    free = max(0, free - besides)
    need = needed(data, footprint, config.prompts_in_pass)
    if need <= free:
        return
    size = data.trained_with(config.prompts_in_pass)
    rows = _most(lambda rows: needed(data, footprint, rows) <= free, config.prompts_in_pass)
    fits = f"{rows} prompts at once would fit" if rows else "not even one prompt would fit"
    raise ValueError(
        f"a pass of one lane over {size.rows} prompts of up to {size.width} tokens needs "
        f"{bytes_words(need)} of memory, but only {bytes_words(free)} are free: {fits}"
    )


def judged_rows(config: RaceConfig, data: RaceData, footprint: Footprint) -> int:
    """Return how many rows an evaluation reads at once.

    They are those of a step or, if its batch is in one part, up to `ROWS_JUDGED` if that takes no more memory: without
    gradients the same rows take less. The number depends on the set-up alone.
    """
    if config.accumulate > 1 or config.prompts_in_pass >= ROWS_JUDGED:
        return config.prompts_in_pass
    most = footprint.training.bytes(data.trained_with(config.prompts_in_pass))
    more = _most(lambda rows: footprint.evaluation.bytes(data.judged_with(rows)) <= most, ROWS_JUDGED)
    return max(config.prompts_in_pass, more)


def text_rows(config: RaceConfig, data: RaceData, footprint: Footprint) -> int:
    """Return how many rows of the text to keep are read at once: as many as take no more memory than a step, or 1."""
    if data.text is None:
        return 1
    most = needed(data, footprint, config.prompts_in_pass)
    fits = _most(lambda rows: footprint.evaluation.bytes(data.text_with(rows)) <= most, len(data.text.encoded))
    return max(1, fits)


def needed(data: RaceData, footprint: Footprint, rows: int) -> float:
    """Return the bytes of one lane's largest pass, if a pass reads so many prompts."""
    return max(footprint.training.bytes(data.trained_with(rows)), footprint.evaluation.bytes(data.judged_with(rows)))


def parts_words(config: RaceConfig, data: RaceData, footprint: Footprint) -> str:
    """Say in how many parts a batch is computed, and why; empty if it is one."""
    if config.accumulate == 1:
        return ""
    one, whole = (needed(data, footprint, rows) for rows in (config.prompts_in_pass, config.batch_size))
    return (
        f"each batch of {config.batch_size} prompts is computed in {config.accumulate} parts, so that a pass of one "
        f"lane takes up to {bytes_words(one)} of memory instead of {bytes_words(whole)}"
    )


def _too_long(data: RaceData, footprint: Footprint, limit: int) -> str:
    train, judged = data.trained_with(1), data.judged_with(1)
    costs = [(footprint.training, train), (footprint.evaluation, judged)]
    cost, size = max(costs, key=lambda pair: pair[0].bytes(pair[1]))

    def fits(width: int) -> bool:
        supervised = min(size.supervised, size.rows * width)
        return cost.bytes(size._replace(width=width, supervised=supervised)) <= limit

    width = _most(fits, size.width)
    what = "one prompt" if size.rows == 1 else f"one prompt with its {size.rows} choices"
    return (
        f"a pass of one lane over {what} of {size.width} tokens needs "
        f"{bytes_words(cost.bytes(size))} of memory, but a pass may take "
        f"{bytes_words(limit)} here: " + (f"up to {width} tokens would fit" if width else "no prompt would fit")
    )


def _most(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest number from 1 to `most` that fits; 0 if none does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def attach_lanes(
    config: RaceConfig,
    model: nn.Module,
    bypassed: Collection[str],
    data: RaceData,
    progress: Progress | None = None,
    *,
    resumed: bool = False,
) -> tuple[RaceConfig, RaceData, Footprint, Lanes, list[FairRate]]:
    """Put the lanes of a set-up on a model.

    Args:
        bypassed: layers that get no adapters, see `plan_adapters`.
        resumed: whether the set-up is that of a run that goes on, whose parts stay as they are.

    Returns:
        The set-up, in which fair rates and ranks are numbers, and the parts of a batch fit into memory; its data in
        these parts; the memory of one lane's passes; the lanes; and the fair rates of those that requested them.

    Raises:
        ValueError: a layer or a rank does not fit, a curvature gives no fair rate, or there is not enough memory.
    """
    name = repr(config.model)
    plan = plan_adapters(model, config.lanes, config.targets, bypassed)
    config = replace(config, lanes=plan.lanes)
    check_adapters(plan, name, more=int(config.keep_best))
    if plan.needs:
        check_calibration(plan, name)
    footprint = Footprint.of(plan, branching=data.branching)
    if not resumed:
        config = in_parts(config, data, footprint, plan.device)
        data = data.in_parts(config)
    check_free(config, data, footprint, plan.device, calibration_bytes(plan) + data.predictions_bytes)
    fair = [lane for lane in plan.lanes if lane.fair]
    if fair or config.curvature_every:
        check_tracking(plan, data.batch(1, config.seed).size)
    calibration = None
    if plan.needs:
        batches = [data.parts(i + 1, config.seed) for i in range(CALIBRATION_BATCHES)]
        examples = data.about_held_out.train
        calibration = on_a_core(
            plan, lambda tell: gather(model, plan.calibrated, batches, plan.needs, examples, tell), progress
        )
    rates: list[FairRate] = []
    if fair:
        reference = reference_among(plan.lanes)
        first = data.batch(1, config.seed)
        rates = on_a_core(plan, lambda tell: proposals(plan, fair, reference, first, calibration, tell), progress)
    config = resolved(config, (fair_rate.rate for fair_rate in rates))
    raced = plan.with_lanes(config.lanes)
    lanes = on_a_core(plan, lambda tell: attach_planned(raced, tell, calibration, data.cache.get), progress)
    data = data.in_parts(config, judged_rows(config, data, footprint), text_rows(config, data, footprint))
    return config, data, footprint, lanes, rates


def text_at_start(
    data: RaceData, lanes: Lanes, of_lanes: Callable[[], Forgotten]
) -> tuple[AboutText | None, Forgotten | None]:
    """Measure base model and lanes on the text to keep before the first step; None without a text.

    Args:
        of_lanes: measures the lanes, where one of them does not keep the model's function.
    """
    text = data.text
    if text is None:
        return None, None

    def of_base(_: Progress) -> Forgotten:
        with lanes.apart(None):
            data.keep_base_predictions()
            return data.forgotten()

    base = on_a_core(lanes.plan, of_base)
    loss = float(base.text_loss[0])
    keeps = np.array([keeps_function(lane.init) for lane in lanes.lanes])
    start = Forgotten.at_start(loss, base if keeps.all() else of_lanes(), keeps)
    about = AboutText(text.name, text.tokens, text.bytes, loss, *(tuple(values.tolist()) for values in start))
    return about, start
