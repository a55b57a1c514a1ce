"""The table of what a study decides, as rows of text."""

from __future__ import annotations

from olora_viz.machine.numbers import compact, number
from olora_viz.studies.study import Cell, Study
from olora_viz.studies.untrained import untrained
from olora_viz.studies.verdicts import Verdict, Verdicts

HEAD = (
    "model", "task", "r", "init", "best rate", "test loss", "accuracy", "difference", "95%",
    "p (Holm)", "verdict", "at one rate", "steps to reference", "seeds",
)  # fmt: skip


def verdict_rows(found: Verdicts) -> list[list[str]]:
    """Return the header, and by cell a row for every method, for the base model and for a guess."""
    rows = [list(HEAD)]
    for cell in found.study.cells():
        rows += [_row(one, found.study) for one in found.of(cell)]
        its = untrained(found, cell)
        if its is not None:
            rows.append(_without(cell, "base model", number(its.loss, ".4f"), its.accuracy))
        if its is not None and its.guess is not None:
            rows.append(_without(cell, its.guess_words, "", its.guess))
    return rows


def _without(cell: Cell, name: str, loss: str, accuracy: float) -> list[str]:
    """Return the row of what is not trained."""
    known = [cell.model, cell.task, str(cell.r), name, "", loss, number(accuracy, ".1%")]
    return known + [""] * (len(HEAD) - len(known))


def _row(one: Verdict, its: Study) -> list[str]:
    shown = one.init != its.reference
    low, high = one.interval.low, one.interval.high
    reached = one.steps_to_reference
    return [
        one.cell.model, one.cell.task, str(one.cell.r), one.init,
        compact(one.best_lr) if one.best_lr else "",
        number(one.test_loss, ".4f"), number(one.test_accuracy, ".1%"),
        number(one.interval.mean, "+.4f") if shown else "reference",
        f"{number(low, '+.4f')} to {number(high, '+.4f')}" if shown else "",
        number(one.p_value, ".3f") if shown else "",
        one.verdict if shown else "", one.verdict_shared_rate if shown else "",
        number(reached, ".0f") if reached is not None else "never", str(one.seeds),
    ]  # fmt: skip
