"""The results of a race as plain values, as in a run folder's ``summary.json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from olora_viz.machine.numbers import finite_or_none
from olora_viz.tasks.evaluation import Evaluation

if TYPE_CHECKING:
    from olora_viz.races.race import Race


class Tested(NamedTuple):
    """The results on the test examples."""

    base: Evaluation
    """Of the base model."""
    lanes: Evaluation
    """Of the K lanes at the end of the race; NaN for one that has diverged."""


def summary_of(race: Race) -> dict[str, Any]:
    """Return the results so far.

    ``final_loss`` is the held-out loss, ``parameters`` the number that a lane trains. If the race
    has test examples, ``test_loss`` and ``test_accuracy`` are those of the finished lanes, and None
    before.
    """
    about = race.data.about_held_out
    base: dict[str, Any] = {
        "loss": finite_or_none(race.baseline.loss[0]),
        "accuracy": finite_or_none(race.baseline.accuracy[0]),
    }
    lanes = race.state.of_lanes(race.lanes.labels, race.status)
    for values, count in zip(lanes.values(), race.lanes.plan.parameters, strict=True):
        values["parameters"] = count
    if race.config.follows_best or race.updates > race.done:
        for values in lanes.values():
            best = values["best_step"] if race.config.keep_best else None
            values["adapter_step"] = best or values.get("stopped_at") or race.updates
    if race.data.test:
        tested = race.tested()
        base |= figures_of_test(tested.base if tested else None, 0)
        for k, values in enumerate(lanes.values()):
            values |= figures_of_test(tested.lanes if tested else None, k)
    return {
        "status": race.status,
        "model": race.config.model,
        "task": race.config.task,
        "plain_text": race.task.plain_text,
        "device": str(race.device),
        "dtype": str(next(race.model.parameters()).dtype).removeprefix("torch."),
        "steps": race.done,
        "seconds": round(race.state.seconds, 3),
        "tokens": race.state.tokens,
        "adapted": race.adapted,
        "in_parts": race.in_parts,
        "coverage": race.lanes.plan.coverage.to_json(),
        "without_gradient": race.without_gradient,
        "examples": {"train": about.train, "held_out": about.examples, "test": about.test},
        "duplicates": {"exact": about.exact, "near": about.near},
        "left_out": race.data.left_out,
        "held_out_left_out": race.data.held_out_left_out,
        "held_out": asdict(about),
        "test_left_out": race.data.test_left_out,
        "base": base,
        "lanes": lanes,
    }


def figures_of_test(evaluation: Evaluation | None, k: int) -> dict[str, float | None]:
    """Return lane k's results on the test examples; None before the test."""
    return {
        "test_loss": finite_or_none(evaluation.loss[k]) if evaluation else None,
        "test_accuracy": finite_or_none(evaluation.accuracy[k]) if evaluation else None,
    }
