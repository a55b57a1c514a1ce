"""Tables and sentences of the Conditioning page and panel, as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from olora_viz.figures.start import reference
from olora_viz.figures.theme import LaneStyle
from olora_viz.machine.wording import Sentence, compact, factor, listed, percent, rounded
from olora_viz.measures.conditioning import Conditioning
from olora_viz.studies.story import compared_conditions
from olora_viz.views import html as fragments
from olora_viz.views.html import TableCell, table

ABOUT_ONE = 1.1
"""Ratios within this factor are about one."""


def story_before() -> Markup:
    """Return the card with the claim, before a measurement."""
    return Markup(
        '<h2>The claim, and the measurement</h2><p class="say"><b>The OLoRA paper explains its speed by conditioning.'
        "</b> Measure the start to see how steep and how curved the loss is at each initialization, and how well its "
        "tangent kernel is conditioned.</p>"
    )


def numbers_before() -> Markup:
    """Return the placeholder of the table."""
    return Markup(
        '<h2>What was measured</h2><p class="hint">Eigenvalues with their residuals, the trace, and the tangent '
        "kernel of every start.</p>"
    )


def story_of(styles: Sequence[LaneStyle], measured: Conditioning) -> list[Sentence]:
    """Summarize the measurement of OLoRA (or else the most curved lane) against plain LoRA."""
    sentences = [
        Sentence(f"{style.label} has no eigenvalues:", "its loss or its curvature is not finite.")
        for k, style in enumerate(styles)
        if not _is_finite(measured, k)
    ]
    base, hero = reference(styles), hero_of(styles, measured)
    if hero == base or not (_is_finite(measured, base) and _is_finite(measured, hero)):
        return sentences or [Sentence("One start alone:", "add a lane to compare it with.")]
    name = styles[hero].label
    other = "plain LoRA" if styles[base].init == "lora" else styles[base].label
    curved, base_curved = (float(measured.hessian.lambda_max[k]) for k in (hero, base))
    steep = float(measured.grad_norm[hero] / measured.grad_norm[base])
    if base_curved > 0 and curved > 0:
        ratio = curved / base_curved
        lead = f"{name}'s largest eigenvalue is {factor(ratio)} times {other}'s, its gradient {factor(steep)} times:"
        steeper = _than(steep, "steeper", "flatter", "as steep")
        more_curved = _than(ratio, "more curved", "less curved", "as curved")
        rest = f"the start is {steeper} and {more_curved}. λₘₐₓ is the scale of the curvature, not its conditioning."
        sentences.append(Sentence(lead, rest))
    if measured.kernel:
        sentences.append(compared_conditions(measured.conditions, hero, base, name, other))
    unsure = [
        style.label for k, style in enumerate(styles) if _is_finite(measured, k) and not measured.hessian.converged[k]
    ]
    if unsure:
        sentences.append(Sentence("Not converged:", f"{listed(unsure)}; the residuals estimate the error."))
    return sentences


def numbers(styles: Sequence[LaneStyle], measured: Conditioning) -> Markup:
    """Return the table of the measurements, with their errors."""
    head = (
        "start",
        TableCell("λₘₐₓ", "largest eigenvalue of the Hessian"),
        TableCell("λₘᵢₙ", "smallest eigenvalue of the Hessian"),
        TableCell("trace GN", "of the Gauss-Newton matrix, estimated"),
        TableCell(
            "NTK cond.",
            "condition number of the tangent kernel, median and range over the batches; below it the number of "
            "products for the eigenvalues, and whether they converged",
        ),
    )
    rows = [(fragments.lane(style), *_measured(measured, k)) for k, style in enumerate(styles)]
    n = measured.conditions.shape[1]
    batches = f"median and range over {n} batches" if n > 1 else "on one batch"
    return Markup(
        '<h2>What was measured <span class="hint">± residual, error</span></h2>{}'
        '<p class="foot">Trace GN: of the Gauss-Newton matrix. NTK cond.: of the tangent kernel, {}. Small print in '
        "the last column: products for the eigenvalues, ✓ converged.</p>"
    ).format(table(head, rows, kind="standing measured", scrolls=True), batches)


def rates(styles: Sequence[LaneStyle], measured: Conditioning, used: Sequence[Sequence[float]]) -> Markup:
    """Return the table of 2/λ against the learning rates in use.

    Args:
        used: the rates of every start; none where a lane is at its fair rate, which its race finds.
    """
    head = ("start", "2/λₘₐₓ", "in use", TableCell("share", "rate in use, as a share of 2/λ"))
    lines, rows = Markup("<br>"), []
    for k, style in enumerate(styles):
        top = float(measured.hessian.lambda_max[k])
        limit = 2 / top if top > 0 else math.nan
        share = lines.join(_share(rate / limit) for rate in used[k]) if top > 0 else ""
        rows.append((fragments.lane(style), _n(limit), lines.join(map(compact, used[k])) or "–", share or "–"))
    return Markup(
        "<h2>What it means for the learning rate</h2>{}"
        '<p class="foot">Plain gradient descent with a rate above 2/λₘₐₓ overshoots further with every step. Adam, '
        "used here, rescales each parameter's step and has a different limit.</p>"
    ).format(table(head, rows, kind="standing"))


def hero_of(styles: Sequence[LaneStyle], measured: Conditioning) -> int:
    """Return the lane to describe: the first OLoRA, or else the most curved of the others."""
    base = reference(styles)
    olora = next((k for k, style in enumerate(styles) if style.init == "olora" and k != base), None)
    others = [k for k in range(len(styles)) if k != base and _is_finite(measured, k)]
    if olora is not None or not others:
        return base if olora is None else olora
    return max(others, key=lambda k: measured.hessian.lambda_max[k])


def _measured(measured: Conditioning, k: int) -> tuple[object, ...]:
    """Return the cells of a start's measurements."""
    if not _is_finite(measured, k):
        return (TableCell("loss not finite: no eigenvalues", kind="no", columns=4),)
    hessian, newton, kernel = measured.hessian, measured.gauss_newton, measured.kernel
    ended, sign = ("converged", "✓") if hessian.converged[k] else ("not converged", "✗")
    products = Markup('<small title="{ended} after {count} products">{count} {sign}</small>')
    return (
        _pm(hessian.lambda_max[k], hessian.residual[k]),
        _pm(hessian.lambda_min[k], hessian.residual_min[k]),
        _pm(newton.trace[k], newton.trace_error[k]) if newton else "–",
        (_spread(measured.conditions[k]) if kernel else Markup("–"))
        + products.format(ended=ended, count=int(hessian.iterations[k]), sign=sign),
    )


def _spread(conditions: np.ndarray) -> Markup:
    """Return the median of a lane's conditions, and their range if there are several."""
    median = Markup("{}").format(_n(float(np.median(conditions))))
    if len(conditions) == 1:
        return median
    ends = (_n(float(end)) for end in (conditions.min(), conditions.max()))
    return median + Markup('<small title="range over the batches">{} to {}</small>').format(*ends)


def _is_finite(measured: Conditioning, k: int) -> bool:
    return bool(np.isfinite([measured.loss[k], measured.hessian.lambda_max[k]]).all())


def _than(ratio: float, more: str, less: str, level: str) -> str:
    return more if ratio > ABOUT_ONE else less if ratio < 1 / ABOUT_ONE else level


def _share(ratio: float) -> str:
    return percent(ratio, int(ratio < 0.1)) if ratio < 2 else f"{factor(ratio)} ×"


def _n(value: float) -> str:
    if math.isinf(value):
        return "∞"
    return "–" if math.isnan(value) else compact(rounded(value, 3))


def _pm(value: float, error: float) -> Markup:
    return Markup("{}<small>± {:g}</small>").format(_n(value), rounded(error, 1))
