"""A function's fingerprint: equal for equal code and values, in any process; another one for any that differ."""

import subprocess
import sys
from functools import lru_cache, partial, wraps
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import olora_viz as ov
from olora_viz.machine.definition import Definition

FIRST = '''
SCALE = 2.0

def helper(x):
    return x + 1

def start(W, r, gain=1.0, *, deep=(1, "a")):
    """Start."""
    return SCALE * gain * helper(W[:r]) if r in {1, 2, 3} else W
'''
SAME = {
    "comments": FIRST.replace("return SCALE", "# the scale\n    return SCALE"),
    "layout": FIRST.replace("SCALE * gain", "(SCALE  *  gain)"),
    "docstring": FIRST.replace("Start.", "Another text."),
    "what it does not use": FIRST + "\nOTHER = 3\n",
    "another place": "\n\n" + FIRST,
}
OTHER = {
    "code": FIRST.replace("W[:r]", "W[-r:]"),
    "a default": FIRST.replace("gain=1.0", "gain=1.5"),
    "a keyword's default": FIRST.replace('"a"', '"b"'),
    "a global value": FIRST.replace("SCALE = 2.0", "SCALE = 2.5"),
    "a function that it calls": FIRST.replace("x + 1", "x + 2"),
    "a constant": FIRST.replace("{1, 2, 3}", "{1, 2, 4}"),
}


def read(source: str, folder: Path, name: str = "start"):
    """Return what a module of the user's defines."""
    file = folder / f"module{len(list(folder.iterdir()))}.py"
    file.write_text(source)
    module = ModuleType(file.stem)
    exec(compile(source, str(file), "exec"), vars(module))
    return vars(module)[name]


def in_text(source: str, name: str = "start"):
    """Return what a text defines, whose source nobody keeps."""
    names: dict = {}
    exec(source, names)
    return names[name]


def of(function, *settings) -> str:
    return Definition(function, *settings).fingerprint


@pytest.mark.quick
def test_it_is_equal_for_the_same_code_however_it_is_written(tmp_path: Path) -> None:
    first = of(read(FIRST, tmp_path))
    assert {what: of(read(source, tmp_path)) for what, source in SAME.items()} == dict.fromkeys(SAME, first)


@pytest.mark.quick
@pytest.mark.parametrize("source", [True, False])
def test_it_differs_with_code_defaults_and_all_that_is_used(source: bool, tmp_path: Path) -> None:
    texts = [FIRST, *OTHER.values()]
    seen = [of(read(text, tmp_path) if source else in_text(text)) for text in texts]
    assert len(set(seen)) == len(texts)


def scaled(by):
    return lambda x: by * x


def logged(function):
    @wraps(function)
    def call(*given):
        return function(*given)

    return call


class Times:
    def __init__(self, by) -> None:
        self.by = by

    def __call__(self, x):
        return self.by * x


class Plus(Times):
    def __call__(self, x):
        return self.by + x


@pytest.mark.quick
@pytest.mark.parametrize(
    "make",
    [
        scaled,
        lambda by: partial(scaled, by),
        lambda by: logged(scaled(by)),
        lambda by: torch.no_grad()(scaled(by)),
        lambda by: lru_cache(scaled(by)),
        Times,
        lambda by: Times(by).__call__,
        lambda by: scaled((by, {"a": [by]}, {by})),
        lambda by: scaled(torch.full((2, 2), by, dtype=torch.bfloat16)),
        lambda by: scaled(np.full(3, by)),
        lambda by: scaled(float(by)),
        lambda by: scaled(Times(by)),
    ],
)  # fmt: skip
def test_it_differs_with_the_values_that_a_function_closes_over_and_no_others(make) -> None:
    assert of(make(1)) == of(make(1))
    assert of(make(1)) != of(make(2))
    assert of(scaled(1)) != of(scaled(True)) != of(scaled(1.0))
    assert of(Times(1)) != of(Plus(1))


@pytest.mark.quick
def test_a_value_that_is_bound_again_counts_and_a_list_that_a_function_fills_does_not() -> None:
    seen: list = []
    filling = Definition(lambda x: seen.append(x))
    first = filling.fingerprint
    seen.append(1)
    assert filling.fingerprint == first
    using = in_text("def start(x):\n    return COUNT * x + len(seen)\nCOUNT, seen = 1, []")
    defined = Definition(using)
    first = defined.fingerprint
    using.__globals__["COUNT"] = 2
    second = defined.fingerprint
    using.__globals__["seen"] = [3]
    assert len({first, second, defined.fingerprint}) == 3


@pytest.mark.quick
def test_a_function_that_calls_itself_and_one_that_names_modules_have_one() -> None:
    loop = in_text("def start(n):\n    return start(n - 1) if n else other(n)\ndef other(n):\n    return start(n)")
    assert of(loop) == of(loop)
    assert of(lambda x: torch.linalg.qr(x)) != of(lambda x: torch.linalg.svd(x))
    assert len({of(each) for each in (torch.qr, torch.svd, np.linalg.qr, ov.starts.olora, ov.starts.lora)}) == 5


@pytest.mark.quick
def test_what_runs_counts_where_its_file_has_changed_since(tmp_path: Path) -> None:
    old = read(FIRST, tmp_path)
    text = next(tmp_path.iterdir())
    text.write_text(FIRST.replace("W[:r]", "W[-r:]"))
    new = read(text.read_text(), tmp_path)
    assert of(old) != of(new)


@pytest.mark.quick
def test_settings_count_as_well() -> None:
    assert of(scaled(1), True, 2) == of(scaled(1), True, 2) != of(scaled(1), True, 3)


def test_it_is_equal_in_another_process_and_in_the_main_module(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        FIRST + "\nif __name__ == '__main__':\n    from olora_viz.machine.definition import Definition\n"
        "    print(Definition(start).fingerprint)\n"
    )
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    assert said.strip() == of(read(FIRST, tmp_path)) == of(read(script.read_text(), tmp_path))
