"""What the recorded races are of; ``python -m olora_viz.learn.gallery`` races them again."""

from __future__ import annotations

from dataclasses import dataclass, replace

from olora_viz.lanes.lane import Lane
from olora_viz.races.config import RaceConfig


@dataclass(frozen=True)
class Recipe:
    """A race to be recorded."""

    title: str
    """A few words."""
    sentence: str
    """What is raced, and what to look for; the outcome is for the race to say."""
    config: RaceConfig
    every_block: int = 1
    """Of a deep model, what is measured by layer is kept for every so many-th block."""


_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
"""Half a decade apart, from too slow for plain LoRA to too fast for all."""


def _on_glassllm(lanes: tuple[Lane, ...]) -> RaceConfig:
    """Return the set-up of a race on the smallest model, on a CPU, where anybody can repeat it."""
    return RaceConfig(
        model="glassllm", task="number-words", lanes=lanes, device="cpu", dtype="float32"
    )


RECIPES: dict[str, Recipe] = {
    "smollm2": Recipe(
        title="SmolLM2 learns to add in words",
        sentence="A real small assistant of 135 million parameters adds numbers that are written "
        "in words. Plain LoRA and OLoRA race at two learning rates each, and PiSSA at one: compare "
        "at one rate first, then each start at its better one. By layer, every fifth block was "
        "kept.",
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
        sentence="Four starts on a tiny model, each at the learning rate 1e-3: what papers often "
        "compare. Ask whether the lead would last if every start had its own best rate.",
        config=replace(
            _on_glassllm(
                tuple(Lane(init, lr=1e-3) for init in ("lora", "olora", "pissa", "milora")),
            ),
            steps=120,
            spectra_every=20,
            gradients_every=20,
        ),
    ),
    "fair-rates": Recipe(
        title="Every start at five rates",
        sentence="Plain LoRA, OLoRA and PiSSA at five learning rates and with three seeds each, 45 "
        "lanes in one race: compare each at its own best rate. OLoRA and PiSSA start from W alone, "
        "so their seeds draw one line.",
        config=replace(
            _on_glassllm(
                tuple(
                    Lane(init, lr=lr, seed=seed)
                    for init in ("lora", "olora", "pissa")
                    for lr in _RATES
                    for seed in range(3)
                ),
            ),
            steps=100,
            eval_every=20,
        ),
    ),
    "curvature": Recipe(
        title="How curved the loss is, step by step",
        sentence="Three starts at two rates, and the largest eigenvalue of the Hessian on the way: "
        "which start stands on the steeper ground, and does training make it flatter?",
        config=replace(
            _on_glassllm(
                tuple(
                    Lane(init, lr=lr) for init in ("lora", "olora", "pissa") for lr in (1e-3, 3e-3)
                ),
            ),
            steps=80,
            curvature_every=10,
            gradients_every=20,
        ),
    ),
    "what-the-qr-adds": Recipe(
        title="What the QR adds",
        sentence="OLoRA's basis is made of the first columns of W. Beside it race the basis of the "
        "largest columns, that of a random mixture of all columns, a random one that knows nothing "
        "of W, and plain LoRA, all at 3e-3: how much of the lead is due to W?",
        config=replace(
            _on_glassllm(
                tuple(
                    Lane(init, lr=3e-3)
                    for init in ("lora", "olora", "olora_pivoted", "sketch", "random_orthonormal")
                ),
            ),
            steps=120,
            spectra_every=40,
            gradients_every=40,
        ),
    ),
}
"""The recorded races by name, in the order in which they are shown."""
