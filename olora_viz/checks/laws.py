"""The laws of a start: what every initialization must do, tried on weights and on a small model."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from olora_viz.checks.trials import CONV1D, EXPERTS, LINEAR, calibration, on_model, started, weight
from olora_viz.initializers import INITIALIZERS, Initializer, Start, register, unregister
from olora_viz.machine.checks import expect, unknown
from olora_viz.machine.tables import aligned

SHAPES = {"tall": (40, 24), "wide": (24, 40), "square": (32, 32)}
ROUNDING = 1e-4
"""How far a product in float32 may be from that in float64: bases of near-equal singular values rotate freely, and the
product is what is determined."""


@dataclass(frozen=True, repr=False)
class StartReport:
    """Which laws a start keeps, in words.

    Attributes:
        name: of the start.
        broken: how it breaks a law, by the law's name; empty where it keeps it.

    Examples:
        >>> import olora_viz as ov
        >>> report = ov.check_initializer("olora")
        >>> report.ok, report.broken["shapes"]
        (True, '')
        >>> str(report).splitlines()[0]
        'olora keeps 12 of 12 laws:'
    """

    name: str
    broken: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether it keeps all laws."""
        return not any(self.broken.values())

    def __repr__(self) -> str:
        """Write a line for each law."""
        rows = []
        for law, words in self.broken.items():
            rows += [["  fails" if words else "  passes", law, LAWS[law].__doc__ or ""]]
            rows += [["", "", f"but {words}"]] * bool(words)
        kept = sum(not words for words in self.broken.values())
        return "\n".join([f"{self.name} keeps {kept} of {len(self.broken)} laws:", *aligned(rows)])


def check_initializer(start: str | Initializer) -> StartReport:
    """Check that an initialization keeps the laws that all built-in ones keep.

    Args:
        start: the name of one of the catalogue, or an entry that need not be registered: it is in the catalogue while
            it is checked.

    Returns:
        StartReport
            With a line for each law when it is shown, and ``ok``.

    Raises:
        ValueError: the name is unknown, or the entry cannot be registered.

    Examples:
        >>> import torch
        >>> import olora_viz as ov
        >>> def first_rows(W, r):
        ...     return ov.Start(A=W[:r], B=torch.zeros(len(W), r))
        >>> mine = ov.Initializer("first_rows", "First rows", first_rows, "A is the first r rows of W.", "an example")
        >>> report = ov.check_initializer(mine)  # the entry does not say that its product is zero
        >>> report.ok, report.broken["zero"]
        (False, 'B⁰A⁰ is zero at rank 1 of a weight (40, 24), but zero_product is False')
    """
    expect(start, (str, Initializer), "the name of an initialization or an Initializer")
    if isinstance(start, str) and start not in INITIALIZERS:
        raise ValueError(unknown("initialization", start, INITIALIZERS))
    with _registered(INITIALIZERS[start] if isinstance(start, str) else start) as entry:
        return StartReport(entry.name, {name: _broken(law, entry) for name, law in LAWS.items()})


@contextmanager
def _registered(entry: Initializer) -> Generator[Initializer]:
    before = INITIALIZERS.get(entry.name)
    if before is entry:
        yield entry
        return
    register(entry, replace=True)
    try:
        yield INITIALIZERS[entry.name]
    finally:
        if before is None:
            unregister(entry.name)
        else:
            INITIALIZERS[entry.name] = before


Law = Callable[[Initializer], Iterator[str]]
"""Yields what is wrong with a start."""


def _broken(law: Law, entry: Initializer) -> str:
    """Return the first thing that is wrong, or the error that a law meets."""
    try:
        return next(law(entry), "")
    except Exception as error:  # of the start, which may fail in any way
        return f"{type(error).__name__}: {error}"


def _cases(entry: Initializer) -> Iterator[tuple[tuple[int, int], int, str]]:
    """Yield shapes and ranks with their words: the smallest, one between, and the largest, but for refused ones."""
    for shape in SHAPES.values():
        most = min(shape) // entry.vectors
        for r in (1, 6, most):
            if not _refuses(entry, weight(shape), r):
                yield shape, r, f"at rank {r} of a weight {shape}"


def _refuses(entry: Initializer, W: Tensor, r: int) -> bool:
    """Whether a start refuses a rank: by a ValueError that begins with it, as `check_rank` does."""
    try:
        started(entry, W, r)
    except ValueError as error:
        if not re.match(rf"rank {r}\b", str(error)):
            raise
        return True
    return False


def shapes(entry: Initializer) -> Iterator[str]:
    """A is (r, in) and B (out, r), finite and contiguous, of tall, wide and square weights."""
    for (shape, r, at), s in product(_cases(entry), (0.25, 3.0)):
        found = started(entry, weight(shape, torch.float32).requires_grad_(), r, s)
        for name, factor, right in (("A", found.A, (r, shape[1])), ("B", found.B, (shape[0], r))):
            plain = factor.isfinite().all() and factor.is_contiguous() and not factor.requires_grad
            if tuple(factor.shape) != right or not plain:
                yield f"{name} {tuple(factor.shape)} is not a finite, contiguous {right} without gradient {at}"


def ranks(entry: Initializer) -> Iterator[str]:
    """Each rank up to min(out, in) / `vectors` starts, or a ValueError begins with "rank R", as for all others."""
    for shape in SHAPES.values():
        most = min(shape) // entry.vectors
        if all([_refuses(entry, weight(shape), r) for r in range(1, most + 1)]):
            yield f"every rank of a weight {shape} is refused"
        for r in (-2, 0, min(shape) + 1):
            if not _refuses(entry, weight(shape), r):
                yield f"rank {r} of a weight {shape} is not refused"


def repeats(entry: Initializer) -> Iterator[str]:
    """A seed gives the same bits each time, other ones if the entry is random; no generator is seed 0."""
    for shape, r, at in _cases(entry):
        W = weight(shape, torch.float32)
        if apart := _apart(started(entry, W, r, seed=3), started(entry, W.clone(), r, seed=3)):
            yield f"two starts from seed 3 are {apart:.2g} apart {at}"
    W = weight((160, 170))  # large enough that pissa_fast has to sketch
    if apart := _apart(entry.start(W, 4, calibration=calibration((160, 170))), started(entry, W, 4)):
        yield f"without a generator the start is {apart:.2g} from that of seed 0"
    differs = bool(_apart(started(entry, W, 4, seed=1), started(entry, W, 4, seed=2)))
    may_draw = getattr(entry.start, "draws", False)  # an own one that takes a generator need not use it
    if differs != entry.random and not may_draw:
        yield f"seeds 1 and 2 give {'other' if differs else 'the same'} bits, but random is {entry.random}"


def pure(entry: Initializer) -> Iterator[str]:
    """W keeps its bits, and torch's global generator its state."""
    f = getattr(entry.start, "call", entry.start)  # of an own one: what is called with a copy of W
    for shape, r, at in _cases(entry):
        W, told = weight(shape, torch.float32), calibration(shape) if entry.needs else None
        before, state = W.clone(), torch.get_rng_state()
        f(W, r, s=1.0, generator=torch.Generator().manual_seed(0), calibration=told)
        if not torch.equal(W, before):
            yield f"it changes W by up to {float((W - before).abs().max()):.2g} {at}"
        if not torch.equal(torch.get_rng_state(), state):
            yield f"it draws from the global generator {at}"


def scale(entry: Initializer) -> Iterator[str]:
    """A⁰ and B⁰ do not depend on the scale s, or s B⁰A⁰ does not."""
    for shape, r, at in _cases(entry):
        low, high = (started(entry, weight(shape), r, s) for s in (0.25, 3.0))
        off = _off(3.0 * high.B @ high.A, 0.25 * low.B @ low.A)
        if _apart(low, high) and off > 1e-9:
            yield f"s = 0.25 and s = 3 give other factors, and s B⁰A⁰ is {off:.2g} apart {at}"


def float64(entry: Initializer) -> Iterator[str]:
    """Factors are float64 if W is, else float32; they differ by rounding, and half precision is raised first."""
    for shape, r, at in _cases(entry):
        W = weight(shape, torch.float32)
        half, raised, single, double = (
            started(entry, x, r) for x in (W.bfloat16(), W.bfloat16().float(), W, W.double())
        )
        dtypes = {half.A.dtype, half.B.dtype, single.A.dtype, single.B.dtype}
        if dtypes != {torch.float32} or {double.A.dtype, double.B.dtype} != {torch.float64}:
            yield f"the dtypes are {', '.join(map(str, dtypes))}, and {double.A.dtype} of a W in float64 {at}"
        elif apart := _apart(half, raised):
            yield f"a W in bfloat16 and its copy in float32 have starts {apart:.2g} apart {at}"
        elif (off := _off(single.B @ single.A, double.B @ double.A)) > ROUNDING:
            yield f"B⁰A⁰ in float32 and float64 are {off:.2g} apart {at}"


def zero(entry: Initializer) -> Iterator[str]:
    """B⁰A⁰ is zero exactly if the entry says zero_product."""
    for shape, r, at in _cases(entry):
        found = started(entry, weight(shape), r)
        largest = float((found.B @ found.A).abs().max())
        if (largest < 1e-12) != entry.zero_product:
            words = "zero" if largest < 1e-12 else f"up to {largest:.2g}"
            yield f"B⁰A⁰ is {words} {at}, but zero_product is {entry.zero_product}"


def nested(entry: Initializer) -> Iterator[str]:
    """A start of a larger rank goes on from one of a smaller, if the entry says nested."""
    for shape in SHAPES.values() if entry.nested else ():
        few, many = (started(entry, weight(shape), r) for r in (5, 11))
        off = max(_off(few.A, many.A[:5]), _off(few.B, many.B[:, :5]))
        if off > 1e-12:
            yield f"ranks 5 and 11 of a weight {shape} are {off:.2g} apart where they overlap"


def function(entry: Initializer, targets: Sequence[str] = LINEAR) -> Iterator[str]:
    """The model computes at step 0 what it did, unless the entry says that it does not keep the function."""
    trial = on_model(entry, targets)
    if trial.keeps_function != entry.keeps_function:
        yield f"a logit changes by {trial.change:.2g} at step 0, but keeps_function is {entry.keeps_function}"


def export(entry: Initializer, targets: Sequence[str] = LINEAR) -> Iterator[str]:
    """What a trained lane computes, its export as a plain LoRA adapter computes too."""
    trial = on_model(entry, targets)
    if trial.rank == "no":
        yield f"a logit of the export is off by {trial.off:.2g}"


def experts(entry: Initializer, targets: Sequence[str] = EXPERTS) -> Iterator[str]:
    """Both hold on the experts of a mixture."""
    yield from function(entry, targets)
    yield from export(entry, targets)


def conv1d(entry: Initializer) -> Iterator[str]:
    """Both hold on GPT-2's Conv1D, which stores (in, out), and a transposed view of W is as good as a copy."""
    yield from experts(entry, CONV1D)
    W = weight((24, 40))
    off = _off(started(entry, W.mT.contiguous().mT, 4).A, started(entry, W, 4).A)
    if off > 1e-12:
        yield f"A of a view and of a copy are {off:.2g} apart"


LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (shapes, ranks, repeats, pure, scale, float64, zero, nested, function, export, experts, conv1d)
}
"""The laws by name, in the order of a report."""


def _apart(one: Start, two: Start) -> float:
    """Return how far two starts are apart: 0 if they have the same bits."""
    return max(float((one.A - two.A).abs().max()), float((one.B - two.B).abs().max()))


def _off(one: Tensor, two: Tensor) -> float:
    """Return the largest difference of two matrices, relative to their entries where these are above 1."""
    return float(((one - two).abs() / two.abs().clamp(min=1)).max())
