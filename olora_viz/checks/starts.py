"""Checks of lanes: every start, the curvature at a start, and the export of a trained adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from olora_viz.checks.check import CPU, Bench, Check, Outcome
from olora_viz.initializers import INITIALIZERS, Start
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.passes import logits_of
from olora_viz.lanes.peft import OWN_NAME, read_back, write_peft
from olora_viz.machine.wording import listed, number
from olora_viz.measures.curvature import curvature
from olora_viz.models import load_model
from olora_viz.races.race import Race
from olora_viz.tasks.losses import lane_losses

LAST_BITS = 1e-6
"""The relative change of all weights by which it is found how far a start moves of itself: rounding on a device, in
sums over some hundred numbers of float32, is about as large."""

ALLOWED, TIMES = 1e-3, 10.0
"""A start on a device may be as far from the CPU's, relative to its norm, as 10 times what `LAST_BITS` move it, and
that is at least 1e-3: factorizations are stable up to the gaps between singular values, and some have none."""

SEVERAL = 32
"""Starts that are attached at once, of at most 64."""

EPSILON, CURVED = 1e-3, 1e-3
"""The step of the finite difference along a unit vector, and how far it may be off: its error falls with the square of
the step, to 3e-5 on a CPU, and rounding, of 1e-5, grows with its inverse."""

Made = dict[str, list[Start]]
"""A⁰ and B⁰ of every layer, by the name of the start, on the CPU in float64."""


def every_start(bench: Bench) -> Outcome:
    """Start a lane by every initialization, on the device and on the CPU, and compare them; and step 0 with the base.

    On the CPU itself the two have to be the same bits.
    """
    changed: list[str] = []
    here, there = made(bench, bench.device, changed), made(bench, CPU)
    if bench.on_cpu:
        other = [name for name in here if not _are_equal(here[name], there[name])]
        free: list[str] = []
    else:
        moved = made(bench, CPU, moved=LAST_BITS)
        may = {name: max(ALLOWED, TIMES * distance(moved[name], there[name])) for name in there}
        other = [name for name in here if not distance(here[name], there[name]) <= may[name]]
        free = [name for name, most in may.items() if most >= 1.0]
    words = [f"{len(here) - len({*changed, *other})} of {len(here)} starts"]
    words += [f"{listed(changed)}: another function than it should have at step 0"] * bool(changed)
    words += [f"{listed(other)}: another start than on the CPU"] * bool(other)
    words += [f"{listed(free)}: not compared, the last bits of the weights decide on it"] * bool(free)
    return Outcome(not (changed or other), "; ".join(words), {"starts": len(here), "changed": changed, "other": other})


def made(bench: Bench, device: torch.device, changed: list[str] | None = None, *, moved: float = 0.0) -> Made:
    """Return all starts on a device, anew.

    Args:
        changed: gets the names of those at which the model's function is not what it should be at step 0.
        moved: relative change of all weights.
    """
    names, found = [*INITIALIZERS], Made()
    for first in range(0, len(names), SEVERAL):
        chosen = names[first : first + SEVERAL]
        model, tokenizer = load_model("glassllm", device=device)
        seeded = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for each in model.parameters() if moved else ():
                each.mul_(1 + moved * torch.randn(each.shape, generator=seeded).to(each))
        lanes = tuple(Lane(name, alpha=12) for name in chosen)
        racing = Race(bench.config(device, lanes=lanes), model, tokenizer, bench.progress)
        if changed is not None:
            changed += _changed(racing, chosen)
        for k, name in enumerate(chosen):
            found[name] = [_on_cpu(racing.lanes.factors(layer, k)) for layer in racing.lanes.layers]
        racing.lanes.detach()
    return found


def _changed(racing: Race, names: Sequence[str]) -> list[str]:
    """Return which starts change the model's function at step 0 although they should not, or the other way round."""
    ids, changed = racing.batch(1).input_ids, []
    with racing.lanes.off():
        base = logits_of(racing.model, ids)
    for k, name in enumerate(names):
        with racing.lanes.only(k):
            if torch.equal(logits_of(racing.model, ids), base) != INITIALIZERS[name].keeps_function:
                changed.append(name)
    return changed


def _on_cpu(start: Start) -> Start:
    return Start(start.A.cpu().double(), start.B.cpu().double())


def _are_equal(one: Sequence[Start], other: Sequence[Start]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a.A, b.A) and torch.equal(a.B, b.B) for a, b in pairs)


def distance(one: Sequence[Start], other: Sequence[Start]) -> float:
    """Return the largest relative distance of B⁰A⁰ and of A⁰ᵀA⁰ in any layer.

    Neither depends on the signs of singular vectors, which a factorization may choose.
    """
    return max(
        _relative(*pair)
        for a, b in zip(one, other, strict=True)
        for pair in ((a.B @ a.A, b.B @ b.A), (a.A.mT @ a.A, b.A.mT @ b.A))
    )


def _relative(one: Tensor, other: Tensor) -> float:
    scale = float(other.norm())
    return float((one - other).norm()) / scale if scale else float(one.norm())


def curved(bench: Bench) -> Outcome:
    """Compare vᵀHv, the Ritz value of a few products, with differences of gradients along v."""
    with bench.race(lanes=(Lane("lora"), Lane("olora"))) as racing:
        lanes, batch = racing.lanes, racing.batch(1)

        def loss() -> Tensor:
            return lane_losses(racing.model, batch, lanes.count)

        found = curvature(lanes, loss, steps=4, probes=0, progress=bench.progress)
        assert found.top is not None
        theta, along = lanes.theta, found.top
        start, slopes = theta.detach().clone(), []
        for sign in (1, -1):
            with torch.no_grad():
                theta.copy_(start + sign * EPSILON * along)
            (gradient,) = torch.autograd.grad(loss().sum(), theta)
            slopes.append((gradient.cpu().double() * along.cpu().double()).sum(1))
        differences = ((slopes[0] - slopes[1]) / (2 * EPSILON)).numpy()
    off = float(abs(differences / found.lambda_max - 1).max())
    words = f"the largest eigenvalues {listed(map(number, found.lambda_max))} are off by {off:.1g}, at most {CURVED:g}"
    return Outcome(off <= CURVED, words, {"off": off, "lambda_max": found.lambda_max.tolist()})


def exported(bench: Bench) -> Outcome:
    """Write trained lanes in PEFT's format, and read them back."""
    results: dict[str, Mapping[str, Any]] = {}
    sentences, tried = [], True
    with bench.race(steps=3) as racing:
        for _ in racing:
            pass
        for k, label in enumerate(racing.lanes.labels):
            back = read_back(racing.lanes, k, write_peft(racing.lanes, k, bench.folder / "exported" / label))
            tried = tried and not back.by.startswith(OWN_NAME)
            results[label] = back.to_json()
            if back.problem:
                sentences.append(f"{label}: {back.by} {back.problem}")
    if sentences:
        return Outcome(False, "; ".join(sentences), results)
    most = max(each["difference"] for each in results.values())
    by = next(iter(results.values()))["by"]
    if not tried:
        words = f"not tried: PEFT is not installed; our own reader has the lanes' logits within {most:.1g}"
        return Outcome(None, words, results)
    return Outcome(True, f"{by} reads {len(results)} adapters with the lanes' logits, within {most:.1g}", results)


STARTS = (
    Check(
        "every start", "every start leaves the model's function as it says, and is the CPU's; there, bit for bit",
        every_start, 20,
    ),
    Check("curvature", "the Hessian's largest eigenvalue is that of finite differences", curved, 8),
    Check("export", "PEFT computes with an exported adapter what its lane does", exported, 6),
)  # fmt: skip
