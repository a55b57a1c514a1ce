"""The initializations of an adapter: one pure function per file, with its entry.

Every initialization is `(W, r, *, s, generator, calibration) → Start(A, B)`, see `StartFunction`. To add one, write
its file: tests, command line, pages and plots read the folder's listing. `register` adds one from outside the package.
"""

from olora_viz.initializers.catalogue import (
    INITIALIZERS,
    check_weight_start,
    keeps_function,
    label_of,
    register,
    starts,
    unregister,
)
from olora_viz.initializers.start import (
    READS,
    Calibration,
    Initializer,
    RankError,
    Start,
    StartFunction,
    check_rank,
    lacking,
    precise,
)

__all__ = [
    "INITIALIZERS",
    "READS",
    "Calibration",
    "Initializer",
    "RankError",
    "Start",
    "StartFunction",
    "check_rank",
    "check_weight_start",
    "keeps_function",
    "label_of",
    "lacking",
    "precise",
    "register",
    "starts",
    "unregister",
]
