"""What claims are judged by: a study, measurements of a model, and costs."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from olora_viz.initializers.start import precise
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.layers import adaptable_layers, weight_of
from olora_viz.lanes.plan import start_of
from olora_viz.lanes.stored_weights import model_of
from olora_viz.machine.devices import wait_for
from olora_viz.machine.four_bit import nf4
from olora_viz.machine.memory import Meter
from olora_viz.machine.process import Progress
from olora_viz.measures.conditioning import Conditioning, conditioning
from olora_viz.measures.forgetting import Forgotten
from olora_viz.measures.four_bits import Method, on_four_bits
from olora_viz.measures.truncation import Truncation, layers_named, truncations
from olora_viz.measures.update_spectra import update_spectra
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache
from olora_viz.races.race import Race
from olora_viz.studies.budget import Plan
from olora_viz.studies.decide import DONE, FINAL, Decision, decide
from olora_viz.studies.method import lane_of
from olora_viz.studies.run import Watch
from olora_viz.studies.statistics import LEAST_SEEDS
from olora_viz.studies.study import Cell, Study, Trial
from olora_viz.studies.verdicts import Verdicts
from olora_viz.tasks.keep import AUTO, NONE

OURS, REFERENCE, FULL = "olora", "lora", "full"
"""The start that the claims are about, the one that it is compared with, and full fine-tuning."""

RANKS = (2, 8, 32)
"""Ranks of the claims about weights, as far as the smallest layer has them."""

OWN_FACTORS = ("pissa", "olora", "milora")
"""Starts from factors of W, which a claim is about."""

ON_FOUR_BITS: tuple[Method, ...] = (REFERENCE, *OWN_FACTORS, "orthogonal", "random_orthonormal", 1, 5)
"""They and what stands beside them on a base in four bits."""

RANKS_ON_FOUR_BITS = (4, 8, 16, 64)
"""Their ranks, as far as the smallest layer has them."""

SAMPLES = 5
"""Seeds and batches of the measurements at the start."""

REPETITIONS = 7
"""Races of each method whose costs are measured, in turns."""

TIMED_STEPS = 5
"""Steps of such a race, of which the median counts."""

EVALUATIONS = 5
"""Of each run of a study that is made for claims, some of which are about the way to the end."""

DRIFT_LR = 1e-3
"""A usual rate of LoRA, at which `ClaimEvidence.drift` is measured."""

DRIFT_STEPS = (0, 1, 5, 20)
"""The numbers of steps after which it is."""


class Costs(NamedTuple):
    """What two methods cost, the reference first."""

    start: Float[np.ndarray, "repetitions 2"]
    """Seconds to make A⁰ and B⁰ of all layers."""
    step: Float[np.ndarray, "repetitions 2"]
    """Seconds per step, of one lane alone."""
    peak: tuple[int, int]
    """The bytes of the tensors that a step creates, at their most."""
    trained: tuple[int, int]
    """Numbers that are trained."""


class Depth(NamedTuple):
    """Gradient norms by layer at the start."""

    layers: tuple[str, ...]
    norms: Float[np.ndarray, "seeds starts layers"]
    """Of the gradient of A and B together; the starts are `REFERENCE` and `OURS`."""


class Drift(NamedTuple):
    """How far B is from orthonormal columns in a short race of `OURS`."""

    steps: tuple[int, ...]
    """Numbers of steps after which it was measured, 0 for the start."""
    errors: Float[np.ndarray, "steps seeds"]
    """‖BᵀB − I‖ / √r, the mean over the layers: 0 if orthonormal, 1 for B = 0."""


class Landscape(NamedTuple):
    """The curvature of the loss at the start: of `REFERENCE` and `OURS`, on each batch."""

    sharpness: Float[np.ndarray, "batches starts"]
    """The largest eigenvalue of the Hessian."""
    condition: Float[np.ndarray, "batches starts"]
    """Of the tangent kernel."""
    slope: Float[np.ndarray, "batches starts"]
    """The gradient norm."""


class OnFourBits(NamedTuple):
    """A base in four bits, by method and rank."""

    error: Mapping[tuple[Method, int], Float[np.ndarray, " layers"]]
    """‖W − (Q + BA)‖ over that of W in four bits alone; NaN where BA holds all of W, whatever the start."""
    held_out: Mapping[tuple[Method, int], Forgotten]
    """On held-out answers, with Q + BA in every layer: the loss, and the KL from the model as it is."""
    loss: float
    """Of the model as it is."""


Sharpness = Mapping[Cell, Mapping[str, Float[np.ndarray, " batches"]]]
"""The largest eigenvalue of the Hessian at the start, by cell of a study and method."""

Trained = Mapping[Cell, Mapping[str, int]]
"""The number of parameters that are trained, by cell of a study and method."""


def peak_bytes(racing: Race) -> int:
    """Run a step, and return the most bytes of tensors that it had created at any time."""
    with Meter([*racing.model.parameters(), *racing.model.buffers(), racing.lanes.theta]) as meter:
        next(racing)
    return max(meter.live)


def _start_seconds(racing: Race) -> float:
    """Return the time in which all layers of the first lane get A⁰ and B⁰."""
    plan = racing.lanes.plan

    def now() -> float:
        """Read the clock when an accelerator has done what it was given."""
        wait_for(racing.device)
        return time.perf_counter()

    began = now()
    for name in plan.layers:
        start_of(name, precise(plan.weight(name).detach()), racing.config.lanes[0])
    return now() - began


@dataclass(frozen=True)
class ClaimEvidence:
    """A model and a task, and studies if some have run.

    What is measured raises ValueError where the model, the task or the device is unsuitable.

    Examples:
        >>> import olora_viz as ov
        >>> evidence = ov.ClaimEvidence("glassllm", task="number-words")
        >>> finding = ov.CLAIMS["subset"].judge(evidence)
        >>> finding.verdict, finding.numbers["layers"], finding.numbers["subset"]
        ('fails', 84, 0)
        >>> ov.CLAIMS["convergence"].judge(evidence).verdict  # without a study
        'not measured'
    """

    model: str = "glassllm"
    task: str = "number-words"
    study: Verdicts | None = None
    """None leaves the claims about training unmeasured."""
    others: tuple[Verdicts, ...] = ()
    """Further studies, for the claims that compare studies."""
    rank: int = 8
    """Of the measurements at the start."""
    batch_size: int = 8
    max_length: int | None = None
    truncate: bool = False
    chat: bool = False
    keep: str = AUTO
    """Of a study that is run for the claims: the text on which forgetting is measured, see `RaceConfig`."""
    device: str = "auto"
    progress: Progress | None = field(default=None, compare=False)
    cache: ModelCache = field(default_factory=ModelCache, repr=False, compare=False)
    """The model, for both measurements at the start."""

    def truncations(self) -> Iterator[Truncation]:
        """Yield Q_rR_r against W for every layer that adapters take by default, rank by rank."""
        layers_of = partial(layers_named, pattern="*")
        model, read = model_of(self.model, layers_of, self.progress)
        most = min(min(weight_of(layer).shape) for layer in layers_of(model).values())
        for r in RANKS:
            if r <= most:
                compared = truncations(model, "*", r, [OURS], read=read, progress=self.progress)
                yield from (of_layer for _, of_layer in compared)

    @cached_property
    def depth(self) -> Depth:
        """Gradient norms in the first step, each seed on a batch of its own."""
        lanes = [Lane(init, r=self.rank, seed=seed) for seed in range(SAMPLES) for init in (REFERENCE, OURS)]
        racing = self._race(lanes, gradients_every=1)
        gradients = next(racing).gradients
        racing.lanes.detach()
        assert gradients is not None
        norms = np.hypot(*np.moveaxis(gradients.gradient, -1, 0))
        return Depth(gradients.layers, norms.reshape(SAMPLES, 2, -1))

    @cached_property
    def landscape(self) -> Landscape:
        """The curvature of both starts, on the first batches."""
        by_batch = self._conditioning(self._race([Lane(init, r=self.rank) for init in (REFERENCE, OURS)]))
        return Landscape(
            np.stack([each.hessian.lambda_max for each in by_batch]),
            np.concatenate([each.conditions.T for each in by_batch]),
            np.stack([each.grad_norm for each in by_batch]),
        )

    @cached_property
    def costs(self) -> Costs:
        """Seconds and memory of both starts and of their steps, in turns, each alone on the model."""
        start, step = np.empty((REPETITIONS, 2)), np.empty((REPETITIONS, 2))
        peak, trained = [0, 0], [0, 0]
        for n in range(REPETITIONS):
            for k in (0, 1) if n % 2 == 0 else (1, 0):
                racing = self._race([Lane((REFERENCE, OURS)[k], r=self.rank)], steps=TIMED_STEPS + 3)
                start[n, k] = _start_seconds(racing)
                next(racing)  # the first step also makes the optimizer's moments
                ends = [racing.state.seconds, *(next(racing).seconds for _ in range(TIMED_STEPS))]
                step[n, k] = np.median(np.diff(ends))
                if n == 0:
                    peak[k] = peak_bytes(racing)
                    trained[k] = racing.lanes.plan.parameters[0]
                racing.lanes.detach()
        return Costs(start, step, (peak[0], peak[1]), (trained[0], trained[1]))

    @cached_property
    def drift(self) -> Drift:
        """The orthonormality of B in a race at `DRIFT_LR`, each seed on batches of its own."""
        lanes = [Lane(OURS, lr=DRIFT_LR, r=self.rank, seed=seed) for seed in range(LEAST_SEEDS)]
        racing = self._race(lanes, steps=DRIFT_STEPS[-1] + 1)
        errors = []
        for steps in DRIFT_STEPS:
            while racing.done < steps:
                next(racing)
            errors.append(update_spectra(racing.lanes).orthogonality_error.mean(1))
        racing.lanes.detach()
        return Drift(DRIFT_STEPS, np.array(errors) / math.sqrt(self.rank))

    @cached_property
    def on_four_bits(self) -> OnFourBits:
        """What every method of `ON_FOUR_BITS` leaves of W and of the model's answers, at each rank."""
        racing = self._race([Lane(REFERENCE)], eval_size=RaceConfig.eval_size)
        racing.lanes.detach()
        kept = {name: precise(weight_of(layer)) for name, layer in racing.lanes.plan.layers.items()}
        shapes = np.array([min(W.shape) for W in kept.values()])
        alone = np.array([float((nf4(W, double=True) - W).norm()) for W in kept.values()])
        model, read = copy.deepcopy(racing.model), racing.data.predicted_answers()
        data, layers = racing.data.of_model(model, RaceConfig.eval_size), adaptable_layers(model)
        error, held_out = {}, {}
        ranks = [r for r in RANKS_ON_FOUR_BITS if r <= shapes.min()]
        for done, at in enumerate(product(ON_FOUR_BITS, ranks)):
            if self.progress:
                self.progress(done / len(ON_FOUR_BITS) / len(ranks), "rounding to four bits")
            off = []
            for name, W in kept.items():
                made = on_four_bits(name, W, *at)
                off.append(float((made - W).norm()))
                weight_of(layers[name]).detach().copy_(made)
            error[at] = np.where(at[1] < shapes, off / alone, np.nan)
            held_out[at] = data.forgotten(read=read)
        return OnFourBits(error, held_out, float(racing.data.forgotten(read=read).text_loss[0]))

    @cached_property
    def sharpness(self) -> Sharpness:
        """The curvature of all methods of the study, in every cell on its first batches."""
        if self.study is None:
            return {}
        study, by_cell = self.study.study, {}
        for cell in study.cells():
            by_batch = self._conditioning(self._of_cell(study, cell), with_kernel=False)
            lambda_max = np.array([each.hessian.lambda_max for each in by_batch])
            by_cell[cell] = dict(zip(study.compare, lambda_max.T, strict=True))
        return by_cell

    @cached_property
    def trained(self) -> Trained:
        """The parameters of all methods of the study, in every cell; none where no method has its own targets."""
        if self.study is None or not any(lane_of(method).targets for method in self.study.study.compare):
            return {}
        study, by_cell = self.study.study, {}
        for cell in study.cells():
            racing = self._of_cell(study, cell)
            by_cell[cell] = dict(zip(study.compare, racing.lanes.plan.parameters, strict=True))
            racing.lanes.detach()
        return by_cell

    def _of_cell(self, study: Study, cell: Cell) -> Race:
        """Return a race of all methods of a cell, in order, that has not begun."""
        config = study.config(Trial(cell, method, study.lrs[0], 0, study.choices()[0]) for method in study.compare)
        lanes = [lane.replace(warmup=None) for lane in config.lanes]
        short = config.replace(
            task=cell.links[0], lanes=lanes, steps=1, warmup=0, eval_every=0, eval_size=1, test_size=1
        )
        return Race(short, progress=self.progress, cache=self.cache)

    def _conditioning(self, racing: Race, *, with_kernel: bool = True) -> list[Conditioning]:
        """Return the curvature on the first batches of a race, whose lanes are then detached."""
        by_batch = [
            conditioning(
                racing.lanes,
                racing.batch(number),
                with_gauss_newton=False,
                with_kernel=with_kernel,
                probes=0,
                progress=self.progress,
            )
            for number in range(1, SAMPLES + 1)
        ]
        racing.lanes.detach()
        return by_batch

    def _race(self, lanes: list[Lane], gradients_every: int = 0, steps: int = 1, eval_size: int = 1) -> Race:
        config = RaceConfig(
            model=self.model, task=self.task, lanes=tuple(lanes), steps=steps, eval_every=0,
            eval_size=eval_size, batch_size=self.batch_size, batches="by-seed", device=self.device,
            max_length=self.max_length, truncate=self.truncate, chat=self.chat,
            gradients_every=gradients_every, keep=NONE,
        )  # fmt: skip
        return Race(config, progress=self.progress, cache=self.cache)


def study_within(
    minutes: float,
    folder: Path,
    evidence: ClaimEvidence,
    *,
    plan: Plan | None = None,
    watch: Watch | None = None,
    **settings: Any,
) -> Iterator[Decision]:
    """Run a study of LoRA and OLoRA, as a decision plans it; yield the plan, then after every race.

    All claims about training share it, and those about forgetting: its lanes are measured on a text to keep.

    Args:
        evidence: its model, task, how it reads examples, text to keep, rank and device are the study's.
        plan, watch, settings: see `decide`.

    Raises:
        ValueError: see `decide`.
    """
    if evidence.max_length is not None:
        settings["max_length"] = evidence.max_length
    decision = decide(
        folder, minutes=minutes, model=evidence.model, task=evidence.task, compare=[OURS], search=(),
        r=evidence.rank, device=evidence.device, progress=evidence.progress, plan=plan,
        truncate=evidence.truncate, chat=evidence.chat, keep=evidence.keep, evaluations=EVALUATIONS, watch=watch,
        **settings,
    )  # fmt: skip
    with closing(decision):
        for known in decision:
            yield known
            if known.stage in (FINAL, DONE):  # a claim needs no adapter
                return
