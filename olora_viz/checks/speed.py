"""Checks of cost: memory against its estimate, waits for the device, and times, in which nothing has to hold."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from olora_viz.background.pace import Speeds
from olora_viz.checks.check import CPU, Bench, Check, Outcome
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.memory import Footprint
from olora_viz.learn.presets import PRESETS
from olora_viz.machine.memory import Meter, bytes_words
from olora_viz.machine.wording import listed, percent, times
from olora_viz.races.config import RaceConfig
from olora_viz.tasks.losses import lane_losses

WASTE = 4.0
"""How many times what is used an estimate may be: it is the most that a pass takes, 1.6 of it for allocators."""

MOST_WAITS = 4
"""How often a step may wait for the device, however many lanes it has: for its results, and where transformers looks
at positions; each wait costs some hundredths of a millisecond, and all that the device could have begun meanwhile."""

WIDTHS = (1, 4, 15)
WARM_UP, TIMED = 2, 3
"""Steps that warm up, and steps that are timed."""

LONG_PRODUCT = 0.02
"""Seconds from which a product of two square matrices is large enough to be timed."""


def memory(bench: Bench) -> Outcome:
    """Count the tensors of a training pass of all lanes, and compare them with the estimate that plans it."""
    with bench.race(batch_size=16) as racing:
        lanes, batch = racing.lanes, racing.batch(1)
        each = Footprint.of(lanes.plan, branching=racing.data.branching).training.bytes(batch.size)
        with Meter((*racing.model.parameters(), *racing.model.buffers(), lanes.theta, lanes.start)) as meter:
            torch.autograd.grad(lane_losses(racing.model, batch, lanes.count).sum(), lanes.parts())
    used, estimate = max(meter.live), lanes.count * each
    words = f"a pass of {lanes.count} lanes used {bytes_words(used)}, of {bytes_words(estimate)} estimated"
    return Outcome(used <= estimate <= WASTE * used, words, {"used": used, "estimate": estimate})


class WaitCounter(TorchDispatchMode):
    """Counts how often the host waits for a device: values that Python reads, shapes that depend on them, copies."""

    READS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "is_nonzero", "bincount")

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.count, self._kind = 0, device.type

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count it if the host waits for its result."""
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        copies = name in ("_to_copy", "copy_") and isinstance(result, Tensor) and result.device.type == "cpu"
        if copies or name in self.READS:
            given = tree_leaves((args, kwargs))
            self.count += any(isinstance(each, Tensor) and each.device.type == self._kind for each in given)
        return result


def waits(bench: Bench) -> Outcome:
    """Count the waits of a step of 1 lane and of 4."""
    if bench.on_cpu:
        return Outcome(None, "a CPU does not wait for itself")
    counts = {}
    for K in WIDTHS[:2]:
        with bench.race(**_as_on_the_page(K)) as racing:
            next(racing)
            with WaitCounter(bench.device) as counted:
                next(racing)
        counts[K] = counted.count
    words = f"{counts[1]} in a step of one lane, {counts[4]} in one of 4, at most {MOST_WAITS}"
    return Outcome(counts[1] == counts[4] <= MOST_WAITS, words, {"waits": counts[1], "of_4_lanes": counts[4]})


def lane_step(bench: Bench) -> Outcome:
    """Time a step of 1, 4 and 15 lanes, on the CPU as well, and one of PEFT's."""
    numbers = {f"K={K}": _milliseconds(bench, bench.device, K) for K in WIDTHS}
    words = [f"{ms:.1f} ms for {key}" for key, ms in numbers.items()]
    if not bench.on_cpu:
        numbers["K=15, CPU"] = _milliseconds(bench, CPU, WIDTHS[-1])
        words.append(f"{numbers['K=15, CPU']:.1f} on the CPU")
    if find_spec("peft"):
        numbers["PEFT"] = _of_peft(bench)
        words.append(f"{numbers['PEFT']:.1f} in PEFT's loop, {times(numbers['PEFT'] / numbers['K=15'])} that of K=15")
    else:
        words.append("PEFT is not installed")
    return Outcome(None, ", ".join(words), numbers)


def _lanes(K: int) -> tuple[Lane, ...]:
    return tuple(Lane("lora", seed=seed) for seed in range(K))


def _as_on_the_page(K: int) -> dict[str, Any]:
    """Return the settings of a race as the page has them, in the device's own dtype; its steps are not evaluated."""
    return {"lanes": _lanes(K), "batch_size": 16, "dtype": "auto", "eval_every": 0, "eval_size": 1}


def _milliseconds(bench: Bench, device: torch.device, K: int) -> float:
    """Return the milliseconds of a lane's step beside others; a step ends when its results are read."""
    key = f"{device}, {K} lanes"
    if key not in bench.milliseconds:
        with bench.race(device, **_as_on_the_page(K)) as racing:
            bench.milliseconds[key] = _timed(lambda: next(racing)) / K
    return bench.milliseconds[key]


def _timed(step: Callable[[], object]) -> float:
    """Return the median time of a few calls after some that warm up, in milliseconds."""
    took = []
    for _ in range(WARM_UP + TIMED):
        began = time.perf_counter()
        step()
        took.append(time.perf_counter() - began)
    return 1000 * statistics.median(took[WARM_UP:])


def _of_peft(bench: Bench) -> float:
    """Return the milliseconds of a step of PEFT's plain LoRA on the same batch, layers and rank."""
    from peft import LoraConfig, get_peft_model

    with bench.race(**_as_on_the_page(1)) as racing:
        base, batch = racing.lanes.base(), racing.batch(1)
        lane, targets = racing.config.lanes[0], list(racing.lanes.layers)
    with warnings.catch_warnings():  # of transformers, on how PEFT asks it
        warnings.simplefilter("ignore")
        model = get_peft_model(base, LoraConfig(r=lane.r, lora_alpha=lane.r, target_modules=targets))
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=lane.lr)

    def step() -> float:
        optimizer.zero_grad()
        loss = lane_losses(model, batch, 1).sum()
        loss.backward()
        optimizer.step()
        return loss.item()

    return _timed(step)


def share_of_peak(bench: Bench) -> Outcome:
    """Compare a step's products with the frozen weights with the fastest product of two matrices.

    A token takes 2 operations a weight forward, and 2 backward to the inputs; those of adapters are not counted.
    """
    K = WIDTHS[-1]
    with bench.race(**_as_on_the_page(1)) as racing:
        weights = sum(math.prod(shape) for shape in racing.lanes.plan.shapes.values())
        dtype, tokens = next(racing.model.parameters()).dtype, racing.data.tokens(1, 0)
    rate = 4 * weights * tokens / (_milliseconds(bench, bench.device, K) / 1000)
    peak = peak_of(bench.device, dtype)
    name = str(dtype).removeprefix("torch.")
    words = f"{percent(rate / peak, 1)} of {peak / 1e9:.0f} GFLOP/s in {name}, in a step of {K} lanes of glassllm"
    return Outcome(None, words, {"share": rate / peak, "peak_gflops": peak / 1e9})


def peak_of(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations a second of the product of two square matrices, the larger the faster the device."""
    size, took = 256, 0.0
    while took < LONG_PRODUCT and size < 2**14:
        size *= 2
        X = torch.ones(size, size, device=device, dtype=dtype)
        took = _timed(lambda X=X: (X @ X)[0, 0].item()) / 1000
    return 2 * size**3 / took


def presets(bench: Bench) -> Outcome:
    """Tell how long the page's presets take here, as the page itself does."""
    speeds = Speeds()
    first = RaceConfig(lanes=tuple(PRESETS[0].lanes), device=str(bench.device))
    speeds.time(first, bench.cache)
    minutes = {}
    for preset in PRESETS:
        config = first.replace(
            lanes=tuple(preset.lanes), steps=preset.steps, batch_size=preset.batch, task=preset.task,
            model=preset.model, objective=preset.objective,
        )  # fmt: skip
        forecast = speeds.forecast(config)
        assert forecast is not None
        minutes[preset.name] = forecast.seconds / 60
    return Outcome(None, listed(f"{name} {of_it:.1f} min" for name, of_it in minutes.items()), minutes)


SPEED = (
    Check("memory", "a training pass takes no more memory than is planned for it, and not far less", memory, 3),
    Check("waits", f"a step waits for the device at most {MOST_WAITS} times, however many lanes it has", waits, 2),
    Check("a lane's step", "told: how long it takes beside others, on the CPU and in PEFT's loop", lane_step, 15),
    Check("share of peak", "told: the share of the device's fastest product that a race reaches", share_of_peak, 8),
    Check("presets", "told: how long the presets of the page take here", presets, 6),
)  # fmt: skip
