"""A user's function as an initialization, with its arguments chosen and its result checked."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from olora_viz.initializers.calibration import Calibration
from olora_viz.initializers.start import Start, check_rank, precise, seeded

NAMED = ("s", "generator", "calibration")
"""The arguments that a function may take besides W and r."""


class OwnStart:
    """A `StartFunction` that wraps a registered function.

    Parameters
    ----------
    name : of the initialization, for messages.
    f : takes ``(W, r)`` and any of `NAMED`.

    Raises
    ------
    ValueError : `f` is not callable, or takes other arguments.
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
                f"start of {name!r} must take (W, r) and those of {', '.join(NAMED)} that it "
                f"names: {error}"
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

        Raises
        ------
        ValueError : the rank is too large for W, or the result is not a `Start` with finite,
            floating-point A (r, in) and B (out, r).
        """
        check_rank(W, r)
        given = {"s": s, "generator": seeded(generator), "calibration": calibration}
        copy = precise(W).clone()
        made = self._f(copy, r, **{word: given[word] for word in self._named})
        if not isinstance(made, Start):
            raise ValueError(
                f"{self.name!r} must return a Start(A, B), not a {type(made).__name__}"
            )
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
