"""The first forward pass of a model: whether it runs, is causal, and which modules it calls."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from olora_viz.machine.cache import reason
from olora_viz.tasks.losses import context_of

TOKENS = 8
"""Length of the two rows that are read, at most the model's context."""


@dataclass(frozen=True, eq=False)
class FirstPass:
    """What a model computed from two rows that differ in their last token; made by `first_pass`."""

    logits: Float[Tensor, "2 T V"]
    bypassed: frozenset[str]
    """Names of the modules that were not called although their parent was: the model reads their
    weights itself, like Mamba its ``dt_proj``, or does not use them."""

    @property
    def is_causal(self) -> bool:
        """Whether the last token does not affect the earlier logits, up to rounding."""
        change = (self.logits[1] - self.logits[0]).abs().amax(-1)  # (T)
        rounding = torch.finfo(self.logits.dtype).eps ** 0.5
        return not bool((change[:-1] > rounding * change[-1]).any())


def sample(model: nn.Module) -> Int[Tensor, "1 T"]:
    """Return a row of tokens that a language model can read, the same at every call."""
    weight = model.get_input_embeddings().weight  # pyrefly: ignore[not-callable]
    length = min(TOKENS, context_of(model) or TOKENS)
    seeded = torch.Generator().manual_seed(0)
    return torch.randint(len(weight), (1, length), generator=seeded).to(weight.device)


@torch.no_grad()
def logits_of(model: nn.Module, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
    """Run a language model, in its current mode."""
    return model(input_ids=ids, use_cache=False).logits


def first_pass(model: nn.Module, name: str) -> FirstPass:
    """Run a causal language model once, in its current mode.

    Parameters
    ----------
    model : takes ``input_ids``.
    name : of the model in messages.

    Raises
    ------
    ValueError : the forward pass fails, or the model is not causal.
    """
    ids = sample(model).repeat(2, 1)
    vocabulary = len(model.get_input_embeddings().weight)  # pyrefly: ignore[not-callable]
    ids[1, -1] = (ids[0, -1] + 1) % vocabulary
    called: set[str] = {""}
    hooks = [
        module.register_forward_pre_hook(partial(_note, called, path))
        for path, module in model.named_modules()
    ]
    try:
        logits = logits_of(model, ids)
    except Exception as error:  # a model of unknown origin can fail anywhere
        raise ValueError(f"the forward pass of {name} fails: {reason(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    holds = {path: path.rpartition(".")[0] for path, _ in model.named_modules()}
    bypassed = {path for path, holder in holds.items() if holder in called and path not in called}
    found = FirstPass(logits, frozenset(bypassed))
    if not found.is_causal:
        raise ValueError(
            f"{name} is not causal: its logits depend on later tokens, so it would see the answer "
            "it is asked for; a race needs a causal language model"
        )
    return found


def _note(called: set[str], path: str, *_: object) -> None:
    called.add(path)
