"""A race in one line: who leads, by what, how sure, and what to try next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.measures.training import Examples
from olora_viz.races.config import RaceConfig
from olora_viz.races.race import Race
from olora_viz.races.tables import Raced, Source
from olora_viz.races.trainer import with_best_results
from olora_viz.studies.contest import LARGEST, LOWEST, Match, Told, compared, latest_examples, of_every_lane
from olora_viz.studies.fields import MOST_FIELDS, Metric, fields_of, group_places, metric_of, seed_groups, standings
from olora_viz.studies.pairing import AHEAD, BEHIND
from olora_viz.studies.sentences import KINDS, Basis, Sentence, and_, is_guessing, relation, setting_of
from olora_viz.studies.statistics import LEAST_EXAMPLES, LEAST_SEEDS, LEVEL, UNDECIDED

CLEAR, OPEN, ONE_RUN = "clear", "open", "one run"
"""How sure a verdict is, beside ``level``: decided over seeds; not decided, or not for other rates; of one seed."""

MANY_SEEDS = 5
"""With so many seeds, more are not the first thing to try."""

SHOWN = 60
"""Characters of the sentence in the representation."""


@dataclass(frozen=True, repr=False)
class VerdictLine:
    """Who leads, by what and how sure; as a string, the whole of it."""

    said: tuple[Sentence, ...]
    """Each start at its best rate; then what qualifies it, and the main two at shared rates."""
    certainty: str
    """``clear``, ``level``, ``open`` or ``one run``: of what is said first."""
    basis: Basis
    """What that rests on."""
    metric: str
    """What is compared: ``accuracy`` or ``loss``."""
    leader: str = ""
    """The initialization that leads; empty if nobody does."""
    higher: bool = False
    """Whether the best rate is the highest that was tried."""

    def __str__(self) -> str:
        """Return all its sentences."""
        return " ".join(map(str, self.said))

    def __repr__(self) -> str:
        """Return the certainty and the beginning of what is said."""
        text = str(self)
        short = text if len(text) <= SHOWN else f"{text[:SHOWN].rsplit(' ', 1)[0]} …"
        return f"<Verdict, {self.certainty}: {short}>"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "sentence": str(self),
            "certainty": self.certainty,
            "leader": self.leader or None,
            "metric": self.metric,
            "seeds": self.basis.seeds,
            "examples": self.basis.examples,
        }

    @property
    def next_step(self) -> str:
        """What would make it surer: ``seeds``, or ``rates`` above those tried; else empty."""
        if self.basis.seeds < LEAST_SEEDS:
            return "seeds"
        if self.basis.examples < LEAST_EXAMPLES:
            return ""
        if self.higher:
            return "rates"
        return "seeds" if self.certainty == OPEN and self.basis.seeds < MANY_SEEDS else ""

    @property
    def reason(self) -> str:
        """The certainty with what it rests on: ``clear · 3 seeds × 64 examples``."""
        examples = f"{self.basis.examples} example{'s' * (self.basis.examples != 1)}"
        seeds = f"{self.basis.seeds} seed{'s' * (self.basis.seeds > 1)} × "
        return f"{self.certainty} · {seeds * (self.certainty != ONE_RUN)}{examples}"


def verdict(race: Source, config: RaceConfig | Race | None = None) -> VerdictLine | None:
    """Return who leads a race, by what and how sure that is, as the page's line says it.

    Each start counts at its best rate, chosen on one half of the held-out examples and compared on the other; an order
    counts only if it is the same at all rates that the choosing half cannot tell from the best. All comparisons that
    are told of share an error rate of 5%.

    Args:
        race: a `Race`, with its steps so far, or run to its end if it has not started; a `SavedRun`; the path of a run
            folder; a recorded race, see `load_recording`; or the steps of a race.
        config: the config of the steps, or their `Race`.

    Returns:
        VerdictLine, or None if there is nothing to compare: no evaluation yet, or a single lane.

    Raises:
        ValueError: the steps have no config, or see `plot_race`.
    """
    raced = Raced.of(race, config)
    if raced.config is None or raced.lanes is None:
        raise ValueError("steps do not say what raced: call verdict(steps, config)")
    steps = with_best_results(raced.config, raced.steps)
    rows = standings(steps, len(raced.lanes))
    return verdict_line(
        raced.lanes, latest_examples(steps), plain_text=raced.plain_text, ended=raced.ended,
        guessing=is_guessing(group_places(rows, seed_groups(raced.lanes)), raced.held_out),
    )  # fmt: skip


def verdict_line(
    lanes: Sequence[Lane],
    examples: Examples | None,
    *,
    plain_text: bool = False,
    ended: bool = False,
    guessing: bool = False,
) -> VerdictLine | None:
    """Return the verdict on a race so far; None before the first evaluation by example.

    It rests on the comparisons of the story, see `olora_viz.studies.story.tell`, and shares their error rate.

    Args:
        plain_text: see `metric_of`.
        ended: see `plain_text`.
        guessing: whether no lane does better than guessing, see `is_guessing`; nothing is clear then.
    """
    if examples is None:
        return None
    metric = metric_of(lanes, examples, plain_text=plain_text, ended=ended, guessing=guessing)
    fields = [field for field in fields_of(lanes) if len(field.starts) > 1][:MOST_FIELDS]
    told = compared(fields, examples, by_loss=metric.by_loss)
    if len(fields) > 1:
        found = _over_settings(told, fields[0].roles, lanes, metric)
    elif told:
        found = _of_match(told[0].best, metric, told[0])
    else:
        every = None if fields else of_every_lane(lanes, examples, by_loss=metric.by_loss)
        found = _of_match(every, metric) if every and len(every.names) > 1 else None
    return _of_no_use(found, metric) if guessing and found else found


def _of_match(match: Match, metric: Metric, told: Told | None = None) -> VerdictLine:
    """Tell of a comparison, and of what else is told of its field.

    Args:
        told: if it compares starts; starts that are out of the race are named.
    """
    first = match.statement
    doubtful = _doubtful(match)
    said = [Sentence(f"{first.lead}:", f"{first.scores}."), *match.turned, *match.few]
    if doubtful:
        said.append(Sentence("", f"{and_(doubtful)} may do better at rates not tried."))
    if told and told.main:
        said.append(Sentence("", f"{told.main.lead}."))
    if told and told.shared:
        said.append(told.shared.clause)
    if metric.why:
        said.append(Sentence("", metric.why))
    there = {entry.name for entry in match.held.entries}
    out = [label_of(s) for s in told.field.starts if s not in there] if told else []
    if out:
        said.append(Sentence("", f"{and_(out)} {'are' if len(out) > 1 else 'is'} out of the race."))
    sure = _certainty(first.kinds, first.basis)
    leader = match.held.entries[0].name if told and AHEAD in first.kinds else ""
    return VerdictLine(
        tuple(said), _at_most_open(sure) if doubtful else sure, first.basis, metric.name, leader,
        higher=bool(match.at_end(LARGEST)),
    )  # fmt: skip


def _doubtful(match: Match) -> list[str]:
    """Return the labels of the starts that trail and may do better at rates not tried."""
    wanting = {*match.narrower, *match.at_end(LARGEST), *match.at_end(LOWEST)}
    others = zip(match.held.entries[1:], match.statement.kinds, strict=True)
    trailing = [entry.name for entry, kind in others if kind == AHEAD]
    return [label_of(start) for start in trailing if start in wanting]


def _certainty(kinds: Collection[str], basis: Basis) -> str:
    if basis.seeds < 2:
        return ONE_RUN
    if UNDECIDED in kinds or basis.examples < LEAST_EXAMPLES:
        return OPEN
    if AHEAD in kinds or BEHIND in kinds:
        return CLEAR if basis.seeds >= LEAST_SEEDS else OPEN
    return LEVEL


def _of_no_use(found: VerdictLine, metric: Metric) -> VerdictLine:
    """Return a verdict on lanes of which none does better than guessing."""
    words = [] if metric.why else [Sentence("", "No lane does better than guessing.")]
    said = (*found.said, *words)
    return replace(found, said=said, certainty=_at_most_open(found.certainty))


def _at_most_open(certainty: str) -> str:
    return OPEN if certainty == CLEAR else certainty


def _over_settings(
    told: Sequence[Told], roles: tuple[str, str], lanes: Sequence[Lane], metric: Metric
) -> VerdictLine | None:
    """Tell with which settings, such as ranks, the main start leads the other one."""
    hero, rival = roles
    kinds: dict[str, list[str]] = {}
    bases: list[Basis] = []
    for one in told:
        places = {entry.name: k for k, entry in enumerate(one.best.held.entries)}
        if one.field.roles != roles or not {hero, rival} <= places.keys():
            continue
        found = one.best.between(places[hero], places[rival])
        bases.append(found.basis)
        kinds.setdefault(found.kinds[0], []).append(and_(setting_of(one.field, lanes)))
    if not bases:
        return None
    seeds, count = min(b.seeds for b in bases), bases[0].examples
    basis = Basis(seeds, count, chosen_on=bases[0].chosen_on)
    order = [kind for kind in KINDS if kind in kinds]
    first, *more = [f"{relation(kind, basis)} {label_of(rival)} with {and_(kinds[kind])}" for kind in order]
    rest = "".join(f"; it {part}" for part in more)
    leader = {AHEAD: hero, BEHIND: rival}.get(order[0], "") if len(order) == 1 else ""
    said = [Sentence(f"{label_of(hero)} {first}{rest}."), *told[0].best.few]
    said += [Sentence("", metric.why)] if metric.why else []
    return VerdictLine(tuple(said), _certainty(kinds, basis), basis, metric.name, leader=leader)
