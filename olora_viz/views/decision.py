"""A decision on a page: what to take, the methods at their best, the plan and the answers."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from olora_viz.figures.layout import Figure, nothing_yet
from olora_viz.figures.study_curves import method_styles, rates_figure
from olora_viz.figures.study_verdicts import differences_figure
from olora_viz.initializers import INITIALIZERS
from olora_viz.machine.numbers import (
    clock,
    compact,
    counted,
    duration,
    finite_or_none,
    nats,
    percent,
    signed,
)
from olora_viz.studies.budget import METHODS
from olora_viz.studies.deciding import COARSE, DONE, FINAL, SEEDS, Decision
from olora_viz.studies.recommendation import Recommendation
from olora_viz.studies.statistics import UNDECIDED
from olora_viz.studies.study import Study
from olora_viz.studies.untrained import untrained
from olora_viz.studies.verdicts import Verdict
from olora_viz.views.html import Cell, lane, table

STAGES = (COARSE, SEEDS, FINAL)

BEFORE = {
    "headline": Markup('<p class="hint">The recommendation, and how sure it is.</p>'),
    "table": Markup('<h2>All starts at their best</h2><p class="hint">After the first race.</p>'),
    "plan": Markup('<h2>Plan</h2><p class="hint">Made after a few steps are timed.</p>'),
    "answers": Markup(
        '<h2>Before and after</h2><p class="hint">Answers on held-out prompts, when the final '
        "adapter is trained.</p>"
    ),
}
"""The texts before there is something to say."""


def headline(known: Decision) -> Markup:
    """Return the recommendation, with its certainty."""
    taken = known.taken
    if taken is None:
        return Markup('<p class="decided"><b>Nothing is known yet.</b> {}</p>').format(
            "The first races tell which learning rates are worth more seeds."
        )
    kind = UNDECIDED if taken.beats_guessing is False else taken.verdict
    return Markup(
        '<p class="decided"><b>{}</b> {} <span class="certainty {}">{}</span></p>'
    ).format(taken.headline, taken.why, kind, certainty(known, taken))


def certainty(known: Decision, taken: Recommendation) -> str:
    """Say how sure a recommendation is, and on what it rests."""
    one = taken.its
    word = "may be guessing" if taken.beats_guessing is False else "clear"
    word = UNDECIDED if taken.verdict == UNDECIDED else word
    seeds = counted(len(one.valid_losses), "seed")
    return (
        f"{word} · {seeds} × {counted(one.test_examples, 'test example')}, rates chosen on "
        f"{one.valid_examples} others"
    )


def starts(known: Decision) -> Markup:
    """Return the table of the methods at their best rates, the lowest validation loss first."""
    if not known.lanes:
        return BEFORE["table"]
    found, study = known.verdicts, known.verdicts.study
    styles = method_styles(study.inits)
    several = len(study.ranks) > 1
    ordered = sorted(
        found.each, key=lambda one: (finite_or_none(one.valid_loss) is None, one.valid_loss)
    )
    head = ("start", *(["r"] if several else []), "rate", "test loss", "right", "against")
    reference = styles[study.reference].label
    rows = [
        (
            lane(styles[one.init]), *([one.cell.r] if several else []),
            compact(one.best_lr) if one.best_lr else "–", nats(finite_or_none(one.test_loss)),
            percent(finite_or_none(one.test_accuracy)), _against(one, study.reference),
        )
        for one in ordered
    ]  # fmt: skip
    blank = ("", "") if several else ("",)
    title = Markup(
        '<h2>All starts at their best <span class="hint">against {}, 95% intervals</span></h2>'
    )
    return title.format(reference) + table(head, rows, base=_untrained(known, blank))


def _untrained(known: Decision, blank: tuple[str, ...]) -> list[tuple[object, ...]]:
    """Return the rows of the base model and of a guess."""
    its = untrained(known.verdicts, known.verdicts.study.cells()[0])
    if its is None:
        return []
    rows: list[tuple[object, ...]] = [
        ("base model", *blank, nats(its.loss), percent(its.accuracy), "")
    ]
    if its.guess is not None:
        rows.append((its.guess_words, *blank, "", percent(its.guess), ""))
    return rows


def _against(one: Verdict, reference: str) -> object:
    if one.init == reference:
        return "reference"
    its = one.interval
    mean, low, high = (signed(x, "+.2f") for x in (its.mean, its.low, its.high))
    said = f"{low} to {high}" if one.seeds > 1 else mean
    return Cell(
        Markup("{}<small>{}</small>").format(one.verdict, said),
        title=". ".join(
            filter(
                None,
                (
                    one.why,
                    "test loss minus the reference's, with its 95% "
                    "interval over seeds and examples",
                ),
            )
        ),
        kind=one.verdict,
    )


def plan(known: Decision) -> Markup:
    """Return the plan in words, and how far it has come."""
    its, at = known.plan, known.stage
    reached = len(STAGES) if at == DONE else STAGES.index(at)
    parts = Markup("").join(
        Markup('<li class="{}">{}</li>').format(
            "done" if i < reached else "now" if i == reached else "", stage
        )
        for i, stage in enumerate(STAGES)
    )
    time = f"{clock(known.seconds)} of {duration(60 * its.minutes)}, {known.lanes} lanes"
    words = Markup("").join(Markup("<p>{}</p>").format(one) for one in its.words)
    return Markup('<h2>Plan <span class="hint">{}</span></h2><ol class="stages">{}</ol>{}').format(
        time, parts, words
    )


def answers(known: Decision) -> Markup:
    """Return held-out prompts with the answers of the base model and of the adapter."""
    if not known.answers:
        return Markup("")
    head = ("prompt", "expected", "base model", "with the adapter")
    rows = [
        (
            one["prompt"], one["expected"], one["base"],
            Cell(one["adapter"], kind="ok" if one["adapter"] == one["expected"] else "no"),
        )
        for one in known.answers
    ]  # fmt: skip
    return Markup('<h2>Before and after <span class="hint">held-out prompts</span></h2>') + table(
        head, rows, kind="answered", scrolls=True
    )


def progress(known: Decision) -> tuple[str, str]:
    """Return how much of the time is spent, and how many of the lanes have finished."""
    lanes = f"{known.lanes} of {max(known.lanes, known.plan.lanes)} lanes"
    return f"{clock(known.seconds)} of {duration(60 * known.plan.minutes)}", lanes


def offered() -> list[str]:
    """Return the methods that may be chosen beside the reference, the usual ones first."""
    return [name for name in dict.fromkeys((*METHODS, *INITIALIZERS)) if name != Study.reference]


def texts(known: Decision | None) -> dict[str, Markup]:
    """Return the headline, the table, the plan and the answers, or what is there before them."""
    if known is None:
        return dict(BEFORE)
    return {
        "headline": headline(known), "table": starts(known), "plan": plan(known),
        "answers": answers(known) or BEFORE["answers"],
    }  # fmt: skip


def whereabouts(known: Decision | None, report: Path | None) -> Markup:
    """Say where the adapter and the report lie, once the decision has ended."""
    if known is None or report is None:
        return Markup("")
    lies = (
        f"The adapter is in {known.adapter}, and" if known.adapter else "There is no adapter yet;"
    )
    return Markup('<p class="say" role="status">{} the report is {}.</p>').format(lies, report)


def figures_before() -> dict[str, Figure]:
    """Return the charts before the first race."""
    titles = {
        "rates": "Test loss by learning rate",
        "differences": "Test loss against LoRA's, each start at its best rate",
    }
    why, axes = "Press Decide: the first points come with the first race.", "test loss, nats"
    return {
        name: nothing_yet(title, "nats", ("learning rate", axes), why, 260)
        for name, title in titles.items()
    }


def figures(known: Decision) -> dict[str, Figure]:
    """Return the charts: the loss by rate, and the differences with their intervals."""
    found = known.verdicts
    cell = known.taken.its.cell if known.taken else found.study.cells()[0]
    return {"rates": rates_figure(found, cell), "differences": differences_figure(found)}
