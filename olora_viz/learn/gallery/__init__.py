"""Recorded races, which can be viewed without loading a model.

Each is a small JSON file in this folder, computed by ``python -m olora_viz.learn.gallery`` from its set-up below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from olora_viz.lanes.lane import Lane
from olora_viz.learn.gallery.recording import RECORDED_ID, Recording, read
from olora_viz.machine.checks import unknown
from olora_viz.machine.process import LazyMapping
from olora_viz.races.config import RaceConfig
from olora_viz.races.fields import REINFORCE
from olora_viz.tasks.keep import AUTO, NONE


@dataclass(frozen=True)
class RecordingSetUp:
    """A race to record."""

    title: str
    sentence: str
    """What is raced and what to look for, without the outcome."""
    config: RaceConfig
    every_block: int = 1
    """Keep per-layer measurements of every n-th block only."""


_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
"""Half a decade apart, from too slow for plain LoRA to too fast for all."""


def _on_cpu(lanes: Iterable[Lane], **settings: Any) -> RaceConfig:
    """Return the set-up of a race on a CPU, so that anyone can repeat it; the smallest model unless one is named."""
    config = RaceConfig(
        model="glassllm", task="number-words", eval_every=10, device="cpu", dtype="float32", keep=NONE
    )  # fmt: skip
    return replace(config, lanes=tuple(lanes), **settings)


RECORDINGS: dict[str, RecordingSetUp] = {
    "first": RecordingSetUp(
        title="Happy or sad?",
        sentence="A tiny language model of 0.85 million parameters learns to tell whether somebody was happy or sad "
        "about something. Plain LoRA, OLoRA and PiSSA at one learning rate, from three seeds each. Which is first? "
        "And is it the start, or only the rate? Race them at higher rates too.",
        config=replace(
            RaceConfig(), device="cpu", dtype="float32", keep=NONE,
            spectra_every=60, gradients_every=60, factors_every=10,
        ),
        every_block=3,
    ),
    "smollm2": RecordingSetUp(
        title="SmolLM2 learns to add in words",
        sentence="A small assistant model with 135 million parameters adds numbers written as words. Plain LoRA and "
        "OLoRA race at two learning rates each, PiSSA at one. Compare each at its own best rate, then at one rate. "
        "Per-layer measurements were kept for every fifth block.",
        config=_on_cpu(
            (*(Lane(init, lr=lr) for init in ("lora", "olora") for lr in (3e-4, 1e-3)), Lane("pissa", lr=3e-4)),
            model="smollm2-135m", steps=60, batch_size=8, eval_every=5, spectra_every=20, gradients_every=10,
        ),
        every_block=5,
    ),
    "one-rate": RecordingSetUp(
        title="One learning rate for all",
        sentence="Four initializations on a tiny model, all at learning rate 1e-3, as papers often "
        "compare them. Would the order be the same if each had its own best rate?",
        config=_on_cpu(
            (Lane(init, lr=1e-3) for init in ("lora", "olora", "pissa", "milora")),
            steps=120, spectra_every=20, gradients_every=20,
        ),
    ),
    "fair-rates": RecordingSetUp(
        title="Three initializations at five rates",
        sentence="Plain LoRA, OLoRA and PiSSA at five learning rates with three seeds each: 45 "
        "lanes in one race. Compare each at its own best rate. The batches vary by seed.",
        config=_on_cpu(
            (Lane(init, lr=lr, seed=s) for init in ("lora", "olora", "pissa") for lr in _RATES for s in range(3)),
            steps=100, eval_every=20,
        ),
    ),
    "curvature": RecordingSetUp(
        title="Curvature of the loss during training",
        sentence="Three initializations at two rates, with the largest eigenvalue of the Hessian. "
        "Which one has the most curved loss, and does training flatten it?",
        config=_on_cpu(
            (Lane(init, lr=lr) for init in ("lora", "olora", "pissa") for lr in (1e-3, 3e-3)),
            steps=80, curvature_every=10, gradients_every=20,
        ),
    ),
    "what-the-qr-adds": RecordingSetUp(
        title="What the QR adds",
        sentence="OLoRA takes its basis from the first columns of W. The controls take it from the columns of a "
        "pivoted QR, from random mixtures of all columns, and from random numbers independent of W. With plain LoRA, "
        "all at 3e-3. Does it matter where the basis comes from?",
        config=_on_cpu(
            (Lane(init, lr=3e-3) for init in ("lora", "olora", "olora_pivoted", "sketch", "random_orthonormal")),
            steps=120, spectra_every=40, gradients_every=40,
        ),
    ),
    "what-it-cost": RecordingSetUp(
        title="Learned and forgotten",
        sentence="Plain LoRA and OLoRA at two learning rates, from three seeds each. While they learn to count, it is "
        "measured how far they move from the base model on a plain English text that has nothing to do with the task. "
        "Which lanes are level on the task, and what did each pay for it?",
        config=_on_cpu(
            (Lane(init, lr=lr, seed=s) for init in ("lora", "olora") for lr in (3e-3, 1e-2) for s in range(3)),
            steps=60, keep=AUTO,
        ),
    ),
    "rewards": RecordingSetUp(
        title="Learning from rewards",
        sentence="A small model that is right in about half of its tries learns from rewards of its own answers. "
        "Plain LoRA, OLoRA and PiSSA at three rates, from five seeds each. Which start leads at the lowest rate, and "
        "is it ahead at the highest as well?",
        config=_on_cpu(
            (Lane(init, lr=lr, seed=s) for init in ("lora", "olora", "pissa") for lr in _RATES[:3] for s in range(5)),
            model="glassllm-sentiment", task="sentiment", objective=REINFORCE, batch_size=8, steps=60, eval_every=20,
        ),
    ),
}  # fmt: skip
"""The set-ups of the recorded races by name, in display order."""

FOLDER = Path(__file__).parent


@cache
def load_recording(name: str) -> Recording:
    """Read a recorded race, once.

    Raises:
        ValueError: the name is unknown, or the file is damaged.

    Examples:
        >>> import olora_viz as ov
        >>> recording = ov.load_recording("one-rate")
        >>> recording.config.labels, len(recording.steps)
        (('lora', 'olora', 'pissa', 'milora'), 120)
    """
    if name not in RECORDINGS:
        raise ValueError(unknown("recording", name, RECORDINGS))
    return read(FOLDER / f"{name}.json")


GALLERY: Mapping[str, Recording] = LazyMapping(tuple(RECORDINGS), load_recording)
"""The recordings by name, in display order; each is read on first use."""


def recorded(id: object) -> Recording | None:
    """Return the recording of an id such as ``recorded:smollm2``, or None."""
    return GALLERY.get(id.removeprefix(RECORDED_ID)) if isinstance(id, str) and id.startswith(RECORDED_ID) else None
