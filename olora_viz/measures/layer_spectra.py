"""The spectra of a model's layers, compared with the starts of adapters."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from olora_viz.initializers import INITIALIZERS, Start, check_rank, check_weight_start
from olora_viz.lanes.layers import check_finite, expert_layers, target_layers, weight_of
from olora_viz.machine.naming import unknown
from olora_viz.machine.numbers import finite_or_none
from olora_viz.machine.progress import Progress
from olora_viz.measures.cached_spectra import known_singular_values
from olora_viz.measures.spectra import captured_energies, captured_energy
from olora_viz.measures.truncation import Truncation, Weight, truncation


def layers_like(model: nn.Module, pattern: str = "*") -> dict[str, Float[Tensor, "out in"]]:
    """Return the weights of the linear layers in the model's blocks whose names match, in order.

    Where none matches, those of experts are searched, each matrix by itself.

    Parameters
    ----------
    pattern : consecutive parts of a name, with ``*``, ``?`` and ``[…]`` as in file names:
        ``q_proj``, ``layers.3``, ``layers.*.mlp.down_proj``.

    Raises
    ------
    ValueError : no layer matches, and the message lists those that exist; or a weight is not
        finite.

    >>> from olora_viz.models import load_model
    >>> list(layers_like(load_model("glassllm")[0], "layers.0.self_attn.[qk]_proj"))
    ['model.layers.0.self_attn.q_proj', 'model.layers.0.self_attn.k_proj']
    """
    layers = target_layers(model)
    found = _matching(layers, pattern) or _matching(expert_layers(model), pattern)
    if not found:
        endings = dict.fromkeys(name.rsplit(".", 1)[-1] for name in layers)
        raise ValueError(unknown("layer", pattern, (*endings, *layers)))
    check_finite(found)
    return {name: weight_of(layer).detach() for name, layer in found.items()}


def _matching(layers: Mapping[str, nn.Module], pattern: str) -> dict[str, nn.Module]:
    return {
        name: layer
        for name, layer in layers.items()
        if fnmatch.fnmatchcase(f".{name}.", f"*.{pattern}.*")
    }


def truncations(
    model: nn.Module,
    pattern: str,
    rank: int,
    inits: Sequence[str],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Iterator[tuple[str, Truncation]]:
    """Compare every matching layer with every start, layer by layer.

    Everything is checked before the first one is computed.

    Yields
    ------
    (name of the layer, Truncation)

    Raises
    ------
    ValueError : an initialization is unknown or needs more than W, the rank is too large for a
        layer (which the message names), the pattern matches nothing, or the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}")
    for init in inits:
        check_weight_start(init)
    layers = layers_like(model, pattern)
    for name, W in layers.items():
        check_rank(W, rank, name)

    def each() -> Iterator[tuple[str, Truncation]]:
        for i, (name, W) in enumerate(layers.items()):
            if progress:
                progress(i / len(layers), f"spectra of {name}")
            weight = Weight(W, known_singular_values(W.double().cpu()).to(W.device))
            for init in inits:
                yield name, truncation(weight, rank, init, seed=seed)

    return each()


def energy_ranks(m: int, most: int = 256) -> list[int]:
    """Return the ranks at which an energy curve is drawn: a few, more densely at small ranks.

    >>> energy_ranks(64)
    [1, 2, 4, 8, 16, 24, 32, 48, 64]
    """
    last = min(m, most)
    return sorted({r for r in (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192) if r < last} | {last})


def energies(weight: Weight, init: str, ranks: Sequence[int], *, seed: int = 0) -> list[float]:
    """Return the share of ‖W‖² that a start captures, for each of some ranks.

    If larger ranks extend smaller ones, one start of the largest rank is enough.
    """

    def start(r: int) -> Start:
        generator = torch.Generator().manual_seed(seed)
        return INITIALIZERS[init].start(weight.W, r, generator=generator)

    if INITIALIZERS[init].nested:
        captured = captured_energies(weight.W, start(max(ranks)))
        return [float(captured[r - 1]) for r in ranks]
    return [captured_energy(weight.W, start(r)) for r in ranks]


def to_json(layer: str, found: Truncation) -> dict[str, Any]:
    """Return one line of ``spectrum --json``."""
    return {
        "layer": layer,
        "init": found.init,
        "rank": found.rank,
        "energy": found.energy,
        "energy_optimal": found.energy_optimal,
        "energy_random": found.energy_random,
        "bounded": found.bounded,
        "subset": found.subset,
        "worst": {
            "index": found.worst + 1,
            "sigma": float(found.sigma_BA[found.worst]),
            "distance": float(found.distance[found.worst]),
        },
        "stable_rank": found.stable_rank,
        "effective_rank": found.effective_rank,
        "condition_A": finite_or_none(found.condition_A),
        "condition_B": finite_or_none(found.condition_B),
        "condition_BA": finite_or_none(found.condition_BA),
        "orthogonality_error": found.orthogonality_error,
        "sigma_W": found.sigma_W.tolist(),
        "sigma_BA": found.sigma_BA.tolist(),
    }
