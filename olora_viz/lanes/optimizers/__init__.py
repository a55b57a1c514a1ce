"""The optimizers of a lane, a file each; `OPTIMIZERS` has them by name, the key `opt` of a lane."""

from __future__ import annotations

from olora_viz.lanes.optimizers.adamw import ADAMW
from olora_viz.lanes.optimizers.lora_fa import LORA_FA
from olora_viz.lanes.optimizers.muon import MUON
from olora_viz.lanes.optimizers.optimizer import OF_OPTIMIZERS, Optimizer, Turn
from olora_viz.lanes.optimizers.riemannian import RIEMANNIAN
from olora_viz.lanes.optimizers.sgd import SGD

OPTIMIZERS: dict[str, Optimizer] = {
    "adamw": ADAMW, "sgd": SGD, "muon": MUON, "riemannian": RIEMANNIAN, "lora_fa": LORA_FA,
}  # fmt: skip

__all__ = ["OF_OPTIMIZERS", "OPTIMIZERS", "Optimizer", "Turn"]
