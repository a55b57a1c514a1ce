"""Plots for notebooks and scripts: each takes results and returns a Plotly figure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import plotly.graph_objects as go
from torch import Tensor, nn

from olora_viz.figures.choices import choices_figure
from olora_viz.figures.drawing import Drawing, drawing
from olora_viz.figures.forgotten import forgotten_figure, front_figure, kept_figure, kl_figure
from olora_viz.figures.interaction import interaction_figures
from olora_viz.figures.layers import depth_figure
from olora_viz.figures.layout import Figure
from olora_viz.figures.race import (
    NamedRun,
    RaceCurves,
    accuracy_figure,
    gradient_figure,
    loss_figure,
    measure_figure,
    overlay_figure,
)
from olora_viz.figures.rates import (
    LOSS_TITLES,
    budget_figure,
    measured_rates_figure,
    rate_figure,
    reward_figure,
    study_rates_figure,
)
from olora_viz.figures.spectrum import angles_figure, energy_figure, singular_values_figure
from olora_viz.figures.start import comparison_figure, ntk_figure, sharpness_figure, stability_figure
from olora_viz.figures.studies import claim_figure, differences_figure, profile_figure, target_figure, wins_figure
from olora_viz.figures.theme import DASHES, MARKERS, THEMES, LaneStyle, lane_styles, start_styles
from olora_viz.initializers import check_weight_start
from olora_viz.lanes.stored_weights import model_of
from olora_viz.machine.checks import expect, unknown
from olora_viz.machine.process import LiveOutput, is_notebook
from olora_viz.machine.wording import listed
from olora_viz.measures.catalogue import MEASURES, registered_measures
from olora_viz.measures.conditioning import Conditioning, conditioning
from olora_viz.measures.gradients import GRADIENTS
from olora_viz.measures.spectra import optimal_energy
from olora_viz.measures.truncation import Weight, energies, energy_ranks, layers_like, layers_named, truncation
from olora_viz.races.config import RaceConfig
from olora_viz.races.fields import IMITATION
from olora_viz.races.race import Race, race
from olora_viz.races.step import RACING, Step, held_out_count
from olora_viz.races.tables import Raced, Source, named
from olora_viz.studies.choices import compares_more_than_starts
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.claims.claim import Finding
from olora_viz.studies.folder import verdicts
from olora_viz.studies.interaction import interacting
from olora_viz.studies.story import rate_curves
from olora_viz.studies.study import Cell
from olora_viz.studies.verdicts import Verdicts

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

    Args:
        source: the name of a model or its folder, a model, or a weight (out, in).
        layer: of a model; consecutive parts of a name, with ``*``; None for the first layer.
        r: rank.
        inits: names of initializations that start from the weight alone.
        seed: for random starts.
        what: ``singular``, ``energy`` or ``angles``, or several.
        theme: ``light`` or ``dark``.

    Raises:
        ValueError: a name is unknown or matches several layers, the rank is too large for the weight, or the weight is
            not finite.

    Examples:
        >>> import olora_viz as ov
        >>> figure = ov.plot_spectrum("glassllm", "layers.0.*.q_proj", inits=["olora", "pissa"])
        >>> sorted({curve.name for curve in figure.data})
        ['OLoRA', 'PiSSA', 'SVD, the optimum', 'W', 'allowed', 'band', 'random, expected']
    """
    names = chosen(what, ("singular", "energy", "angles"), theme)
    inits = [inits] if isinstance(inits, str) else list(inits)
    if not inits:
        raise ValueError(f"name at least one initialization, such as {WEIGHT_STARTS[0]!r}")
    for init in inits:
        check_weight_start(init)
    where, weight = _weight(source, layer)
    starts = [truncation(weight, r, init, seed=seed) for init in inits]
    drawn = []
    for name in names:
        if name == "energy":
            ranks = sorted({r, *(x for x in energy_ranks(len(weight.sigma)) if x <= max(32, 8 * r))})
            curves = {init: energies(weight, init, ranks, seed=seed) for init in inits if init != "pissa"}
            optimum = [optimal_energy(weight.sigma, x) for x in ranks]
            drawn.append(energy_figure(ranks, curves, optimum, weight.W.shape[0], r))
        else:
            drawn.append({"singular": singular_values_figure, "angles": angles_figure}[name](starts))
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

    Args:
        source: a config, whose starts are measured (lanes that differ only in their rate as one); a `Race`, measured
            on its first batch in its current state; or a result of `conditioning`.
        config: the config of the measured lanes, if `source` is a measurement.
        what: ``comparison`` or ``kernel``, or both.
        theme: ``light`` or ``dark``.

    Raises:
        ValueError: a name is unknown, or a measurement lacks its config or the kernel.

    Examples:
        >>> import olora_viz as ov
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> config = ov.RaceConfig(lanes=lanes, batch_size=2, eval_size=2)
        >>> race = ov.race(config)
        >>> measured = ov.conditioning(race.lanes, race.batch(1), steps=2, probes=0)
        >>> figure = ov.plot_conditioning(measured, config, what="kernel")
        >>> [curve.name for curve in figure.data]
        ['LoRA', 'OLoRA']
    """
    names = chosen(what, ("comparison", "kernel"), theme)
    what = "a RaceConfig, a Race, or a result of conditioning"
    expect(source, (RaceConfig, Race, Conditioning), what)
    if isinstance(source, RaceConfig):
        source = race(source.of_starts())
    if isinstance(source, Race):
        config = source
        source = conditioning(source.lanes, source.batch(1), with_kernel="kernel" in names)
    setup = config.config if isinstance(config, Race) else config
    if setup is None or len(setup.lanes) != len(source.loss):
        raise ValueError(f"pass the config of the {len(source.loss)} lanes: plot_conditioning(found, config)")
    if source.kernel is None and "kernel" in names:
        raise ValueError('the tangent kernel was not measured: use what="comparison"')
    styles = start_styles(setup.lanes)
    draw = {"comparison": comparison_figure, "kernel": ntk_figure}
    return drawing([draw[name](styles, source) for name in names], theme)


def _weight(source: str | nn.Module | Tensor | Weight, layer: str | None) -> tuple[str, Weight]:
    """Find one weight, and its name if it belongs to a model."""
    if isinstance(source, Weight):
        return "", source
    expect(source, (str, Tensor, nn.Module), "the name of a model, a model, or a weight")
    if isinstance(source, Tensor):
        if source.dim() != 2 or not source.isfinite().all():
            raise ValueError("a weight must be a matrix (out, in) of finite numbers")
        return "", Weight(source)
    pattern = partial(layers_named, pattern=layer or "*")
    model, read = model_of(source, pattern) if isinstance(source, str) else (source, None)
    matching = layers_like(model, layer or "*")
    if layer and len(matching) > 1 and layer not in matching:
        some = ", ".join(list(matching)[:3])
        raise ValueError(f"layer {layer!r} matches {len(matching)} layers ({some}, …): name one of them")
    name = layer if layer in matching else next(iter(matching))
    return name, Weight(read(name) if read else matching[name])


def styles_of(raced: Raced) -> tuple[LaneStyle, ...]:
    """Return the style of every lane; lanes known only by number share one colour."""
    if raced.lanes is not None:
        return lane_styles(raced.lanes)
    return tuple(
        LaneStyle(label, "ink", "@ink", "@ink", DASHES[k % len(DASHES)], MARKERS[k % len(MARKERS)])
        for k, label in enumerate(raced.labels)
    )


_OF_RACE: dict[str, Callable[..., Figure]] = {
    "loss": loss_figure, "gradient": gradient_figure, "accuracy": accuracy_figure,
    "sharpness": sharpness_figure, "stability": stability_figure, "forgotten": forgotten_figure,
}  # fmt: skip


REST = 0.5
"""Seconds without a step after which nobody runs a race."""

_OVERLAID = {"loss": "eval_loss", "gradient": "grad_norm", "accuracy": "eval_accuracy"}
"""The measurements that can be overlaid for several races, by the names of their figures."""


def plot_race(
    steps: Source | Sequence[Source] | Mapping[str, Source],
    config: RaceConfig | Race | None = None,
    *,
    what: str | Sequence[str] = ("loss", "gradient", "accuracy"),
    theme: str = "light",
) -> go.Figure:
    """Draw a race, or overlay several.

    Args:
        steps: a `Race` (with its steps so far, or run to its end if it has not started; in a notebook the figure grows
            meanwhile, also while another thread runs the race), its steps, a `SavedRun`, or a run folder. To overlay
            several, a list of them, or a dict with a name for each; runs then differ by dash, initializations by
            colour, and the loss is the held-out loss.
        config: the config of the steps, for the lanes' names and colours; a `Race` also provides the loss before the
            first step. Without it, lanes are labelled by number.
        what: ``loss``, ``gradient``, ``accuracy``, ``sharpness`` or ``stability`` (both of one race with
            ``curvature_every``), ``forgotten`` (of one race), the key of a registered measurement, or several.
        theme: ``light`` or ``dark``.

    Raises:
        ValueError: a name is unknown or was not measured, there is no run or no step, the steps are not of one race in
            order, or have another number of lanes.

    Examples:
        >>> import olora_viz as ov
        >>> lanes = ov.Lane("lora"), ov.Lane("olora")
        >>> race = ov.race(ov.RaceConfig(lanes=lanes, steps=2, eval_size=4))
        >>> figure = ov.plot_race(race, what="loss")  # runs the race
        >>> [curve.name for curve in figure.data if "held out" in curve.name]
        ['LoRA, held out', 'OLoRA, held out']

        Two races, overlaid:

        >>> runs = {"short": race, "recorded": ov.load_recording("one-rate")}
        >>> figure = ov.plot_race(runs, what="accuracy")
        >>> figure.data[0].name, len(figure.data)
        ('short: LoRA', 6)
    """
    own = [key for key in registered_measures() if key not in _OF_RACE]
    first = next(iter(steps), None) if isinstance(steps, list | tuple) else None
    if isinstance(steps, Mapping) or not (first is None or isinstance(first, Step)):
        several = named(cast("Mapping[str, Source]", steps))
        overlaid = _OVERLAID | {key: key for key in own}
        names = chosen(what, overlaid, theme)
        if not several:
            raise ValueError("there is no run to draw")
        races = {name: Raced.of(source, config) for name, source in several.items()}
        runs = [NamedRun(name, styles_of(raced), raced.steps, raced.total) for name, raced in races.items()]
        return drawing([overlay_figure(runs, overlaid[name]) for name in names], theme)
    names = chosen(what, [*_OF_RACE, *own], theme)

    def drawn(raced: Raced) -> Drawing:
        return drawing(race_figures(raced, names), theme)

    if isinstance(steps, Race) and steps.steps is not None and is_notebook():
        _live(steps, drawn)
    raced = Raced.of(cast("Source", steps), config)
    if not raced.labels:
        raise ValueError("there are no steps to draw: pass a Race, its steps, a saved run or its folder")
    if {"sharpness", "stability"} & {*names} and not any(s.curvature for s in raced.steps):
        raise ValueError("these steps have no curvature: run the race with curvature_every=10, for example")
    for name in {*names}.intersection(own):
        if not any(name in step.measures for step in raced.steps):
            raise ValueError(f"these steps have no {name!r}: a race measures it from when it is registered")
    return drawn(raced)


def race_figures(raced: Raced, names: Iterable[str]) -> list[Figure]:
    """Return figures of a race by their names, see `plot_race`."""
    known = {
        "loss": {"start_loss": raced.start_loss, "plain_text": raced.plain_text},
        "accuracy": {"start_accuracy": raced.start_accuracy, "plain_text": raced.plain_text},
        "forgotten": {"start_loss": raced.start_loss, "plain_text": raced.plain_text, "text": raced.text},
    }
    curves = RaceCurves(styles_of(raced), raced.steps, raced.total)
    draw: dict[str, Callable[..., Figure]] = {key: partial(measure_figure, MEASURES[key]) for key in MEASURES}
    draw |= _OF_RACE
    return [draw[name](curves, **known.get(name, {})) for name in names]


def plot_rates(
    steps: Source,
    config: RaceConfig | Race | None = None,
    *,
    measure: str = "final",
    start_loss: float | None = None,
    theme: str = "light",
) -> go.Figure:
    """Draw held-out loss against the learning rate, one curve per initialization.

    Args:
        steps: see `plot_race`; steps need the config that made them.
        config: see `steps`.
        theme: see `steps`.
        measure: which held-out loss to draw, ``final`` or ``best``.
        start_loss: held-out loss before the race, nats, if known: losses far above it are drawn as marks. A `Race` and
            a run folder provide it.

    Raises:
        ValueError: a name is unknown, or the steps have no config or another number of lanes.

    Examples:
        >>> import olora_viz as ov
        >>> figure = ov.plot_rates(ov.load_recording("fair-rates"))
        >>> figure.data[0].name, figure.data[0].x
        ('LoRA', (0.0003, 0.001, 0.003, 0.01, 0.03))
    """
    (measure,) = chosen(measure, LOSS_TITLES, theme)
    raced = Raced.of(steps, config)
    if raced.lanes is None:
        raise ValueError("steps do not contain their learning rates: call plot_rates(steps, config)")
    if start_loss is None:
        start_loss = raced.start_loss
    curves, examples = rate_curves(raced.lanes, raced.steps, measure), held_out_count(raced.steps)
    figure = rate_figure(curves, measure, start_loss=start_loss, plain_text=raced.plain_text, examples=examples)
    return drawing([figure], theme)


def plot_gradients(
    steps: Source,
    config: RaceConfig | Race | None = None,
    *,
    measure: str = "gradient_B",
    step: int | None = None,
    module: str = "",
    theme: str = "light",
) -> go.Figure:
    """Draw norms of gradients, parameters or updates against depth, one curve per lane.

    Args:
        steps: see `plot_race`; of a race with ``gradients_every``.
        config: see `steps`.
        theme: see `steps`.
        measure: ``gradient_A``, ``gradient_B``, ``update_A``, ``parameter_A``, ``ratio_A`` and so on, or ``input``,
            the gradient that reaches a layer's input.
        step: the step to show; None for the last measured one.
        module: the last part of the names of the layers that a curve joins; "" joins all.

    Raises:
        ValueError: the measure is unknown, or the steps or this step have no gradients.

    Examples:
        >>> import olora_viz as ov
        >>> recording = ov.load_recording("one-rate")
        >>> figure = ov.plot_gradients(recording, measure="gradient_B", module="q_proj")
        >>> sorted({curve.name for curve in figure.data})
        ['LoRA', 'MiLoRA', 'OLoRA', 'PiSSA']
    """
    (measure,) = chosen(measure, GRADIENTS.parts, theme)
    raced = Raced.of(steps, config)
    gradients = {each.step: each.gradients for each in raced.steps if each.gradients is not None}
    if not gradients:
        raise ValueError("these steps have no gradients by layer: run the race with gradients_every=10, for example")
    if step is not None and step not in gradients:
        raise ValueError(f"step {step} was not measured, only {listed(map(str, gradients))}")
    at = step or max(gradients)
    return drawing([depth_figure(at, gradients[at], styles_of(raced), measure, module)], theme)


def _live(racing: Race, drawn: Callable[[Raced], Drawing]) -> None:
    """Show the figure of a race below the cell until it ends, or nobody runs it any more.

    A race that has not started runs here; one that another thread runs is followed.
    """
    output = LiveOutput()
    for _ in racing if not racing.done else _run_elsewhere(racing):
        output.show(lambda: drawn(Raced.of(racing)).without_picture())
    output.clear()


def _run_elsewhere(racing: Race) -> Iterator[int]:
    """Yield the number of each new step of a race that another thread runs, as far as seen.

    A race is at rest if nothing happens for `REST` seconds, in which no step is being computed.
    """
    seen, quiet = racing.done, time.monotonic()
    while racing.status == RACING and time.monotonic() - quiet < REST:
        time.sleep(REST / 50)
        if racing.in_step:
            quiet = time.monotonic()
        if racing.done > seen:
            seen = racing.done
            yield seen
            quiet = time.monotonic()  # drawing takes its time


OF_STUDY: dict[str, Callable[[Verdicts], list[Figure]]] = {
    "wins": lambda known: [wins_figure(known)], "differences": lambda known: [differences_figure(known)],
    "profile": lambda known: [profile_figure(known)], "kl": lambda known: [kl_figure(known)],
    "interaction": interaction_figures,
}  # fmt: skip
OF_CELL = {
    "choices": choices_figure, "rates": study_rates_figure, "reward": reward_figure, "budget": budget_figure,
    "target": target_figure, "forgotten": front_figure, "kept": kept_figure,
}  # fmt: skip
PICTURES = ("wins", "differences", "profile", *OF_CELL, "kl", "interaction")


def plot_study(
    source: Verdicts | str | Path,
    *,
    what: str | Sequence[str] = PICTURES,
    cell: Cell | None = None,
    theme: str = "light",
) -> go.Figure:
    """Draw what a study decides and why.

    Args:
        source: the result of `verdicts`, or the folder of a study.
        what: ``wins`` (all verdicts, at one rate and at best rates), ``differences`` (with their intervals),
            ``profile`` (how often each method is within a factor of the fastest to the reference's loss), ``choices``
            (how far the test loss moves with each choice, everything tuned again and at one shared rate), ``rates``
            (test loss by learning rate), ``reward`` (by learning rate, the probability of the right test answer, or
            of preferences the share of test pairs ranked right), ``budget`` (expected best loss by number of rates),
            ``target`` (share of seeds that reached the reference's loss by step), ``forgotten`` (drift against test
            loss, over the rates), ``kept`` (of a chain: the rise of the loss on earlier tasks against what was
            learned, over the rates), ``kl`` (of several objectives: drift on the text to keep against the KL to the
            base on the task, of every lane, with the curve by which the claim `forgetting-by-kl` is judged),
            ``interaction`` (whether what a method gains depends on another setting, a chart for each), or several of
            them; by default all. Beside others, the profile of a single cell is left out, the choices of a study that
            compares starts alone, the reward of one that imitates, what is forgotten in a study without a text to
            keep, what is kept where no task is a chain, the KL of one objective, and interactions where there are
            none. Also the key of a registered measurement, by learning rate.
        cell: one of ``study.cells()``; ``choices`` and the six after it have one chart for each cell, by default all.
        theme: ``light`` or ``dark``.

    Raises:
        ValueError: a name is unknown, the cell is not the study's, the folder holds no study, or there is no
            interaction.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import olora_viz as ov
        >>> study = ov.Study(race=ov.RaceConfig(steps=1, eval_size=4, test_size=4), tune={"lr": (1e-3,)}, seeds=1)
        >>> with TemporaryDirectory() as folder:
        ...     ended = list(ov.run_study(study, f"{folder}/first"))
        ...     figure = ov.plot_study(f"{folder}/first", what="rates")
        >>> sorted({curve.name for curve in figure.data})
        ['LoRA', 'OLoRA']
    """
    expect(source, (Verdicts, str, Path), "the result of verdicts, or the folder of a study")
    known = source if isinstance(source, Verdicts) else verdicts(source)
    names = chosen(what, (*PICTURES, *known.own_measures), theme)
    return drawing(study_figures(known, names, cell), theme)


def plot_claim(name: str, finding: Finding, *, theme: str = "light") -> go.Figure:
    """Draw what the verdict on a claim rests on, each number with its interval if it has one.

    Args:
        name: a key of ``CLAIMS``.
        finding: what its `judge` returned.
        theme: ``light`` or ``dark``.

    Raises:
        ValueError: there is no such claim, or the finding has nothing to draw.

    Examples:
        >>> import olora_viz as ov
        >>> recorded = ov.recorded_claims().of("subset")[0]
        >>> figure = ov.plot_claim("subset", recorded.finding)
        >>> {bar.name: bar.x for bar in figure.data}
        {'subset': (0,), 'bounded': (84,)}
    """
    if name not in CLAIMS:
        raise ValueError(unknown("claim", name, CLAIMS))
    chosen(name, CLAIMS, theme)
    if not finding.bars:
        raise ValueError(f"the finding on {name!r} has no numbers to draw: {finding.words}")
    return drawing([claim_figure(CLAIMS[name], finding)], theme)


def study_figures(known: Verdicts, what: Sequence[str] = PICTURES, cell: Cell | None = None) -> list[Figure]:
    """Return the figures of `plot_study`, in the order of `what`.

    Raises:
        ValueError: the cell is not the study's.
    """
    cells = known.study.cells()
    if cell is not None and cell not in cells:
        raise ValueError(f"{cell} is not a cell of the study: see study.cells()")
    has_news = {
        "profile": len(cells) > 1,  # of one cell, "target" says the same
        "choices": compares_more_than_starts(known.study),  # of starts alone, "differences" does
        "reward": known.study.values("objective") != (IMITATION,),
        "forgotten": known.study.keeps_text,
        "kl": known.study.keeps_text and len(known.study.values("objective")) > 1,
        "kept": any(len(each.links) > 1 for each in cells),
        "interaction": bool(interacting(known.study)),
    }
    drawn: list[Figure] = []
    for name in (name for name in what if len(what) == 1 or has_news.get(name, True)):
        if name in OF_STUDY:
            drawn += OF_STUDY[name](known)
        else:
            draw = OF_CELL.get(name) or partial(measured_rates_figure, key=name)
            of_cells = [each for each in cells if name != "kept" or len(what) == 1 or len(each.links) > 1]
            drawn += [draw(known, each) for each in ([cell] if cell else of_cells)]
    return drawn
