"""What a race starts from: adapters, batches in parts, and the results at step 0."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from olora_viz.lanes.adapters import Lanes, attach_planned
from olora_viz.lanes.calibration import CALIBRATION_BATCHES, calibration_bytes, check_calibration, gather
from olora_viz.lanes.groups import as_base, on_a_core
from olora_viz.lanes.lane import BASE
from olora_viz.lanes.layers import named_layers, weight_of
from olora_viz.lanes.memory import Footprint, check_adapters
from olora_viz.lanes.past import Past
from olora_viz.lanes.plan import AdapterPlan, plan_adapters
from olora_viz.machine import memory
from olora_viz.machine.devices import resolve_dtype
from olora_viz.machine.memory import bytes_words
from olora_viz.machine.process import Progress
from olora_viz.measures.curvature import check_tracking
from olora_viz.measures.forgetting import AboutText, Forgotten
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import RaceData
from olora_viz.races.fair_rate import FairRate, proposals, reference_among, resolved

ROWS_JUDGED = 16
"""Rows of an evaluation's pass in a race of smaller batches: fewer take as long as these."""


@dataclass(frozen=True)
class Sizing:
    """How many rows the passes of a race read at once, so that they fit into memory.

    Attributes:
        config: the set-up, with the parts of a batch.
        data: its data, in these parts, and in the parts of an evaluation.
        footprint: the memory of one lane's passes.
    """

    config: RaceConfig
    data: RaceData
    footprint: Footprint

    @classmethod
    def of(cls, config: RaceConfig, data: RaceData, footprint: Footprint, limit: int | None) -> Sizing:
        """Take the fewest parts of a batch whose passes take no more than a limit, in bytes.

        Loss and gradient of a step are the sums over its parts, so they change by rounding alone, see `backward`. The
        parts depend on the set-up and the machine, not on what is free at the moment.

        Raises:
            ValueError: not even one prompt fits.
        """
        whole = cls(config, data, footprint)
        if limit is not None and whole.needed() > limit:
            rows = whole._rows_within(limit)
            if not rows:
                raise ValueError(whole._too_long(limit))
            config = replace(config, accumulate=-(-config.batch_size // rows))
        sized = replace(whole, config=config)
        return replace(sized, data=data.in_parts(config, sized._judged_rows(), sized._text_rows()))

    def needed(self, rows: int | None = None) -> float:
        """Return the bytes of one lane's largest pass that reads so many prompts, by default those of a part."""
        rows = rows or self.config.prompts_in_pass
        training, evaluation = self.footprint.training, self.footprint.evaluation
        return max(training.bytes(self.data.trained_with(rows)), evaluation.bytes(self.data.judged_with(rows)))

    def check_free(self, device: torch.device, besides: int = 0) -> None:
        """Check that a pass of one lane fits into what is free beside other data, in bytes.

        Raises:
            ValueError: it does not; the message has the numbers, and what would fit.
        """
        free, need = memory.available_memory(device), self.needed()
        if free is None or need <= (free := max(0, free - besides)):
            return
        size, rows = self.data.trained_with(self.config.prompts_in_pass), self._rows_within(free)
        fits = f"{rows} prompts at once would fit" if rows else "not even one prompt would fit"
        raise ValueError(
            f"a pass of one lane over {size.rows} prompts of up to {size.width} tokens needs "
            f"{bytes_words(need)} of memory, but only {bytes_words(free)} are free: {fits}"
        )

    @property
    def words(self) -> str:
        """In how many parts a batch is computed, and why; empty if it is one."""
        config = self.config
        if config.accumulate == 1:
            return ""
        return (
            f"each batch of {config.batch_size} prompts is computed in {config.accumulate} parts, so that a pass of "
            f"one lane takes up to {bytes_words(self.needed())} of memory instead of "
            f"{bytes_words(self.needed(config.batch_size))}"
        )

    def _judged_rows(self) -> int:
        """Return how many rows an evaluation reads at once.

        They are those of a step or, if its batch is in one part, up to `ROWS_JUDGED` if that takes no more memory:
        without gradients the same rows take less. The number depends on the set-up alone.
        """
        own, footprint = self.config.prompts_in_pass, self.footprint
        if self.config.accumulate > 1 or own >= ROWS_JUDGED:
            return own
        most = footprint.training.bytes(self.data.trained_with(own))
        return max(
            own, _most(lambda rows: footprint.evaluation.bytes(self.data.judged_with(rows)) <= most, ROWS_JUDGED)
        )

    def _text_rows(self) -> int:
        """Return how many rows of the text to keep are read at once: as many as take no more than a step, or 1."""
        data, most = self.data, self.needed()
        if data.text is None:
            return 1
        evaluation = self.footprint.evaluation
        return max(1, _most(lambda rows: evaluation.bytes(data.text_with(rows)) <= most, len(data.text.encoded)))

    def _rows_within(self, limit: int) -> int:
        return _most(lambda rows: self.needed(rows) <= limit, self.config.prompts_in_pass)

    def _too_long(self, limit: int) -> str:
        train, judged = self.data.trained_with(1), self.data.judged_with(1)
        costs = [(self.footprint.training, train), (self.footprint.evaluation, judged)]
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
    past: Past | None = None,
) -> tuple[Sizing, Lanes, list[FairRate]]:
    """Put the lanes of a set-up on a model.

    Args:
        bypassed: layers that get no adapters, see `plan_adapters`.
        resumed: whether the set-up is that of a run that goes on, whose parts stay as they are.
        past: what earlier races merged into the lanes' bases.

    Returns:
        The set-up, in which fair rates and ranks are numbers, with its data and their passes; the lanes; and the fair
        rates of those that requested them.

    Raises:
        ValueError: a layer or a rank does not fit, a curvature gives no fair rate, a start needs what a base with a
            past does not have, or there is not enough memory.
    """
    name = repr(config.model)
    plan = plan_adapters(model, config.lanes, config.targets, bypassed)
    config = replace(config, lanes=plan.lanes)
    check_adapters(plan, name, more=int(config.keep_best), past=past)
    if plan.needs:
        check_calibration(plan, name)
    footprint = Footprint.of(plan, branching=data.branching)
    sizing = Sizing.of(config, data, footprint, None if resumed else memory.pass_limit(plan.device))
    sizing.check_free(plan.device, calibration_bytes(plan) + data.predictions_bytes)
    config, data = sizing.config, sizing.data
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
        reference, first = reference_among(plan.lanes), data.batch(1, config.seed)
        rates = on_a_core(plan, lambda tell: proposals(plan, fair, reference, first, calibration, tell), progress)
    config = resolved(config, (fair_rate.rate for fair_rate in rates))
    raced = plan.with_lanes(config.lanes)
    full = _full_weights(config, raced) if any(lane.start_from != BASE for lane in config.lanes) else None
    lanes = on_a_core(
        plan, lambda tell: attach_planned(raced, tell, calibration, data.cache.get, past, full), progress
    )
    return replace(sizing, config=config), lanes, rates


def _full_weights(config: RaceConfig, plan: AdapterPlan) -> dict[str, Tensor]:
    """Return the weights of the layers before they were rounded to four bits; they are on a CPU."""
    dtype = resolve_dtype(config.dtype, plan.device)
    layers = named_layers(load_model(config.model, dtype=dtype)[0])
    return {name: weight_of(layers[name]) for name in plan.layers}


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
        data.keep_base_predictions()
        return data.forgotten()

    base = as_base(lanes, of_base)
    loss = float(base.text_loss[0])
    keeps = np.array([lanes.past is None and lane.keeps_function for lane in lanes.lanes])
    start = Forgotten.at_start(loss, base if keeps.all() else of_lanes(), keeps)
    about = AboutText(text.name, text.tokens, text.bytes, loss, *(tuple(values.tolist()) for values in start))
    return about, start
