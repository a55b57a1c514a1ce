"""The set-ups of the recorded races; ``python -m olora_viz.learn.gallery`` runs them again."""

from __future__ import annotations

from dataclasses import dataclass, replace

from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig


@dataclass(frozen=True)
class Recipe:
    """A race to record."""

    title: str
    """A short title."""
    sentence: str
    """What is raced and what to look for, without the outcome."""
    config: RaceConfig
    every_block: int = 1
    """Keep per-layer measurements of every n-th block only."""


_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
"""Half a decade apart, from too slow for plain LoRA to too fast for all."""


def _on_glassllm(lanes: tuple[Lane, ...]) -> RaceConfig:
    """Return the set-up of a race on the smallest model, on a CPU, so that anyone can repeat it."""
    return RaceConfig(model="glassllm", task="number-words", lanes=lanes, eval_every=10, device="cpu", dtype="float32")


RECIPES: dict[str, Recipe] = {
    "first": Recipe(
        title="Happy or sad?",
        sentence="A tiny language model of 0.85 million parameters learns to tell whether "
        "somebody was happy or sad about something. Plain LoRA and OLoRA at two learning rates "
        "each, and PiSSA at one, from three seeds each. Compare each start at its best rate; "
        "then see what one shared rate alone would have shown.",
        config=replace(RaceConfig(), device="cpu", dtype="float32", spectra_every=60, gradients_every=30),
    ),
    "smollm2": Recipe(
        title="SmolLM2 learns to add in words",
        sentence="A small assistant model with 135 million parameters adds numbers written as "
        "words. Plain LoRA and OLoRA race at two learning rates each, PiSSA at one. Compare each "
        "at its own best rate, then at one rate. Per-layer measurements were kept for "
        "every fifth block.",
        config=RaceConfig(
            model="smollm2-135m",
            task="number-words",
            lanes=(
                Lane("lora", lr=3e-4),
                Lane("lora", lr=1e-3),
                Lane("olora", lr=3e-4),
                Lane("olora", lr=1e-3),
                Lane("pissa", lr=3e-4),
            ),
            steps=60,
            batch_size=8,
            eval_every=5,
            spectra_every=20,
            gradients_every=10,
            device="cpu",
            dtype="float32",
        ),
        every_block=5,
    ),
    "one-rate": Recipe(
        title="One learning rate for all",
        sentence="Four initializations on a tiny model, all at learning rate 1e-3, as papers often "
        "compare them. Would the order be the same if each had its own best rate?",
        config=replace(
            _on_glassllm(tuple(Lane(init, lr=1e-3) for init in ("lora", "olora", "pissa", "milora"))),
            steps=120,
            spectra_every=20,
            gradients_every=20,
        ),
    ),
    "fair-rates": Recipe(
        title="Three initializations at five rates",
        sentence="Plain LoRA, OLoRA and PiSSA at five learning rates with three seeds each: 45 "
        "lanes in one race. Compare each at its own best rate. The batches vary by seed.",
        config=replace(
            _on_glassllm(
                tuple(
                    Lane(init, lr=lr, seed=seed)
                    for init in ("lora", "olora", "pissa")
                    for lr in _RATES
                    for seed in range(3)
                )
            ),
            steps=100,
            eval_every=20,
        ),
    ),
    "curvature": Recipe(
        title="Curvature of the loss during training",
        sentence="Three initializations at two rates, with the largest eigenvalue of the Hessian. "
        "Which one has the most curved loss, and does training flatten it?",
        config=replace(
            _on_glassllm(tuple(Lane(init, lr=lr) for init in ("lora", "olora", "pissa") for lr in (1e-3, 3e-3))),
            steps=80,
            curvature_every=10,
            gradients_every=20,
        ),
    ),
    "what-the-qr-adds": Recipe(
        title="What the QR adds",
        sentence="OLoRA takes its basis from the first columns of W. The controls take it from the "
        "columns of a pivoted QR, from random mixtures of all columns, and from random numbers "
        "independent of W. With plain LoRA, all at 3e-3. Does it matter where the basis comes "
        "from?",
        config=replace(
            _on_glassllm(
                tuple(
                    Lane(init, lr=3e-3) for init in ("lora", "olora", "olora_pivoted", "sketch", "random_orthonormal")
                )
            ),
            steps=120,
            spectra_every=40,
            gradients_every=40,
        ),
    ),
}
"""The recorded races by name, in display order."""
