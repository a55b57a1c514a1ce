"""A study of losses along random directions, of which each task needs a planted number."""

import math
from collections.abc import Callable

from support.planted_losses import STUDY, bowl, study

from olora_viz.studies.claims import intrinsic_dimension
from olora_viz.studies.claims.claim import Finding
from olora_viz.studies.study import Study, Trial

DIMS = (4, 16, 64, 256, 1024)

BASE = STUDY.changed(across={"task": ("sentiment", "number-words", "uppercase"), "dim": (*DIMS, None)})
NEEDS = {"sentiment": 10.0, "number-words": 60.0, "uppercase": 300.0}


def losses(gains: dict[str, float]) -> Callable[[Trial], float]:
    """Return a loss of 1 along every entry from a base of 5, of which at the planted number a tenth is missing.

    Args:
        gains: of OLoRA on each task, as a share of the fall.
    """

    def loss(trial: Trial) -> float:
        dim = dict(trial.cell.others)["dim"]
        missing = 0.0 if dim is None else max(0.0, 0.1 - 0.1 * math.log(dim / NEEDS[trial.cell.task]) / math.log(4))
        return 1.0 + bowl(trial.lr) + 4 * (missing - gains[trial.cell.task] * (trial.method == "olora"))

    return loss


def judged(gains: tuple[float, float, float], base: Study = BASE) -> Finding:
    """Return the claim's finding on planted gains."""
    return intrinsic_dimension.judge(study(losses(dict(zip(NEEDS, gains, strict=True))), base))
