"""What the tests of the initializations share: shapes, weights, and how close is equal."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
import torch

from olora_viz.initializers import INITIALIZERS, Calibration, Start
from olora_viz.lanes.layers import target_layers, weight_of

SHAPES = {"tall": (40, 24), "wide": (24, 40), "square": (32, 32)}
PROJECTIONS = ("olora", "olora_pivoted", "random_orthonormal", "sketch")
DETERMINISTIC = ("olora", "olora_pivoted", "pissa", "milora")
EPS = {torch.bfloat16: 2e-5, torch.float32: 2e-5, torch.float64: 1e-12}

every = pytest.mark.parametrize("name", INITIALIZERS)
KEPT = [name for name, entry in INITIALIZERS.items() if entry.keeps_function]
every_that_keeps_the_function = pytest.mark.parametrize("init", KEPT)
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
every_dtype = pytest.mark.parametrize("dtype", EPS, ids=lambda dtype: str(dtype).split(".")[1])


def weight(shape, dtype=torch.float64, seed=1) -> torch.Tensor:
    """A matrix with the decaying spectrum and uneven columns that trained weights have."""
    generator = torch.Generator().manual_seed(seed)
    out, features = shape
    W = torch.randn(out, features, generator=generator, dtype=torch.float64)
    W *= torch.linspace(1, 3, out, dtype=torch.float64)[:, None]
    W *= torch.linspace(2, 0.5, features, dtype=torch.float64)
    return (W / features**0.5).to(dtype)


def calibration(shape) -> Calibration:
    """What some data might say of a weight of this shape: uneven, and the inputs off centre."""
    X = weight((3 * shape[1], shape[1]), seed=5) + weight((1, shape[1]), seed=6)
    squares = weight((1, shape[0]), seed=7)[0] ** 2
    return Calibration(weight(shape, seed=4), X.mean(0), X.mT.cov(correction=0), squares, 1000)


def told(model) -> dict[str, Calibration]:
    """Calibration for every layer of a model that gets lanes."""
    return {name: calibration(tuple(weight_of(layer).shape)) for name, layer in target_layers(model).items()}


def start(name, W, r, s=1.0, seed=0) -> Start:
    generator = torch.Generator().manual_seed(seed)
    told = calibration(W.shape) if INITIALIZERS[name].needs else None
    return INITIALIZERS[name].start(W, r, s=s, generator=generator, calibration=told)


def ranks(name, shape) -> list[int]:
    most = min(shape) // INITIALIZERS[name].vectors
    return [r for r in (1, 6, most) if name != "orthogonal" or r % 2 == 0]


def every_case(test: Callable[..., None]) -> Callable[..., None]:
    """Make a law of (name, shape, r, …) a test for each name, which tries all shapes and ranks."""

    @every
    @wraps(test)
    def of_name(name: str, **others: Any) -> None:
        for shape in SHAPES.values():
            for r in ranks(name, shape):
                try:
                    test(name=name, shape=shape, r=r, **others)
                except Exception as error:
                    error.add_note(f"with {name}, a weight of {shape} and rank {r}")
                    raise

    law = inspect.signature(test)
    its = [one for one in law.parameters.values() if one.name not in ("shape", "r")]
    of_name.__signature__ = law.replace(parameters=its)
    return of_name


def assert_close(ours, theirs, tolerance):
    torch.testing.assert_close(ours, torch.as_tensor(theirs), atol=tolerance, rtol=tolerance)


FROM_W = [name for name, entry in INITIALIZERS.items() if not entry.needs]
every_from_weight = pytest.mark.parametrize("name", FROM_W)
CLOSE = {"atol": 1e-10, "rtol": 1e-10}


def gaussian(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
