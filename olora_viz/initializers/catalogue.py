"""The table of initializations, each a file of this folder with its function and its entry."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import re
import warnings
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from olora_viz.initializers.start import (
    Calibration,
    Initializer,
    Matrix,
    Start,
    StartFunction,
    check_rank,
    lacking,
    precise,
    seeded,
)
from olora_viz.machine.checks import expect, unknown
from olora_viz.machine.definition import Definition
from olora_viz.machine.tables import Catalogue
from olora_viz.machine.version import __version__

_FILES = [import_module(f"{__package__}.{file.name}") for file in pkgutil.iter_modules([str(Path(__file__).parent)])]
_ENTRIES: list[Initializer] = [file.INITIALIZER for file in _FILES if hasattr(file, "INITIALIZER")]

INITIALIZERS: Catalogue[Initializer] = Catalogue(
    "initialization", sorted(_ENTRIES, key=lambda entry: entry.place), ("name", "label", "summary", "needs", "source")
)
"""All initializations by name: first the built-in ones, then the registered ones.

Examples:
    >>> import olora_viz as ov
    >>> len(ov.INITIALIZERS), list(ov.INITIALIZERS)[:3]
    (26, ['lora', 'gaussian', 'init_ab'])
    >>> [name for name, start in ov.INITIALIZERS.items() if start.needs == "gradient"]
    ['lora_ga', 'lora_one']
"""


_REMEMBERED: set[str] = set()
"""The names of starts that folders tell of, whose code need not be here to read them."""


def remember(inits: Iterable[str]) -> None:
    """Let lanes have starts that a folder tells of, and whose code may not be here: to be read, not to race."""
    _REMEMBERED.update(inits)


def check_name(init: str) -> None:
    """Check that an initialization is one of the catalogue, or one that a folder tells of."""
    if init not in INITIALIZERS and init not in _REMEMBERED:
        known = unknown("initialization", init, INITIALIZERS)
        raise ValueError(f"{known} (one of your own has to be registered first)")


def entry_of(init: str) -> Initializer:
    """Return an initialization that is to start a lane; ValueError if its code is not here."""
    if init not in INITIALIZERS:
        raise ValueError(f"the start {init!r} is not registered here: without it, what has run can only be read")
    return INITIALIZERS[init]


def definition_of(init: str) -> str:
    """Return what tells a start from others of its name: of a built-in one the version, of an own one a fingerprint.

    >>> definition_of("olora").split()[0]
    'olora_viz'
    """
    start = entry_of(init).start
    return start.definition.fingerprint if isinstance(start, OwnStart) else f"olora_viz {__version__}"


def is_dense(init: str) -> bool:
    """Return whether an initialization trains all of W; not if it is not listed."""
    entry = INITIALIZERS.get(init)
    return entry is not None and entry.dense


def freezes_B(init: str) -> bool:
    """Return whether an initialization trains A alone; not if it is not listed."""
    entry = INITIALIZERS.get(init)
    return entry is not None and entry.frozen_B


def check_weight_start(init: str) -> None:
    """Check that an initialization starts from the weight alone."""
    if init not in INITIALIZERS:
        raise ValueError(unknown("initialization", init, INITIALIZERS))
    if INITIALIZERS[init].needs:
        raise lacking(init, INITIALIZERS[init].needs)


def label_of(init: str) -> str:
    """Return an initialization's display name, made from its key if it is not listed.

    >>> label_of("olora"), label_of("my_start")
    ('OLoRA', 'My start')
    """
    entry = INITIALIZERS.get(init)
    return entry.label if entry else init.replace("_", " ").capitalize()


def keeps_function(init: str) -> bool:
    """Return whether the model's function is unchanged at step 0; assumed if it is not listed."""
    entry = INITIALIZERS.get(init)
    return entry is None or entry.keeps_function


def starts_at_zero(init: str) -> bool:
    """Return whether an initialization has B⁰A⁰ = 0; not if it is not listed."""
    entry = INITIALIZERS.get(init)
    return entry is not None and entry.zero_product


def iterates(init: str) -> bool:
    """Return whether an initialization takes iterations; not if it is not listed."""
    entry = INITIALIZERS.get(init)
    return entry is not None and entry.iterates


BUILT_IN = frozenset(INITIALIZERS)

PAGE_COLOURS = frozenset({"accent", "bad", "bg", "card", "ink", "line", "mute", "ok", "on-accent", "soft"})
"""Names of the page's own colours, which no initialization can have."""


def register(entry: Initializer, *, replace: bool = False) -> None:
    """Register your own initialization, to be raced, listed, drawn and exported by its name.

    One of the same name is replaced, with a warning; existing lanes and races keep it.

    Args:
        entry: its `start` takes ``(W, r)`` and any of the keyword arguments ``s``, ``generator`` and ``calibration``,
            and returns a `Start`. W is a copy in float32 or better, so changing it does not change the model. One that
            takes a generator is `random`: each seed has a start of its own. See `Initializer` for the optional fields.
        replace: replace one of the same name without a warning.

    Raises:
        ValueError: if the name is built in, the label is taken or malformed, or `start` has other arguments. When the
            initialization is used, also if the result is not a `Start` with finite A (r, in) and B (out, r).

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> def first_rows(W, r):
        ...     return ov.Start(A=W[:r], B=torch.eye(len(W), r))
        >>> ov.register(
        ...     ov.Initializer(
        ...         name="first_rows", label="First rows", start=first_rows,
        ...         summary="A is the first r rows of W.", source="an example",
        ...     )
        ... )
        >>> ov.INITIALIZERS["first_rows"].start(torch.ones(3, 4), 2).B.shape
        torch.Size([3, 2])
        >>> ov.unregister("first_rows")
    """
    expect(entry, Initializer, "an Initializer")
    name, label = entry.name, entry.label
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
        raise ValueError(f"name {name!r} must be 1 to 32 lower-case letters, digits and _, and begin with a letter")
    if name in PAGE_COLOURS:
        raise ValueError(f"name {name!r} is reserved for a colour of the page; choose another one")
    if name in BUILT_IN:
        raise ValueError(f"name {name!r} is a built-in initialization; choose another one")
    if not isinstance(label, str) or not re.fullmatch(r"[^\W_][^<>&\x00-\x1f\x7f]{0,31}", label):
        raise ValueError(
            f"label {label!r} must be 1 to 32 characters, begin with a letter or a digit and hold no <, > or &"
        )
    if label in {other.label for other in INITIALIZERS.values() if other.name != name}:
        raise ValueError(f"label {label!r} is taken by another initialization; labels must differ")
    for what in ("summary", "source"):
        if not isinstance(getattr(entry, what), str):
            raise ValueError(f"{what} of {name!r} must be a string, not {getattr(entry, what)!r}")
    start = OwnStart(name, entry.start, *(getattr(entry, each) for each in TELLING))
    if name in INITIALIZERS and not replace:
        warnings.warn(f"the initialization {name!r} was registered before: this one replaces it", stacklevel=2)
    INITIALIZERS[name] = dataclasses.replace(entry, start=start, random=entry.random or start.draws, iterates=False)


def unregister(name: str) -> None:
    """Remove an initialization added by `register`; existing lanes and races keep it.

    Args:
        name: the initialization's.

    Raises:
        ValueError: if the name is built in or not registered.

    Examples:
        >>> import olora_viz as ov
        >>> mine = ov.Initializer("mine", "Mine", ov.lora, "Is plain LoRA.", "an example")
        >>> ov.register(mine)
        >>> ov.unregister("mine")
        >>> "mine" in ov.INITIALIZERS
        False
    """
    if name in BUILT_IN:
        raise ValueError(f"{name!r} is built in and cannot be removed")
    if name not in INITIALIZERS:
        raise ValueError(f"{name!r} is not registered")
    del INITIALIZERS[name]


class Starts:
    """The type of `starts`."""

    def __getattr__(self, name: str) -> StartFunction:
        """Return the function of an initialization."""
        if name not in INITIALIZERS:
            raise AttributeError(unknown("initialization", name, INITIALIZERS))
        return INITIALIZERS[name].start

    def __dir__(self) -> list[str]:
        """Return the names."""
        return sorted(INITIALIZERS)


starts: Starts = Starts()
"""The initializations of `INITIALIZERS` as functions by their names, own ones too.

Examples:
    >>> import torch
    >>> import olora_viz as ov
    >>> ov.starts.pissa(torch.eye(4, 6), r=2).A.shape
    torch.Size([2, 6])
    >>> dir(ov.starts)[:3]
    ['corda', 'corda_kpm', 'eva']
"""

MAY_TAKE = ("s", "generator", "calibration")
"""The arguments that a function may take besides W and r."""

TELLING = ("random", "nested", "zero_product", "needs", "vectors", "frozen_B", "dense", "keeps_function")
"""The fields of an `Initializer` that tell its start from others, beside the function."""


class OwnStart:
    """A `StartFunction` that wraps a registered function.

    Args:
        name: of the initialization, for messages.
        f: takes ``(W, r)`` and any of `MAY_TAKE`.
        settings: what tells it from others, beside the function.

    Raises:
        ValueError: `f` is not callable, or takes other arguments.
    """

    def __init__(self, name: str, f: Any, *settings: Any) -> None:
        f = f._f if isinstance(f, OwnStart) else f
        self.name, self._f = name, f
        if not callable(f):
            raise ValueError(f"start of {name!r} must be a function, not {f!r}")
        parameters = inspect.signature(f).parameters
        any_name = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
        self._named = [word for word in MAY_TAKE if any_name or word in parameters]
        self.draws = "generator" in self._named
        try:
            inspect.signature(f).bind("W", "r", **dict.fromkeys(self._named))
        except TypeError as error:
            raise ValueError(
                f"start of {name!r} must take (W, r) and those of {', '.join(MAY_TAKE)} that it names: {error}"
            ) from None
        self.definition = Definition(f, *settings)

    @torch.no_grad()
    def __call__(
        self,
        W: Matrix,
        r: int,
        *,
        s: float = 1.0,
        generator: torch.Generator | None = None,
        calibration: Calibration | None = None,
    ) -> Start:
        """Return the function's start of rank `r` on a copy of `W`.

        Raises:
            ValueError: the rank is too large for W, or the result is not a `Start` with finite, floating-point A (r,
                in) and B (out, r).
        """
        check_rank(W, r)
        start = self.call(precise(W).clone(), r, s=s, generator=seeded(generator), calibration=calibration)
        if not isinstance(start, Start):
            raise ValueError(f"{self.name!r} must return a Start(A, B), not a {type(start).__name__}")
        out, into = W.shape
        for letter, factor, shape in (("A", start.A, (r, into)), ("B", start.B, (out, r))):
            rule = f"{letter} of {self.name!r} must be {shape} for W {(out, into)} and rank {r}"
            if tuple(factor.shape) != shape:
                raise ValueError(f"{rule}, not {tuple(factor.shape)}")
            if not factor.is_floating_point():
                raise ValueError(f"{rule} in floating-point numbers, not {factor.dtype}")
            if not factor.isfinite().all():
                raise ValueError(f"{rule} and finite; it holds NaN or infinity")
        like = precise(W)
        return Start(A=start.A.detach().to(like), B=start.B.detach().to(like))

    def call(self, W: Matrix, r: int, **given: Any) -> Any:
        """Call the function with those of the arguments that it names."""
        return self._f(W, r, **{word: given[word] for word in self._named})
