"""The example line of a task."""

from __future__ import annotations

from markupsafe import Markup

from olora_viz.tasks import TaskCard


def task_sample(card: TaskCard) -> Markup:
    """Return an example of a task; of one without an example, its summary."""
    if not card.prompt:
        return Markup('<p class="hint sample">{}</p>').format(card.summary)
    return Markup('<p class="hint sample" title="{}">“{}” → “{}”</p>').format(
        card.summary, card.prompt.strip(), card.answer.strip()
    )
