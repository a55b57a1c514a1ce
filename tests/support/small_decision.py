"""A decision that really trains, in seconds: two steps of four prompts, at three rates."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from olora_viz.studies import decide as deciding
from olora_viz.studies.study import Study

STUDY = Study().changed(
    race={"task": "sentiment", "steps": 2, "batch_size": 4, "eval_size": 16, "test_size": 16, "eval_every": 0},
    across={"r": (2,)},
    tune={"lr": (1e-3, 3e-2, 1.0)},
    seeds=3,
    coarse=1,
    threads=1,
)


@contextmanager
def ending_as_planned() -> Iterator[None]:
    """Let decisions end when what was planned has run, however much time is left for what is open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deciding, "open_trials", lambda _: [])
        yield
