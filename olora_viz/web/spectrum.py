"""The page Spectrum: singular values of W against those of Q_r R_r."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import time
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import torch
from markupsafe import Markup
from torch import Tensor

from olora_viz.figures.layers import layer_grid
from olora_viz.figures.live.serving import live_figure, pack
from olora_viz.initializers import INITIALIZERS, label_of
from olora_viz.learn.terms import term, with_terms
from olora_viz.machine.checks import unknown
from olora_viz.measures.truncation import Weight
from olora_viz.models import MODELS
from olora_viz.views.html import problem
from olora_viz.views.layers import layer_words
from olora_viz.views.runs import model_choices
from olora_viz.views.spectrum import MOST_RANK, Lab, energy_table, factors, seeing, verdict
from olora_viz.web.guard.limits import Limits, visitor_of
from olora_viz.web.jobs.pool import Pool, few
from olora_viz.web.parts.card import LATEST_ONLY, UNQUEUED, element, in_card, moved, on_picks, picked

A_LAYER, A_MATRIX = "a model's layer", "my own matrix"
"""The sources of a matrix."""


PURPOSE = Markup(
    "<p><b>How much of a weight W an adapter's start takes with it</b>: the singular values of W against those of "
    "Q<sub>r</sub> R<sub>r</sub>.</p>"
)
"""What the page is for."""

SPECTRUM_STARTS = ("olora", "olora_pivoted", "sketch", "random_orthonormal", "pissa")
"""The starts that are compared at first."""


def compared() -> list[str]:
    """Return the nested starts that depend on W alone and subtract a non-zero product from it."""
    return [
        name
        for name, entry in INITIALIZERS.items()
        if entry.nested and entry.keeps_function and not entry.needs and not entry.zero_product
    ]


class Choices(NamedTuple):
    """The matrix and how it is shown: the values of the page's controls, or these controls."""

    source: Any = None
    model: Any = None
    layer: Any = None
    text: Any = None
    rank: Any = None
    starts: Any = None
    permutation: Any = None


def settled(lab: Lab, limits: Limits, asked: Choices, drawn: Choices) -> Choices:
    """Return what to show when the controls say `asked` and the charts show `drawn`.

    Another model opens at its first layer, another source or example at a rank that suits it, and every matrix in its
    own order.

    Raises:
        ValueError: a value breaks a rule of the page.
    """
    _, layer, weight = _matrix(lab, limits, asked, drawn)
    another = asked.source != drawn.source or (asked.source == A_MATRIX and asked.text != drawn.text)
    example = asked.source == A_MATRIX and asked.text in map(as_text, EXAMPLE_MATRICES)
    suitable = 8 if asked.source == A_LAYER else min(weight.W.shape) // 4
    rank = suitable if asked.source != drawn.source or (another and example) else whole(asked.rank)
    return Choices(
        source=asked.source,
        model=asked.model,
        layer=layer,
        text=asked.text,
        rank=max(1, min(rank, MOST_RANK, len(weight.sigma))),
        starts=_known(asked.starts),
        permutation=0 if another else whole(asked.permutation),
    )


class SpectrumView(NamedTuple):
    """What the page's outputs show, or their components."""

    singular: Any = gr.skip()
    energy: Any = gr.skip()
    angles: Any = gr.skip()
    verdict: Any = gr.skip()
    table: Any = gr.skip()
    factors: Any = gr.skip()
    seeing: Any = gr.skip()
    of_model: Any = gr.skip()
    of_map: Any = gr.skip()
    own: Any = gr.skip()
    layer: Any = gr.skip()
    rank: Any = gr.skip()
    permutation: Any = gr.skip()
    restore: Any = gr.skip()
    drawn: Any = gr.skip()
    again: Any = gr.skip()


def shown(lab: Lab, limits: Limits, asked: Choices, drawn: Choices) -> SpectrumView:
    """Return what the outputs show; nothing new if the charts show what the controls say already.

    Raises:
        ValueError: a value breaks a rule of the page.
    """
    chosen = settled(lab, limits, asked, drawn)
    if chosen == drawn:
        return SpectrumView()
    own_key, _, own = _matrix(lab, limits, chosen, chosen)
    key, weight, number, r = own_key, own, chosen.permutation, chosen.rank
    if number:
        key, weight = (key, number), lab.permuted(key, weight, number)
    truncations = {init: lab.truncation(key, weight, r, init) for init in dict.fromkeys(["olora", *chosen.starts])}
    compared = [truncations[init] for init in truncations if init in chosen.starts] or [truncations["olora"]]
    figures = lab.figures(key, weight, r, compared, run=repr(hash(own_key)))
    unpermuted = lab.truncation(own_key, own, r, "olora") if number else None
    of_model, most = chosen.source == A_LAYER, min(MOST_RANK, len(weight.sigma))
    return SpectrumView(
        **{name: pack(figure) for name, figure in figures.items()},
        verdict=verdict(truncations["olora"]),
        table=energy_table(list(truncations.values()), unpermuted),
        factors=factors(list(truncations.values())),
        seeing=with_terms(seeing(truncations, bool(number))),
        **_visible(chosen, has_map=of_model and lab.has_map(chosen.model)),
        layer=_layer_choices(lab, chosen) if of_model and chosen.model != drawn.model else gr.skip(),
        # Gradio has no slider of a single value.
        rank=gr.update(
            maximum=max(2, most), label=f"Rank, at most {most}", interactive=most > 1, **moved(r, shown=asked.rank)
        ),
        permutation=gr.update(**moved(number, shown=asked.permutation)),
        restore=gr.update(interactive=number > 0),
        drawn=written(chosen),
    )


def refused(sentence: str, asked: Choices, drawn: Choices) -> SpectrumView:
    """Return a sentence in the place of the verdict; whatever is chosen next is drawn, be it what the charts show."""
    changed = drawn._replace(source=asked.source, rank=None)
    return SpectrumView(verdict=problem(sentence), drawn=written(changed), **_visible(asked, has_map=False))


def _visible(chosen: Choices, *, has_map: bool) -> dict[str, Any]:
    """Return which controls and cards a source of matrices has."""
    of_model, own = (gr.update(visible=chosen.source == source) for source in (A_LAYER, A_MATRIX))
    return {"of_model": of_model, "of_map": gr.update(visible=has_map), "own": own}


def lab_of(folders: Iterable[Path]) -> Lab:
    """Return a lab that has some folders of models too, by the last part of each path: visitors see no more of it.

    Raises:
        ValueError: a folder is not there, two models have the same name, or a folder's layers cannot be read.
    """
    named: dict[str, Path] = {}
    # Unlike those of a Path, these functions take what leads nowhere too, as a circle of links.
    for folder in dict.fromkeys(Path(os.path.realpath(os.path.expanduser(each))) for each in folders):
        name = folder.name
        if not os.path.isdir(folder):
            raise ValueError(f"{str(folder)!r} is not a folder on this machine")
        if name in MODELS or name in named:
            raise ValueError(f"two models are named {name!r}, of which {str(folder)!r} is one: rename its folder")
        named[name] = folder
    lab = Lab(named)
    for name in named:
        lab.layers(name)
    return lab


def _offered(lab: Lab, limits: Limits) -> tuple[str, ...]:
    """Return the names of the models that a visitor can choose."""
    return (*limits.models, *lab.folders)


def written(chosen: Choices) -> str:
    """Return the choices as the text that the page keeps of what its charts show."""
    return json.dumps(chosen)


def read(text: Any) -> Choices:
    """Return the choices of such a text; those of an empty page if it is none.

    >>> read(written(Choices(rank=8))).rank, read("nonsense")
    (8, Choices(source=None, model=None, layer=None, text=None, rank=None, starts=None, permutation=None))
    """
    try:
        return Choices(*json.loads(text))
    except (TypeError, ValueError):
        return Choices()


def _layer_choices(lab: Lab, chosen: Choices) -> dict[str, Any]:
    """Return the update of the layers that a model offers."""
    return gr.update(choices=[(layer_words(name), name) for name in lab.layers(chosen.model)], value=chosen.layer)


def layer_map(lab: Lab, limits: Limits, drawn: Choices) -> Any:
    """Return the map of the energy that a start captures in every layer of the model that the charts show."""
    if drawn.source != A_LAYER or drawn.rank is None or drawn.model not in _offered(lab, limits):
        return gr.skip()
    if not lab.has_map(drawn.model):
        return gr.skip()
    init = next((name for name in _known(drawn.starts) if name != "pissa"), "olora")
    r = max(1, min(whole(drawn.rank), max(min(W.shape) for W in lab.layers(drawn.model).values())))
    shares = lab.energy_map(drawn.model, r, init)
    return pack(layer_grid(shares, r, init, chosen=str(drawn.layer), run=drawn.model))


def _matrix(lab: Lab, limits: Limits, asked: Choices, drawn: Choices) -> tuple[Hashable, str | None, Weight]:
    """Return the key of the chosen matrix, the name of its layer and itself."""
    if asked.source == A_MATRIX:
        W = read_matrix(str(asked.text))
        key = ("own", tuple(W.shape), W.numpy().tobytes())
        return key, asked.layer, lab.decomposed(key, W)
    if asked.model not in _offered(lab, limits):
        raise ValueError(unknown("model", str(asked.model)[:80], _offered(lab, limits)))
    name = str(asked.layer) if asked.model == drawn.model else next(iter(lab.layers(asked.model)))
    return (asked.model, name), name, lab.weight(asked.model, name)


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


EXAMPLE_MATRICES: dict[str, tuple[str, Callable[[], Tensor]]] = {
    "counterexample": ("2 × 2 counterexample", counterexample),
    "diagonal": ("diagonal, 1 to 12", diagonal),
    "gaussian": ("Gaussian, 24 × 32", gaussian),
    "power_law": ("power law, 24 × 32", power_law),
    "projector": ("projector of rank 6", projector),
}


def read_matrix(text: str) -> Tensor:
    """Read a pasted matrix: one row per line, semicolon or bracket, numbers separated by spaces or commas.

    Raises:
        ValueError: there are no numbers, the rows differ in length, a word is not a finite number, or the matrix is
            too large.

    >>> read_matrix("1 1; 0 1").tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    if len(text) > 100_000:
        raise ValueError(f"the matrix has {len(text)} characters of text, more than 100000")
    rowwise = re.sub(r"[\])]\s*,?\s*[\[(]", ";", text)
    plain = re.sub(r"[\[\]()]", " ", rowwise)
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


ASK_AGAIN = 20.0
"""Seconds after which a page asks again for what is not yet computed: a proxy may cut a request of a minute."""


_AFTER_THE_FIRST_SCREEN = (Path(__file__).parent / "after_first_screen.js").read_text("utf-8")


_WAITING = """(model, layer, drawn, verdict) => {
  const [, drawnModel, drawnLayer] = JSON.parse(drawn || "[]");
  if (drawnModel === model && (drawnLayer === layer || !FOLDERS.includes(model))) return verdict;
  const what = FOLDERS.includes(model)
    ? "Computing the singular values of the layer, for a minute or more if it is large"
    : "Reading the weights of the model";
  return `<p>${what} …</p>`;
}"""
"""What a reader waits for, in the place of the verdict; FOLDERS are the names of the folders that a server offers."""


class Controls(NamedTuple):
    """What a visitor sets on this page, beside its choices."""

    of_model: gr.Column
    own: gr.Column
    example: gr.Dropdown
    permute: gr.Button
    restore: gr.Button


def build(demo: gr.Blocks, limits: Limits, lab: Lab) -> None:
    """Lay the page out in `demo`."""
    element(PURPOSE, elem_classes="purpose spectrum-only")
    with gr.Row(elem_classes="page", elem_id="spectrum-page"):
        with gr.Column(elem_classes="side left", scale=0, min_width=0):
            controls, choices = _controls(limits, lab)
        with gr.Column(elem_classes="middle", min_width=0):
            of_map, map_figure, charts = _charts()
        with gr.Column(elem_classes="side right", scale=0, min_width=0):
            words = _words()
    drawn = gr.Textbox("", visible="hidden", show_label=False)  # the page has it, which the server may forget
    again = gr.Number(visible="hidden", show_label=False)
    outputs = SpectrumView(
        **charts, **words, of_model=controls.of_model, of_map=of_map, own=controls.own, layer=choices.layer,
        rank=choices.rank, permutation=choices.permutation, restore=controls.restore, drawn=drawn, again=again,
    )  # fmt: skip
    _connect(demo, limits, lab, controls, choices, map_figure, outputs)


def _controls(limits: Limits, lab: Lab) -> tuple[Controls, Choices]:
    """Make the controls of the left column."""
    permutation = gr.Number(0, visible="hidden", show_label=False)
    with gr.Column(elem_classes="card"):
        element("<h2>Matrix</h2>")
        source = gr.Radio(
            [A_LAYER, A_MATRIX], value=A_LAYER, show_label=False, container=False, elem_id="matrix-source"
        )
        with gr.Column(elem_classes="group") as of_model:
            model = gr.Dropdown(
                model_choices(limits.models)
                + [(f"{name} · on this server", name) for name in lab.folders],
                value=limits.models[0], label="Model", filterable=False,
                elem_id="spectrum-model",
            )  # fmt: skip
            layer = gr.Dropdown([], label="Layer", elem_id="spectrum-layer")
        with gr.Column(elem_classes="group", visible=False) as own:
            example = gr.Dropdown(
                [(label, name) for name, (label, _) in EXAMPLE_MATRICES.items()],
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
        value=list(SPECTRUM_STARTS),
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
    choices = Choices(source, model, layer, text, rank, starts, permutation)
    return Controls(of_model, own, example, permute, restore), choices


def _charts() -> tuple[gr.Column, gr.HTML, dict[str, gr.HTML]]:
    """Make the charts of the middle column: the map in its card, and those of a `SpectrumView` by name."""
    with gr.Row(elem_classes="two charts"):
        with gr.Column(elem_classes="card", min_width=0):
            singular = live_figure(elem_id="spectrum-figure")
        with gr.Column(elem_classes="card", min_width=0):
            energy = live_figure(elem_id="energy-figure")
    with gr.Column(elem_classes="card") as of_map:
        map_figure = live_figure(elem_id="layer-map", picks=True)
    angles = in_card(live_figure, elem_id="angles-figure")
    return of_map, map_figure, {"singular": singular, "energy": energy, "angles": angles}


def _words() -> dict[str, gr.HTML]:
    """Make the right column: what it shows of a `SpectrumView`, by name."""
    ids = {"verdict": "verdict", "table": "energies", "factors": "factors", "seeing": "story"}
    return {name: in_card(element, elem_id=f"spectrum-{id}") for name, id in ids.items()}


def _connect(
    demo: gr.Blocks,
    limits: Limits,
    lab: Lab,
    controls: Controls,
    choices: Choices,
    map_figure: gr.HTML,
    outputs: SpectrumView,
) -> None:
    """Draw the charts when the page is opened, and after every change of a control.

    One event draws them all, one request at a time, and the last one sees the controls as they are then: were there
    several, an answer to an earlier choice could come after that to a later one.
    """
    pool = Pool(few("spectra"))

    async def show(request: gr.Request, *values: Any) -> SpectrumView:
        *chosen, text = values
        asked, drawn = Choices(*chosen), read(text)
        try:
            return await asyncio.wait_for(pool.run(visitor_of(request), shown, lab, limits, asked, drawn), ASK_AGAIN)
        except TimeoutError:  # what runs goes on, and the lab keeps it
            return SpectrumView(again=time.monotonic())
        except ValueError as error:
            return refused(str(error), asked, drawn)

    async def show_map(request: gr.Request, text: Any) -> dict[Any, Any]:
        try:
            drawing = pool.run(visitor_of(request), layer_map, lab, limits, read(text))
            return {map_figure: await asyncio.wait_for(drawing, ASK_AGAIN)}
        except TimeoutError:
            return {map_again: time.monotonic()}
        except ValueError:  # too many ask
            return gr.skip()

    # Before the event that draws, for whose answer the page waits.
    asked = [choices.model, choices.layer, outputs.drawn, outputs.verdict]
    gr.on(
        [choices.model.input, choices.layer.input],
        js=_WAITING.replace("FOLDERS", json.dumps(list(lab.folders))),
        inputs=asked,
        outputs=outputs.verdict,
        **LATEST_ONLY,
    )
    changes = [demo.load, choices.source.input, choices.model.input, choices.layer.change, choices.text.change]
    changes += [choices.rank.input, choices.starts.input, choices.permutation.change, outputs.again.change]
    gr.on(changes, show, [*choices, outputs.drawn], list(outputs), js=_AFTER_THE_FIRST_SCREEN, **LATEST_ONLY)
    map_again = gr.Number(visible="hidden", show_label=False)
    gr.on([outputs.drawn.change, map_again.change], show_map, outputs.drawn, [map_figure, map_again], **LATEST_ONLY)
    controls.example.input(
        lambda name: as_text(name) if name in list(EXAMPLE_MATRICES) else gr.skip(),
        controls.example,
        choices.text,
        **LATEST_ONLY,
    )
    controls.permute.click(
        js="(number) => number + 1", inputs=choices.permutation, outputs=choices.permutation, **UNQUEUED
    )
    controls.restore.click(js="() => 0", outputs=choices.permutation, **UNQUEUED)
    on_picks([map_figure.select], picked, [], choices.layer)


def as_text(name: str) -> str:
    """Return an example as the text of a pasted matrix."""
    rows = EXAMPLE_MATRICES[name][1]().tolist()
    return "\n".join(" ".join(f"{x:.4g}" for x in row) for row in rows)
