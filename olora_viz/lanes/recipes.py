"""The defaults of the toolkits that people fine-tune with, and where each stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from olora_viz.lanes.alpha import Alpha
from olora_viz.lanes.schedule import warmup_words
from olora_viz.machine.checks import unknown
from olora_viz.machine.tables import Catalogue
from olora_viz.machine.wording import compact, counted, epochs

READ_ON = "2026-11-30"
"""The date on which the sources were read."""

RECIPE_NAME = "recipe:"
"""What begins the name of a recipe where a lane names its initialization."""

OF_A_LANE = (
    "init", "r", "alpha", "lr", "dropout", "targets", "weight_decay", "clip", "rslora", "schedule", "warmup",
)  # fmt: skip
"""What a lane takes of a recipe: counts of steps, batch size and length are the race's, and the optimizer is AdamW."""


@dataclass(frozen=True)
class Recipe:
    """What a toolkit fine-tunes with if one sets nothing; all keep Adam's betas, 0.9 and 0.999.

    Examples:
        >>> import olora_viz as ov
        >>> ov.RECIPES["trl"].lane["targets"], ov.RECIPES["trl"].batch_size
        (('q_proj', 'v_proj'), 8)
    """

    name: str
    """Lower-case key in ``RECIPES``; ``recipe:NAME`` is a lane."""
    toolkit: str
    r: int
    alpha: Alpha
    lr: float
    dropout: float
    targets: tuple[str, ...]
    """Target modules, by Llama's names or families."""
    schedule: str
    warmup: int | float
    """Steps, or a share of all, as in `Lane`; 0 for none."""
    weight_decay: float
    clip: float | None
    """Maximum norm of the gradient."""
    optimizer: str
    batch_size: int
    """Examples of an update: of a device, times the steps over which gradients are accumulated."""
    version: str
    """Version and commit of the sources."""
    sources: tuple[str, ...]
    """Addresses of the files and pages, at that commit."""
    note: str
    """Which of the project's own sources this is, and where others differ."""
    epochs: float | None = None
    """How often all examples are seen; None where `steps` are given."""
    steps: int | None = None
    rslora: bool = False
    init: str = "lora"
    read: str = READ_ON

    @property
    def lane(self) -> dict[str, Any]:
        """The fields of the lane that trains as the recipe does; the rest is the race's, as is a warm-up in steps."""
        of_lane = {key: getattr(self, key) for key in OF_A_LANE}
        return of_lane | {"warmup": self.warmup if self.warmup < 1 else None}

    @property
    def race(self) -> dict[str, Any]:
        """The settings of the race that trains as the recipe does, beside its lane."""
        length = {"steps": self.steps} if self.epochs is None else {"epochs": self.epochs}
        return {"batch_size": self.batch_size, **length}

    @property
    def length(self) -> str:
        """Epochs or steps, in words."""
        return counted(self.steps or 0, "step") if self.epochs is None else epochs(self.epochs)

    @property
    def warm_up(self) -> str:
        """The warm-up with its unit: ``10%``, ``100 steps`` or ``none``."""
        return warmup_words(self.warmup)

    @property
    def summary(self) -> str:
        """The defaults, in words."""
        return (
            f"rank {self.r}, alpha {self.alpha}, rate {compact(self.lr)}, dropout {self.dropout:g}, "
            f"targets {'+'.join(self.targets)}; {self.schedule}, warm-up {self.warm_up}, {self.optimizer}, "
            f"weight decay {self.weight_decay:g}; batches of {self.batch_size}, {self.length}"
        )


def _at(project: str, commit: str, *files: str) -> tuple[str, ...]:
    """Return the addresses of files at a commit."""
    return tuple(f"https://github.com/{project}/blob/{commit}/{file}" for file in files)


_TRAINER = "https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/training_args.py"
"""What all but torchtune leave to transformers: no weight decay, gradients of norm 1 at most, a linear schedule."""

_RECIPES = (
    Recipe(
        "unsloth", "Unsloth Studio", r=16, alpha=16, lr=2e-4, dropout=0.0, targets=("all",),
        schedule="linear", warmup=0.1, weight_decay=0.001, clip=1.0, optimizer="8-bit AdamW",
        batch_size=8, steps=30, version="0.1.801-beta, 015bdef",
        sources=(*_at("unslothai/unsloth", "015bdef0d94a241bcd94eec7a405b1700632180d",
                      "studio/backend/assets/configs/model_defaults/default.yaml"), _TRAINER),
        note="Studio's settings for a model without its own. Its first notebooks train 60 steps after a warm-up of 5; "
        "the form shows alpha 32 and dropout 0.05 until a model is chosen.",
    ),
    Recipe(
        "axolotl", "Axolotl", r=16, alpha=32, lr=2e-4, dropout=0.05, targets=("all",),
        schedule="cosine", warmup=0.1, weight_decay=0.0, clip=1.0, optimizer="8-bit AdamW",
        batch_size=4, epochs=1, version="0.18.0, 067b021",
        sources=(*_at("axolotl-ai-cloud/axolotl", "067b021c8b87a9e5e380b9173c704cf7340e30f5",
                      "examples/llama-3/lora-1b.yml"), _TRAINER),
        note="The example that its README and quickstart run first; an example of its batch is packed, up to 2,048 "
        "tokens. Most other examples have rank 32 and alpha 16.",
    ),
    Recipe(
        "llamafactory", "LLaMA-Factory", r=8, alpha="2r", lr=1e-4, dropout=0.0, targets=("all",),
        schedule="cosine", warmup=0.1, weight_decay=0.0, clip=1.0, optimizer="AdamW",
        batch_size=8, epochs=3, version="0.9.6.dev0, ff6d4d1",
        sources=(*_at("hiyouga/LLaMA-Factory", "ff6d4d12eeb035d6ce06805a5733dd7b29f2ac30",
                      "examples/train_lora/qwen3_lora_sft.yaml", "src/llamafactory/hparams/finetuning_args.py"),
                 _TRAINER),
        note="The example that its README runs first, whose alpha is the default, twice the rank. The web page begins "
        "with the rate 5e-5, no warm-up and batches of 16.",
    ),
    Recipe(
        "trl", "TRL", r=16, alpha=32, lr=2e-4, dropout=0.05, targets=("q_proj", "v_proj"),
        schedule="linear", warmup=0, weight_decay=0.0, clip=1.0, optimizer="AdamW",
        batch_size=8, epochs=3, version="1.10.0.dev0, f2cd577",
        sources=(*_at("huggingface/trl", "f2cd57710ae345ea6428ae95363267fcf38a3dc8",
                      "trl/trainer/model_config.py", "docs/source/peft_integration.md"), _TRAINER),
        note="The command line's adapter, on PEFT's targets, at the rate that its guide to PEFT takes. The command "
        "line's own rate, 2e-5, is for training all weights; the guide's examples have rank 32 and alpha 16.",
    ),
    Recipe(
        "torchtune", "torchtune", r=64, alpha=128, lr=3e-4, dropout=0.0,
        targets=("q_proj", "v_proj", "o_proj", "mlp"),
        schedule="cosine", warmup=100, weight_decay=0.01, clip=None, optimizer="AdamW",
        batch_size=32, epochs=1, version="0.7.0, bd2a0fc",
        sources=_at("pytorch/torchtune", "bd2a0fc7c31430972728494fa01aaeeb0ebf1ba1",
                    "recipes/configs/llama3_2/3B_lora_single_device.yaml"),
        note="The first configuration in its README, for Llama 3.2. Those for models of 7 and 8 billion parameters "
        "have rank 8, alpha 16 and batches of 16.",
    ),
    Recipe(
        "peft", "PEFT", r=8, alpha=8, lr=1e-3, dropout=0.0, targets=("q_proj", "v_proj"),
        schedule="linear", warmup=0, weight_decay=0.01, clip=1.0, optimizer="AdamW",
        batch_size=32, epochs=2, version="0.20.1.dev0, 5d602fd",
        sources=(*_at("huggingface/peft", "5d602fdbff04c33c1c4de55cda9d4ae1d7cb7e40",
                      "src/peft/tuners/lora/config.py", "src/peft/utils/constants.py", "docs/source/quicktour.md"),
                 _TRAINER),
        note="LoraConfig() for a Llama. PEFT has no trainer: rate, batches, epochs are those of its quicktour, whose "
        "adapter has alpha 32 and dropout 0.1; its README's has rank 16 and alpha 32.",
    ),
)  # fmt: skip

RECIPES: Catalogue[Recipe] = Catalogue(
    "recipe",
    _RECIPES,
    (
        "name", "r", "alpha", "lr", "dropout", "targets", "schedule", "warmup", "weight_decay", "clip", "optimizer",
        "batch_size", "length", "version", "note",
    ),
)  # fmt: skip
"""The defaults of six toolkits, as their sources had them on the date in `Recipe.read`. A lane is ``recipe:NAME``.

Examples:
    >>> import olora_viz as ov
    >>> {name: recipe.lr for name, recipe in ov.RECIPES.items()}
    {'unsloth': 0.0002, 'axolotl': 0.0002, 'llamafactory': 0.0001, 'trl': 0.0002, 'torchtune': 0.0003, 'peft': 0.001}
    >>> ov.parse_lanes("recipe:llamafactory,lr=1e-3")
    [Lane('lora', alpha='2r', clip=1.0, label='llamafactory@lr=1e-3', targets=('all',), schedule='cosine', warmup=0.1)]
"""


def recipe_of(init: Any) -> Recipe | None:
    """Return the recipe that a lane names in place of its initialization; None if it names none.

    Raises:
        ValueError: there is no such recipe.

    >>> recipe_of("recipe:peft").lr, recipe_of("olora")
    (0.001, None)
    """
    if not (isinstance(init, str) and init.startswith(RECIPE_NAME)):
        return None
    name = init.removeprefix(RECIPE_NAME)
    if name not in RECIPES:
        raise ValueError(unknown("recipe", name, RECIPES))
    return RECIPES[name]
