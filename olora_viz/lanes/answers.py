"""The answers to several prompts, as a list that shows itself as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from olora_viz.lanes.generation import Answer
from olora_viz.machine.showing import table


class Answers(list[Answer]):
    """Answers of the base model and K lanes.

    Parameters
    ----------
    answers : one for each prompt.
    labels : of the lanes.
    """

    def __init__(self, answers: Iterable[Answer], labels: Sequence[str]) -> None:
        super().__init__(answers)
        self.labels = tuple(labels)

    def __repr__(self) -> str:
        """Return each prompt with its right answer, and below it who said what."""
        lines = []
        for answer in self:
            said = zip(("base model", *self.labels), (answer.base, *answer.lanes), strict=True)
            lines += [f"{answer.prompt.strip()} → {answer.expected}"]
            lines += [f"  {name}: {words}" for name, words in said]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [(each.prompt, each.expected, each.base, *each.lanes) for each in self]
        return table(["prompt", "right answer", "base model", *self.labels], rows)
