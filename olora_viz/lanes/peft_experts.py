"""PEFT's form of adapters on experts: one A and one B for all matrices of a 3-D parameter.

PEFT adapts the parameters in ``target_parameters`` with a wrapper around the experts' module, and
several parameters of one module with nested wrappers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from olora_viz.initializers.start import Start
from olora_viz.lanes.layers import expert_layers, target_name

INNER = ".base_layer"
"""Suffix of an inner wrapper's name in PEFT, once for each wrapper around it."""


def stacked(factors: Mapping[str, Start]) -> dict[str, Start]:
    """Stack the factors of experts as PEFT stores them, by the name of the wrapper.

    Parameters
    ----------
    factors : of every matrix of some 3-D parameters, by the layer's name and in order.
    """
    experts: dict[str, list[Start]] = {}
    for name, its in factors.items():
        experts.setdefault(name.rpartition(".")[0], []).append(its)
    wrappers = _wrappers(list(experts))
    return {
        wrappers[parameter]: Start(
            A=torch.cat([one.A for one in its]),  # (experts · r, in)
            B=torch.stack([one.B for one in its], dim=2).flatten(1),  # (out, r · experts)
        )
        for parameter, its in experts.items()
    }


def unstacked(
    model: nn.Module, factors: Mapping[str, Start], config: dict[str, Any]
) -> dict[str, Start]:
    """Return the factors of an adapter by layer, with those of experts separated.

    Parameters
    ----------
    model : the base.
    factors : as PEFT names them.
    config : of the adapter.

    Raises
    ------
    ValueError : the adapter targets a parameter that does not hold experts, or its rank is not the
        same for every expert.
    """
    wanted = tuple(f".{name}" for name in config.get("target_parameters") or ())
    experts = {target_name(*item) for item in expert_layers(model).items()}
    parameters = [name for name, _ in model.named_parameters() if f".{name}".endswith(wanted)]
    for name in parameters:
        if name not in experts:
            raise ValueError(
                f"the adapter changes the parameter {name!r}; among parameters, only those of "
                "experts can have adapters"
            )
    wrapped = {wrapper: name for name, wrapper in _wrappers(parameters).items()}
    found: dict[str, Start] = {}
    for name, its in factors.items():
        if name not in wrapped:
            found[name] = its
            continue
        parameter = wrapped[name]
        count = len(model.get_parameter(parameter))
        if its.A.shape[0] % count:
            raise ValueError(
                f"{parameter!r} has {count} experts, which cannot share {its.A.shape[0]} rows of A"
            )
        A = its.A.unflatten(0, (count, -1))
        B = its.B.unflatten(1, (-1, count))
        found |= {f"{parameter}.{e}": Start(A=A[e], B=B[:, :, e]) for e in range(count)}
    return found


def _wrappers(parameters: Sequence[str]) -> dict[str, str]:
    """Name the wrapper of each parameter; the last one in a module has the outermost wrapper."""
    modules: dict[str, list[str]] = {}
    for name in parameters:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    return {
        name: module + INNER * depth
        for module, names in modules.items()
        for depth, name in enumerate(reversed(names))
    }
