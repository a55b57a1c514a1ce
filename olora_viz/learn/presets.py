"""The presets of the page Race: set-ups that are worth a look, by name."""

from __future__ import annotations

from dataclasses import dataclass

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.lane_spec import parse_lanes
from olora_viz.lanes.recipes import RECIPES
from olora_viz.races.fields import IMITATION, REINFORCE


@dataclass(frozen=True)
class Preset:
    """One set-up."""

    name: str
    """Its name in ``hide=``, after ``preset-``."""
    title: str
    what: str
    specs: tuple[str, ...]
    """Lanes, in the syntax of the command line."""
    steps: int = 60
    batch: int = 16
    task: str = "sentiment"
    model: str = "glassllm"
    objective: str = IMITATION

    @property
    def lanes(self) -> list[Lane]:
        """Its lanes."""
        return [lane for spec in self.specs for lane in parse_lanes(spec)]


PRESETS = (
    Preset(
        "one-rate", "one rate for all",
        "LoRA, OLoRA and PiSSA at the rate 1e-3, from three seeds: which start learns faster?",
        tuple(f"{init}:lr=1e-3,seed=0-2" for init in ("lora", "olora", "pissa")),
    ),
    Preset(
        "number-words", "harder: number words",
        "Adding numbers written as words, long enough to be learned. Each start has its rate with the lowest mean "
        "loss in the recorded sweep of 100 steps (64 held-out examples; 3 seeds).",
        ("lora:lr=1e-2", "olora:lr=3e-3", "pissa:lr=3e-3"), steps=500, task="number-words",
    ),
    Preset(
        "sweep", "a sweep: 3 starts × 5 rates × 3 seeds",
        "45 lanes: held-out loss against the rate, one curve per start, its seeds as a band.",
        tuple(f"{init}:lr=3e-4/1e-3/3e-3/1e-2/3e-2,seed=0-2" for init in ("lora", "olora", "pissa")),
        steps=50, batch=8, task="number-words",
    ),
    Preset(
        "ranks", "ranks 2 to 64",
        "LoRA and OLoRA at one rate, rank after rank, from three seeds; the scaling stays 1.",
        tuple(f"{init}:lr=1e-3,r=2/4/8/16/32/64,seed=0-2" for init in ("lora", "olora")),
    ),
    Preset(
        "qr", "what the QR adds",
        "OLoRA and its controls, from three seeds: pivoted columns, a basis of W times a random matrix, a random "
        "basis, and plain LoRA.",
        tuple(
            f"{init}:lr=1e-3,seed=0-2" for init in ("olora", "olora_pivoted", "sketch", "random_orthonormal", "lora")
        ),
    ),
    Preset(
        "rewards", "learn from rewards",
        "A base that is right in about half of its tries draws answers, and learns from whether they are right: LoRA, "
        "OLoRA and PiSSA at three rates. Under More, see the rewards, and whether any prompt's answers still differ.",
        tuple(f"{init}:lr=3e-4/1e-3/3e-3" for init in ("lora", "olora", "pissa")), batch=8,
        model="glassllm-sentiment", objective=REINFORCE,
    ),
    Preset(
        "paper", "like the paper, in small",
        "LoRA and OLoRA at one rate and at ranks 32 and 64, on one small model and one short task instead of the "
        "paper's large ones.",
        ("lora:lr=3e-4,r=32/64", "olora:lr=3e-4,r=32/64"), steps=100, task="number-words",
    ),
    Preset(
        "toolkits", "six toolkits' defaults",
        "Rank, alpha, rate, schedule, dropout, targets, weight decay and clipping as Unsloth, Axolotl, LLaMA-Factory, "
        "TRL, torchtune and PEFT ship them, beside OLoRA at 3e-3, from three seeds; "
        "batch size, steps and warm-up are the race's. Take a file of yours for the task.",
        (*(f"recipe:{name},seed=0-2" for name in RECIPES), "olora:lr=3e-3,seed=0-2"),
    ),
)  # fmt: skip
