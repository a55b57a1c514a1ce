"""The table of initializations."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers.corda import corda
from olora_viz.initializers.eva import eva
from olora_viz.initializers.full import full
from olora_viz.initializers.gaussian import gaussian
from olora_viz.initializers.init_ab import init_ab
from olora_viz.initializers.lora import lora
from olora_viz.initializers.lora_da import lora_da
from olora_viz.initializers.lora_ga import lora_ga
from olora_viz.initializers.lora_null import lora_null
from olora_viz.initializers.lora_one import lora_one
from olora_viz.initializers.mica import mica
from olora_viz.initializers.milora import milora
from olora_viz.initializers.olora import olora
from olora_viz.initializers.olora_pivoted import olora_pivoted
from olora_viz.initializers.olora_scaled import olora_scaled
from olora_viz.initializers.olora_unsubtracted import olora_unsubtracted
from olora_viz.initializers.orthogonal import orthogonal
from olora_viz.initializers.pissa import pissa
from olora_viz.initializers.pissa_fast import pissa_fast
from olora_viz.initializers.pissa_flat import pissa_flat
from olora_viz.initializers.random_orthonormal import random_orthonormal
from olora_viz.initializers.rlmo import rlmo
from olora_viz.initializers.rlpo import rlpo
from olora_viz.initializers.sketch import sketch
from olora_viz.initializers.start import Calibration, Initializer, Start, check_rank, lacking, precise, seeded
from olora_viz.machine.text import Catalogue, unknown

INITIALIZERS: Catalogue[Initializer] = Catalogue(
    "initialization",
    (
        Initializer(
            name="lora",
            label="LoRA",
            start=lora,
            summary="A is uniformly random and B is zero, so the first step moves B alone.",
            source="Hu et al. 2021, arXiv 2106.09685",
            random=True,
            zero_product=True,
        ),
        Initializer(
            name="gaussian",
            label="LoRA, Gaussian A",
            start=gaussian,
            summary="A is Gaussian with standard deviation 1/r and B is zero.",
            source="Hu et al. 2021, arXiv 2106.09685",
            random=True,
            zero_product=True,
        ),
        Initializer(
            name="init_ab",
            label="Init[AB]",
            start=init_ab,
            summary="A and B are both uniformly random, with the same variance.",
            source="Li et al. 2025, arXiv 2505.23194",
            random=True,
        ),
        Initializer(
            name="olora",
            label="OLoRA",
            start=olora,
            summary="B is an orthonormal basis of the first r columns of W; A is W in that basis.",
            source="Büyükakyüz 2024, arXiv 2406.01775",
            nested=True,
        ),
        Initializer(
            name="olora_pivoted",
            label="OLoRA, pivoted",
            start=olora_pivoted,
            summary="OLoRA on the r columns of W that a column-pivoted QR picks.",
            source="Businger and Golub 1965, Numerische Mathematik 7, on arXiv 2406.01775",
            nested=True,
        ),
        Initializer(
            name="olora_scaled",
            label="OLoRA, scaled",
            start=olora_scaled,
            summary="OLoRA with both factors shrunk to the curvature of plain LoRA: a control.",
            source="a variant of Büyükakyüz 2024, arXiv 2406.01775",
        ),
        Initializer(
            name="olora_unsubtracted",
            label="OLoRA, unsubtracted",
            start=olora_unsubtracted,
            summary="OLoRA with nothing subtracted, which changes the model at once: a control.",
            source="Büyükakyüz 2024, arXiv 2406.01775, its formula as it reads",
            nested=True,
            keeps_function=False,
        ),
        Initializer(
            name="random_orthonormal",
            label="Random basis",
            start=random_orthonormal,
            summary="OLoRA on a random orthonormal basis, independent of W: a control.",
            source="Mezzadri 2007, arXiv math-ph/0609050",
            random=True,
            nested=True,
        ),
        Initializer(
            name="sketch",
            label="Sketch",
            start=sketch,
            summary="OLoRA on r random mixtures of all the columns of W: a control.",
            source="Halko, Martinsson, Tropp 2011, arXiv 0909.4061",
            random=True,
            nested=True,
        ),
        Initializer(
            name="pissa",
            label="PiSSA",
            start=pissa,
            summary="A and B share the r largest singular triplets of W.",
            source="Meng, Wang, Zhang 2024, arXiv 2404.02948",
            nested=True,
        ),
        Initializer(
            name="pissa_flat",
            label="PiSSA, flat",
            start=pissa_flat,
            summary="PiSSA without the singular values, so A and B are orthonormal: a control.",
            source="a variant of Meng, Wang, Zhang 2024, arXiv 2404.02948",
            nested=True,
        ),
        Initializer(
            name="pissa_fast",
            label="PiSSA, fast",
            start=pissa_fast,
            summary="PiSSA with a randomized SVD.",
            source="Meng, Wang, Zhang 2024, arXiv 2404.02948",
            random=True,
        ),
        Initializer(
            name="milora",
            label="MiLoRA",
            start=milora,
            summary="A and B share the r smallest singular triplets of W.",
            source="Wang et al. 2024, arXiv 2406.09044",
            nested=True,
        ),
        Initializer(
            name="orthogonal",
            label="Orthogonal",
            start=orthogonal,
            summary="A and B are random and non-zero, and their product is zero; r must be even.",
            source="datta0.github.io/posts/rethink-lora-init, as in PEFT",
            random=True,
            zero_product=True,
        ),
        Initializer(
            name="lora_ga",
            label="LoRA-GA",
            start=lora_ga,
            summary="A and B take different singular vectors of the gradient of W.",
            source="Wang, Yu, Li 2024, arXiv 2407.05000",
            needs="gradient",
            vectors=2,
        ),
        Initializer(
            name="lora_one",
            label="LoRA-One",
            start=lora_one,
            summary="A and B share the r largest singular triplets of the negative gradient of W.",
            source="Zhang, Liu, Chen 2025, arXiv 2502.01235",
            nested=True,
            needs="gradient",
        ),
        Initializer(
            name="lora_da",
            label="LoRA-DA",
            start=lora_da,
            summary="A and B hold a natural-gradient step of W, on its r surest directions.",
            source="Zhang et al. 2025, arXiv 2510.24561",
            nested=True,
            needs="fisher",
        ),
        Initializer(
            name="eva",
            label="EVA",
            start=eva,
            summary="A holds the r principal components of the inputs of W; B is zero.",
            source="Paischer et al. 2024, arXiv 2410.07170",
            nested=True,
            zero_product=True,
            needs="inputs",
        ),
        Initializer(
            name="corda",
            label="CorDA",
            start=corda,
            summary="A and B share the principal directions of W, weighted by its inputs.",
            source="Yang et al. 2024, arXiv 2406.05223",
            nested=True,
            needs="inputs",
        ),
        Initializer(
            name="lora_null",
            label="LoRA-Null",
            start=lora_null,
            summary="A and B share W on the r directions that its inputs excite least.",
            source="Tang et al. 2025, arXiv 2503.02659",
            needs="inputs",
        ),
        Initializer(
            name="rlpo",
            label="RLPO",
            start=rlpo,
            summary="A holds the r leading right singular vectors of W; B is zero.",
            source="Zhang, Zhu, Zhu, Shi 2026, arXiv 2606.31813",
            nested=True,
            zero_product=True,
        ),
        Initializer(
            name="rlmo",
            label="RLMO",
            start=rlmo,
            summary="A holds the last r right singular vectors of W; B is zero.",
            source="Zhang, Zhu, Zhu, Shi 2026, arXiv 2606.31813",
            nested=True,
            zero_product=True,
        ),
        Initializer(
            name="mica",
            label="MiCA",
            start=mica,
            summary="B is frozen at the last r left singular vectors of W; A starts at zero.",
            source="Rüdiger, Raschka 2026, arXiv 2604.01694",
            nested=True,
            zero_product=True,
            frozen_B=True,
        ),
        Initializer(
            name="full",
            label="Full fine-tuning",
            start=full,
            summary="The whole of W is trained, without A and B: a reference for small models.",
            source="Devlin et al. 2018, arXiv 1810.04805",
            nested=True,
            zero_product=True,
            frozen_B=True,
            dense=True,
        ),
    ),
    ("name", "label", "summary", "needs", "source"),
)
"""All initializations by name: first the built-in ones, then the registered ones."""


def check_weight_start(init: str) -> None:
    """Check that an initialization starts from the weight alone.

    Raises:
        ValueError: it is unknown, or needs more than W.
    """
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


BUILT_IN = frozenset(INITIALIZERS)

RESERVED = frozenset({"accent", "bad", "bg", "card", "ink", "line", "mute", "ok", "on-accent", "soft"})
"""Names of the page's own colours, which no initialization can have."""


def register(entry: Initializer) -> None:
    """Register your own initialization, to be raced, listed, drawn and exported by its name.

    Args:
        entry: its `start` takes ``(W, r)`` and any of the keyword arguments ``s``, ``generator`` and ``calibration``,
            and returns a `Start`. W is a copy in float32 or better, so changing it does not change the model. See
            `Initializer` for the optional fields.

    Raises:
        ValueError: if the name or label is taken or malformed, or `start` has other arguments. When the initialization
            is used, also if the result is not a `Start` with finite A (r, in) and B (out, r).

    Examples:
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
        raise ValueError(f"name {name!r} must be 1 to 32 lower-case letters, digits and _, and begin with a letter")
    if name in RESERVED:
        raise ValueError(f"name {name!r} is reserved for a colour of the page; choose another one")
    if name in BUILT_IN:
        raise ValueError(f"name {name!r} is a built-in initialization; choose another one")
    if name in INITIALIZERS:
        raise ValueError(f"{name!r} is already registered; call unregister({name!r}) first")
    if not isinstance(label, str) or not re.fullmatch(r"[^\W_][^<>&\x00-\x1f\x7f]{0,31}", label):
        raise ValueError(
            f"label {label!r} must be 1 to 32 characters, begin with a letter or a digit and hold no <, > or &"
        )
    if label in {other.label for other in INITIALIZERS.values()}:
        raise ValueError(f"label {label!r} is taken by another initialization; labels must differ")
    for what in ("summary", "source"):
        if not isinstance(getattr(entry, what), str):
            raise ValueError(f"{what} of {name!r} must be a string, not {getattr(entry, what)!r}")
    INITIALIZERS[name] = replace(entry, start=OwnStart(name, entry.start))


def unregister(name: str) -> None:
    """Remove an initialization added by `register`; existing lanes and races keep it.

    Args:
        name: the initialization's.

    Raises:
        ValueError: if the name is built in or not registered.
    """
    if name in BUILT_IN:
        raise ValueError(f"{name!r} is built in and cannot be removed")
    if name not in INITIALIZERS:
        raise ValueError(f"{name!r} is not registered")
    del INITIALIZERS[name]


NAMED = ("s", "generator", "calibration")
"""The arguments that a function may take besides W and r."""


class OwnStart:
    """A `StartFunction` that wraps a registered function.

    Args:
        name: of the initialization, for messages.
        f: takes ``(W, r)`` and any of `NAMED`.

    Raises:
        ValueError: `f` is not callable, or takes other arguments.
    """

    def __init__(self, name: str, f: Any) -> None:
        self.name, self._f = name, f
        if not callable(f):
            raise ValueError(f"start of {name!r} must be a function, not {f!r}")
        parameters = inspect.signature(f).parameters
        any_name = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
        self._named = [word for word in NAMED if any_name or word in parameters]
        try:
            inspect.signature(f).bind("W", "r", **dict.fromkeys(self._named))
        except TypeError as error:
            raise ValueError(
                f"start of {name!r} must take (W, r) and those of {', '.join(NAMED)} that it names: {error}"
            ) from None

    @torch.no_grad()
    def __call__(
        self,
        W: Float[Tensor, "out in"],
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
        given = {"s": s, "generator": seeded(generator), "calibration": calibration}
        copy = precise(W).clone()
        made = self._f(copy, r, **{word: given[word] for word in self._named})
        if not isinstance(made, Start):
            raise ValueError(f"{self.name!r} must return a Start(A, B), not a {type(made).__name__}")
        out, into = W.shape
        for letter, factor, shape in (("A", made.A, (r, into)), ("B", made.B, (out, r))):
            rule = f"{letter} of {self.name!r} must be {shape} for W {(out, into)} and rank {r}"
            if tuple(factor.shape) != shape:
                raise ValueError(f"{rule}, not {tuple(factor.shape)}")
            if not factor.is_floating_point():
                raise ValueError(f"{rule} in floating-point numbers, not {factor.dtype}")
            if not factor.isfinite().all():
                raise ValueError(f"{rule} and finite; it holds NaN or infinity")
        like = precise(W)
        return Start(A=made.A.detach().to(like), B=made.B.detach().to(like))
