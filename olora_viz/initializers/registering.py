"""Initializations from outside the package: added to the catalogue by name, and removed."""

from __future__ import annotations

import re
from dataclasses import replace

from olora_viz.initializers.catalogue import INITIALIZERS
from olora_viz.initializers.own import OwnStart
from olora_viz.initializers.start import Initializer

BUILT_IN = frozenset(INITIALIZERS)

RESERVED = frozenset(
    {"accent", "bad", "bg", "card", "ink", "line", "mute", "ok", "on-accent", "soft"}
)
"""Names of the page's own colours, which no initialization can have."""


def register(entry: Initializer) -> None:
    """Register your own initialization, to be raced, listed, drawn and exported by its name.

    Parameters
    ----------
    entry : its `start` takes ``(W, r)`` and any of the keyword arguments ``s``, ``generator`` and
        ``calibration``, and returns a `Start`. W is a copy in float32 or better, so changing it
        does not change the model. See `Initializer` for the optional fields.

    Raises
    ------
    ValueError
        If the name or label is taken or malformed, or `start` has other arguments. When the
        initialization is used, also if the result is not a `Start` with finite A (r, in) and B
        (out, r).

    Examples
    --------
    >>> import torch
    >>> from olora_viz.initializers import Start
    >>> def first_rows(W, r):
    ...     return Start(A=W[:r], B=torch.eye(len(W), r))
    >>> register(
    ...     Initializer(
    ...         name="first_rows", label="First rows", start=first_rows,
    ...         summary="A is the first r rows of W.", source="an example",
    ...     )
    ... )
    >>> INITIALIZERS["first_rows"].start(torch.ones(3, 4), 2).B.shape
    torch.Size([3, 2])
    >>> unregister("first_rows")
    """
    name, label = entry.name, entry.label
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
        raise ValueError(
            f"name {name!r} must be 1 to 32 lower-case letters, digits and _, and begin with a "
            "letter"
        )
    if name in RESERVED:
        raise ValueError(f"name {name!r} is reserved for a colour of the page; choose another one")
    if name in BUILT_IN:
        raise ValueError(f"name {name!r} is a built-in initialization; choose another one")
    if name in INITIALIZERS:
        raise ValueError(f"{name!r} is already registered; call unregister({name!r}) first")
    if not isinstance(label, str) or not re.fullmatch(r"[^\W_][^<>&\x00-\x1f\x7f]{0,31}", label):
        raise ValueError(
            f"label {label!r} must be 1 to 32 characters, begin with a letter or a digit and hold "
            "no <, > or &"
        )
    if label in {other.label for other in INITIALIZERS.values()}:
        raise ValueError(f"label {label!r} is taken by another initialization; labels must differ")
    for what in ("summary", "source"):
        if not isinstance(getattr(entry, what), str):
            raise ValueError(f"{what} of {name!r} must be a string, not {getattr(entry, what)!r}")
    INITIALIZERS[name] = replace(entry, start=OwnStart(name, entry.start))


def unregister(name: str) -> None:
    """Remove an initialization added by `register`; existing lanes and races keep it.

    Parameters
    ----------
    name : the initialization's.

    Raises
    ------
    ValueError
        If the name is built in or not registered.
    """
    if name in BUILT_IN:
        raise ValueError(f"{name!r} is built in and cannot be removed")
    if name not in INITIALIZERS:
        raise ValueError(f"{name!r} is not registered")
    del INITIALIZERS[name]
