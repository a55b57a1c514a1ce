"""A race in one line: who leads, by what, how sure, and what to try next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.machine.wording import Sentence, and_
from olora_viz.measures.training import Examples
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.races.step import with_best_results
from olora_viz.races.tables import Raced, Source
from olora_viz.studies.contest import (
    LARGEST,
    LOWEST,
    Contest,
    Metric,
    SeedGroup,
    contests_of,
    fields_of,
    halves,
    latest_drift,
    latest_examples,
    metric_of,
    scores_of,
)
from olora_viz.studies.forgetting import ratio_of
from olora_viz.studies.sentences import (
    VERDICT_KINDS,
    Basis,
    Statement,
    at_same_rates,
    few,
    leading,
    relation,
    setting_of,
    statement_of,
    turned,
)
from olora_viz.studies.statistics import (
    AHEAD,
    BEHIND,
    LEAST_EXAMPLES,
    LEAST_SEEDS,
    LEVEL,
    UNDECIDED,
    adjusted,
    compare_all,
)
from olora_viz.tasks.evaluation import HeldOut

CLEAR, STILL_OPEN, ONE_RUN = "clear", "open", "one run"
"""How sure a verdict is, beside ``level``: decided over seeds; not decided, or not for other rates; of one seed."""

MOST_FIELDS = 6
"""Most settings, such as ranks, of which a verdict compares the starts."""

MANY_SEEDS = 5
"""With so many seeds, more are not the first thing to try."""

LOOKS = 2
"""The loss is a second look at the same runs: its p-values are multiplied by this (Bonferroni)."""

REPR_CHARACTERS = 60
"""Characters of the sentence in the representation."""


@dataclass(frozen=True, repr=False)
class VerdictLine:
    """Who leads, by what and how sure; as a string, the whole of it.

    Examples:
        >>> import olora_viz as ov
        >>> line = ov.verdict(ov.load_recording("fair-rates"))
        >>> line.certainty, line.metric, line.leader or "no leader"
        ('open', 'accuracy', 'no leader')
        >>> print(line)  # doctest: +NORMALIZE_WHITESPACE
        Each at its best rate, PiSSA (3e-3) cannot be told apart from OLoRA (3e-3) and
        LoRA (1e-2) with so few seeds or examples: PiSSA 29%, OLoRA 29%, LoRA 23% of
        answers right. OLoRA against LoRA at one rate: too few seeds or examples to tell
        from 3e-4 to 3e-2.
    """

    sentences: tuple[Sentence, ...]
    """Each start at its best rate; then what qualifies it, and the main two at shared rates. First of all, if so, that
    no lane has learned the task."""
    certainty: str
    """``clear``, ``level``, ``open`` or ``one run``: of the sentence on best rates."""
    basis: Basis
    """What that rests on."""
    metric: str
    """What is compared: ``accuracy`` or ``loss``."""
    leader: str = ""
    """The initialization that leads; empty if none does."""
    higher: bool = False
    """Whether the best rate is the highest that was tried."""
    unlearned: bool = False
    """Whether no lane has learned the task, which the first sentence then says."""
    compared: tuple[tuple[int, ...], ...] = ()
    """The lanes of each comparison, those of the contender that is named first at the front."""

    def __str__(self) -> str:
        """Return all its sentences."""
        return " ".join(map(str, self.sentences))

    def __repr__(self) -> str:
        """Return the certainty and the beginning of the sentences."""
        text = str(self)
        short = text if len(text) <= REPR_CHARACTERS else f"{text[:REPR_CHARACTERS].rsplit(' ', 1)[0]} …"
        return f"<Verdict, {self.certainty}: {short}>"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        basis = self.basis
        return {
            "sentence": str(self), "certainty": self.certainty, "leader": self.leader or None,
            "metric": self.metric, "seeds": basis.seeds, "examples": basis.examples, "dtype": basis.dtype,
        }  # fmt: skip

    @property
    def next_step(self) -> str:
        """What would make it surer: more ``steps``, ``seeds``, or ``rates`` above those tried; else empty."""
        if self.unlearned:
            return "steps"
        if self.basis.seeds < LEAST_SEEDS:
            return "seeds"
        if self.basis.examples < LEAST_EXAMPLES:
            return ""
        if self.higher:
            return "rates"
        return "seeds" if self.certainty == STILL_OPEN and self.basis.seeds < MANY_SEEDS else ""

    @property
    def reason(self) -> str:
        """The certainty with what it rests on: ``clear · 3 seeds × 64 examples``; a base not in float32 is named.

        Where rates were chosen on other examples, these are counted too: ``32 of 64 examples``.
        """
        count, chosen_on = self.basis.examples, self.basis.chosen_on
        of_all = f" of {count + chosen_on}" * bool(chosen_on)
        examples = f"{count}{of_all} example{'s' * (count + chosen_on != 1)}"
        seeds = f"{self.basis.seeds} seed{'s' * (self.basis.seeds > 1)} × "
        seen = f"{seeds * (self.certainty != ONE_RUN)}{examples}"
        return " · ".join(filter(None, (self.certainty, seen, self.basis.base)))


def verdict(race: Source, config: RaceConfig | Race | None = None) -> VerdictLine | None:
    """Return who leads a race, by what and how sure that is, as the page's line says it.

    Each start counts at its best rate, chosen on one half of the held-out examples and compared on the other; an order
    counts only if it is the same at all rates that the choosing half cannot tell from the best. All these
    comparisons share an error rate of 5%.

    Args:
        race: a `Race`, with its steps so far, or run to its end if it has not started; a `SavedRun`; the path of a run
            folder; a recorded race, see `load_recording`; or the steps of a race.
        config: the config of the steps, or their `Race`.

    Returns:
        VerdictLine, or None if there is nothing to compare: no evaluation yet, or a single lane.

    Raises:
        ValueError: the steps have no config, or see `plot_race`.

    Examples:
        >>> import olora_viz as ov
        >>> line = ov.verdict(ov.load_recording("one-rate"))
        >>> print(line)  # doctest: +NORMALIZE_WHITESPACE
        At one rate (1e-3) OLoRA cannot be told apart from PiSSA, LoRA and MiLoRA with
        so few examples: OLoRA 20%, PiSSA 20%, LoRA 16%, MiLoRA 12% of answers right.
        By loss, OLoRA did better in this run than MiLoRA and LoRA and differs too
        little from PiSSA to matter (less than 0.04 nats): OLoRA 0.44, PiSSA 0.44,
        MiLoRA 0.49, LoRA 0.49 nats.
    """
    raced = Raced.of(race, config)
    if raced.config is None or raced.lanes is None:
        raise ValueError("steps do not say what raced: call verdict(steps, config)")
    steps = with_best_results(raced.config, raced.steps, raced.text, raced.start_loss)
    return verdict_line(
        raced.lanes, latest_examples(steps), plain_text=raced.plain_text, ended=raced.ended,
        held_out=raced.held_out, drift=latest_drift(steps), dtype=raced.config.dtype_on(raced.device),
    )  # fmt: skip


def verdict_line(
    lanes: Sequence[Lane],
    examples: Examples | None,
    *,
    plain_text: bool = False,
    ended: bool = False,
    held_out: HeldOut | None = None,
    drift: np.ndarray | None = None,
    dtype: str = "float32",
) -> VerdictLine | None:
    """Return the verdict on a race so far; None before the first evaluation by example.

    It rests on the comparisons of the story, see `olora_viz.studies.story.story_of`, and shares their error rate.

    Args:
        plain_text, ended, held_out: see `metric_of`. Nothing is clear where no lane has learned the task.
        drift: of the lanes (K,), see `olora_viz.measures.forgetting`; None where it was not measured. It gives the
            first sentence a last clause, once the race has ended, and never decides who leads.
        dtype: of the frozen base.
    """
    if examples is None:
        return None
    metric = metric_of(lanes, examples, plain_text=plain_text, ended=ended, held_out=held_out)
    fields = fields_of(lanes)
    contests = contests_of(lanes, examples, by_loss=metric.by_loss, most=MOST_FIELDS)
    if len(fields) > 1:
        line = _over_settings(contests, fields[0].roles, lanes, metric)
    else:
        moved = drift if ended else None
        line = _of_contest(contests[0], examples, metric, moved) if contests and len(contests[0].names) > 1 else None
    if line is None:
        return None
    line = replace(line, basis=replace(line.basis, dtype=dtype))
    if metric.unlearned is None:
        return line
    sentences = (metric.unlearned, *line.sentences)
    return replace(line, sentences=sentences, certainty=_at_most_open(line.certainty), unlearned=True)


def _of_contest(contest: Contest, examples: Examples, metric: Metric, drift: np.ndarray | None) -> VerdictLine:
    """Return the verdict of a contest; starts that are out of the race are named."""
    first = leading(contest)
    drifts = "" if drift is None else _drifts(contest, drift)
    sentences = [Sentence(f"{first.lead}:", f"{first.scores}{drifts}."), *turned(contest), *few(contest)]
    incomplete = {*contest.narrower, *contest.at_end(LARGEST), *contest.at_end(LOWEST)}
    # Those that trail and may do better at rates not tried.
    doubtful = [
        label_of(group.lane.init)
        for group, kind in zip(contest.contenders[1:], first.kinds, strict=True)
        if kind == AHEAD and group.lane.init in incomplete
    ]
    if doubtful:
        sentences.append(Sentence("", f"{and_(doubtful)} may do better at rates not tried."))
    sentences += [Sentence(f"{also.lead}:", f"{also.scores}.") for also in by_loss_too(contest, examples)]
    sentences += at_same_rates(contest, numbers=False)
    if metric.why and not metric.unlearned:
        sentences.append(Sentence("", metric.why))
    out = [label_of(start) for start in contest.field.starts if start not in contest.places] if contest.field else []
    if out:
        sentences.append(Sentence("", f"{and_(out)} {'are' if len(out) > 1 else 'is'} out of the race."))
    certainty = _certainty(first.kinds, first.basis)
    leader = contest.contenders[0].lane.init if contest.field and AHEAD in first.kinds else ""
    return VerdictLine(
        tuple(sentences), _at_most_open(certainty) if doubtful else certainty, first.basis, metric.name, leader,
        higher=bool(contest.at_end(LARGEST)), compared=(_compared(contest),),
    )  # fmt: skip


def by_loss_too(contest: Contest, examples: Examples) -> list[Statement]:
    """Return how the contenders stand by loss, if it orders others than right answers do; they keep their rates.

    The metric that was named first decides; this is said beside it.

    Args:
        examples: on which the contenders were compared.
    """
    if contest.by_loss or len(contest.names) < 2:
        return []
    _, judge = halves(examples) if contest.chosen_on else (None, slice(None))
    scores = [scores_of(group.lanes, examples, judge).of([*contest.runs]) for group in contest.contenders]
    (pairs,) = adjusted([compare_all(scores)])
    loss = contest.loss
    by_loss = {
        (i, j): replace(
            pair, p_value=min(1.0, LOOKS * pair.p_value),
            counts=pair.examples >= LEAST_EXAMPLES and (loss[i] - loss[j]) * pair.difference > 0,
        )
        for (i, j), pair in pairs.items()
    }  # fmt: skip
    orders = [{at for at, pair in each.items() if pair.in_these_runs == AHEAD} for each in (contest.pairs, by_loss)]
    if orders[0] == orders[1]:
        return []
    first, *others = np.argsort(loss).tolist()
    other = replace(contest, pairs=by_loss, by_loss=True)
    return [statement_of(other, first, *others, where="By loss,")]


def _drifts(contest: Contest, drift: np.ndarray) -> str:
    """Return the clause on how far the first contender drifts against its main rival; empty if not decided."""
    others = [start for start in (contest.field.roles if contest.field else ())[::-1] if contest.places.get(start)]
    other = contest.places[others[0]] if others else 1

    def drifts(group: SeedGroup) -> list[float]:
        return [float(drift[group.lanes[run]]) for run in contest.runs]

    ours, theirs = (drifts(contest.contenders[i]) for i in (0, other))
    like = ([drifts(group) for group in contest.as_good[i]] if contest.as_good else [] for i in (0, other))
    clause = ratio_of(ours, theirs, *like).clause
    if not clause or len(contest.names) == 2:
        return f", and {clause}" * bool(clause)
    first, second = (contest.names[i].partition(" (")[0] for i in (0, other))
    return f", and {first} {clause} as {second}"


def _certainty(kinds: Collection[str], basis: Basis) -> str:
    if basis.seeds < 2:
        return ONE_RUN
    if UNDECIDED in kinds or basis.examples < LEAST_EXAMPLES:
        return STILL_OPEN
    if AHEAD in kinds or BEHIND in kinds:
        return CLEAR if basis.seeds >= LEAST_SEEDS else STILL_OPEN
    return LEVEL


def _at_most_open(certainty: str) -> str:
    return STILL_OPEN if certainty == CLEAR else certainty


def _over_settings(
    contests: Sequence[Contest], roles: tuple[str, str], lanes: Sequence[Lane], metric: Metric
) -> VerdictLine | None:
    """Return with which settings, such as ranks, the main start leads the other one."""
    hero, rival = roles
    kinds: dict[str, list[str]] = {}
    bases: list[Basis] = []
    for contest in contests:
        places = contest.places
        if contest.field and contest.field.roles == roles and {hero, rival} <= places.keys():
            statement = statement_of(contest, places[hero], places[rival])
            bases.append(statement.basis)
            kinds.setdefault(statement.kinds[0], []).append(and_(setting_of(contest.field, lanes)))
    if not bases:
        return None
    basis = replace(bases[0], seeds=min(each.seeds for each in bases))
    order = [kind for kind in VERDICT_KINDS if kind in kinds]
    first, *more = [f"{relation(kind, label_of(rival), basis)} at {and_(kinds[kind])}" for kind in order]
    rest = "".join(f"; it {part}" for part in more)
    leader = {AHEAD: hero, BEHIND: rival}.get(order[0], "") if len(order) == 1 else ""
    sentences = [Sentence(f"{label_of(hero)} {first}{rest}."), *few(contests[0])]
    sentences += [Sentence("", metric.why)] if metric.why and not metric.unlearned else []
    return VerdictLine(
        tuple(sentences), _certainty(kinds, basis), basis, metric.name, leader=leader,
        compared=tuple(map(_compared, contests)),
    )  # fmt: skip


def _compared(contest: Contest) -> tuple[int, ...]:
    """Return the lanes of a contest, those of its first contender first."""
    return (*contest.contenders[0].lanes, *contest.entered)
