"""What the tests of the initializations share: shapes, weights, and how close is equal."""

import pytest
import torch

from olora_viz.checks.laws import SHAPES
from olora_viz.checks.trials import calibration, started
from olora_viz.checks.trials import gaussian as gaussian
from olora_viz.checks.trials import weight as weight
from olora_viz.initializers import INITIALIZERS, Calibration, Start
from olora_viz.lanes.layers import target_layers, weight_of

PROJECTIONS = ("olora", "olora_pivoted", "random_orthonormal", "sketch")
DETERMINISTIC = ("olora", "olora_pivoted", "pissa", "milora")
EPS = {torch.bfloat16: 2e-5, torch.float32: 2e-5, torch.float64: 1e-12}

every = pytest.mark.parametrize("name", INITIALIZERS)
KEPT = [name for name, entry in INITIALIZERS.items() if entry.keeps_function]
every_that_keeps_the_function = pytest.mark.parametrize("init", KEPT)
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
every_dtype = pytest.mark.parametrize("dtype", EPS, ids=lambda dtype: str(dtype).split(".")[1])


def told(model) -> dict[str, Calibration]:
    """Calibration for every layer of a model that gets lanes."""
    return {name: calibration(tuple(weight_of(layer).shape)) for name, layer in target_layers(model).items()}


def start(name, W, r, s=1.0, seed=0) -> Start:
    return started(INITIALIZERS[name], W, r, s, seed)


def ranks(name, shape) -> list[int]:
    most = min(shape) // INITIALIZERS[name].vectors
    return [r for r in (1, 6, most) if name != "orthogonal" or r % 2 == 0]


def assert_close(ours, theirs, tolerance):
    torch.testing.assert_close(ours, torch.as_tensor(theirs), atol=tolerance, rtol=tolerance)


FROM_W = [name for name, entry in INITIALIZERS.items() if not entry.needs]
every_from_weight = pytest.mark.parametrize("name", FROM_W)
CLOSE = {"atol": 1e-10, "rtol": 1e-10}
