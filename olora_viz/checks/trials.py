"""A start tried on a small model and on some weights, and the table of what came of the built-in ones.

`python -m olora_viz.checks.trials` tries them all again and writes the table's file, on an idle machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from olora_viz.initializers import INITIALIZERS, READS, Calibration, Initializer, Start
from olora_viz.lanes.adapters import attach_planned
from olora_viz.lanes.calibration import CALIBRATION_BATCHES, gather
from olora_viz.lanes.experts import UnrolledExperts
from olora_viz.lanes.lane import Lane
from olora_viz.lanes.peft import read_peft, write_peft
from olora_viz.lanes.plan import plan_adapters
from olora_viz.lanes.stored_adapter import read_config
from olora_viz.machine.four_bit import BLOCK, nf4
from olora_viz.tasks import Encoded, collate

WIDTH, RANK = 384, 8
"""The weight that costs are measured on is WIDTH × WIDTH."""

FILE = Path(__file__).with_name("starts.json")
"""What came of trying the built-in starts, by name."""

TRIED = (
    "costs", "keeps the function", "on 4 bits", "on experts", "on Conv1D", "with DoRA", "ranks by layer",
    "rank as plain LoRA",
)  # fmt: skip
COLUMNS = ("start", "needs", *TRIED, "random", "B⁰A⁰", "trains", "nested", "source")


def rows() -> list[tuple[str, ...]]:
    """Return a row of `COLUMNS` for every start: what its entry says, and what was found by trying it."""
    known = json.loads(FILE.read_text("utf-8"))
    return [
        (
            name, start.needs or "–", *known.get(name, ["not tried"] * len(TRIED)), "yes" if start.random else "no",
            "zero" if start.zero_product else "subtracted" if start.keeps_function else "kept",
            "ΔW" if start.dense else "A" if start.frozen_B else "A, B", "yes" if start.nested else "no", start.source,
        )
        for name, start in INITIALIZERS.items()
    ]  # fmt: skip


def tried(start: Initializer) -> list[str]:
    """Try a start, and return its cells in the columns `TRIED`."""
    trial = on_model(start, LINEAR)
    on_experts = "no"
    if works(start, EXPERTS):
        on_experts = "yes" if works(start, EXPERTS, (0, 4)) else "if tokens reach each"
    at_work = works(start, CONV1D), works(start, LINEAR, dora=True), works(start, LINEAR + CONV1D, rank_by="energy")
    keeps, *others = ("yes" if it_does else "no" for it_does in (trial.keeps_function, *at_work))
    return [cost_of(start), keeps, on_nf4(start), on_experts, *others, trial.rank]


@dataclass(frozen=True)
class StartTrial:
    """What came of a start on a small model."""

    change: float
    """The largest change of a logit at step 0."""
    rank: str
    """The rank of its export as a plain LoRA adapter; "no" if that did not compute the same on the base model."""
    off: float
    """The largest difference between a logit of the lane that was moved, and of its export that was read back."""

    @property
    def keeps_function(self) -> bool:
        """Whether the model computed the same at step 0, up to rounding."""
        return self.change < 1e-5


class Mixture(nn.Module):
    """A language model of two linear layers and four experts, of which each token has its own."""

    def __init__(self) -> None:
        from transformers.pytorch_utils import Conv1D  # takes a second, which showing the table need not

        super().__init__()
        self.embedding, self.head = nn.Embedding(8, 16), nn.Linear(16, 8)
        self.conv, self.linear, self.experts = Conv1D(24, 16), nn.Linear(24, 16), Experts()
        nn.init.normal_(self.conv.weight, std=0.3)

    def get_output_embeddings(self) -> nn.Module:
        """Return the layer that computes the logits."""
        return self.head

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> SimpleNamespace:
        """Compute logits."""
        X = self.embedding(input_ids)
        X = X + self.linear(self.conv(X))
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


LINEAR, CONV1D, EXPERTS = ("linear",), ("conv",), ("experts.up_proj", "experts.down_proj")


def on_model(start: Initializer, targets: Sequence[str], tokens: Sequence[int] = range(8), **keys: Any) -> StartTrial:
    """Start a lane, move it as training would, export it, and read it back on the model without lanes.

    Args:
        start: of the catalogue.
        targets: the layers of `Mixture` that get it.
        tokens: those that a start from data reads.
        keys: of the lane, beside its start, rank and alpha.

    Raises:
        ValueError: the lane cannot start there.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Mixture().eval()
    ids, r = torch.arange(8)[None], 4
    plan = plan_adapters(model, [Lane(start.name, r=r, alpha=2 * r, **keys)], targets)
    with torch.no_grad():
        base = model(ids).logits
    batch = collate([Encoded(tuple(tokens), 1)], 0)
    told = gather(model, plan.calibrated, [[batch]], plan.needs, 100) if plan.needs else None
    lanes = attach_planned(plan, calibration=told)
    with TemporaryDirectory() as folder, torch.no_grad():
        at_start = model(ids).logits
        lanes.theta += 0.1 * gaussian(*lanes.theta.shape).to(lanes.theta) * lanes.trained()
        moved = model(ids).logits
        write_peft(lanes, 0, Path(folder) / "adapter")
        lanes.detach()
        read_peft(model, Path(folder) / "adapter")
        alone = model(ids).logits
        rank = read_config(Path(folder) / "adapter")["r"]
    off = float((moved - alone).abs().max())
    words = {r: "r", 2 * r: "2r"}.get(rank, "min(out, in)") if off < 1e-4 else "no"
    return StartTrial(float((at_start - base).abs().max()), words, off)


def works(start: Initializer, targets: Sequence[str], tokens: Sequence[int] = range(8), **keys: Any) -> bool:
    """Whether a start keeps the function there as its entry says, and is exported and read back."""
    try:
        trial = on_model(start, targets, tokens, **keys)
    except ValueError:
        return False
    return trial.rank != "no" and trial.keeps_function == start.keeps_function


@torch.no_grad()
def on_nf4(start: Initializer) -> str:
    """Say whether a start works on a weight of 4 bits, which stays as it is: at its rank, or at twice that."""
    if start.dense:
        return "no"
    W = nf4(weight((BLOCK, BLOCK), torch.float32))
    product = torch.zeros_like(W)
    if start.keeps_function:
        pair = started(start, W, RANK)
        product = pair.B @ pair.A
    change = (nf4(W - product) + product - W).norm() / W.norm()
    return "yes" if change < 1e-6 else "at 2r"


def cost_of(start: Initializer) -> str:
    """Measure the time that a start on one weight takes of a core, and name the passes for its data."""
    seconds: list[float] = []
    for _ in range(5):
        W = weight((WIDTH, WIDTH), torch.float32)  # anew: the singular triplets of the latest one are remembered
        begun = time.process_time()
        started(start, W, RANK)
        seconds.append(time.process_time() - begun)
    spent = f"{float(f'{1000 * min(seconds):.1g}'):g} ms"  # of what disturbs a machine, the fastest has least
    if not start.needs:
        return spent
    batches = CALIBRATION_BATCHES
    return f"{spent} + {batches} forward{f', {batches} backward' * ('gradient' in READS[start.needs])}"


def started(start: Initializer, W: Tensor, r: int, s: float = 1.0, seed: int = 0) -> Start:
    """Return a start of a weight, from a seed and, if it needs data, from `calibration`."""
    told = calibration((W.shape[0], W.shape[1])) if start.needs else None
    return start.start(W, r, s=s, generator=torch.Generator().manual_seed(seed), calibration=told)


def weight(shape: Sequence[int], dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    """Return a matrix with the decaying spectrum and uneven columns that trained weights have."""
    out, features = shape
    W = gaussian(out, features, seed=seed)
    W *= torch.linspace(1, 3, out, dtype=torch.float64)[:, None]
    W *= torch.linspace(2, 0.5, features, dtype=torch.float64)
    return (W / features**0.5).to(dtype)


@cache
def calibration(shape: tuple[int, int]) -> Calibration:
    """Return what some data might say of a weight of this shape: uneven, and the inputs off centre."""
    X = weight((3 * shape[1], shape[1]), seed=5) + weight((1, shape[1]), seed=6)
    squares = weight((1, shape[0]), seed=7)[0] ** 2
    return Calibration(weight(shape, seed=4), X.mean(0), X.mT.cov(correction=0), squares, 1000)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    """Draw a standard Gaussian matrix."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


if __name__ == "__main__":
    torch.set_num_threads(1)  # two would wait for each other if the machine has something else to do
    lines = (f'"{name}": {json.dumps(tried(start), ensure_ascii=False)}' for name, start in INITIALIZERS.items())
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
