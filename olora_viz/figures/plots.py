"""Plain Plotly figures without panels: a race, a spectrum, the conditioning at initialization.

Each function returns one `plotly.graph_objects.Figure` with the requested figures below each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import plotly.graph_objects as go
from torch import Tensor, nn

from olora_viz.figures import conditioning as conditioning_figures
from olora_viz.figures import gradients as gradient_figures
from olora_viz.figures import race as figures
from olora_viz.figures import rates as rate_figures
from olora_viz.figures import spectrum as spectrum_figures
from olora_viz.figures.layout import Figure, stacked
from olora_viz.figures.theme import DASHES, SHAPES, THEMES, LaneStyle, lane_styles
from olora_viz.initializers import INITIALIZERS, lacking
from olora_viz.machine.naming import unknown
from olora_viz.measures.conditioning import Conditioning, conditioning
from olora_viz.measures.layer_spectra import energies, energy_ranks, layers_like
from olora_viz.measures.spectra import optimal_energy
from olora_viz.measures.truncation import Weight, truncation
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race, race
from olora_viz.races.source import Raced, Source
from olora_viz.studies.rate_sweep import rate_curves

WEIGHT_STARTS = ("olora", "olora_pivoted", "sketch", "random_orthonormal", "pissa", "milora")
"""The starts that `plot_spectrum` compares by default."""


def styles_of(raced: Raced) -> tuple[LaneStyle, ...]:
    """Return the look of every lane; lanes that are known by their numbers alone share the ink."""
    if raced.lanes is not None:
        return lane_styles(raced.lanes, [lane.label for lane in raced.lanes])
    return tuple(
        LaneStyle(label, "ink", "@ink", "@ink", DASHES[k % len(DASHES)], SHAPES[k % len(SHAPES)])
        for k, label in enumerate(raced.labels)
    )


_OF_RACE: dict[str, Callable[[Raced], Figure]] = {
    "loss": lambda raced: figures.loss_figure(
        styles_of(raced), raced.steps, total=raced.total, start_loss=raced.start_loss,
        plain_text=raced.plain_text,
    ),
    "gradient": lambda raced: figures.gradient_figure(
        styles_of(raced), raced.steps, total=raced.total
    ),
    "accuracy": lambda raced: figures.accuracy_figure(
        styles_of(raced), raced.steps, total=raced.total, start_accuracy=raced.start_accuracy,
        plain_text=raced.plain_text,
    ),
    "sharpness": lambda raced: conditioning_figures.sharpness_figure(
        styles_of(raced), raced.steps, total=raced.total
    ),
    "stability": lambda raced: conditioning_figures.stability_figure(
        styles_of(raced), raced.steps, total=raced.total
    ),
}  # fmt: skip


def plot_race(
    steps: Source,
    config: RaceConfig | Race | None = None,
    *,
    what: str | Sequence[str] = ("loss", "gradient", "accuracy"),
    theme: str = "light",
) -> go.Figure:
    """Draw a race.

    Parameters
    ----------
    steps : a `Race` that has not begun (it is run to its end), its steps, a `SavedRun`, or a run
        folder.
    config : whose steps they are, for the lanes' names and colours; the `Race` itself adds the
        loss before the first step. Without it the lanes are called by their numbers.
    what : ``loss``, ``gradient``, ``accuracy``, ``sharpness`` or ``stability`` (both of a race
        with ``curvature_every``), or several.
    theme : ``light`` or ``dark``.

    Raises
    ------
    ValueError : an unknown name, a race that has begun, steps of another number of lanes.
    """
    names = _chosen(what, _OF_RACE, theme)
    raced = Raced.of(steps, config)
    if {"sharpness", "stability"} & {*names} and not any(s.curvature for s in raced.steps):
        raise ValueError(
            "these steps have no curvature: run the race with curvature_every=10, for example"
        )
    return stacked([_OF_RACE[name](raced) for name in names], theme)


def plot_rates(
    steps: Source,
    config: RaceConfig | Race | None = None,
    *,
    measure: str = "final",
    start_loss: float | None = None,
    theme: str = "light",
) -> go.Figure:
    """Draw held-out loss against the learning rate, a curve for each initialization.

    Parameters
    ----------
    steps, config, theme : see `plot_race`; steps need the config that made them.
    measure : ``final`` or ``best``, the held-out loss that counts.
    start_loss : held-out loss before the race, nats, where it is known: losses far above it are
        drawn as marks. A `Race` and a run folder know it.

    Raises
    ------
    ValueError : an unknown name, steps without a config, steps of another number of lanes.
    """
    (measure,) = _chosen(measure, rate_figures.NAMES, theme)
    raced = Raced.of(steps, config)
    if raced.lanes is None:
        raise ValueError("steps alone do not know their rates: plot_rates(steps, config)")
    if start_loss is None:
        start_loss = raced.start_loss
    figure = rate_figures.rate_figure(
        rate_curves(raced.lanes, raced.steps, measure), measure, start_loss=start_loss,
        plain_text=raced.plain_text,
    )  # fmt: skip
    return stacked([figure], theme)


def plot_gradients(
    steps: Source,
    config: RaceConfig | Race | None = None,
    *,
    measure: str = "gradient_B",
    step: int | None = None,
    module: str = "",
    theme: str = "light",
) -> go.Figure:
    """Draw norms of gradients, parameters or updates against the depth, a curve for each lane.

    Parameters
    ----------
    steps, config, theme : see `plot_race`; of a race with ``gradients_every``.
    measure : ``gradient_A``, ``gradient_B``, ``update_A``, ``parameter_A``, ``ratio_A`` and so on,
        or ``input``, the gradient that reaches a layer's input.
    step : the step to show; ``None``: the last measured one.
    module : the last part of the names of the layers that are joined; "" joins all.

    Raises
    ------
    ValueError : an unknown measure, steps without gradients, a step that was not measured.
    """
    (measure,) = _chosen(measure, gradient_figures.MEASURES, theme)
    raced = Raced.of(steps, config)
    seen = {one.step: one.gradients for one in raced.steps if one.gradients is not None}
    if not seen:
        raise ValueError(
            "these steps have no gradients by layer: run the race with gradients_every=10, for "
            "example"
        )
    if step is not None and step not in seen:
        raise ValueError(f"step {step} was not measured, only {', '.join(map(str, seen))}")
    at = step or max(seen)
    return stacked(
        [gradient_figures.depth_figure(at, seen[at], styles_of(raced), measure, module)], theme
    )


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
    layer : of a model; some parts of a name in a row, with ``*``; ``None``: the first one.
    r : rank.
    inits : names of initializations that start from the weight alone.
    seed : of the starts that are random.
    what : ``singular``, ``energy`` or ``angles``, or several.
    theme : ``light`` or ``dark``.

    Raises
    ------
    ValueError : an unknown name, a layer's name that fits several, a rank that the weight cannot
        hold, a weight with an entry that is not finite.
    """
    names = _chosen(what, ("singular", "energy", "angles"), theme)
    inits = [inits] if isinstance(inits, str) else list(inits)
    if not inits:
        raise ValueError(f"name at least one initialization, such as {WEIGHT_STARTS[0]!r}")
    for init in inits:
        if init not in INITIALIZERS:
            raise ValueError(unknown("initialization", init, INITIALIZERS))
        if INITIALIZERS[init].needs:
            raise lacking(init, INITIALIZERS[init].needs)
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
    return stacked(drawn, theme)


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
    source : a set-up, whose starts are measured, those that differ in their rate alone as one; a
        `Race`, measured on its first batch as it stands; or what `conditioning` has measured.
    config : whose lanes were measured, where `source` is a measurement.
    what : ``comparison`` or ``kernel``, or both.
    theme : ``light`` or ``dark``.

    Raises
    ------
    ValueError : an unknown name, a measurement without its config, one that holds no kernel.
    """
    names = _chosen(what, ("comparison", "kernel"), theme)
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
    at_any_rate = [replace(lane, lr=1.0) for lane in setup.lanes]
    its = lane_styles(at_any_rate, [lane.label for lane in setup.lanes])
    made = {
        "comparison": conditioning_figures.comparison_figure,
        "kernel": conditioning_figures.ntk_figure,
    }
    return stacked([made[name](its, found) for name in names], theme)


def _chosen(what: str | Sequence[str], known: Iterable[str], theme: str) -> list[str]:
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


def _weight(source: str | nn.Module | Tensor | Weight, layer: str | None) -> tuple[str, Weight]:
    """Find one weight, and its name where it is a model's."""
    if isinstance(source, Weight):
        return "", source
    if isinstance(source, Tensor):
        if source.dim() != 2 or not source.isfinite().all():
            raise ValueError("a weight must be a matrix (out, in) of finite numbers")
        return "", Weight(source)
    model = load_model(source)[0] if isinstance(source, str) else source
    found = layers_like(model, layer or "*")
    if layer and len(found) > 1 and layer not in found:
        some = ", ".join(list(found)[:3])
        raise ValueError(f"layer {layer!r} fits {len(found)} layers ({some}, …): name one of them")
    name = layer if layer in found else next(iter(found))
    return name, Weight(found[name])


def _energy(weight: Weight, inits: Sequence[str], r: int, seed: int) -> Figure:
    ranks = sorted({r, *(x for x in energy_ranks(len(weight.sigma)) if x <= max(32, 8 * r))})
    curves = {init: energies(weight, init, ranks, seed=seed) for init in inits if init != "pissa"}
    optimum = [optimal_energy(weight.sigma, x) for x in ranks]
    return spectrum_figures.energy_figure(ranks, curves, optimum, weight.W.shape[0], r)
