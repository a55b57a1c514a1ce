"""Fair rates on the page: each start at plain LoRA's rate and at its own fair rate."""

from __future__ import annotations

from dataclasses import replace

from markupsafe import Markup

from olora_viz.races.config import start_key
from olora_viz.races.fair_rate import (
    FairRate,
    fair_rate,
    reference_among,
    resolved,
    same_and_fair,
)
from olora_viz.tasks import TASKS
from olora_viz.views.html import problem
from olora_viz.web.conditioning.measurement import Measurement
from olora_viz.web.guard.limits import Limits
from olora_viz.web.setup import YOUR_FILE, SetUp

HEAD = Markup("<h2>Fair rates</h2>")

HINT = Markup(
    '<p class="hint">A rule of thumb, fitted to sweeps of two models: LoRA\'s rate divided by the '
    "cube root of the curvature ratio. It was off by a factor of 1.5 to 1.6, 2.4 at worst. It "
    "scales the rate of the first LoRA lane: tune that one.</p>"
)


def before() -> Markup:
    """Return the placeholder of the card, until rates are proposed."""
    words = Markup(
        '<p class="say">Is it the start, or only the rate? The button adds every start '
        "twice, at plain LoRA's rate and at its fair rate from the curvature: press Race to "
        "compare.</p>"
    )
    return HEAD + words + HINT


def proposed(setup: SetUp, work: Measurement | None, limits: Limits) -> tuple[SetUp, Markup]:
    """Return the set-up with same and fair rates, and the text of the card.

    Parameters
    ----------
    setup : of the page; its lanes are replaced.
    work : the measurement; its lanes are the starts.

    Raises
    ------
    ValueError : nothing was measured over all parameters, or another set-up was, there is no plain
        LoRA lane or only that one, a curvature is not positive, or there would be more lanes than a
        race takes.
    """
    if work is None or work.found is None or work.layer is not None:
        raise ValueError("measure the start first, over all parameters")
    measured = SetUp.of(work.config)
    starts, found = measured.lanes, work.found.hessian.lambda_max
    tuned, of_key = reference_among(setup.lanes).lr, {start_key(lane): lane for lane in starts}
    keys = [(start_key(lane), lane.seed) for lane in setup.lanes]
    seeded = [replace(of_key[key], seed=seed) for key, seed in keys if key in of_key]
    lanes = same_and_fair(seeded or starts, tuned, limits.max_lanes)
    if _start(setup) != _start(measured):
        raise ValueError("the set-up has changed since the measurement: measure the start again")
    known = {start_key(lane): float(its) for lane, its in zip(starts, found, strict=True)}
    base = next(known[start_key(lane)] for lane in lanes if lane.init == "lora")
    rates = [
        FairRate(lane.init, fair_rate(tuned, base, its), tuned, its, base)
        for lane, its in ((lane, known[start_key(lane)]) for lane in lanes if lane.fair)
    ]
    lanes = resolved(replace(work.config, lanes=lanes), rates).lanes
    said = dict.fromkeys(rate.sentence for rate in rates)  # seeds of a start may share one
    words = Markup("").join(Markup('<p class="say">{}</p>').format(sentence) for sentence in said)
    return replace(setup, lanes=lanes), HEAD + words + HINT


def _start(setup: SetUp) -> tuple[object, ...]:
    """Return what the curvature at the start depends on: every setting but the rates."""
    task = setup.task if setup.task in TASKS else YOUR_FILE
    starts = {start_key(lane) for lane in setup.lanes}
    return setup.model, task, setup.batch, setup.seed, setup.settings.targets, starts


def refused(sentence: str) -> Markup:
    """Return the card, with the reason why there are no rates."""
    return HEAD + problem(sentence) + HINT
