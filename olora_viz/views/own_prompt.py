"""A prompt of the owner's own to all lanes of a race, and the answers to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from olora_viz.figures.theme import LaneStyle
from olora_viz.lanes.generation import Answer
from olora_viz.races.race import Race
from olora_viz.studies.seed_groups import SeedGroup
from olora_viz.views import html as fragments

KEPT = "by each lane's best adapter"
"""When answers were given, where each lane has the adapter of a step of its own."""


@dataclass(frozen=True)
class OwnPrompt:
    """A prompt, and what came of it."""

    prompt: str
    answer: Answer | None = None
    problem: str = ""
    """Why it has no answer."""

    @property
    def waits(self) -> bool:
        """Whether it has not been answered yet."""
        return self.answer is None and not self.problem

    def asked(self, racing: Race) -> OwnPrompt:
        """Ask the lanes of a race as they are now."""
        try:
            (answer,) = racing.answer(self.prompt)
        except ValueError as error:
            return replace(self, problem=str(error))
        return replace(self, answer=answer)


def own_answers(
    styles: Sequence[LaneStyle], groups: Sequence[SeedGroup], order: Sequence[int], own: OwnPrompt
) -> Markup:
    """Return the prompt with the answers of all, none of which is right or wrong.

    Parameters
    ----------
    styles, groups : of lanes that differ only in their seed.
    order : of the groups, the best one first.
    """
    if own.problem:
        return Markup('<div class="own-prompt">{}</div>').format(fragments.problem(own.problem))
    if own.answer is None:
        return Markup('<div class="own-prompt"><p class="hint">Asking “{}” …</p></div>').format(
            own.prompt
        )
    kind = "all-asked" + " many" * (len(groups) > fragments.FEW)
    words = KEPT if own.answer.step is None else f"at step {own.answer.step}"
    when = Markup(' <span class="hint">{}</span>').format(words)
    rows = fragments.contenders(styles, groups, order, own.answer)
    return Markup(
        '<div class="own-prompt {}"><div class="asked"><p><span class="prompt">{}</span> →{}</p>{}'
        "</div></div>"
    ).format(kind, own.answer.prompt.strip(), when, rows)
