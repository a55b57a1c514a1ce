"""A study as a table, and a decision on a page: what to take, the methods at their best, the plan, the answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from olora_viz.figures.choices import choices_figure
from olora_viz.figures.layout import Figure, nothing_yet
from olora_viz.figures.rates import method_styles, study_rates_figure
from olora_viz.figures.studies import differences_figure, varying
from olora_viz.initializers import INITIALIZERS
from olora_viz.machine.tables import finite_or_none, folded
from olora_viz.machine.wording import and_, clock, compact, counted, duration, nats, number, percent, signed
from olora_viz.races.recipe_files import TOOLS
from olora_viz.studies.axes import plain
from olora_viz.studies.choices import compares_more_than_starts, worth_of_choices
from olora_viz.studies.decide import COARSE, DONE, FINAL, RECIPE_FOLDER, SEARCH, SEEDS, Decision
from olora_viz.studies.forgetting import Ratio
from olora_viz.studies.method import METHODS, method_name
from olora_viz.studies.recipe_search import lanes_of, value_words
from olora_viz.studies.recommendation import nothing_fits
from olora_viz.studies.sentences import Basis, in_words, over
from olora_viz.studies.statistics import ERROR, UNDECIDED, MedianInterval
from olora_viz.studies.study import Candidate, Cell
from olora_viz.studies.verdicts import Verdict, Verdicts, untrained
from olora_viz.views.html import TableCell, lane, table

TAKEN_WORD, RUNNER_UP, LOWER = "taken", "runner-up", "lower held-out loss"
"""What is said of a row of the table; the last of one that is not taken although its held-out loss is lower."""

STAGES = (SEARCH, COARSE, SEEDS, FINAL)

FIRST_TEXTS = {
    "headline": Markup('<p class="hint">The recommendation, and how sure it is.</p>'),
    "table": Markup('<h2>All starts at their best</h2><p class="hint">After the first race.</p>'),
    "searched": Markup(
        '<h2>What the search found</h2><p class="hint">Before starts are compared, if there is time.</p>'
    ),
    "plan": Markup('<h2>Plan</h2><p class="hint">Made after a few steps are timed.</p>'),
    "answers": Markup(
        '<h2>Before and after</h2><p class="hint">Answers on held-out prompts, when the final adapter is trained.</p>'
    ),
}
"""The texts before there is something to say."""


def headline(known: Decision) -> Markup:
    """Return the recommendation, how sure it is, and on what it rests."""
    taken = known.taken
    seen = Markup('<p class="hint">{}</p>').format(known.plan.seen) if known.plan.seen else ""
    if taken is None and (words := nothing_fits(known.verdicts)):
        return Markup('<p class="decided"><b>Nothing to take.</b> {}</p>').format(words) + seen
    if taken is None:
        taken_so_far = and_([value_words(each.choice, each.value) for each in known.tried if each.is_taken])
        so_far = "The first races tell which learning rates are worth more seeds."
        so_far = f"The search takes {taken_so_far}." if taken_so_far else so_far
        return Markup('<p class="decided"><b>Nothing is decided yet.</b> {}</p>').format(so_far)
    kind = UNDECIDED if taken.doubt else taken.verdict
    verdict = taken.method
    word = "open" if taken.verdict == UNDECIDED else taken.doubt or "clear"
    others = [method for method in known.verdicts.of(verdict.cell) if method.method != verdict.method and method.seeds]
    compared = others if verdict.method == known.verdicts.study.reference else [verdict]
    seeds = min((method.seeds for method in compared), default=len(verdict.valid_losses))
    examples = f"{counted(seeds, 'seed')} × {counted(verdict.test_examples, 'test example')}"
    basis = f"{examples}, rates chosen on {counted(verdict.valid_examples, 'other')}"
    base = Basis(seeds, verdict.test_examples, dtype=known.verdicts.study.fixed().race.dtype).base
    sure = " · ".join(filter(None, (word, basis, base)))
    words = Markup('<p class="decided"><b>{}</b> {} <span class="certainty {}">{}</span></p>')
    said = worth_of_choices(known.verdicts).get(verdict.cell.words())
    worth = Markup('<p class="hint">{}</p>').format(said) if said else ""
    return words.format(taken.headline, taken.why, kind, sure) + seen + worth


def merging(known: Decision) -> Markup:
    """Return what merging the final adapter costs, in words and as a table; empty before it is known."""
    if known.merge is None:
        return Markup("")
    head, *rows = known.merge.rows
    words = Markup("<p>{}</p>").format(known.merge.sentence)
    return words + folded(f"What a merge costs: {known.merge.basis}", table(head, rows))


def starts(known: Decision) -> Markup:
    """Return the table of the methods at their best rates, the lowest validation loss first."""
    if not known.lanes:
        return FIRST_TEXTS["table"]
    study = known.verdicts.study
    styles = method_styles(study.compare)
    taken = known.taken
    other = taken.runner_up if taken else None
    roles: dict[tuple[int, str, Candidate | None], str] = {}  # of a rank, a method and what was chosen
    if taken:
        role = LOWER if other and other.valid_loss < taken.method.valid_loss else RUNNER_UP
        roles = {(taken.method.rank, other.method, other.at): role} if other else {}
        roles[taken.method.rank, taken.method.method, taken.method.best] = TAKEN_WORD
    rows = [
        (
            verdict.valid_loss, verdict.method, verdict.rank, verdict.best,
            roles.pop((verdict.rank, verdict.method, verdict.best), ""),
            verdict.test_loss, verdict.test_accuracy, _against(verdict, study.reference),
        )
        for verdict in known.verdicts.each
    ]  # fmt: skip
    if taken and other and (role := roles.get((taken.method.rank, other.method, other.at))):
        # At another rate of a method.
        rows.append((
            other.valid_loss, other.method, taken.method.rank, other.at, role,
            other.test_loss, other.test_accuracy, "",
        ))  # fmt: skip
    rows.sort(key=lambda row: (finite_or_none(row[0]) is None, row[0]))
    several = len(study.values("r")) > 1
    cells = []
    for valid, method, r, at, role, test, right, against in rows:
        small = ", ".join(filter(None, (at.words if at else "", f"r {r}" * several, role)))
        losses = (nats(finite_or_none(loss)) for loss in (valid, test))
        name = lane(styles[method]) + Markup("<small>{}</small>").format(small)
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
    base, others = untrained(known.verdicts, study.cells()[0]), []
    if base is not None:
        others.append(("base model", "", nats(base.loss), percent(base.accuracy), ""))
    if base is not None and base.guess is not None:
        others.append((base.guess_words, "", "", percent(base.guess), ""))
    return title + table(head, cells, base=others)


def _against(verdict: Verdict, reference: str) -> object:
    if verdict.method == reference:
        return "reference"
    mean, low, high = (signed(x, "+.2f") for x in (verdict.interval.mean, verdict.interval.low, verdict.interval.high))
    word = in_words(verdict.verdict, verdict.why)
    words = Markup("{}<small>{}</small>").format(word, f"{low} to {high}" if verdict.seeds > 1 else mean)
    over_what = f"test loss minus the reference's, 95% over {over(verdict.difference.gap)}" if verdict.seeds else ""
    return TableCell(words, title=". ".join(filter(None, (verdict.why, over_what))), kind=verdict.verdict)


def forgotten(verdicts: Verdicts) -> Markup:
    """Return what each method forgets against the reference, by cell; empty if that was not measured."""
    names, _ = varying(verdicts.study.cells())
    each = [
        f"{verdict.cell.words(names)}: {words}."
        for verdict in verdicts.each
        if (words := forgetting_words(verdicts, verdict))
    ]
    if not each:
        return Markup("")
    lines = Markup("").join(map(Markup("<p>{}</p>").format, each))
    return Markup(
        '<h2>What is forgotten <span class="hint">drift: KL(base‖lane) on the text to keep, in nats per token, not '
        "the rise of its loss; intervals: 95%</span></h2>{}"
    ).format(lines)


def choices(verdicts: Verdicts) -> Markup:
    """Return what each choice is worth, in words by cell; empty if a study compares starts alone."""
    worth = worth_of_choices(verdicts)
    where = {cell: Markup("<b>{}</b>: ").format(cell) if len(worth) > 1 else "" for cell in worth}
    lines = Markup("").join(Markup("<p>{}{}</p>").format(where[cell], words) for cell, words in worth.items())
    return Markup("<h2>What each choice is worth</h2>") + lines if worth else lines


def plan(known: Decision) -> Markup:
    """Return the plan in words, and how far it has come."""
    stages = STAGES if known.plan.search else STAGES[1:]
    reached = len(stages) if known.stage == DONE else stages.index(known.stage)
    spent, lanes = progress(known)
    # A stage that the time was too short for is passed, and not done.
    short = {SEEDS: known.lanes < known.plan.lanes, FINAL: known.adapter is None}
    parts = Markup("")
    for i, stage in enumerate(stages):
        passed = i < reached
        kind = "now" if i == reached else "done" if passed and not short.get(stage) else ""
        cut = f": ended after {lanes}" if passed and stage == SEEDS and short[SEEDS] else ""
        parts += Markup('<li class="{}">{}{}</li>').format(kind, stage, cut)
    words = Markup("").join(map(Markup("<p>{}</p>").format, known.plan.words))
    return Markup('<h2>Plan <span class="hint">{}, {} lanes</span></h2><ol class="stages">{}</ol>{}').format(
        spent, known.lanes, parts, words
    )


def ahead(lines: Sequence[str], *, instead: bool) -> Markup:
    """Return what is known of a decision before it starts, see `foreseen`.

    Args:
        instead: whether it is another one than that whose plan is shown.
    """
    lead = Markup("<p><b>As chosen now:</b></p>") if instead else Markup("")
    return lead + Markup("").join(map(Markup("<p>{}</p>").format, lines))


def searched(known: Decision) -> Markup:
    """Return what the search before the comparison has tried; empty if nothing."""
    rows = []
    for each in known.tried:
        value = value_words(each.choice, each.value)
        rate = finite_or_none(each.lr)
        facts = ("" if rate is None else compact(rate), "2 seeds" * (each.seeds > 1), TAKEN_WORD * each.is_taken)
        small = ", ".join(filter(None, facts))
        what = Markup("{}<small>{}</small>").format(value, small)
        is_other = each.value != each.before and math.isfinite(each.gap)
        gap = Markup("{}<small>± {:.3f}</small>").format(signed(each.gap, "+.3f"), each.error) if is_other else ""
        rows.append((what, nats(finite_or_none(each.loss)), gap))
    if not rows:
        return Markup("")
    head = ("choice, rate", "held-out", TableCell("difference", "± its standard error over the examples"))
    return Markup(
        '<h2>What the search found <span class="hint">held-out loss, one seed or two, each at its best rate: '
        "estimates without a verdict</span></h2>{}"
    ).format(table(head, rows))


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


def recipe(known: Decision, scripted: bool = False) -> Markup:
    """Return the files that train what is taken, in a tab for each tool; empty while there is nothing to take.

    Args:
        scripted: whether recipe.js opens the tabs, and copies the file that is shown; else they need no script.
    """
    if not known.recipe:
        return Markup("")
    head, tab, panel = SCRIPTED if scripted else UNSCRIPTED
    files = [(Path(name).stem, name, text) for name, text in known.recipe.items()]
    # Of several, the first is open.
    tabs = [tab.format(tool, TOOLS[tool], *OPENED_BY[scripted][k > 0]) for k, (tool, _, _) in enumerate(files)]
    panels = [panel.format(tool, name, text, "hidden" * (k > 0)) for k, (tool, name, text) in enumerate(files)]
    return Markup(
        '<h2>The recipe <span class="hint">files for PEFT and other tools, beside the training rows</span></h2>'
    ) + head.format(Markup("").join(tabs), Markup("").join(panels))


SCRIPTED = (
    Markup('<div class="tabs"><div role="tablist" aria-label="Tools">{}</div>{}</div>'),
    Markup(
        '<button type="button" role="tab" id="recipe-of-{0}" aria-controls="recipe-{0}" aria-selected="{2}" '
        'tabindex="{3}">{1}</button>'
    ),
    Markup(
        '<div role="tabpanel" id="recipe-{0}" aria-labelledby="recipe-of-{0}" {3}><div class="file"><code>{1}</code> '
        '<button type="button" class="quiet">Copy</button></div><pre tabindex="0">{2}</pre></div>'
    ),
)
"""Tabs that a script opens, one of them, and its file."""

UNSCRIPTED = (
    Markup('<div class="tabs" role="group" aria-label="Tools">{}{}</div>'),
    Markup('<input type="radio" name="recipe" id="recipe-{0}" {2}><label for="recipe-{0}">{1}</label>'),
    Markup('<div><code>{1}</code><pre tabindex="0">{2}</pre></div>'),
)
"""The same with radio buttons, whose file a style sheet shows."""

OPENED_BY = {True: (("true", "0"), ("false", "-1")), False: (("checked",), ("",))}
"""What is said of a tab that is open, and of one that is not."""


def progress(known: Decision) -> tuple[str, str]:
    """Return how much of the time is spent, and how many of the lanes have finished: of the search while it runs."""
    lanes = f"{known.lanes} of {max(known.lanes, known.plan.lanes)} lanes"
    if known.stage == SEARCH:
        made = tuple(dict.fromkeys(each.choice for each in known.tried))
        done, planned = (lanes_of(known.plan.study, names) for names in (made, known.plan.search))
        lanes = f"{done} of {planned} lanes of the search"
    return f"{clock(known.seconds)} of {duration(60 * known.plan.minutes)}", lanes


def offered() -> list[str]:
    """Return the methods that may be chosen beside the reference, the usual ones first."""
    return [name for name in dict.fromkeys((*METHODS, *INITIALIZERS)) if name != METHODS[0]]


def texts(known: Decision | None) -> dict[str, Markup]:
    """Return the headline, the tables, the plan and the answers, or what is there before them."""
    if known is None:
        return dict(FIRST_TEXTS)
    return {
        "headline": headline(known) + merging(known), "table": starts(known), "plan": plan(known),
        "answers": answers(known) or FIRST_TEXTS["answers"], "searched": searched(known) or FIRST_TEXTS["searched"],
    }  # fmt: skip


def whereabouts(known: Decision | None, report: Path | None) -> Markup:
    """Say where the adapter, the report and the recipe lie, once the decision has ended."""
    if known is None or report is None:
        return Markup("")
    lies = f"The adapter is in {known.adapter}, and" if known.adapter else "There is no adapter yet;"
    return Markup('<p class="say" role="status">{} the report is {}.{}</p>').format(
        lies, report, f" The recipe is in {known.folder / RECIPE_FOLDER}." if known.recipe else ""
    )


def figures_before() -> dict[str, Figure]:
    """Return the charts before the first race."""
    titles = {
        "rates": "Test loss by learning rate",
        "differences": "Test loss against LoRA's, each start at its best rate",
    }
    why, axes = "Press Decide: the first points come with the first race.", "test loss, nats"
    return {name: nothing_yet(title, "nats", ("learning rate", axes), why, 260) for name, title in titles.items()}


def figures(known: Decision) -> dict[str, Figure]:
    """Return the charts: the loss by rate, and the differences with their intervals.

    Where more than starts are compared, the differences are grouped by what is chosen otherwise.
    """
    verdicts = known.verdicts
    cell = known.taken.method.cell if known.taken else verdicts.study.cells()[0]
    of_choices = compares_more_than_starts(verdicts.study)
    differences = choices_figure(verdicts, cell) if of_choices else differences_figure(verdicts)
    return {"rates": study_rates_figure(verdicts, cell), "differences": differences}


def verdict_rows(verdicts: Verdicts) -> list[list[str]]:
    """Return the header, and by cell a row for every method, for the base model and for a guess."""
    others = [name.replace("_", " ") for name, _ in verdicts.study.cells()[0].others]
    steps = [verdict.steps_to_reference for verdict in verdicts.each]
    few = any(reached is not None and reached.coverage < 1 - ERROR for reached in steps)
    head = [
        "model", "task", *others, "r", "method", "best rate", "test loss", "accuracy", "difference",
        f"95% over {interval_over(verdicts)}", "range over rates", "p (Holm)", "verdict", "at one rate",
        f"median steps to reference ({'range of seeds' if few else '95% over seeds'})",
    ]  # fmt: skip
    measured = any(verdict.forgotten for verdict in verdicts.each)
    head += ["text loss", "drift", "of reference's drift (95% over seeds)", "at equal learning"] * measured
    head += [*verdicts.own_measures.values(), "seeds"]
    rows = [head]
    for cell in verdicts.study.cells():
        rows += [_row(verdicts, verdict, measured) for verdict in verdicts.of(cell)]
        base = untrained(verdicts, cell)
        if base is None:
            continue
        known = [cell.model, cell.task, *_others(cell), "" if cell.r is None else str(cell.r)]
        untaught = [("base model", number(base.loss, ".4f"), base.accuracy)]
        untaught += [] if base.guess is None else [(base.guess_words, "", base.guess)]
        for name, loss, accuracy in untaught:
            cells = [*known, name, "", loss, number(accuracy, ".1%")]
            rows.append(cells + [""] * (len(head) - len(cells)))
    return rows


def _others(cell: Cell) -> list[str]:
    """Return what else a cell is of."""
    return [plain(value) for _, value in cell.others]


def interval_over(verdicts: Verdicts) -> str:
    """Return what the intervals of the differences are over: seeds, examples or both."""
    gaps = [verdict.difference.gap for verdict in verdicts.each if verdict.seeds]
    kinds = {"seeds": any(len(gap) > 1 for gap in gaps), "examples": any(gap.shape[1] > 1 for gap in gaps)}
    return and_([kind for kind, is_there in kinds.items() if is_there or not gaps])


def _row(verdicts: Verdicts, verdict: Verdict, measured: bool) -> list[str]:
    shown = verdict.method != verdicts.study.reference
    low, high = verdict.interval.low, verdict.interval.high
    from_, to = verdict.difference.over_rates
    at_one_rate = "not compared" if verdict.shared_lr is None else in_words(verdict.verdict_shared_rate)
    return [
        verdict.cell.model, verdict.cell.task, *_others(verdict.cell), str(verdict.rank), verdict.method,
        verdict.best.words if verdict.best else "",
        number(verdict.test_loss, ".4f"), number(verdict.test_accuracy, ".1%"),
        number(verdict.interval.mean, "+.4f") if shown else "reference",
        f"{number(low, '+.4f')} to {number(high, '+.4f')}" if shown else "",
        f"{number(from_, '+.4f')} to {number(to, '+.4f')}" if shown and from_ != to else "",
        number(verdict.p_value, ".3f") if shown else "",
        in_words(verdict.verdict, verdict.why) if shown else "", at_one_rate if shown else "",
        steps_words(verdict.steps_to_reference), *(_forgotten(verdict, shown) if measured else ()),
        *(number(verdict.measures.get(key)) for key in verdicts.own_measures), str(verdict.seeds),
    ]  # fmt: skip


def _forgotten(verdict: Verdict, shown: bool) -> list[str]:
    """Return the cells on what a method forgets."""
    known = verdict.forgotten
    if known is None:
        return [""] * 4
    ratios = [ratio_words(known.at_best), ratio_words(known.at_equal.ratio)] if shown else ["reference", "reference"]
    return [number(known.text_loss, ".3f"), number(known.drift, ".3f"), *ratios]


def ratio_words(ratio: Ratio) -> str:
    """Return a ratio of drifts with its interval; empty if it is not known.

    >>> ratio_words(Ratio(1.7, 1.4, 2.1, 0.001, 5))
    '1.7 (1.4 to 2.1)'
    """
    if not ratio.seeds:
        return ""
    ends = f" ({number(ratio.low, '.2g')} to {number(ratio.high, '.2g')})" if ratio.seeds > 1 else ""
    return f"{number(ratio.value, '.2g')}{ends}"


def forgetting_words(verdicts: Verdicts, verdict: Verdict) -> str:
    """Say how much a method forgets against the reference, at best rates and at equal learning.

    Empty for the reference, and where it is not known.
    """
    known, reference = verdict.forgotten, method_name(verdicts.study.reference)
    base = next((each for each in verdicts.of(verdict.cell) if each.method == verdicts.study.reference), None)
    if known is None or verdict.method == verdicts.study.reference or base is None or base.forgotten is None:
        return ""
    if not known.at_best.seeds:
        return f"{method_name(verdict.method)} has no drift to compare with {reference}'s"
    equal, ratio = known.at_equal, known.at_best
    turns = ": it turns at rates as good" * (not ratio.survives)
    word = "" if ratio.clause else f"not decided{turns}, "
    words = (
        f"each at its best rate, {method_name(verdict.method)}'s drift is {ratio_words(ratio)} times {reference}'s "
        f"{nats(base.forgotten.drift)} nats ({word}{counted(ratio.seeds, 'seed')})"
    )
    if equal.outside:
        return f"{words}; at equal learning it is not known: {equal.outside}"
    learned = f"a test loss of {nats(equal.target)} {equal.unit}"
    return f"{words}; at equal learning, {learned}, it is {ratio_words(equal.ratio)} times"


def steps_words(reached: MedianInterval | None) -> str:
    """Return the median of the steps to the reference's loss, with its interval.

    >>> steps_words(MedianInterval(30.0, 20.0, math.inf, 0.75))
    '30 (20 to never)'
    """
    if reached is None:
        return ""
    median, low, high = (f"{x:.0f}" if math.isfinite(x) else "never" for x in reached[:3])
    return median if low == high else f"{median} ({low} to {high})"
