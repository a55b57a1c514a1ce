"""A decision on a page: what to take, the methods at their best, the plan and the answers."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from olora_viz.figures.layout import Figure, nothing_yet
from olora_viz.figures.studies import method_styles, rates_figure
from olora_viz.figures.study_verdicts import differences_figure
from olora_viz.initializers import INITIALIZERS
from olora_viz.machine.text import clock, compact, counted, duration, finite_or_none, nats, percent, signed
from olora_viz.studies.budget import METHODS
from olora_viz.studies.decide import COARSE, DONE, FINAL, SEEDS, Decision
from olora_viz.studies.recommendation import Recommendation
from olora_viz.studies.sentences import over
from olora_viz.studies.statistics import UNDECIDED
from olora_viz.studies.study import Study
from olora_viz.studies.verdicts import Verdict, untrained
from olora_viz.views.html import TableCell, lane, table
from olora_viz.views.verdict import interval_over

TAKEN, RUNNER_UP = "taken", "runner-up"
"""What is said of a row of the table."""

STAGES = (COARSE, SEEDS, FINAL)

BEFORE = {
    "headline": Markup('<p class="hint">The recommendation, and how sure it is.</p>'),
    "table": Markup('<h2>All starts at their best</h2><p class="hint">After the first race.</p>'),
    "plan": Markup('<h2>Plan</h2><p class="hint">Made after a few steps are timed.</p>'),
    "answers": Markup(
        '<h2>Before and after</h2><p class="hint">Answers on held-out prompts, when the final adapter is trained.</p>'
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
    return Markup('<p class="decided"><b>{}</b> {} <span class="certainty {}">{}</span></p>').format(
        taken.headline, taken.why, kind, certainty(known, taken)
    )


def certainty(known: Decision, taken: Recommendation) -> str:
    """Say how sure a recommendation is, and on what it rests."""
    verdict = taken.method
    word = "may be guessing" if taken.beats_guessing is False else "clear"
    word = UNDECIDED if taken.verdict == UNDECIDED else word
    others = [method for method in known.verdicts.of(verdict.cell) if method.init != verdict.init and method.seeds]
    compared = others if verdict.init == known.verdicts.study.reference else [verdict]
    seeds = min((method.seeds for method in compared), default=len(verdict.valid_losses))
    basis = f"{counted(seeds, 'seed')} × {counted(verdict.test_examples, 'test example')}"
    return f"{word} · {basis}, rates chosen on {verdict.valid_examples} others"


def starts(known: Decision) -> Markup:
    """Return the table of the methods at their best rates, the lowest validation loss first."""
    if not known.lanes:
        return BEFORE["table"]
    study = known.verdicts.study
    styles = method_styles(study.inits)
    taken = known.taken
    other = taken.runner_up if taken else None
    roles = _roles(taken)
    rows = [
        (
            verdict.valid_loss, verdict.init, verdict.cell.r, verdict.best_lr,
            roles.pop((verdict.cell.r, verdict.init, verdict.best_lr), ""),
            verdict.test_loss, verdict.test_accuracy, _against(verdict, study.reference),
        )
        for verdict in known.verdicts.each
    ]  # fmt: skip
    if taken and other and RUNNER_UP in roles.values():  # at another rate of a method
        rows.append((
            other.valid_loss, other.init, taken.method.cell.r, other.lr, RUNNER_UP,
            other.test_loss, other.test_accuracy, "",
        ))  # fmt: skip
    rows.sort(key=lambda row: (finite_or_none(row[0]) is None, row[0]))
    several = len(study.ranks) > 1
    cells = []
    for valid, init, r, lr, role, test, right, against in rows:
        small = ", ".join(filter(None, (compact(lr) if lr else "", f"r {r}" * several, role)))
        losses = (nats(finite_or_none(loss)) for loss in (valid, test))
        name = lane(styles[init]) + Markup("<small>{}</small>").format(small)
        cells.append((name, *losses, percent(finite_or_none(right)), against))
    first = known.verdicts.each[0]
    head = (
        "start, rate",
        TableCell("held-out", f"loss on the {counted(first.valid_examples, 'example')} that choose rates"),
        TableCell("test", f"loss on {counted(first.test_examples, 'other example')}"),
        "right",
        TableCell(f"against {styles[study.reference].label}", "test loss minus the reference's, 95% interval"),
    )
    basis = (
        f"rates chosen on {counted(first.valid_examples, 'held-out example')}, judged on "
        f"{counted(first.test_examples, 'test example')}; intervals: 95% over {interval_over(known.verdicts)}"
    )
    title = Markup('<h2>All starts at their best <span class="hint">{}</span></h2>').format(basis)
    return title + table(head, cells, base=_untrained(known))


def _roles(taken: Recommendation | None) -> dict[tuple[int, str, float | None], str]:
    """Return which rank, method and rate are taken, and which are the runner-up."""
    if taken is None:
        return {}
    r, other = taken.method.cell.r, taken.runner_up
    roles = {(r, other.init, other.lr): RUNNER_UP} if other else {}
    return roles | {(r, taken.method.init, taken.method.best_lr): TAKEN}


def _untrained(known: Decision) -> list[tuple[object, ...]]:
    """Return the rows of the base model and of a guess."""
    base = untrained(known.verdicts, known.verdicts.study.cells()[0])
    if base is None:
        return []
    rows: list[tuple[object, ...]] = [("base model", "", nats(base.loss), percent(base.accuracy), "")]
    if base.guess is not None:
        rows.append((base.guess_words, "", "", percent(base.guess), ""))
    return rows


def _against(verdict: Verdict, reference: str) -> object:
    if verdict.init == reference:
        return "reference"
    mean, low, high = (signed(x, "+.2f") for x in (verdict.interval.mean, verdict.interval.low, verdict.interval.high))
    words = Markup("{}<small>{}</small>").format(verdict.verdict, f"{low} to {high}" if verdict.seeds > 1 else mean)
    over_what = f"test loss minus the reference's, 95% over {over(verdict.difference.gap)}" if verdict.seeds else ""
    return TableCell(words, title=". ".join(filter(None, (verdict.why, over_what))), kind=verdict.verdict)


def plan(known: Decision) -> Markup:
    """Return the plan in words, and how far it has come."""
    reached = len(STAGES) if known.stage == DONE else STAGES.index(known.stage)
    parts = Markup("").join(
        Markup('<li class="{}">{}</li>').format("done" if i < reached else "now" if i == reached else "", stage)
        for i, stage in enumerate(STAGES)
    )
    spent, _ = progress(known)
    words = Markup("").join(map(Markup("<p>{}</p>").format, known.plan.words))
    return Markup('<h2>Plan <span class="hint">{}, {} lanes</span></h2><ol class="stages">{}</ol>{}').format(
        spent, known.lanes, parts, words
    )


def answers(known: Decision) -> Markup:
    """Return held-out prompts with the answers of the base model and of the adapter."""
    if not known.answers:
        return Markup("")
    head = ("prompt", "expected", "base model", "with the adapter")
    rows = [
        (
            answer["prompt"],
            answer["expected"],
            answer["base"],
            TableCell(answer["adapter"], kind="ok" if answer["adapter"] == answer["expected"] else "no"),
        )
        for answer in known.answers
    ]
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
    lies = f"The adapter is in {known.adapter}, and" if known.adapter else "There is no adapter yet;"
    return Markup('<p class="say" role="status">{} the report is {}.</p>').format(lies, report)


def figures_before() -> dict[str, Figure]:
    """Return the charts before the first race."""
    titles = {
        "rates": "Test loss by learning rate",
        "differences": "Test loss against LoRA's, each start at its best rate",
    }
    why, axes = "Press Decide: the first points come with the first race.", "test loss, nats"
    return {name: nothing_yet(title, "nats", ("learning rate", axes), why, 260) for name, title in titles.items()}


def figures(known: Decision) -> dict[str, Figure]:
    """Return the charts: the loss by rate, and the differences with their intervals."""
    verdicts = known.verdicts
    cell = known.taken.method.cell if known.taken else verdicts.study.cells()[0]
    return {"rates": rates_figure(verdicts, cell), "differences": differences_figure(verdicts)}
