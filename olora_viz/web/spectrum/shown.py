"""What the Spectrum page shows of a matrix, computed: figures, verdict and tables."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import gradio as gr

from olora_viz.figures import spectrum as spectrum_figures
from olora_viz.figures.layer_grid import layer_grid
from olora_viz.figures.live.gradio_figure import pack
from olora_viz.initializers import INITIALIZERS
from olora_viz.learn.terms import with_terms
from olora_viz.machine.naming import unknown
from olora_viz.measures.truncation import Weight
from olora_viz.views import spectrum as spectrum_view
from olora_viz.views.lab import MOST_RANK, Lab
from olora_viz.views.layers import layer_words
from olora_viz.web.event_options import moved
from olora_viz.web.guard.limits import Limits
from olora_viz.web.spectrum.matrices import read_matrix

A_LAYER, A_MATRIX = "a model's layer", "my own matrix"
"""The sources of a matrix."""


def compared() -> list[str]:
    """Return the nested starts that depend on W alone and subtract a non-zero product from it."""
    return [
        name
        for name, entry in INITIALIZERS.items()
        if entry.nested and entry.keeps_function and not entry.needs and not entry.zero_product
    ]


class Shown(NamedTuple):
    """What the page's outputs show, in their order."""

    singular: Any
    energy: Any
    angles: Any
    verdict: Any
    table: Any
    factors: Any
    seeing: Any
    rank: Any


def shown(
    lab: Lab,
    limits: Limits,
    source: Any,
    model: Any,
    layer: Any,
    text: Any,
    rank: Any,
    starts: Any,
    permutation: Any,
) -> Shown:
    """Return what the outputs show of the chosen matrix.

    Raises
    ------
    ValueError : a value breaks a rule of the page.
    """
    key, weight = _matrix(lab, limits, source, model, layer, text)
    return _show(lab, key, weight, rank, starts, permutation)


def layer_map(
    lab: Lab, limits: Limits, source: Any, model: Any, layer: Any, rank: Any, starts: Any
) -> Any:
    """Return the map of the energy that a start captures in every layer."""
    init = next((name for name in _known(starts) if name != "pissa"), "olora")
    if source != A_LAYER or model not in limits.models:
        return gr.skip()
    names = lab.layers(model)
    r = max(1, min(whole(rank), max(min(W.shape) for W in names.values())))
    shares = lab.energy_map(model, r, init)
    return pack(layer_grid(shares, r, init, chosen=str(layer), run=model))


def layer_names(lab: Lab, limits: Limits, model: Any) -> Any:
    """Return the choices of a model's layers."""
    if model not in limits.models:
        return gr.skip()
    names = list(lab.layers(model))
    return gr.update(choices=[(layer_words(name), name) for name in names], value=names[0])


def _matrix(
    lab: Lab, limits: Limits, source: Any, model: Any, layer: Any, text: Any
) -> tuple[Hashable, Weight]:
    """Return the chosen matrix, under its own key."""
    if source == A_MATRIX:
        W = read_matrix(str(text))
        key = ("own", tuple(map(tuple, W.tolist())))
        return key, lab.decomposed(key, W)
    if model not in limits.models:
        raise ValueError(unknown("model", str(model)[:80], limits.models))
    name = str(layer)
    return (model, name), lab.weight(model, name)


def _show(
    lab: Lab, key: Hashable, weight: Weight, rank: Any, starts: Any, permutation: Any
) -> Shown:
    number, known = whole(permutation), _known(starts)
    most = min(MOST_RANK, len(weight.sigma))
    r = max(1, min(whole(rank), most))
    own_key, own = key, weight
    if number:
        key, weight = (key, number), lab.permuted(key, weight, number)
    found = {
        init: lab.truncation(key, weight, r, init) for init in dict.fromkeys(["olora", *known])
    }
    chosen = [one for init, one in found.items() if init in known] or [found["olora"]]
    run = repr(hash(own_key))
    ranks = [rank for rank in lab.ranks(weight) if rank <= max(32, 8 * r)]
    curves = {
        one.init: lab.curve(key, weight, one.init)[: len(ranks)]
        for one in chosen
        if one.init != "pissa"
    }
    energy = spectrum_figures.energy_figure(
        ranks, curves, lab.optimum(weight)[: len(ranks)], weight.W.shape[0], r, run=run
    )
    unpermuted = lab.truncation(own_key, own, r, "olora") if number else None
    return Shown(
        singular=pack(spectrum_figures.singular_values_figure(chosen, run=run)),
        energy=pack(energy),
        angles=pack(spectrum_figures.angles_figure(chosen, run=run)),
        verdict=spectrum_view.verdict(found["olora"]),
        table=spectrum_view.energies(list(found.values()), unpermuted),
        factors=spectrum_view.factors(list(found.values())),
        seeing=with_terms(spectrum_view.seeing(found, bool(number))),
        # Gradio has no slider of a single value.
        rank=gr.update(
            maximum=max(2, most),
            label=f"Rank, at most {most}",
            interactive=most > 1,
            **moved(r, shown=rank),
        ),
    )


def _known(starts: Any) -> list[str]:
    return [name for name in starts if name in compared()] if isinstance(starts, list) else []


def whole(value: Any) -> int:
    """Read a whole number of at least 0; 1 if it is none."""
    try:
        return max(0, min(int(value), 10**6))
    except (TypeError, ValueError, OverflowError):
        return 1
