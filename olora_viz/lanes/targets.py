"""Target modules as they are written: suffixes of names, and families of layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn

TARGET_PATTERN = r"[A-Za-z0-9_.*?![\]-]+"
"""The form of a name among target modules."""

Targets = tuple[str, ...] | None
"""The target modules of a lane, see `Lane.targets`."""

MOST_TARGETS = 32
"""The longest name of a lane's targets, in characters."""


def target_names(targets: Any) -> tuple[str, ...]:
    """Return checked target modules.

    Raises:
        ValueError: they are no sequence of names, or none.
    """
    names = () if isinstance(targets, str) or not isinstance(targets, Iterable) else tuple(targets)
    if not names:
        raise ValueError(f"targets must be a sequence of names of layers, not {targets!r}")
    for name in names:
        if not (isinstance(name, str) and re.fullmatch(TARGET_PATTERN, name)):
            raise ValueError(f"a lane's target must be of letters, digits and . _ - * ? ! [ ], not {name!r}")
    return names


def short_targets(targets: str) -> str:
    """Shorten targets, and leave out wildcards: a label also names a folder.

    >>> [short_targets(each) for each in ("q_proj+v_proj", "layers.[01].*", "q_proj+up_projection+" * 4 + "*")]
    ['q_proj+v_proj', 'layers-01', 'q_proj+8more']
    """
    plain = [re.sub(r"\.?[*?!\[\]]+\.?", "-", name).strip("-.") for name in targets.split("+")]
    names = [name or "all" for name in plain]
    whole = "+".join(names)
    if len(names) > 1 and len(whole) > MOST_TARGETS:
        whole = f"{names[0]}+{len(names) - 1}more"
    return whole[:MOST_TARGETS]


ATTENTION, MLP, ALL = "attention", "mlp", "all"

_AROUND = {
    ATTENTION: re.compile(r"attn|attention", re.IGNORECASE),
    MLP: re.compile(r"mlp|ffn|feed_?forward|expert|sparse_?moe|\bmoe\b", re.IGNORECASE),
}
"""What the name or the class of a module around a layer says of its family; ``Moe`` alone may be the model's name."""

_OWN = {
    ATTENTION: re.compile(r"[qkvo]_proj|[qkv]+(_proj)?|w[qkv]+|c_attn|query_key_value|query|key|value", re.IGNORECASE),
    MLP: re.compile(r"fc_?(\d|in|out)|c_fc|w[123]|(gate|up|down|gate_up)_proj|dense_h_to_4h|dense_4h_to_h"),
}
"""The names of layers that lie in a block itself, without a module of their family around them."""


def family_of(name: str, around: Sequence[tuple[str, str]]) -> str:
    """Return the family of a linear layer: attention, mlp, or "" if nothing says it.

    Args:
        name: of the layer in its module.
        around: the modules within its block that hold it, from the outermost: the name and the class of each.

    >>> family_of("c_proj", [("attn", "GPT2Attention")]), family_of("fc1", []), family_of("in_proj", [("mamba", "M")])
    ('attention', 'mlp', '')
    """
    for words in reversed(around):
        for family, pattern in _AROUND.items():
            if any(map(pattern.search, words)):
                return family
    return next((family for family, pattern in _OWN.items() if pattern.fullmatch(name)), "")


FAMILIES: dict[str, Callable[[str], bool]] = {
    ATTENTION: lambda family: family == ATTENTION,
    MLP: lambda family: family == MLP,
    ALL: lambda family: True,
}
"""Targets that stand for all linear layers in the blocks of a family: whether one of a family is among them."""


def within_block(model: nn.Module, layer: str, blocks: str | None) -> list[tuple[str, str]]:
    """Return the modules around a layer within its block, from the outermost: the name and the class of each.

    Args:
        blocks: the name of the model's list of blocks; None if it has none.
    """
    parts = layer.split(".")
    first = 0 if blocks is None else len(blocks.split(".")) + 1
    inner = range(first, len(parts) - 1)
    return [(parts[i], type(model.get_submodule(".".join(parts[: i + 1]))).__name__) for i in inner]
