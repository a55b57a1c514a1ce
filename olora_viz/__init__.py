"""olora_viz: the playground for low-rank adaptation.

>>> import olora_viz as ov
>>> config = ov.RaceConfig(lanes=(ov.Lane("lora"), ov.Lane("olora")), steps=2, eval_every=0)
>>> [step.step for step in ov.race(config)]
[1, 2]
"""

from olora_viz.adapters import Lanes, attach
from olora_viz.gradients import Gradients
from olora_viz.initializers import (
    INITIALIZERS,
    Evidence,
    Initializer,
    Start,
    corda,
    eva,
    gaussian,
    lora,
    lora_ga,
    lora_one,
    mica,
    milora,
    olora,
    olora_pivoted,
    orthogonal,
    pissa,
    pissa_fast,
    random_orthonormal,
    sketch,
)
from olora_viz.inspection import LayerInspection, inspect_adapter
from olora_viz.lane import Lane, parse_lanes
from olora_viz.models import MODELS, load_model
from olora_viz.peft_format import read_peft, write_peft
from olora_viz.race import Race, race
from olora_viz.race_config import RaceConfig
from olora_viz.step import Step
from olora_viz.tasks import TASKS, load_task
from olora_viz.trace import Trace, trace
from olora_viz.weight_spectra import Truncation, Weight, intruder_dimensions, truncation

__all__ = [
    "INITIALIZERS",
    "MODELS",
    "TASKS",
    "Evidence",
    "Gradients",
    "Initializer",
    "Lane",
    "Lanes",
    "LayerInspection",
    "Race",
    "RaceConfig",
    "Start",
    "Step",
    "Trace",
    "Truncation",
    "Weight",
    "attach",
    "corda",
    "eva",
    "gaussian",
    "inspect_adapter",
    "intruder_dimensions",
    "load_model",
    "load_task",
    "lora",
    "lora_ga",
    "lora_one",
    "mica",
    "milora",
    "olora",
    "olora_pivoted",
    "orthogonal",
    "parse_lanes",
    "pissa",
    "pissa_fast",
    "race",
    "random_orthonormal",
    "read_peft",
    "sketch",
    "trace",
    "truncation",
    "write_peft",
]
