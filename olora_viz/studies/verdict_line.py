"""A race in one line: who leads, by what, how sure, and what to try next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from olora_viz.lanes.lane import Lane
from olora_viz.measures.examples import Examples
from olora_viz.studies.comparison import MOST_FIELDS, Field, fields_of
from olora_viz.studies.contest_words import statements
from olora_viz.studies.decision import AHEAD, BEHIND
from olora_viz.studies.matches import Match, at_best_rates, matches_of, of_every_lane
from olora_viz.studies.setting_words import setting_of
from olora_viz.studies.statistics import LEAST_SEEDS, LEVEL, UNDECIDED
from olora_viz.studies.who_leads import KINDS, SAME, Basis, Statement, relation
from olora_viz.studies.words import Sentence, and_

CLEAR, OPEN, ONE_RUN = "clear", "open", "one run"
"""How sure a verdict is, beside ``level``: decided over seeds, undecided, or of one seed."""

MANY_SEEDS = 5
"""With so many seeds, more are not the first thing to try."""


@dataclass(frozen=True)
class VerdictLine:
    """Who leads, by what and how sure."""

    said: tuple[Sentence, ...]
    """One sentence or two: at a shared rate, and at the best ones."""
    certainty: str
    """``clear``, ``level``, ``open`` or ``one run``."""
    basis: Basis
    """What it rests on."""
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
        """The certainty with what it rests on: ``clear · 3 seeds × 64 examples``."""
        seeds = f"{self.basis.seeds} seeds" if self.basis.seeds > 1 else "1 seed"
        if self.certainty == ONE_RUN:
            return f"{ONE_RUN} · {self.basis.examples} examples"
        return f"{self.certainty} · {seeds} × {self.basis.examples} examples"


def verdict_line(
    lanes: Sequence[Lane], examples: Examples | None, *, plain_text: bool = False
) -> VerdictLine | None:
    """Return the verdict on a race so far; None before the first evaluation by example.

    It rests on the comparisons of the story, see `olora_viz.studies.story.tell`, and shares their
    error rate.
    """
    if examples is None:
        return None
    fields = [field for field in fields_of(lanes) if len(field.starts) > 1]
    if len(fields) > 1:
        return _over_settings(fields[:MOST_FIELDS], lanes, examples, plain_text)
    if fields:
        return _of_matches(matches_of(fields[0], examples, plain_text=plain_text))
    every = of_every_lane(lanes, examples, plain_text=plain_text)
    return _of_matches([every] if every and len(every.names) > 1 else [])


def _of_matches(matches: Sequence[Match]) -> VerdictLine | None:
    """Tell of a comparison at a shared rate, if any, and of the one at the best rates."""
    if not matches:
        return None
    deciding = [_deciding(match) for match in matches]
    first, match = deciding[0], matches[0]
    said = [Sentence(f"{first.lead}:", f"{first.scores}.")]
    said += [Sentence(f"{one.lead}.") for one in deciding[1:]]
    kinds = first.kinds
    leads = AHEAD in kinds or BEHIND in kinds
    leader = match.held.entries[match.about].name if AHEAD in kinds else ""
    if not leader and BEHIND in kinds and len(kinds) == 1:
        leader = match.held.entries[match.others[0]].name
    return VerdictLine(
        tuple(said),
        _certainty(leads, all(k in (LEVEL, SAME) for k in kinds), first.basis.seeds),
        first.basis,
        leader,
        higher=any(one.end == "largest" for one in matches),
    )


def _deciding(match: Match) -> Statement:
    """Return the statement by what leads, or the one by the loss if only the loss orders."""
    said, *by_loss = statements(match.where, match.held, match.names, match.about)
    if not by_loss:
        return said
    where = f"{match.where.removesuffix(',')}, by {match.held.loss_name}," if match.where else ""
    return replace(by_loss[0], where=where or by_loss[0].where)


def _certainty(leads: bool, level: bool, seeds: int) -> str:
    if seeds < 2:
        return ONE_RUN
    if leads:
        return CLEAR if seeds >= LEAST_SEEDS else OPEN
    return LEVEL if level else OPEN


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
    leads = order[0] in (AHEAD, BEHIND)
    leader = {AHEAD: hero, BEHIND: rival}.get(order[0], "") if len(order) == 1 else ""
    return VerdictLine(
        (Sentence(f"{names[0]} {first}{rest}."),),
        _certainty(leads, UNDECIDED not in kinds and not leads, seeds),
        basis,
        leader,
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
