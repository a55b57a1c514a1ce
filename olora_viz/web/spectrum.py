"""The page Spectrum: singular values of W against those of Q_r R_r."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import torch
from torch import Tensor

from olora_viz.figures.layers import layer_grid
from olora_viz.figures.live.serving import live_figure, pack
from olora_viz.figures.spectrum import angles_figure, energy_figure, singular_values_figure
from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.learn.terms import term, with_terms
from olora_viz.machine.text import unknown
from olora_viz.measures.truncation import Weight
from olora_viz.views.html import problem
from olora_viz.views.layers import layer_words
from olora_viz.views.runs import model_words
from olora_viz.views.spectrum import MOST_RANK, Lab, energy_table, factors, seeing, verdict
from olora_viz.web.guard.limits import Limits, visitor_of
from olora_viz.web.jobs.pool import Pool, few
from olora_viz.web.parts.card import AT_ONCE, PRIVATE, QUIET, element, in_card, moved, picked

A_LAYER, A_MATRIX = "a model's layer", "my own matrix"
"""The sources of a matrix."""


STARTS = ("olora", "olora_pivoted", "sketch", "random_orthonormal", "pissa")
"""The starts that are compared at first."""


def compared() -> list[str]:
    """Return the nested starts that depend on W alone and subtract a non-zero product from it."""
    return [
        name
        for name, entry in INITIALIZERS.items()
        if entry.nested and entry.keeps_function and not entry.needs and not entry.zero_product
    ]


class SpectrumView(NamedTuple):
    """What the page's outputs show, in their order, or their components."""

    singular: Any = gr.skip()
    energy: Any = gr.skip()
    angles: Any = gr.skip()
    verdict: Any = gr.skip()
    table: Any = gr.skip()
    factors: Any = gr.skip()
    seeing: Any = gr.skip()
    rank: Any = gr.skip()


def shown(
    lab: Lab, limits: Limits, source: Any, model: Any, layer: Any, text: Any, rank: Any, starts: Any, permutation: Any
) -> SpectrumView:
    """Return what the outputs show of the chosen matrix, at a rank that suits it if `rank` is None.

    Raises:
        ValueError: a value breaks a rule of the page.
    """
    key, weight = _matrix(lab, limits, source, model, layer, text)
    number, known = whole(permutation), _known(starts)
    most = min(MOST_RANK, len(weight.sigma))
    suitable = 8 if source == A_LAYER else min(weight.W.shape) // 4
    r = max(1, min(suitable if rank is None else whole(rank), most))
    own_key, own = key, weight
    if number:
        key, weight = (key, number), lab.permuted(key, weight, number)
    truncations = {init: lab.truncation(key, weight, r, init) for init in dict.fromkeys(["olora", *known])}
    chosen = [truncations[init] for init in truncations if init in known] or [truncations["olora"]]
    run = repr(hash(own_key))
    ranks = [rank for rank in lab.ranks(weight) if rank <= max(32, 8 * r)]
    inits = [truncation.init for truncation in chosen if truncation.init != "pissa"]
    curves = {init: lab.curve(key, weight, init)[: len(ranks)] for init in inits}
    energy = energy_figure(ranks, curves, lab.optimum(weight)[: len(ranks)], weight.W.shape[0], r, run=run)
    unpermuted = lab.truncation(own_key, own, r, "olora") if number else None
    return SpectrumView(
        singular=pack(singular_values_figure(chosen, run=run)),
        energy=pack(energy),
        angles=pack(angles_figure(chosen, run=run)),
        verdict=verdict(truncations["olora"]),
        table=energy_table(list(truncations.values()), unpermuted),
        factors=factors(list(truncations.values())),
        seeing=with_terms(seeing(truncations, bool(number))),
        # Gradio has no slider of a single value.
        rank=gr.update(
            maximum=max(2, most), label=f"Rank, at most {most}", interactive=most > 1, **moved(r, shown=rank)
        ),
    )


def layer_map(lab: Lab, limits: Limits, source: Any, model: Any, layer: Any, rank: Any, starts: Any) -> Any:
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


def _matrix(lab: Lab, limits: Limits, source: Any, model: Any, layer: Any, text: Any) -> tuple[Hashable, Weight]:
    """Return the chosen matrix, under its own key."""
    if source == A_MATRIX:
        W = read_matrix(str(text))
        key = ("own", tuple(map(tuple, W.tolist())))
        return key, lab.decomposed(key, W)
    if model not in limits.models:
        raise ValueError(unknown("model", str(model)[:80], limits.models))
    name = str(layer)
    return (model, name), lab.weight(model, name)


def _known(starts: Any) -> list[str]:
    return [name for name in starts if name in compared()] if isinstance(starts, list) else []


def whole(value: Any) -> int:
    """Read a whole number of at least 0; 1 if it is none."""
    try:
        return max(0, min(int(value), 10**6))
    except (TypeError, ValueError, OverflowError):
        return 1


MOST_SIDE = 64
"""Maximum rows or columns of a pasted matrix."""


def counterexample() -> Tensor:
    """[[1, 1], [0, 1]]: σ(W) = (1.618, 0.618), and the first column alone has σ(Q₁R₁) = 1.414."""
    return torch.tensor([[1.0, 1.0], [0.0, 1.0]])


def diagonal() -> Tensor:
    """A diagonal, smallest first: each column is a singular vector, so the claim is true."""
    return torch.diag(torch.arange(1.0, 13.0))


def gaussian() -> Tensor:
    """Independent Gaussian entries: a dense spectrum, in which some value is always close."""
    return torch.randn(24, 32, generator=torch.Generator().manual_seed(0))


def power_law() -> Tensor:
    """Singular values 1 / i in random directions, roughly like trained weights."""
    generator = torch.Generator().manual_seed(2)
    U = torch.linalg.qr(torch.randn(24, 24, generator=generator)).Q
    V = torch.linalg.qr(torch.randn(32, 24, generator=generator)).Q
    return U * (1 / torch.arange(1.0, 25.0)) @ V.T


def projector() -> Tensor:
    """A projector of rank 6: all its singular values are 1 or 0."""
    Q = torch.linalg.qr(torch.randn(16, 6, generator=torch.Generator().manual_seed(1))).Q
    return Q @ Q.T


EXAMPLES: dict[str, tuple[str, Callable[[], Tensor]]] = {
    "counterexample": ("2 × 2 counterexample", counterexample),
    "diagonal": ("diagonal, 1 to 12", diagonal),
    "gaussian": ("Gaussian, 24 × 32", gaussian),
    "power_law": ("power law, 24 × 32", power_law),
    "projector": ("projector of rank 6", projector),
}


def read_matrix(text: str) -> Tensor:
    """Read a pasted matrix: one row per line or semicolon, numbers separated by spaces or commas.

    Raises:
        ValueError: there are no numbers, the rows differ in length, a word is not a finite number, or the matrix is
            too large.

    >>> read_matrix("1 1; 0 1").tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    if len(text) > 100_000:
        raise ValueError(f"the matrix has {len(text)} characters of text, more than 100000")
    plain = re.sub(r"[\[\]()]", " ", text)
    lines = (line.strip(" ,\t\r") for line in re.split(r"[;\n]", plain))
    rows: list[list[float]] = []
    for line in filter(None, lines):
        number = len(rows) + 1
        row = [_number(word, number) for word in re.split(r"[\s,]+", line)]
        rows.append(row)
        if len(row) != len(rows[0]):
            count = f"{len(row)} number{'s' * (len(row) != 1)}"
            raise ValueError(f"row {number} of the matrix has {count}, the first one {len(rows[0])}")
    if not rows:
        raise ValueError("no matrix yet: paste rows of numbers, such as 1 1; 0 1")
    if len(rows) > MOST_SIDE or len(rows[0]) > MOST_SIDE:
        raise ValueError(f"the matrix is {len(rows)} × {len(rows[0])}, larger than {MOST_SIDE} × {MOST_SIDE}")
    return torch.tensor(rows, dtype=torch.float64)


def _number(word: str, row: int) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not abs(value) <= 1e100:
        raise ValueError(f"row {row} of the matrix holds {word[:40]!r}, not a finite number")
    return value


_AFTER_THE_FIRST_SCREEN = (Path(__file__).parent / "after_first_screen.js").read_text("utf-8")


class Controls(NamedTuple):
    """What a visitor sets on this page."""

    source: gr.Radio
    of_model: gr.Column
    model: gr.Dropdown
    layer: gr.Dropdown
    own: gr.Column
    example: gr.Dropdown
    text: gr.Textbox
    rank: gr.Slider
    starts: gr.CheckboxGroup
    permute: gr.Button
    restore: gr.Button
    permutation: gr.Number
    """It lives in the page, which the server may forget."""


class LayerMap(NamedTuple):
    """The map of a model's layers."""

    card: gr.Column
    figure: gr.HTML


def build(demo: gr.Blocks, limits: Limits) -> None:
    """Lay the page out in `demo`."""
    with gr.Row(elem_classes="page", elem_id="spectrum-page"):
        with gr.Column(elem_classes="side left", scale=0, min_width=0):
            controls = _controls(limits)
        with gr.Column(elem_classes="middle", min_width=0):
            layers, charts = _charts()
        with gr.Column(elem_classes="side right", scale=0, min_width=0):
            words = _words()
    _connect(demo, limits, controls, layers, SpectrumView(*charts, *words, controls.rank))


def _controls(limits: Limits) -> Controls:
    """Make the controls of the left column."""
    permutation = gr.Number(0, visible=False)
    with gr.Column(elem_classes="card"):
        element("<h2>Matrix</h2>")
        source = gr.Radio(
            [A_LAYER, A_MATRIX], value=A_LAYER, show_label=False, container=False, elem_id="matrix-source"
        )
        with gr.Column(elem_classes="group") as of_model:
            model = gr.Dropdown(
                [(model_words(name), name) for name in limits.models],
                value=limits.models[0], label="Model", filterable=False,
                elem_id="spectrum-model",
            )  # fmt: skip
            layer = gr.Dropdown([], label="Layer", elem_id="spectrum-layer")
        with gr.Column(elem_classes="group", visible=False) as own:
            example = gr.Dropdown(
                [(label, name) for name, (label, _) in EXAMPLES.items()],
                value="counterexample", label="Example", filterable=False,
            )  # fmt: skip
            text = gr.Textbox(
                as_text("counterexample"), lines=6, max_lines=12, elem_id="own-matrix",
                label="Rows of numbers, yours or the example's",
            )  # fmt: skip
    rank = in_card(gr.Slider, 1, 64, value=8, step=1, label="Rank", elem_id="spectrum-rank")
    starts = in_card(
        gr.CheckboxGroup,
        [(label_of(name), name) for name in compared()],
        value=list(STARTS),
        label="Starts",
        elem_id="spectrum-starts",
    )
    with gr.Column(elem_classes="card"):
        element("<h2>Input features</h2>")
        permute = gr.Button("⤨ Permute the columns of W", elem_id="permute-button")
        restore = gr.Button("↺ W's own order", elem_id="restore-button", interactive=False)
        element(
            f'<p class="hint">The {term("singular value", "singular values")} of W do not '
            "change. OLoRA's start does, since it takes the first columns.</p>"
        )
    return Controls(source, of_model, model, layer, own, example, text, rank, starts, permute, restore, permutation)


def _charts() -> tuple[LayerMap, tuple[gr.HTML, gr.HTML, gr.HTML]]:
    """Make the charts of the middle column: the map, and those of a `SpectrumView`, in its order."""
    with gr.Row(elem_classes="two charts"):
        with gr.Column(elem_classes="card", min_width=0):
            singular = live_figure(elem_id="spectrum-figure")
        with gr.Column(elem_classes="card", min_width=0):
            energy = live_figure(elem_id="energy-figure")
    with gr.Column(elem_classes="card") as map_card:
        layers = live_figure(elem_id="layer-map", picks=True)
    angles = in_card(live_figure, elem_id="angles-figure")
    return LayerMap(map_card, layers), (singular, energy, angles)


def _words() -> tuple[gr.HTML, gr.HTML, gr.HTML, gr.HTML]:
    """Make the right column, in the order of `SpectrumView`."""
    verdict = in_card(element, elem_id="spectrum-verdict")
    table = in_card(element, elem_id="spectrum-energies")
    factors = in_card(element, elem_id="spectrum-factors")
    seeing = in_card(element, elem_id="spectrum-story")
    return verdict, table, factors, seeing


def _connect(demo: gr.Blocks, limits: Limits, controls: Controls, layers: LayerMap, outputs: SpectrumView) -> None:
    """Draw the charts when the page is opened, and after every change of a control."""
    lab, pool = Lab(), Pool(few("spectra"))
    source, model, layer, text = controls.source, controls.model, controls.layer, controls.text
    rank, starts, permutation = controls.rank, controls.starts, controls.permutation

    async def show(request: gr.Request, *values: Any) -> SpectrumView:
        try:
            return await pool.run(visitor_of(request), shown, lab, limits, *values)
        except ValueError as error:
            return SpectrumView(verdict=problem(str(error)))

    async def show_map(request: gr.Request, *values: Any) -> Any:
        return await in_turn(request, layer_map, *values)

    async def names_of(request: gr.Request, model: Any) -> Any:
        return await in_turn(request, layer_names, model)

    async def in_turn(request: gr.Request, compute: Callable[..., Any], *values: Any) -> Any:
        """Compute, or leave as it is what too many ask for; `show`, which follows, says so."""
        try:
            return await pool.run(visitor_of(request), compute, lab, limits, *values)
        except ValueError:
            return gr.skip()

    slow: dict[str, Any] = {**PRIVATE, "show_progress": "minimal", "show_progress_on": outputs.verdict}
    charts = (show, [source, model, layer, text, rank, starts, permutation], list(outputs))
    grid = (show_map, [source, model, layer, rank, starts], layers.figure)

    opened = demo.load(names_of, model, layer, js=_AFTER_THE_FIRST_SCREEN, **AT_ONCE)
    opened.then(*charts, **AT_ONCE).then(*grid, **AT_ONCE)
    model.input(names_of, model, layer, **slow).then(*charts, **slow).then(*grid, **slow)
    layer.input(*charts, **slow).then(*grid, **AT_ONCE)
    rank.input(*charts, **QUIET)
    rank.input(*grid, **QUIET)
    starts.input(*charts, **QUIET).then(*grid, **AT_ONCE)

    # What a control changes beside the charts comes with them, in one answer: an event between two of them would
    # see one matrix at the rank of the other.
    async def show_source(request: gr.Request, source: Any, *values: Any) -> tuple[Any, ...]:
        of_model = source == A_LAYER
        visible, hidden = gr.update(visible=of_model), gr.update(visible=not of_model)
        view = await show(request, source, *values[:3], None, values[3], 0)
        return visible, visible, hidden, *in_its_own_order, *view

    async def show_text(request: gr.Request, source: Any, text: Any, rank: Any, starts: Any) -> tuple[Any, ...]:
        if source != A_MATRIX:
            return (gr.skip(),) * (len(order) + len(outputs))
        if text in map(as_text, EXAMPLES):
            rank = None
        return *in_its_own_order, *await show(request, source, None, None, text, rank, starts, 0)

    async def show_permuted(request: gr.Request, number: Any, *values: Any) -> tuple[Any, ...]:
        number = whole(number) + 1
        return number, gr.update(interactive=True), *await show(request, *values, number)

    async def show_restored(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        return *in_its_own_order, *await show(request, *values, 0)

    in_its_own_order, order = (0, gr.update(interactive=False)), [permutation, controls.restore]
    chosen = [source, model, layer, text]
    by_source = [controls.of_model, layers.card, controls.own, *order, *outputs]
    source.input(show_source, [*chosen, starts], by_source, **AT_ONCE).then(*grid, **AT_ONCE)
    controls.example.input(
        lambda name: as_text(name) if name in list(EXAMPLES) else gr.skip(), controls.example, text, **AT_ONCE
    )
    text.change(show_text, [source, text, rank, starts], [*order, *outputs], **QUIET)
    controls.permute.click(show_permuted, [permutation, *chosen, rank, starts], [*order, *outputs], **AT_ONCE)
    controls.restore.click(show_restored, [*chosen, rank, starts], [*order, *outputs], **AT_ONCE)
    layers.figure.select(picked, None, layer, **AT_ONCE).then(*charts, **AT_ONCE).then(*grid, **AT_ONCE)


def as_text(name: str) -> str:
    """Return an example as the text of a pasted matrix."""
    rows = EXAMPLES[name][1]().tolist()
    return "\n".join(" ".join(f"{x:.4g}" for x in row) for row in rows)
