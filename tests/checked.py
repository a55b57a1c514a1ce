"""The type checker of the tests: a whole number is a float too, as PEP 484 has it."""

import inspect
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
SHAPE = re.compile(r"\b(Bool|Float|Int)(64)?\[")
with_shapes = jaxtyping.jaxtyped


def has_shapes(annotated: Any) -> bool:
    """Return whether an annotation of a function or class has a shape, also by another name."""
    names = vars(sys.modules[annotated.__module__])
    text = " ".join(map(str, getattr(annotated, "__annotations__", {}).values()))
    meant = (names[word] for word in set(re.findall(r"[A-Z]\w*", text)) & names.keys())
    return bool(SHAPE.search(" ".join([text, *map(str, meant)])))


def where_there_are_shapes(checked: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    """Check a function or a class whose annotations have shapes, and leave the others alone.

    Checks cost tiny models as much time as their computation, and pyright has checked the types.
    """
    if checked is None:
        return partial(where_there_are_shapes, typechecker=typechecker)
    inner = checked.fget if isinstance(checked, property) else inspect.unwrap(checked)
    return with_shapes(checked, typechecker=typechecker) if has_shapes(inner) else checked


jaxtyping.jaxtyped = where_there_are_shapes
