"""A race in one line: who leads, by what, how sure, and what to try next."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.machine.wording import Sentence, and_, compact
from olora_viz.measures.training import Examples
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.races.step import Step, held_out_losses, with_best_results
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
from olora_viz.studies.rewards import never_taught, stuck_lanes
from olora_viz.studies.sentences import (
    VERDICT_KINDS,
    Basis,
    Statement,
    at_same_rates,
    few,
    leading,
    listed,
    relation,
    scarce,
    setting_of,
    statement_of,
    turned,
)
from olora_viz.studies.statistics import (
    AHEAD,
    BEHIND,
    ERROR,
    LEAST_EXAMPLES,
    LEAST_SEEDS,
    LEVEL,
    UNDECIDED,
    Interval,
    adjusted,
    compare_all,
    first_at,
    holm,
    t_interval,
)
from olora_viz.tasks.evaluation import HeldOut

CLEAR, STILL_OPEN, ONE_RUN = "clear", "open", "one run"
"""How sure a verdict is, beside ``level``: decided over seeds; not decided, or not for other rates; of one seed."""

MOST_FIELDS = 6
"""Most settings, such as ranks, of which a verdict compares the starts."""

MANY_SEEDS = 5
"""With so many seeds, more are not the first thing to try."""

MOST_WORDS = 15
"""Words of a headline, at most."""

LOOKS = 2
"""The loss is a second look at the same runs: its p-values are multiplied by this (Bonferroni)."""


@dataclass(frozen=True, repr=False)
class VerdictLine:
    """Who leads, by what and how sure: a headline with its tag; as a string, the whole of it.

    Examples:
        >>> import olora_viz as ov
        >>> line = ov.verdict(ov.load_recording("fair-rates"))
        >>> line.headline
        'PiSSA 29%, OLoRA 29%, LoRA 23% right: too few seeds or examples to tell.'
        >>> line.tag
        '3 seeds: could be luck'
        >>> line.certainty, line.metric, line.leader or "no leader"
        ('open', 'accuracy', 'no leader')
        >>> print(line)  # doctest: +NORMALIZE_WHITESPACE
        Each at its best rate, PiSSA (3e-3) cannot be told apart from OLoRA (3e-3) and
        LoRA (1e-2) with so few seeds or examples: PiSSA 29%, OLoRA 29%, LoRA 23% of
        answers right. OLoRA against LoRA at one rate: too few seeds or examples to tell
        from 3e-4 to 3e-2.
    """

    headline: str
    """Who leads whom, by how many steps if that is known, and at which rates, in at most `MOST_WORDS` words."""
    tag: str
    """How sure the headline is: ``clear``; ``3 seeds: likely``; ``3 seeds: could be luck``; ``the same``; ``too small
    to matter``; ``not learned yet``."""
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
    at_one_rate: bool = False
    """Whether the starts were compared at one rate alone."""
    unlearned: bool = False
    """Whether no lane has learned the task, which the first sentence then says."""
    compared: tuple[tuple[int, ...], ...] = ()
    """The lanes of each comparison, those of the contender that is named first at the front."""

    def __str__(self) -> str:
        """Return all its sentences."""
        return " ".join(map(str, self.sentences))

    def __repr__(self) -> str:
        """Return the tag and the headline."""
        return f"<Verdict, {self.tag}: {self.headline}>"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        basis = self.basis
        return {
            "headline": self.headline, "tag": self.tag, "sentence": str(self), "certainty": self.certainty,
            "leader": self.leader or None,
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
    def question(self) -> str:
        """What the next step would answer; may be empty."""
        if self.next_step == "rates":
            return "Is it the start, or only the rate?" if self.at_one_rate else "Is a higher rate better still?"
        return "Is it the start, or luck?" if self.next_step == "seeds" else ""

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
        steps=steps, start_loss=raced.start_loss,
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
    steps: Sequence[Step] = (),
    start_loss: float | None = None,
) -> VerdictLine | None:
    """Return the verdict on a race so far; None before the first evaluation by example.

    It rests on the comparisons of the story, see `olora_viz.studies.story.story_of`, and shares their error rate.

    Args:
        plain_text, ended, held_out: see `metric_of`. Nothing is clear where no lane has learned the task.
        drift: of the lanes (K,), see `olora_viz.measures.forgetting`; None where it was not measured. It gives the
            first sentence a last clause, once the race has ended, and never decides who leads.
        dtype: of the frozen base.
        steps, start_loss: of the race, and the base model's held-out loss, nats: at one rate they tell who learned
            sooner, once the race has ended.
    """
    if examples is None:
        return None
    metric = metric_of(lanes, examples, plain_text=plain_text, ended=ended, held_out=held_out)
    fields = fields_of(lanes)
    contests = contests_of(lanes, examples, by_loss=metric.by_loss, most=MOST_FIELDS)
    if len(fields) > 1:
        line = _over_settings(contests, fields[0].roles, lanes, metric)
    else:
        line = None
        if contests and len(contests[0].names) > 1:
            sooner = steps_before_lora(contests[0], lanes, steps, start_loss) if ended else {}
            line = _of_contest(contests[0], examples, metric, drift if ended else None, sooner)
    if line is None:
        return None
    line = replace(
        line, basis=replace(line.basis, dtype=dtype), sentences=(*line.sentences, *stuck_lanes(lanes, steps))
    )
    nothing = never_taught(steps)
    lack = nothing or metric.unlearned
    if lack is None:
        return line
    sentences = (lack, *line.sentences)
    # While the race goes on, more steps come by themselves.
    remedy = ": train for more steps" * (ended and not nothing)
    headline = f"{lack.lead.removesuffix(':')}{remedy}."
    return replace(
        line, headline=headline, tag="not learned yet", sentences=sentences, certainty=_at_most_open(line.certainty),
        unlearned=True,
    )  # fmt: skip


def _of_contest(
    contest: Contest, examples: Examples, metric: Metric, drift: np.ndarray | None, earlier: Mapping[str, Interval]
) -> VerdictLine:
    """Return the verdict of a contest; starts that are out of the race are named."""
    first = leading(contest)
    drifts = "" if drift is None else _drifts(contest, drift)
    sooner = {label_of(start): gap for start, gap in earlier.items()}
    lead = f"In the end, {first.lead[0].lower()}{first.lead[1:]}" if sooner else first.lead
    sentences = [_sooner(sooner)] if sooner else []
    sentences += [Sentence(f"{lead}:", f"{first.scores}{drifts}."), *turned(contest), *few(contest)]
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
    certainty = _at_most_open(certainty) if doubtful else certainty
    leader = contest.contenders[0].lane.init if contest.field and AHEAD in first.kinds else ""
    at_one_rate = bool(contest.field and contest.field.at_one_rate)
    return VerdictLine(
        _headline(contest, first, sooner), _tag([*[AHEAD] * len(sooner), *first.kinds], certainty, first),
        tuple(sentences), certainty, first.basis, metric.name, leader,
        higher=bool(contest.at_end(LARGEST) or (at_one_rate and (leader or sooner))),
        at_one_rate=at_one_rate,
        compared=(_compared(contest),),
    )  # fmt: skip


def _sides(contest: Contest, first: Statement) -> tuple[list[int], list[int]]:
    """Return the places of those that are ahead of all that trail, and of those that the first one is ahead of."""
    trailing = [place for place, kind in enumerate(first.kinds, 1) if kind == AHEAD]
    ahead = [
        place
        for place in range(len(contest.names))
        if place not in trailing and all(contest.pairs[place, other].in_these_runs == AHEAD for other in trailing)
    ]
    return ahead if trailing else [], trailing


def steps_before_lora(
    contest: Contest, lanes: Sequence[Lane], steps: Sequence[Step], start_loss: float | None = None
) -> dict[str, Interval]:
    """Return how many steps before plain LoRA the starts of a contest at one rate reached a loss, paired by seed.

    Of each seed it is the lowest loss that both have at the end, the higher one of the two: if nothing tells the
    starts apart, either is as likely to be the sooner one. Student's t over the seeds decides, with Holm's p-values
    over the starts, on the held-out examples of the race.

    Args:
        contest: see `contests_of`.
        lanes, steps: of the race.
        start_loss: held-out loss of the base model, nats; None while unknown.

    Returns:
        The starts that are sooner, each with the mean over the seeds and its 95% interval. None if the contest is not
        one of starts at one rate with plain LoRA, over `LEAST_SEEDS` independent seeds at least.
    """
    places = contest.places
    if not contest.field or not contest.field.at_one_rate or "lora" not in places or len(contest.runs) < LEAST_SEEDS:
        return {}
    at, losses = held_out_losses(lanes, steps, start_loss)
    if not len(losses):
        return {}

    def first(lane: int, target: float) -> float:
        step = first_at(target, at, losses[:, lane].tolist())
        assert step is not None  # the last evaluation is there
        return step

    rival, gaps = contest.contenders[places["lora"]].lanes, {}
    for start in places.keys() - {"lora"}:
        lanes_of = contest.contenders[places[start]].lanes
        pairs = [(rival[run], lanes_of[run]) for run in contest.runs]
        targets = [max(losses[-1, theirs], losses[-1, ours]) for theirs, ours in pairs]
        each = [first(i, goal) - first(j, goal) for (i, j), goal in zip(pairs, targets, strict=True)]
        gaps[start] = t_interval(np.array(each))
    p_values = dict(zip(gaps, holm([gap.p_value for gap in gaps.values()]), strict=True))
    return {start: gaps[start] for start in places if p_values.get(start, 1.0) < ERROR and gaps[start].mean > 0}


def _sooner(sooner: Mapping[str, Interval]) -> Sentence:
    """Say how many steps sooner each start was, with the interval over seeds."""
    (start, gap), *others = sooner.items()
    first = f"{start} takes {gap.mean:.0f} steps fewer than LoRA ({gap.low:.0f} to {gap.high:.0f})"
    more = [f"{start} {gap.mean:.0f} ({gap.low:.0f} to {gap.high:.0f})" for start, gap in others]
    lead = f"{and_(list(sooner))} learn{'s' * (len(sooner) == 1)} earlier:"
    return Sentence(lead, f"to the loss that both reach, {and_([first, *more])}; means over seeds, 95% intervals.")


def _headline(contest: Contest, first: Statement, sooner: Mapping[str, Interval]) -> str:
    """Return who leads whom in at most `MOST_WORDS` words: the longest of some sentences that is short enough."""
    names = [name.partition(" (")[0] for name in contest.names]
    field, rate = contest.field, ""
    if field and field.at_one_rate:
        rate = f" at rate {compact(field.contenders[0].lane.lr)}"
    elif field and field.has_rates:
        rate = ", each at its best rate"
    ahead, trailing = _sides(contest, first)
    if sooner:
        steps = sorted({round(gap.mean) for gap in sooner.values()})
        count = f"{steps[0]} to {steps[-1]}" if len(steps) > 1 else str(steps[0])
        learn = f"learn{'s' * (len(sooner) == 1)} {count} steps earlier than"
        said = [f"{listed(list(sooner), most)} {learn} LoRA{at}." for at in (rate, "") for most in (3, 2)]
    elif trailing:
        is_ahead = relation(AHEAD, "", first.basis).strip()
        are = re.sub("^is ", "are ", is_ahead) if len(ahead) > 1 else is_ahead
        said = [
            f"{listed([names[i] for i in ahead], most)} {are} {listed([names[i] for i in trailing], most)}{at}."
            for at in (rate, "")
            for most in (3, 2)
        ]
        said.append(f"{names[0]} leads.")
    elif UNDECIDED in first.kinds or first.basis.examples < LEAST_EXAMPLES:
        scores = [f"{name} {value}" for name, value in zip(names, first.written, strict=True)]
        unit = "right" if first.shares else "nats"
        said = [f"{', '.join(scores[:most])} {unit}: too few {scarce(first.basis)} to tell." for most in (3, 2)]
        said.append(f"Too few {scarce(first.basis)} to tell who leads.")
    else:
        said = [f"{listed(names, most)} end level{at}." for at in (rate, "") for most in (4, 3, 2)]
        said.append("All end level.")
    return next(each for each in said if len(each.split()) <= MOST_WORDS)


def _tag(kinds: Collection[str], certainty: str, *statements: Statement) -> str:
    """Return how sure a headline is, see `VerdictLine.tag`.

    Args:
        kinds: of all that it may say.
        certainty: see `VerdictLine.certainty`.
        statements: that it rests on.
    """
    basis = min((each.basis for each in statements), key=lambda basis: basis.seeds)
    seeds = "one seed" if basis.seeds == 1 else f"{basis.seeds} seeds"
    if certainty == CLEAR and basis.seeds >= MANY_SEEDS:
        return CLEAR
    if basis.seeds > 1 and {AHEAD, BEHIND} & set(kinds):
        return f"{seeds}: likely"
    if certainty != LEVEL:
        return f"{seeds}: could be luck"
    pairs = [pair for statement in statements for pair in statement.comparisons]
    apart = any(pair.in_these_runs == LEVEL and pair.low * pair.high > 0 for pair in pairs)
    return "too small to matter" if apart else "the same"


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
    statements: list[Statement] = []
    for contest in contests:
        places = contest.places
        if contest.field and contest.field.roles == roles and {hero, rival} <= places.keys():
            statement = statement_of(contest, places[hero], places[rival])
            statements.append(statement)
            kinds.setdefault(statement.kinds[0], []).append(and_(setting_of(contest.field, lanes)))
    if not statements:
        return None
    basis = replace(statements[0].basis, seeds=min(each.basis.seeds for each in statements))
    order = [kind for kind in VERDICT_KINDS if kind in kinds]
    first, *more = [f"{relation(kind, label_of(rival), basis)} at {and_(kinds[kind])}" for kind in order]
    rest = "".join(f"; it {part}" for part in more)
    leader = {AHEAD: hero, BEHIND: rival}.get(order[0], "") if len(order) == 1 else ""
    sentences = [Sentence(f"{label_of(hero)} {first}{rest}."), *few(contests[0])]
    sentences += [Sentence("", metric.why)] if metric.why and not metric.unlearned else []
    certainty = _certainty(kinds, basis)
    most = max(kinds, key=lambda kind: len(kinds[kind]))
    settings, each = sum(map(len, kinds.values())), len(kinds[most])
    of_all = f"in {each} of {settings} settings" if each < settings else f"in all {settings} settings"
    return VerdictLine(
        f"{label_of(hero)} {relation(most, label_of(rival), basis)} {of_all}.",
        _tag(list(kinds), certainty, *statements), tuple(sentences), certainty, basis, metric.name, leader=leader,
        compared=tuple(map(_compared, contests)),
    )  # fmt: skip


def _compared(contest: Contest) -> tuple[int, ...]:
    """Return the lanes of a contest, those of its first contender first."""
    return (*contest.contenders[0].lanes, *contest.entered)
