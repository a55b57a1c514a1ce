"""Plain Plotly figures without panels: a spectrum, and the conditioning at initialization.

Each function returns one `plotly.graph_objects.Figure` with the requested figures below each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import plotly.graph_objects as go
from torch import Tensor, nn

from olora_viz.figures import conditioning as conditioning_figures
from olora_viz.figures import spectrum as spectrum_figures
from olora_viz.figures.drawing import drawing
from olora_viz.figures.layout import Figure
from olora_viz.figures.theme import THEMES, start_styles
from olora_viz.initializers import check_weight_start
from olora_viz.machine.naming import expect, unknown
from olora_viz.measures.conditioning import Conditioning, conditioning
from olora_viz.measures.layer_spectra import energies, energy_ranks, layers_like
from olora_viz.measures.spectra import optimal_energy
from olora_viz.measures.truncation import Weight, truncation
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race, race

WEIGHT_STARTS = ("olora", "olora_pivoted", "sketch", "random_orthonormal", "pissa", "milora")
"""The starts that `plot_spectrum` compares by default."""


def chosen(what: str | Sequence[str], known: Iterable[str], theme: str) -> list[str]:
    """Check the names of the figures and of the theme."""
    if theme not in THEMES:
        raise ValueError(unknown("theme", str(theme), THEMES))
    names = [what] if isinstance(what, str) else list(what)
    known = list(known)
    for name in names:
        if name not in known:
            raise ValueError(unknown("figure", str(name), known))
    if not names:
        raise ValueError(f"choose what to draw: {', '.join(known)}")
    return names


def plot_spectrum(
    source: str | nn.Module | Tensor | Weight,
    layer: str | None = None,
    *,
    r: int = 8,
    inits: Sequence[str] = WEIGHT_STARTS,
    seed: int = 0,
    what: str | Sequence[str] = ("singular", "energy", "angles"),
    theme: str = "light",
) -> go.Figure:
    """Draw how each start of rank r approximates one weight.

    Parameters
    ----------
    source : the name of a model, a model, or a weight (out, in).
    layer : of a model; consecutive parts of a name, with ``*``; None for the first layer.
    r : rank.
    inits : names of initializations that start from the weight alone.
    seed : for random starts.
    what : ``singular``, ``energy`` or ``angles``, or several.
    theme : ``light`` or ``dark``.

    Raises
    ------
    ValueError : a name is unknown or matches several layers, the rank is too large for the weight,
        or the weight is not finite.
    """
    names = chosen(what, ("singular", "energy", "angles"), theme)
    inits = [inits] if isinstance(inits, str) else list(inits)
    if not inits:
        raise ValueError(f"name at least one initialization, such as {WEIGHT_STARTS[0]!r}")
    for init in inits:
        check_weight_start(init)
    where, weight = _weight(source, layer)
    found = [truncation(weight, r, init, seed=seed) for init in inits]
    made: dict[str, Callable[[], Figure]] = {
        "singular": lambda: spectrum_figures.singular_values_figure(found),
        "energy": lambda: _energy(weight, inits, r, seed),
        "angles": lambda: spectrum_figures.angles_figure(found),
    }
    drawn = [made[name]() for name in names]
    if where:
        drawn[0]["layout"]["meta"]["badge"] = where
    return drawing(drawn, theme)


def plot_conditioning(
    source: RaceConfig | Race | Conditioning,
    config: RaceConfig | Race | None = None,
    *,
    what: str | Sequence[str] = ("comparison", "kernel"),
    theme: str = "light",
) -> go.Figure:
    """Draw the gradient norm and curvature of every lane, relative to plain LoRA.

    Parameters
    ----------
    source : a config, whose starts are measured (lanes that differ only in their rate as one); a
        `Race`, measured on its first batch in its current state; or a result of `conditioning`.
    config : the config of the measured lanes, if `source` is a measurement.
    what : ``comparison`` or ``kernel``, or both.
    theme : ``light`` or ``dark``.

    Raises
    ------
    ValueError : a name is unknown, or a measurement lacks its config or the kernel.
    """
    names = chosen(what, ("comparison", "kernel"), theme)
    what = "a RaceConfig, a Race, or a result of conditioning"
    expect(source, (RaceConfig, Race, Conditioning), what)
    if isinstance(source, RaceConfig):
        source = race(source.of_starts())
    if isinstance(source, Race):
        config = source
        found = conditioning(source.lanes, source.batch(1), with_kernel="kernel" in names)
    else:
        found = source
    setup = config.config if isinstance(config, Race) else config
    if setup is None or len(setup.lanes) != len(found.loss):
        raise ValueError(
            f"pass the config of the {len(found.loss)} lanes: plot_conditioning(found, config)"
        )
    if found.kernel is None and "kernel" in names:
        raise ValueError('the tangent kernel was not measured: use what="comparison"')
    its = start_styles(setup.lanes)
    made = {
        "comparison": conditioning_figures.comparison_figure,
        "kernel": conditioning_figures.ntk_figure,
    }
    return drawing([made[name](its, found) for name in names], theme)


def _weight(source: str | nn.Module | Tensor | Weight, layer: str | None) -> tuple[str, Weight]:
    """Find one weight, and its name if it belongs to a model."""
    if isinstance(source, Weight):
        return "", source
    expect(source, (str, Tensor, nn.Module), "the name of a model, a model, or a weight")
    if isinstance(source, Tensor):
        if source.dim() != 2 or not source.isfinite().all():
            raise ValueError("a weight must be a matrix (out, in) of finite numbers")
        return "", Weight(source)
    model = load_model(source)[0] if isinstance(source, str) else source
    found = layers_like(model, layer or "*")
    if layer and len(found) > 1 and layer not in found:
        some = ", ".join(list(found)[:3])
        raise ValueError(
            f"layer {layer!r} matches {len(found)} layers ({some}, …): name one of them"
        )
    name = layer if layer in found else next(iter(found))
    return name, Weight(found[name])


def _energy(weight: Weight, inits: Sequence[str], r: int, seed: int) -> Figure:
    ranks = sorted({r, *(x for x in energy_ranks(len(weight.sigma)) if x <= max(32, 8 * r))})
    curves = {init: energies(weight, init, ranks, seed=seed) for init in inits if init != "pissa"}
    optimum = [optimal_energy(weight.sigma, x) for x in ranks]
    return spectrum_figures.energy_figure(ranks, curves, optimum, weight.W.shape[0], r)
