"""The laws of a start: a start that breaks one is caught by that one, and a good one of one's own keeps all."""

import dataclasses
import itertools
import re
from typing import Any

import pytest
import torch

import olora_viz as ov
from olora_viz.checks import trials
from olora_viz.checks.laws import LAWS


def entry(start: Any, **settings: Any) -> ov.Initializer:
    return ov.Initializer("mine", "Mine", start, "Is one's own.", "a test", **settings)


def good(W, r, scale=1.0):
    return ov.Start(A=scale * W[:r], B=torch.eye(len(W), r, dtype=W.dtype))


def zero(W, r):
    return ov.Start(A=W[:r], B=W.new_zeros(len(W), r))


def of_wide_ones(W, r):
    return ov.Start(A=W[:r], B=W[:, :r] if W.shape[0] < W.shape[1] else W[: W.shape[1], :r])


def without_seven(W, r):
    if r == 7:
        raise RuntimeError("seven is not lucky")
    return good(W, r)


CALLS = itertools.count()


def counting(W, r):
    return good(W, r, next(CALLS))


def writing(W, r):
    W += 1
    return good(W, r)


def of_the_global_seed(W, r):
    torch.rand(1)
    return good(W, r)


def by_the_root_of_s(W, r, *, s):
    return good(W, r, s**0.5)


def drawn_in_its_dtype(W, r, *, generator):
    return ov.Start(A=torch.randn(r, W.shape[1], generator=generator, dtype=W.dtype), B=good(W, r).B)


def turned(W, r):
    return ov.Start(A=W[:r].flip(0), B=good(W, r).B)


def huge(W, r):
    return ov.Start(A=torch.full_like(W[:r], 3e38), B=good(W, r).B)


def of_more_than_12(W, r):
    assert min(W.shape) > 12, "too small"
    return good(W, r)


def of_contiguous_ones(W, r):
    W.view(-1)
    return good(W, r)


BROKEN = {
    "shapes": (entry(of_wide_ones), {*LAWS} - {"function", "export", "nested"}),
    "ranks": (entry(without_seven), {"ranks"}),
    "repeats": (entry(counting), {"repeats", "scale", "float64", "conv1d"}),
    "random": (entry(good, random=True), {"repeats"}),
    "pure": (entry(writing), {"pure"}),
    "global": (entry(of_the_global_seed), {"pure"}),
    "scale": (entry(by_the_root_of_s), {"scale"}),
    "float64": (entry(drawn_in_its_dtype), {"float64"}),
    "zero": (entry(zero), {"zero"}),
    "nested": (entry(turned, nested=True), {"nested"}),
    "function": (entry(zero, zero_product=True, keeps_function=False), {"function", "experts", "conv1d"}),
    "export": (entry(huge), {"function", "export", "experts", "conv1d"}),
    "experts": (entry(of_more_than_12), {"experts"}),
    "conv1d": (entry(of_contiguous_ones), {"conv1d"}),
}
"""Starts, and the laws that each breaks."""


def test_every_law_has_a_start_that_breaks_it() -> None:
    assert {*LAWS} <= {*BROKEN}


@pytest.mark.parametrize("name", BROKEN)
def test_a_start_that_breaks_a_law_is_caught_by_it_and_by_those_that_follow_from_it(name: str) -> None:
    start, laws = BROKEN[name]
    report = ov.check_initializer(start)
    assert {law for law, words in report.broken.items() if words} == laws, report
    assert not report.ok
    assert f"mine keeps {len(LAWS) - len(laws)} of {len(LAWS)} laws" in repr(report)
    for law in laws:
        assert re.search(rf"fails +{law} .*\n +but {re.escape(report.broken[law])}\n", f"{report}\n")
    assert "mine" not in ov.INITIALIZERS


def test_an_export_that_is_not_read_back_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "read_peft", lambda model, folder: None)
    report = ov.check_initializer("olora")
    assert {law for law, words in report.broken.items() if words} == {"export", "experts", "conv1d"}
    assert re.fullmatch(r"a logit of the export is off by [\d.]+", report.broken["export"])


@pytest.mark.parametrize("settings", [{}, {"nested": True}])
def test_a_start_of_one_s_own_need_not_be_registered(settings: dict[str, bool]) -> None:
    report = ov.check_initializer(entry(good, **settings))
    assert report.ok, report
    assert set(report.broken) == set(LAWS)
    assert "mine" not in ov.INITIALIZERS


def test_a_registered_start_is_checked_by_its_name_and_another_of_its_name_does_not_take_its_place() -> None:
    ov.register(entry(good))
    try:
        before = ov.INITIALIZERS["mine"]
        assert ov.check_initializer("mine").ok
        assert not ov.check_initializer(entry(zero)).ok
        assert ov.INITIALIZERS["mine"] is before
    finally:
        ov.unregister("mine")


def test_what_cannot_be_checked_is_refused_with_the_value_and_the_rule() -> None:
    with pytest.raises(ValueError, match="unknown initialization 'olra'; did you mean 'olora'"):
        ov.check_initializer("olra")
    with pytest.raises(ValueError, match="expected the name of an initialization or an Initializer"):
        ov.check_initializer(good)  # pyrefly: ignore[bad-argument-type]
    with pytest.raises(ValueError, match="'olora' is a built-in initialization; choose another one"):
        ov.check_initializer(dataclasses.replace(ov.INITIALIZERS["olora"], nested=False))
