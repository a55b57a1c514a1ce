"""Spectra of the updates ΔW of all lanes and layers, in a few batched calls."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.lanes.adapters import Lanes
from olora_viz.machine.checks import expect
from olora_viz.machine.devices import in_float64
from olora_viz.measures.measure import SHARED, Measure, Part, Record, by_lane
from olora_viz.measures.spectra import (
    condition_number,
    effective_rank,
    orthogonality_error,
    principal_angles,
    triangle,
)


@dataclass(frozen=True, eq=False, repr=False)
class UpdateSpectra(Record):
    """The adapters of K lanes in L layers, at one step; NaN where a lane leaves a layer out.

    Examples:
        >>> import olora_viz as ov
        >>> recording = ov.load_recording("one-rate")
        >>> spectra = recording.steps[-1].update_spectra
        >>> spectra.norm.shape  # lanes, layers
        (4, 28)
        >>> dict(zip(recording.config.labels, spectra.norm[:, 0].round(1).tolist()))
        {'lora': 1.8, 'olora': 1.5, 'pissa': 1.6, 'milora': 1.9}
    """

    JSON_DIGITS = 4

    layers: tuple[str, ...] = field(metadata=SHARED)
    """(L) names, in the model's order."""
    sigma: np.ndarray = field(metadata=by_lane())
    """(K, L, 2R) singular values of ΔW = s (BA − B⁰A⁰), descending; zero beyond its rank. With a dense lane as many as
    its largest ΔW has, if they are more."""
    norm: np.ndarray = field(metadata=by_lane())
    """(K, L) ‖ΔW‖, Frobenius."""
    effective_rank: np.ndarray = field(metadata=by_lane())
    """(K, L) exp of the entropy of σ / Σσ of ΔW; 0 if nothing has moved."""
    max_principal_angle: np.ndarray = field(metadata=by_lane())
    """(K, L) largest principal angle between the columns of B and those of B⁰, degrees; NaN where B⁰ is zero."""
    orthogonality_error: np.ndarray = field(metadata=by_lane())
    """(K, L) ‖BᵀB − I‖, Frobenius."""
    condition_A: np.ndarray = field(metadata=by_lane())
    """(K, L) σ₁ / σ_r of A."""
    condition_B: np.ndarray = field(metadata=by_lane())
    """(K, L) σ₁ / σ_r of B; infinite or NaN if B does not have full rank."""


@torch.no_grad()
def update_spectra(lanes: Lanes) -> UpdateSpectra:
    """Measure every lane's adapter in every layer.

    Adapters of the same shape are stacked across lanes and layers. Two thin QRs are enough: with `[B − B⁰, B⁰] = Q
    [R₁, R₂]` and `[A; A − A⁰]ᵀ = Q' [S₁, S₂]`, ΔW has the singular values of `s [R₁, R₂] [S₁, S₂]ᵀ`, B those of `R₁ +
    R₂`, A those of `S₁`, and the angles between the columns of B and B⁰ are those between `R₁ + R₂` and `R₂`.

    Args:
        lanes: in the state to measure, such as ``race.lanes``.

    Returns:
        UpdateSpectra
            NaN where a lane does not adapt a layer.

    Raises:
        ValueError: `lanes` are not `Lanes`.

    Examples:
        >>> import olora_viz as ov
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> config = ov.RaceConfig(lanes=lanes, steps=2, eval_size=4)
        >>> race = ov.race(config)
        >>> bool(ov.update_spectra(race.lanes).norm.any())  # nothing has moved yet
        False
        >>> steps = list(race)
        >>> bool(ov.update_spectra(race.lanes).norm.all())
        True
    """
    expect(lanes, Lanes, "Lanes, such as race.lanes")
    K, L, plan = lanes.count, len(lanes.layers), lanes.plan
    left_out = plan.left_out
    full = (min(plan.shapes[name]) for k in plan.dense for name in plan.layers_of(k))
    sigma = np.zeros((K, L, max([2 * lanes.rank, *full])))
    sigma[left_out] = math.nan
    results = {name: np.full((K, L), math.nan) for name in PARTS}
    alike: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
    for i, layer in enumerate(lanes.layers):
        for k in range(K):
            shape = lanes.factors(layer, k)
            if not left_out[k, i]:
                alike[(*shape.B.shape, shape.A.shape[1])].append((k, i))
    for (_, r, _), places in alike.items():
        names = [(lanes.layers[i], k) for k, i in places]
        now = [lanes.factors(*name) for name in names]
        start = [lanes.start_factors(*name) for name in names]
        A, A0 = (torch.stack([f.A for f in factors]) for factors in (now, start))
        B, B0 = (torch.stack([f.B for f in factors]) for factors in (now, start))
        scale = lanes.scale[torch.tensor([k for k, _ in places], device=A.device)]
        # In float64 from here on, since the matrices that follow are small.
        up = in_float64(triangle(torch.cat([B - B0, B0], dim=-1)))
        down = in_float64(triangle(torch.cat([A, A - A0], dim=-2).mT))
        ks, layers = np.array(places).T
        moved = in_float64(scale)[:, None] * torch.linalg.svdvals(up @ down.mT)
        sigma[ks, layers, : moved.shape[-1]] = moved.cpu()
        RB, R0 = up[..., :r] + up[..., r:], up[..., r:]
        measured = {
            "norm": torch.linalg.vector_norm(moved, dim=-1),
            "effective_rank": effective_rank(moved),
            "max_principal_angle": _largest_angle(RB, R0),
            "orthogonality_error": orthogonality_error(RB),
            "condition_A": condition_number(torch.linalg.svdvals(down[..., :r])),
            "condition_B": condition_number(torch.linalg.svdvals(RB)),
        }
        for name, values in measured.items():
            results[name][ks, layers] = values.cpu()
    return UpdateSpectra(lanes.layers, sigma, **results)


def _largest_angle(B: Float[Tensor, "n k r"], B0: Float[Tensor, "n k r"]) -> Float[Tensor, " n"]:
    """Return the largest principal angle between the columns, in degrees; NaN if B⁰ is zero."""
    angles = principal_angles(torch.linalg.qr(B).Q, torch.linalg.qr(B0).Q)[..., -1]
    return torch.where(B0.abs().amax((-2, -1)) > 0, angles, math.nan)


PARTS = {
    key: Part(words, unit, attrgetter(key))
    for key, words, unit in (
        ("norm", "‖ΔW‖", "how far the weight has moved, Frobenius norm"),
        ("effective_rank", "effective rank of ΔW", "exp of the entropy of its singular values"),
        (
            "max_principal_angle", "rotation of B",
            "largest principal angle between the columns of B and of B⁰, degrees",
        ),
        ("orthogonality_error", "‖BᵀB − I‖", "how far the columns of B are from orthonormal"),
        ("condition_A", "cond(A)", "largest over smallest singular value of A"),
        ("condition_B", "cond(B)", "largest over smallest singular value of B"),
    )
}  # fmt: skip
"""The quantities with one number per lane and layer."""

UPDATE_SPECTRA = Measure(
    key="update_spectra",
    title="Spectra of the updates",
    unit="singular values of ΔW",
    symbol="σᵢ(ΔW)",
    scale="linear",
    compute=lambda race: update_spectra(race.lanes),
    shape="(K, layers, r)",
    record=UpdateSpectra,
    parts=PARTS,
    every="spectra_every",
    cost="Two thin QRs and a few small SVDs for each layer and lane, in batches.",
)
