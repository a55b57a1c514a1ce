"""The initializations of an adapter: one pure function per file, with its entry.

Every initialization is `(W, r, *, s, generator, calibration) → Start(A, B)`, see `StartFunction`. To add one, write
its file: tests, command line, pages and plots read the folder's listing. `register` adds one from outside the package.
"""

from olora_viz.initializers.catalogue import (
    BUILT_IN,
    INITIALIZERS,
    check_name,
    check_weight_start,
    definition_of,
    entry_of,
    freezes_B,
    is_dense,
    iterates,
    keeps_function,
    label_of,
    register,
    remember,
    starts,
    starts_at_zero,
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
    "BUILT_IN",
    "INITIALIZERS",
    "READS",
    "Calibration",
    "Initializer",
    "RankError",
    "Start",
    "StartFunction",
    "check_name",
    "check_rank",
    "check_weight_start",
    "definition_of",
    "entry_of",
    "freezes_B",
    "is_dense",
    "iterates",
    "keeps_function",
    "label_of",
    "lacking",
    "precise",
    "register",
    "remember",
    "starts",
    "starts_at_zero",
    "unregister",
]
