"""What tells a function from another one of its name, in a few digits: its code, its defaults and what it uses."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import inspect
import os
import site
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dis import get_instructions
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

FINGERPRINT_DIGITS = 12
"""Hexadecimal digits of a fingerprint."""

_LIBRARIES = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
PACKAGES = tuple(f"{each}{os.sep}" for each in (*_LIBRARIES, *site.getsitepackages(), site.getusersitepackages()))
"""The folders of Python's own and of installed packages."""

OWN_PACKAGE = __name__.partition(".")[0]
PLAIN_TYPES = (type(None), bool, int, float, complex, str, bytes, range, slice, type(...), Path)
AS_TEXT = (torch.dtype, torch.device, np.dtype, np.generic)


class Definition:
    """A function, with a fingerprint that says whether it is still the same one.

    The fingerprint is of its code, without comments, layout and docstring; of its default values; of the values that
    it closes over, and of the global ones that it names; and in the same way of the functions and classes among these
    that are the user's own. Of a list, a dict, an array or a tensor it has what this held when it was first seen,
    since a function may fill it; of any other object the type alone; and of what an installed package brings the name,
    with the package's version if it is the function itself. Where the source is not known, as that of a text passed to
    `exec`, or is not what runs, the bytecode stands for it, which another version of Python has differently.

    It does not see what a function reads from files, from other objects or through names that it makes up, and two
    functions that compute the same in other words have different ones.

    Args:
        function: anything that can be called.
        settings: what else tells it from others.

    >>> def scaled(by):
    ...     return lambda x: by * x
    >>> one, again, other = (Definition(scaled(by)).fingerprint for by in (1, 1, 2))
    >>> one == again, one == other, len(one)
    (True, False, 12)
    """

    def __init__(self, function: Any, *settings: Any) -> None:
        self._function, self._settings = function, settings
        self._held: dict[int, tuple[object, str]] = {}
        self._about: list[int] = []
        self.fingerprint  # noqa: B018  (what lists and arrays hold now)

    @property
    def fingerprint(self) -> str:
        """The digits, of the function as it is now."""
        parts = [self._of(self._function), *map(self._of, self._settings)]
        if _is_installed(self._function):
            parts.append(str(getattr(sys.modules.get(_package(self._function)), "__version__", "")))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:FINGERPRINT_DIGITS]

    def _of(self, value: Any) -> str:
        """Return a text that is equal for equal values."""
        if isinstance(value, PLAIN_TYPES):
            return f"{type(value).__name__} {value!r}"
        if isinstance(value, AS_TEXT):
            return f"{type(value).__name__} {value}"
        if id(value) in self._about:
            return f"around {len(self._about) - self._about.index(id(value))}"
        self._about.append(id(value))
        try:
            return self._of_part(value)
        finally:
            self._about.pop()

    def _of_part(self, value: Any) -> str:
        if isinstance(value, tuple | frozenset):
            return self._listed(value)
        if isinstance(value, list | dict | set | np.ndarray | torch.Tensor):
            if self._held.get(id(value), (None,))[0] is not value:
                self._held[id(value)] = value, self._contents(value)
            return self._held[id(value)][1]
        if isinstance(value, partial):
            return f"partial {self._listed((value.func, value.args, value.keywords))}"
        if isinstance(value, types.MethodType):
            return f"method {self._listed((value.__func__, value.__self__))}"
        if isinstance(value, types.ModuleType):
            return f"module {value.__name__}"
        if isinstance(value, types.FunctionType):
            return self._of_function(value)
        if isinstance(value, type):
            members = {} if _is_installed(value) else vars(value)
            functions = {name: each for name, each in members.items() if isinstance(each, types.FunctionType)}
            return f"{_name(value)} {self._named(functions)}"
        if inner := getattr(value, "__wrapped__", None):
            return f"{_name(type(value))} {self._of(inner)}"
        if isinstance(value, types.BuiltinFunctionType):
            return _name(value)
        is_own = not _is_installed(type(value))
        if is_own and (callable(value) or dataclasses.is_dataclass(value)):
            return f"{self._of(type(value))} {self._named(vars(value))}"
        return f"{_name(type(value))} {getattr(value, '__qualname__', '')}"

    def _of_function(self, function: types.FunctionType) -> str:
        """Describe a function that is written in Python."""
        code = function.__code__
        used = self._named(dict(_closed_over(function)))
        if _is_installed(function):
            return f"{_name(function)} {used}"
        defaults = self._of((function.__defaults__, tuple(sorted((function.__kwdefaults__ or {}).items()))))
        names = dict.fromkeys(name for each in _nested(code) for name in _globals(each))
        known = {name: function.__globals__[name] for name in names if name in function.__globals__}
        for name, module in list(known.items()):  # functions of a module of the user's own, by their names
            if isinstance(module, types.ModuleType) and not _is_installed(module):
                inside = {each for inner in _nested(code) for each in inner.co_names} & vars(module).keys()
                known |= {f"{name}.{each}": vars(module)[each] for each in inside}
        return "\n".join(["function", _text(code) or self._of_code(code), defaults, used, self._named(known)])

    def _of_code(self, code: types.CodeType) -> str:
        constants = [self._of_code(each) if inspect.iscode(each) else self._of(each) for each in code.co_consts]
        names = code.co_names, code.co_varnames, code.co_freevars
        return f"bytecode {code.co_code.hex()} {names} {constants}"

    def _contents(self, value: Any) -> str:
        """Describe what may change in place."""
        if isinstance(value, dict):
            return self._listed([*value.items()])
        if isinstance(value, torch.Tensor):
            try:
                value = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            except RuntimeError:  # it holds nothing, or not in a row
                return "tensor"
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            return f"array {value.dtype} {value.shape} {digest}"
        return self._listed(value)

    def _listed(self, values: Any) -> str:
        parts = [self._of(each) for each in values]
        in_order = sorted(parts) if isinstance(values, set | frozenset) else parts
        return f"{type(values).__name__}({', '.join(in_order)})"

    def _named(self, values: Mapping[str, Any]) -> str:
        return "; ".join(f"{name} is {self._of(values[name])}" for name in sorted(values))


def _package(value: Any) -> str:
    return (getattr(value, "__module__", None) or getattr(value, "__name__", None) or "").partition(".")[0]


def _is_installed(value: Any) -> bool:
    """Whether a function, a class or a module is Python's own or of an installed package, and not the user's."""
    if _package(value) in (OWN_PACKAGE, "builtins"):
        return True
    code = getattr(value, "__code__", None)
    module = value if isinstance(value, types.ModuleType) else sys.modules.get(getattr(value, "__module__", "") or "")
    file = code.co_filename if code else getattr(module, "__file__", None)
    if file is None:
        return not (isinstance(value, type) or module is None or module.__name__ == "__main__")
    return file.startswith(("<frozen", *PACKAGES))


def _name(value: Any) -> str:
    module = "" if not _is_installed(value) else getattr(value, "__module__", "")
    return f"{module} {getattr(value, '__qualname__', type(value).__qualname__)}"


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a piece of code and all within it."""
    yield code
    for each in filter(inspect.iscode, code.co_consts):
        yield from _nested(each)


def _closed_over(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the names and values that a function closes over."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it has no value yet
            yield name, cell.cell_contents


def _globals(code: types.CodeType) -> Iterator[str]:
    """Yield the global names that a piece of code reads."""
    return (each.argval for each in get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME"))


@lru_cache(maxsize=256)
def _text(code: types.CodeType) -> str:
    """Return the source of a function, as Python writes it; empty if it is not known, or is not what runs."""
    future = code.co_flags & sum(1 << bit for bit in range(17, 25))
    try:
        lines, _ = inspect.findsource(code)
        tree = ast.parse(source := "".join(lines))
        is_current = code in _nested(compile(source, code.co_filename, "exec", future, dont_inherit=True))
    except (OSError, SyntaxError, TypeError, ValueError):
        return ""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    found = [node for node in ast.walk(tree) if isinstance(node, kinds) and _first_line(node) == code.co_firstlineno]
    if not is_current or len(found) != 1:
        return ""
    node = found[0]
    if not isinstance(node, ast.Lambda) and ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(node)


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> int:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min(each.lineno for each in (node, *decorators))
