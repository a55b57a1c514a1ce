"""The figure of a finding on a claim: no words are cut in its picture, however long sentence and labels are."""

from io import BytesIO
from typing import Any

import pytest
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Annotation
from support.in_print import check_print

from olora_viz.figures.png import png_bytes
from olora_viz.figures.studies import claim_figure
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.claims.claim import Bar, Finding

LABELS = ("OLoRA", "LoRA attention 74k params", "LoRA layers.1.mlp.down_proj")


@pytest.mark.parametrize("name", CLAIMS)
def test_the_words_of_a_picture_are_within_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = tuple(Bar(label, 0.5, 0.1, 0.9) for label in LABELS)
    finding = Finding("undecided", "Words.", bars=bars, unit="nats", over="4 cells, their seeds and test examples")
    drawn: list[Any] = []
    save = Canvas.savefig

    def seen(canvas: Any, file: BytesIO, **options: Any) -> None:
        drawn.append(canvas)
        save(canvas, file, **options)

    monkeypatch.setattr(Canvas, "savefig", seen)
    png_bytes([claim_figure(CLAIMS[name], finding)])
    (canvas,) = drawn
    check_print(canvas)
    titles = [text.get_text() for text in canvas.findobj(Annotation)]
    assert f"Undecided: {CLAIMS[name].sentence}" in titles
