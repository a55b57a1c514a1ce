"""olora_viz: the playground for low-rank adaptation.

>>> import olora_viz as ov
>>> config = ov.RaceConfig(lanes=(ov.Lane("lora"), ov.Lane("olora")), steps=2, eval_every=0)
>>> [step.step for step in ov.race(config)]
[1, 2]
"""

from olora_viz.machine.process import wait_asleep
from olora_viz.machine.version import __version__

wait_asleep()  # before torch is loaded

from olora_viz.figures.plots import (
    plot_claim,
    plot_conditioning,
    plot_gradients,
    plot_race,
    plot_rates,
    plot_spectrum,
    plot_study,
)
from olora_viz.initializers import INITIALIZERS, Calibration, Initializer, Start, register, unregister
from olora_viz.initializers.corda import corda
from olora_viz.initializers.eva import eva
from olora_viz.initializers.full import full
from olora_viz.initializers.gaussian import gaussian
from olora_viz.initializers.init_ab import init_ab
from olora_viz.initializers.lora import lora
from olora_viz.initializers.lora_da import lora_da
from olora_viz.initializers.lora_ga import lora_ga
from olora_viz.initializers.lora_null import lora_null
from olora_viz.initializers.lora_one import lora_one
from olora_viz.initializers.mica import mica
from olora_viz.initializers.milora import milora
from olora_viz.initializers.olora import olora
from olora_viz.initializers.olora_pivoted import olora_pivoted
from olora_viz.initializers.olora_scaled import olora_scaled
from olora_viz.initializers.olora_unsubtracted import olora_unsubtracted
from olora_viz.initializers.orthogonal import orthogonal
from olora_viz.initializers.pissa import pissa
from olora_viz.initializers.pissa_fast import pissa_fast
from olora_viz.initializers.pissa_flat import pissa_flat
from olora_viz.initializers.random_orthonormal import random_orthonormal
from olora_viz.initializers.rlmo import rlmo
from olora_viz.initializers.rlpo import rlpo
from olora_viz.initializers.sketch import sketch
from olora_viz.lanes.adapters import Lanes, attach
from olora_viz.lanes.lane import Lane, parse_lanes
from olora_viz.lanes.layers import target_layers
from olora_viz.lanes.peft import ReadBack, read_back, read_peft, write_peft
from olora_viz.learn.gallery import load as load_recording
from olora_viz.learn.gallery.claims import recorded_claims
from olora_viz.measures.catalogue import MEASURES, register_measure, unregister_measure
from olora_viz.measures.conditioning import Conditioning, TangentKernel, conditioning, tangent_kernel
from olora_viz.measures.curvature import Curvature, curvature, gauss_newton
from olora_viz.measures.gradients import Gradients
from olora_viz.measures.inspection import LayerComparison, LayerInspection, compare_adapters, inspect_adapter
from olora_viz.measures.measure import Measure
from olora_viz.measures.truncation import Truncation, Weight, intruder_dimensions, layers_like, truncation
from olora_viz.measures.update_spectra import UpdateSpectra, update_spectra
from olora_viz.models import MODELS, load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import training_batches
from olora_viz.races.fair_rate import FairRate, fair_rate
from olora_viz.races.race import Race, race
from olora_viz.races.run import SavedRun, load_run
from olora_viz.races.run import resume as resume_run
from olora_viz.races.step import Step
from olora_viz.races.tables import compare_setups, steps_frame
from olora_viz.studies.claims import CLAIMS
from olora_viz.studies.claims.evidence import ClaimEvidence
from olora_viz.studies.decide import Decision, decide
from olora_viz.studies.folder import verdicts
from olora_viz.studies.run import run_study
from olora_viz.studies.sentences import who_leads
from olora_viz.studies.statistics import Comparison, Scores, compare
from olora_viz.studies.story import describe_rates, describe_reach, rate_curves, steps_to_reach
from olora_viz.studies.study import Study
from olora_viz.studies.verdict_line import VerdictLine, verdict
from olora_viz.studies.verdicts import Verdicts
from olora_viz.tasks import TASKS, Example, Task, load_task
from olora_viz.views.watch import watch


def __dir__() -> list[str]:
    """Return the public names, which is what editors and notebooks offer after ``ov.``."""
    return __all__


__all__ = [
    "CLAIMS", "INITIALIZERS", "MEASURES", "MODELS", "TASKS", "Calibration", "ClaimEvidence", "Comparison",
    "Conditioning", "Curvature", "Decision", "Example", "FairRate", "Gradients", "Initializer", "Lane", "Lanes",
    "LayerComparison", "LayerInspection", "Measure", "Race", "RaceConfig", "ReadBack", "SavedRun", "Scores", "Start",
    "Step", "Study", "TangentKernel", "Task", "Truncation", "UpdateSpectra", "VerdictLine", "Verdicts", "Weight",
    "__version__", "attach", "compare", "compare_adapters", "compare_setups", "conditioning", "corda", "curvature",
    "decide", "describe_rates", "describe_reach", "eva", "fair_rate", "full", "gauss_newton", "gaussian", "init_ab",
    "inspect_adapter", "intruder_dimensions", "layers_like", "load_model", "load_recording", "load_run", "load_task",
    "lora", "lora_da", "lora_ga", "lora_null", "lora_one", "mica", "milora", "olora", "olora_pivoted", "olora_scaled",
    "olora_unsubtracted", "orthogonal", "parse_lanes", "pissa", "pissa_fast", "pissa_flat", "plot_claim",
    "plot_conditioning", "plot_gradients", "plot_race", "plot_rates", "plot_spectrum", "plot_study", "race",
    "random_orthonormal", "rate_curves", "read_back", "read_peft", "recorded_claims", "register", "register_measure",
    "resume_run", "rlmo", "rlpo", "run_study", "sketch", "steps_frame", "steps_to_reach", "tangent_kernel",
    "target_layers", "training_batches", "truncation", "unregister", "unregister_measure", "update_spectra", "verdict",
    "verdicts", "watch", "who_leads", "write_peft",
]  # fmt: skip
