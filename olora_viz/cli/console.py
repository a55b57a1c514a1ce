"""What the command line shows a person: progress on standard error, tables on standard output."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress_bar() -> Iterator[Callable[[float, str], None]]:
    """Show how far the loading is, on standard error."""
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}% |{bar}|"
    # Only where somebody watches: a log wants the error that may follow, not the bar.
    with tqdm(total=1.0, bar_format=form, file=sys.stderr, leave=False, disable=None) as bar:

        def show(fraction: float, text: str) -> None:
            bar.set_description_str(text, refresh=False)
            if fraction < bar.n:  # the next thing begins
                bar.reset()
            bar.update(fraction - bar.n)

        yield show


def print_standing(summary: dict[str, Any]) -> None:
    """Print a race's summary, the lane with the lowest held-out loss first."""
    rows = [["lane", "status", "held-out loss", "accuracy", "first gradient norm"]]
    lanes = summary["lanes"].items()
    for label, lane in sorted(lanes, key=lambda item: _sortable(item[1]["final_loss"])):
        status = lane["status"]
        if lane["diverged_at"]:
            status += f" at step {lane['diverged_at']}"
        rows.append(
            [
                label,
                status,
                _number(lane["final_loss"], ".4f"),
                _number(lane["final_accuracy"], ".1%"),
                _number(lane["first_grad_norm"], ".3g"),
            ]
        )
    base = summary["base"]
    figures = _number(base["loss"], ".4f"), _number(base["accuracy"], ".1%")
    rows.append(["(base model)", "", *figures, ""])
    print_table(rows)
    print(
        f"{summary['status']} after {summary['steps']} steps in {summary['seconds']:.1f} s "
        f"on {summary['device']} ({summary['dtype']})"
    )


def leader(eval_loss: Sequence[float], labels: Sequence[str]) -> str:
    """Say which lane has the lowest held-out loss; nothing where every lane has diverged.

    >>> leader([2.0, math.nan, 1.5], ["lora", "pissa", "olora"])
    'lowest held-out loss 1.500, olora'
    """
    pairs = zip(eval_loss, labels, strict=True)
    known = [(loss, label) for loss, label in pairs if math.isfinite(loss)]
    return "lowest held-out loss {:.3f}, {}".format(*min(known)) if known else ""


def _sortable(loss: float | None) -> float:
    return float("inf") if loss is None else loss


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def print_table(rows: list[list[str]]) -> None:
    """Print rows of cells in columns, the header first."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
