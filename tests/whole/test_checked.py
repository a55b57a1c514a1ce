"""What the tests check of a signature: a wrong shape is an error wherever a shape is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from support.checked import check, where_there_are_shapes
from torch import Tensor

Named = Mapping[str, Float[Tensor, "n n"]]
checked = where_there_are_shapes(typechecker=check)
SQUARE, OTHER = torch.ones(2, 2), torch.ones(2, 3)


@checked
def function(W: Float[Tensor, "n n"]) -> Tensor:
    return W


@checked
def returned(W: Tensor) -> Float[Tensor, "n n"]:
    return W


@checked
def by_another_name(W: Named) -> Tensor:
    return W["one"]


@checked
@dataclass
class Held:
    W: Float[Tensor, "n n"]


class Methods:
    def __init__(self, W: Tensor) -> None:
        self.W = W

    @checked
    def method(self, W: Float[Tensor, "n n"]) -> Tensor:
        return W

    @checked
    @staticmethod
    def static(W: Float[Tensor, "n n"]) -> Tensor:
        return W

    @property
    @checked
    def square(self) -> Float[Tensor, "n n"]:
        return self.W


@pytest.mark.parametrize(
    "call",
    [
        function, returned, lambda W: by_another_name({"one": W}), Held, Methods(SQUARE).method,
        Methods.static, lambda W: Methods(W).square,
    ],
)  # fmt: skip
def test_a_wrong_shape_is_an_error_and_a_right_one_is_not(call: Callable) -> None:
    call(SQUARE)
    with pytest.raises(TypeCheckError):
        call(OTHER)


@checked
def sometimes(W: Float[Tensor, "n n"], rows: list[int]) -> Float[Tensor, "n n"]:
    return W[: rows[0]]


def test_a_wrong_shape_is_an_error_after_right_ones_too() -> None:
    sometimes(SQUARE, [2])
    sometimes(SQUARE, [2])
    with pytest.raises(TypeCheckError):
        sometimes(SQUARE, [1])
    with pytest.raises(TypeCheckError):
        sometimes(SQUARE, [1])
    with pytest.raises(TypeCheckError):
        sometimes(OTHER, [2])


def test_what_has_no_shape_is_left_alone() -> None:
    def plain(n: int) -> int:
        return n

    assert checked(plain) is plain
