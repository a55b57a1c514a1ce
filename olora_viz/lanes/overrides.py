"""Forwards of a model's modules, overridden and restored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

Override = tuple[nn.Module, Callable[..., Any]]
"""A module, and the function to call instead of its forward, with that forward and its inputs."""


def override(overrides: Mapping[str, Override]) -> Callable[[], None]:
    """Override the forward of some modules, and return a function that restores them.

    Raises
    ------
    ValueError : a module's forward is already overridden; no forward is changed then.
    """
    for name, (module, _) in overrides.items():
        if "forward" in module.__dict__:
            raise ValueError(f"layer {name!r} already has lanes; detach them first")
    for module, forward in overrides.values():
        module.forward = partial(forward, module.forward)

    def restore() -> None:
        for module, _ in overrides.values():
            del module.forward

    return restore
