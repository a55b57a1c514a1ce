"""A race in one line: who leads, by what, how sure, and what to try next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane
from olora_viz.measures.examples import Examples
from olora_viz.studies.comparison import MOST_FIELDS, Field, fields_of
from olora_viz.studies.contest_words import statements
from olora_viz.studies.decision import AHEAD, BEHIND
from olora_viz.studies.matches import (
    LARGEST,
    LOWEST,
    Match,
    at_best_rates,
    matches_of,
    of_every_lane,
)
from olora_viz.studies.setting_words import setting_of
from olora_viz.studies.statistics import LEAST_SEEDS, LEVEL, UNDECIDED
from olora_viz.studies.who_leads import KINDS, Basis, Statement, relation
from olora_viz.studies.words import Sentence, and_

CLEAR, OPEN, ONE_RUN = "clear", "open", "one run"
"""How sure a verdict is, beside ``level``: decided over seeds; not decided, or not for other rates;
of one seed."""

MANY_SEEDS = 5
"""With so many seeds, more are not the first thing to try."""


@dataclass(frozen=True)
class VerdictLine:
    """Who leads, by what and how sure."""

    said: tuple[Sentence, ...]
    """At a shared rate, at the best ones, or both; then what qualifies it."""
    certainty: str
    """``clear``, ``level``, ``open`` or ``one run``: of what is said first."""
    basis: Basis
    """What that rests on."""
    at_best: tuple[str, Basis] | None = None
    """The certainty at the best rates, and what it rests on, where a shared rate comes first."""
    leader: str = ""
    """The initialization that leads; empty if nobody does."""
    higher: bool = False
    """Whether the best rate is the highest that was tried."""

    @property
    def next_step(self) -> str:
        """What would make it surer: ``seeds``, or ``rates`` above those tried; else empty."""
        if self.basis.seeds < LEAST_SEEDS:
            return "seeds"
        if self.higher:
            return "rates"
        return "seeds" if self.certainty == OPEN and self.basis.seeds < MANY_SEEDS else ""

    @property
    def reason(self) -> str:
        """The certainty with what it rests on: ``clear · 3 seeds × 64 examples``.

        Where two comparisons differ: ``one rate: clear, best: open; 3 seeds × 64 and 32 examples``.
        """
        how, counts = f"{self.certainty} ·", [self.basis.examples]
        if self.at_best and self.certainty != ONE_RUN:
            at_best, basis = self.at_best
            if at_best != self.certainty:
                how = f"one rate: {self.certainty}, best: {at_best};"
            counts += [basis.examples] * (basis.examples != counts[0])
        examples = f"{and_([str(n) for n in counts])} example{'s' * (counts != [1])}"
        if self.certainty == ONE_RUN:
            return f"{how} {examples}"
        return f"{how} {self.basis.seeds} seed{'s' * (self.basis.seeds > 1)} × {examples}"


def verdict_line(
    lanes: Sequence[Lane],
    examples: Examples | None,
    *,
    plain_text: bool = False,
    guessing: bool = False,
) -> VerdictLine | None:
    """Return the verdict on a race so far; None before the first evaluation by example.

    It rests on the comparisons of the story, see `olora_viz.studies.story.tell`, and shares their
    error rate.

    Parameters
    ----------
    guessing : whether no lane does better than guessing, see `is_guessing`; nothing is clear then.
    """
    if examples is None:
        return None
    fields = [field for field in fields_of(lanes) if len(field.starts) > 1]
    if len(fields) > 1:
        found = _over_settings(fields[:MOST_FIELDS], lanes, examples, plain_text)
    elif fields:
        found = _of_matches(matches_of(fields[0], examples, plain_text=plain_text), fields[0])
    else:
        every = of_every_lane(lanes, examples, plain_text=plain_text)
        found = _of_matches([every] if every and len(every.names) > 1 else [])
    return _of_no_use(found) if guessing and found else found


def _of_matches(matches: Sequence[Match], field: Field | None = None) -> VerdictLine | None:
    """Tell of a comparison at a shared rate, if any, and of the one at the best rates.

    Parameters
    ----------
    field : which they are of, if they compare starts; starts that are out of the race are named.
    """
    if not matches:
        return None
    told = [_told(match) for match in matches]
    first, match = told[0], matches[0]
    said = [Sentence(f"{first.lead}:", f"{first.scores}.")]
    said += [Sentence(f"{one.lead}.") for one in told[1:]]
    doubtful = list(dict.fromkeys(name for one in told for name in one.doubtful))
    if doubtful:
        said.append(Sentence("", f"{and_(doubtful)} may do better at rates not tried."))
    there = {entry.name for one in matches for entry in one.held.entries}
    out = [label_of(start) for start in field.starts if start not in there] if field else []
    if out:
        said.append(Sentence("", f"{and_(out)} {'are' if len(out) > 1 else 'is'} out of the race."))
    leader = match.held.entries[match.about].name if AHEAD in first.kinds else ""
    if not leader and BEHIND in first.kinds and len(first.kinds) == 1:
        leader = match.held.entries[match.others[0]].name
    return VerdictLine(
        tuple(said),
        first.certainty,
        first.basis,
        (told[1].certainty, told[1].basis) if told[1:] else None,
        leader,
        higher=any(one.at_end(LARGEST) for one in matches),
    )


@dataclass(frozen=True)
class _Told:
    """What a match shows, by accuracy and, of those that only the loss orders, by loss."""

    lead: str
    scores: str
    kinds: tuple[str, ...]
    basis: Basis
    doubtful: tuple[str, ...]
    """Labels of the starts that trail and were not tried at all rates that may suit them."""

    @property
    def certainty(self) -> str:
        """How sure it is."""
        sure = _certainty(self.kinds, self.basis)
        return _at_most_open(sure) if self.doubtful else sure


def _told(match: Match) -> _Told:
    said, *by_loss = statements(match.where, match.held, match.names, match.about)
    trailing = [n for n, kind in zip(said.names[1:], said.kinds, strict=True) if kind == AHEAD]
    lead, scores, kinds = said.lead, said.scores, said.kinds
    if by_loss:
        (loss,) = by_loss
        trailing += [n for n, kind in zip(loss.names[1:], loss.kinds, strict=True) if kind == AHEAD]
        rest = said.without(loss.names[1:])
        if rest:
            lead = f"{rest.lead}; by {match.held.loss_name} it {loss.relations}"
            kinds = (*rest.kinds, *loss.kinds)
        else:
            where = f"{match.where.removesuffix(',')}, by {match.held.loss_name},"
            loss = replace(loss, where=where if match.where else loss.where)
            lead, scores, kinds = loss.lead, loss.scores, loss.kinds
    of_name = dict(zip(match.names, match.held.entries, strict=True))
    wanting = {*match.narrower, *match.at_end(LARGEST), *match.at_end(LOWEST)}
    doubtful = [label_of(of_name[n].name) for n in trailing if of_name[n].name in wanting]
    return _Told(lead, scores, kinds, said.basis, tuple(doubtful))


def _certainty(kinds: Collection[str], basis: Basis) -> str:
    if basis.seeds < 2:
        return ONE_RUN
    if UNDECIDED in kinds:
        return OPEN
    if AHEAD in kinds or BEHIND in kinds:
        return CLEAR if basis.seeds >= LEAST_SEEDS else OPEN
    return LEVEL


def _of_no_use(found: VerdictLine) -> VerdictLine:
    """Return a verdict on lanes of which none does better than guessing."""
    at_best = found.at_best and (_at_most_open(found.at_best[0]), found.at_best[1])
    return replace(
        found,
        said=(*found.said, Sentence("", "No lane does better than guessing.")),
        certainty=_at_most_open(found.certainty),
        at_best=at_best,
    )


def _at_most_open(certainty: str) -> str:
    return OPEN if certainty == CLEAR else certainty


def _over_settings(
    fields: Sequence[Field], lanes: Sequence[Lane], examples: Examples, plain_text: bool
) -> VerdictLine | None:
    """Tell with which settings, such as ranks, the main start leads the other one."""
    hero, rival = fields[0].roles
    kinds: dict[str, list[str]] = {}
    bases: list[Basis] = []
    names: tuple[str, str] | None = None
    for field in fields:
        match = field.roles == (hero, rival) and at_best_rates(
            field, examples, plain_text=plain_text
        )
        found = match and _pair(match, hero, rival)
        if not found:
            continue
        bases.append(found.basis)
        kinds.setdefault(found.kinds[0], []).append(and_(setting_of(field, lanes)))
        names = names or (_bare(found.names[0]), _bare(found.names[1]))
    if not names:
        return None
    seeds, count = min(b.seeds for b in bases), bases[0].examples
    basis = Basis(seeds, count, chosen_on=bases[0].chosen_on)
    order = [kind for kind in KINDS if kind in kinds]
    first, *more = [
        f"{relation(kind, basis)} {names[1]} with {and_(kinds[kind])}" for kind in order
    ]
    rest = "".join(f"; it {part}" for part in more)
    leader = {AHEAD: hero, BEHIND: rival}.get(order[0], "") if len(order) == 1 else ""
    return VerdictLine(
        (Sentence(f"{names[0]} {first}{rest}."),),
        _certainty(kinds, basis),
        basis,
        leader=leader,
    )


def _pair(match: Match, hero: str, rival: str) -> Statement | None:
    """Return the statement on two entries of a match; None if one of them is out."""
    places = {entry.name: k for k, entry in enumerate(match.held.entries)}
    if hero not in places or rival not in places:
        return None
    its = statements("", match.held, match.names, places[hero])
    for one in reversed(its):
        if match.names[places[rival]] in one.names:
            k = one.names.index(match.names[places[rival]])
            return Statement(
                (one.names[0], one.names[k]), (one.values[0], one.values[k]),
                (one.found[k - 1],), one.basis, one.score,
            )  # fmt: skip
    return None


def _bare(name: str) -> str:
    """Return a name without the rate in parentheses."""
    return name.partition(" (")[0]
