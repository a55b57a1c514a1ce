"""The initializations of an adapter: one pure function per file, with its entry.

Every initialization is `(W, r, *, s, generator, calibration) → Start(A, B)`. To add one, write its file:
tests, command line, pages and plots read the folder's listing. `register` adds one from outside the package.
"""

from olora_viz.initializers.catalogue import (
    INITIALIZERS,
    check_weight_start,
    keeps_function,
    label_of,
    register,
    unregister,
)
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
from olora_viz.initializers.start import Calibration, Initializer, RankError, Start, StartFunction, check_rank, lacking

__all__ = [
    "INITIALIZERS",
    "Calibration",
    "Initializer",
    "RankError",
    "Start",
    "StartFunction",
    "check_rank",
    "check_weight_start",
    "corda",
    "eva",
    "full",
    "gaussian",
    "init_ab",
    "keeps_function",
    "label_of",
    "lacking",
    "lora",
    "lora_da",
    "lora_ga",
    "lora_null",
    "lora_one",
    "mica",
    "milora",
    "olora",
    "olora_pivoted",
    "olora_scaled",
    "olora_unsubtracted",
    "orthogonal",
    "pissa",
    "pissa_fast",
    "pissa_flat",
    "random_orthonormal",
    "register",
    "rlmo",
    "rlpo",
    "sketch",
    "unregister",
]
