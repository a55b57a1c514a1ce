"""What an optimizer is: the direction in which a lane's A and B move, given their gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Turn(NamedTuple):
    """Some lanes in some layers of one shape, at one step.

    Of full fine-tuning A is W's change (out, in), and B has no columns.
    """

    A: Float[Tensor, "n k r in"]
    B: Float[Tensor, "n k out r"]
    grad_A: Float[Tensor, "n k r in"]
    grad_B: Float[Tensor, "n k out r"]
    moment_A: Float[Tensor, "n k r in"]
    """The sum of the gradients so far, each times `momentum` at every step after it; zero without momentum."""
    moment_B: Float[Tensor, "n k out r"]
    momentum: Float[Tensor, "k 1 1"]
    damping: Float[Tensor, "k 1 1"]
    scale: Float[Tensor, "k 1 1"]
    """The scaling s of each lane."""


@dataclass(frozen=True)
class Optimizer:
    """An optimizer of the lanes' A and B.

    Attributes:
        label: its name for readers.
        source: where it is from.
        keys: the keys of a lane that it has, of `OF_OPTIMIZERS`.
        direction: the directions of A and B, pure; None for the gradients themselves, with `momentum` for the moments.
        momentum: the default of the key; None if AdamW moves along the directions in place of gradients.
        freezes_A: whether B alone is trained.
        takes_dense: whether it can train whole weights.
        rate: by how much its best rates differ from AdamW's, roughly: a study tries its rates times this.
    """

    label: str
    source: str
    keys: tuple[str, ...]
    direction: Callable[[Turn], tuple[Tensor, Tensor]] | None = None
    momentum: float | None = None
    freezes_A: bool = False
    takes_dense: bool = True
    rate: float = 1.0


OF_OPTIMIZERS = ("beta1", "beta2", "lora_plus", "momentum", "damping")
"""The keys of a lane that are an optimizer's."""
