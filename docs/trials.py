"""Tries every start, for the table of starts: what it costs, and where it works."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

import olora_viz as ov
from olora_viz.initializers import READS, Calibration, Initializer, Start
from olora_viz.lanes.adapters import attach_planned
from olora_viz.lanes.calibration import CALIBRATION_BATCHES, gather
from olora_viz.lanes.experts import UnrolledExperts
from olora_viz.lanes.peft import read_peft, write_peft
from olora_viz.lanes.plan import plan_adapters
from olora_viz.lanes.stored_adapter import read_config
from olora_viz.models.four_bit import nf4
from olora_viz.tasks import Encoded, collate

torch.set_num_threads(1)  # two would wait for each other if the machine has something else to do

WIDTH, RANK = 384, 8
"""The weight that costs are measured on is WIDTH × WIDTH."""


@dataclass(frozen=True)
class Trial:
    """What came of a start on a small model."""

    keeps_function: bool
    """Whether the model computed the same at step 0, up to rounding."""
    rank: str
    """The rank of its export as a plain LoRA adapter; "no" if that did not compute the same on the base model."""


class Mixture(nn.Module):
    """A language model of one linear layer and four experts, of which each token has its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear, self.head = nn.Embedding(8, 16), nn.Linear(16, 16), nn.Linear(16, 8)
        self.experts = Experts()

    def get_output_embeddings(self) -> nn.Module:
        """Return the layer that computes the logits."""
        return self.head

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> SimpleNamespace:
        """Compute logits."""
        X = self.embedding(input_ids)
        X = X + self.linear(X)
        chosen = input_ids.flatten()[:, None] % Experts.num_experts
        X = X + self.experts(X.flatten(0, 1), chosen, torch.ones(chosen.shape)).view(X.shape)
        return SimpleNamespace(logits=self.head(X))


class Experts(nn.Module):
    """Experts as transformers stores them: a 3-D parameter for each of their two matrices."""

    num_experts, has_gate, has_bias, has_post_expert_norm, is_transposed = 4, False, False, False, False

    def __init__(self) -> None:
        super().__init__()
        self.up_proj = nn.Parameter(0.3 * torch.randn(self.num_experts, 12, 16))
        self.down_proj = nn.Parameter(0.3 * torch.randn(self.num_experts, 16, 12))

    def act_fn(self, X: Tensor) -> Tensor:
        """Compute what is between the two matrices."""
        return X.relu()

    def forward(self, *given: Tensor) -> Tensor:
        """Compute every token by its expert."""
        return UnrolledExperts(self).forward(1, *given)


LAYERS, EXPERTS = ("linear",), ("experts.up_proj", "experts.down_proj")


def on_layers(start: Initializer) -> Trial:
    """Try a start on a linear layer."""
    return _tried(start, LAYERS, range(8))


def on_experts(start: Initializer) -> str:
    """Say whether a start works on experts, also on those that no token reaches before the first step."""
    if not _works_on_experts(start, range(8)):
        return "no"
    return "yes" if _works_on_experts(start, (0, 4)) else "if tokens reach each"


def _works_on_experts(start: Initializer, tokens: Sequence[int]) -> bool:
    try:
        trial = _tried(start, EXPERTS, tokens)
    except ValueError:
        return False
    return trial.rank != "no" and trial.keeps_function == start.keeps_function


@torch.no_grad()
def on_four_bits(start: Initializer) -> str:
    """Say whether a start works on a weight of 4 bits, which stays as it is: at its rank, or at twice that."""
    if start.dense:
        return "no"
    W = nf4(_weight(64))
    product = torch.zeros_like(W)
    if start.keeps_function:
        pair = _started(start, W)
        product = pair.B @ pair.A
    change = (nf4(W - product) + product - W).norm() / W.norm()
    return "yes" if change < 1e-6 else "at 2r"


def cost_of(start: Initializer) -> str:
    """Measure a start on one weight, and name the passes for its data."""
    seconds: list[float] = []
    for _ in range(3):
        W = _weight(WIDTH).clone()  # the singular triplets of the latest weight are remembered
        begun = time.perf_counter()
        _started(start, W)
        seconds.append(time.perf_counter() - begun)
    spent = f"{float(f'{1000 * min(seconds):.1g}'):g} ms"  # of what disturbs a machine, the fastest has least
    if not start.needs:
        return spent
    batches = CALIBRATION_BATCHES
    return f"{spent} + {batches} forward{f', {batches} backward' * ('gradient' in READS[start.needs])}"


def _started(start: Initializer, W: Tensor) -> Start:
    generator = torch.Generator().manual_seed(0)
    told = _calibration(len(W)) if start.needs else None
    return start.start(W, RANK, s=1.0, generator=generator, calibration=told)


@cache
def _weight(width: int) -> Tensor:
    return _gaussian(width, width) / width**0.5


@cache
def _calibration(width: int) -> Calibration:
    X, outputs = _gaussian(2 * width, width), _gaussian(1, width)[0]
    return Calibration(_gaussian(width, width), X.mean(0), X.mT.cov(correction=0), outputs**2, 100)


def _gaussian(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@cache
def _mixture() -> Mixture:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Mixture().eval()


def _tried(start: Initializer, targets: Sequence[str], tokens: Sequence[int]) -> Trial:
    """Start a lane, move it as training would, export it, and read it back on the model without lanes.

    Args:
        tokens: those that a start from data reads.

    Raises:
        ValueError: the lane cannot start there.
    """
    model, r = _mixture(), 4
    ids = torch.arange(8)[None]
    plan = plan_adapters(model, [ov.Lane(start.name, r=r, alpha=2 * r)], targets)
    with torch.no_grad():
        base = model(ids).logits
    batch = collate([Encoded(tuple(tokens), 1)], 0)
    told = gather(model, plan.calibrated, [[batch]], plan.needs, 100) if plan.needs else None
    lanes = attach_planned(plan, calibration=told)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        at_start = model(ids).logits
        lanes.theta += 0.1 * _gaussian(*lanes.theta.shape) * lanes.trained()
        moved = model(ids).logits
        write_peft(lanes, 0, Path(folder) / "adapter")
        lanes.detach()
        again = read_peft(model, Path(folder) / "adapter")
        alone = model(ids).logits
        again.detach()
        rank = read_config(Path(folder) / "adapter")["r"]
    words = {r: "r", 2 * r: "2r"}.get(rank, "min(out, in)")
    return Trial(torch.allclose(base, at_start, atol=1e-5), words if torch.allclose(moved, alone, atol=1e-4) else "no")
