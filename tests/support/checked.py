"""The type checker of the tests: a whole number is a float too, as PEP 484 has it.

Whether shapes fit depends on the shapes alone, so each combination of them is checked once.
"""

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache, partial, update_wrapper, wraps
from types import FunctionType
from typing import Any

import jaxtyping
import numpy as np
import torch
from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
SHAPE = re.compile(r"\b(Bool|Float|Int)(64)?\[")
ARRAYS = (torch.Tensor, np.ndarray)
with_shapes = jaxtyping.jaxtyped


def has_shapes(annotated: Any) -> bool:
    """Return whether an annotation of a function or class has a shape, also by another name."""
    names = vars(sys.modules[annotated.__module__])
    text = " ".join(map(str, getattr(annotated, "__annotations__", {}).values()))
    meant = (names[word] for word in set(re.findall(r"[A-Z]\w*", text)) & names.keys())
    return bool(SHAPE.search(" ".join([text, *map(str, meant)])))


def where_there_are_shapes(checked: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    """Check a function or a class whose annotations have shapes, and leave the others alone.

    Checks cost tiny models as much time as their computation, and Pyrefly has checked the types.
    """
    if checked is None:
        return partial(where_there_are_shapes, typechecker=typechecker)
    inner = checked.fget if isinstance(checked, property) else inspect.unwrap(checked)
    if not has_shapes(inner):
        return checked
    each_time = partial(with_shapes, typechecker=typechecker)
    if is_dataclass(checked):
        checked.__init__ = once(checked.__init__, each_time)
        return checked
    return once(checked, each_time) if inspect.isfunction(checked) else each_time(checked)


def once(function: Callable[..., Any], check: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is checked when it gets or returns shapes that it did not before."""
    known: set[Any] = set()
    made: list[Any] = []

    def again(*_: Any, **__: Any) -> Any:
        return made.pop()

    @cache
    def checked() -> Callable[..., Any]:
        return check(function)

    @cache
    def returning() -> Callable[..., Any]:
        its = FunctionType(again.__code__, function.__globals__, closure=again.__closure__)
        return check(update_wrapper(its, function))

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        given = shapes((args, kwargs))
        if given not in known:
            returned = checked()(*args, **kwargs)
            known.update((given, (given, shapes(returned))))
            return returned
        returned = function(*args, **kwargs)
        both = given, shapes(returned)
        if both not in known:
            made.append(returned)
            returning()(*args, **kwargs)
            known.add(both)
        return returned

    return called


def shapes(value: Any) -> Any:
    """Return the types and shapes in a value, as far as an annotation looks into it."""
    kind = type(value)
    inside = looked_into(kind)
    if inside is None:
        return kind
    if inside is ARRAYS:
        return kind, value.dtype, tuple(value.shape)
    if inside is Mapping:
        return kind, tuple(value), tuple(map(shapes, value.values()))
    return kind, tuple(map(shapes, value))


@cache
def looked_into(kind: type) -> Any:
    """Return what an annotation takes a type for: arrays, a mapping, a sequence; None if it has nothing inside."""
    if issubclass(kind, ARRAYS):
        return ARRAYS
    if issubclass(kind, (list, tuple)):
        return Sequence
    return Mapping if issubclass(kind, Mapping) else None


jaxtyping.jaxtyped = where_there_are_shapes
