"""The results of a race so far, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from olora_viz.machine.numbers import finite_or_none

if TYPE_CHECKING:
    from olora_viz.races.race import Race


def summary_of(race: Race) -> dict[str, Any]:
    """Return what ``summary.json`` and ``--json`` hold; ``final_loss`` is the held-out loss."""
    return {
        "status": race.status,
        "model": race.config.model,
        "task": race.config.task,
        "device": str(race.device),
        "dtype": str(next(race.model.parameters()).dtype).removeprefix("torch."),
        "steps": race.done,
        "seconds": round(race.state.seconds, 3),
        "tokens": race.state.tokens,
        "adapted": race.adapted,
        "coverage": race.lanes.plan.coverage.to_json(),
        "without_gradient": race.without_gradient,
        "left_out": race.data.left_out,
        "held_out_left_out": race.data.held_out_left_out,
        "base": {
            "loss": finite_or_none(race.baseline.loss[0]),
            "accuracy": finite_or_none(race.baseline.accuracy[0]),
        },
        "lanes": race.state.of_lanes(race.lanes.labels, race.status),
    }
