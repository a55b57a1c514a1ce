"""A decision that really trains, in seconds: two steps of four prompts, at three rates."""

from olora_viz.studies.study import Study

STUDY = Study().changed(
    race={"task": "sentiment", "steps": 2, "batch_size": 4, "eval_size": 16, "test_size": 16, "eval_every": 0},
    across={"r": (2,)},
    tune={"lr": (1e-3, 3e-2, 1.0)},
    seeds=3,
    coarse=1,
    threads=1,
)
