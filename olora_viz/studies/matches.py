"""The comparisons that the story of a race and its verdict tell of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from dataclasses import field as field_of

from olora_viz.initializers import label_of
from olora_viz.lanes.labels import display_names
from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import compact
from olora_viz.measures.examples import Examples
from olora_viz.studies.comparison import Contender, Field
from olora_viz.studies.contest import Contest, Entry, best_of, contest, halves
from olora_viz.studies.seed_groups import seed_groups
from olora_viz.studies.words import Sentence, and_

LARGEST, LOWEST = "largest", "lowest"
"""The ends of the rates that were tried."""


@dataclass(frozen=True)
class Match:
    """A contest, and who in it is spoken of."""

    where: str
    """Where it holds, such as "At one shared rate (1e-3)"; may be empty."""
    held: Contest
    names: tuple[str, ...]
    """Of the entries, in the contest's order."""
    about: int = 0
    """The place of the entry that is compared with all others."""
    rates: dict[str, tuple[float, list[float]]] = field_of(default_factory=dict)
    """The chosen rate and those tried, rising, of every start whose rates were chosen from."""

    @property
    def others(self) -> list[int]:
        """The places of the others."""
        return [j for j in range(len(self.names)) if j != self.about]

    def at_end(self, end: str) -> list[str]:
        """Return the starts whose rate is the ``largest`` or the ``lowest`` of several tried."""
        place = -1 if end == LARGEST else 0
        return [
            start
            for start in self._starts
            if len(self.rates[start][1]) > 1 and self.rates[start][0] == self.rates[start][1][place]
        ]

    @property
    def narrower(self) -> dict[str, list[float]]:
        """The rates of the starts that were not tried at all rates at which others were."""
        tried = {start: self.rates[start][1] for start in self._starts}
        every = set().union(*tried.values())
        return {start: rates for start, rates in tried.items() if set(rates) != every}

    @property
    def beyond(self) -> list[Sentence]:
        """What to say if rates that were not tried may suit a start better."""
        said = []
        for end, more in ((LARGEST, "larger"), (LOWEST, "lower")):
            names = [label_of(start) for start in self.at_end(end)]
            if len(names) == 1:
                said.append(
                    f"{names[0]}'s rate is the {end} one tried: a {more} one may suit it better."
                )
            elif names:
                said.append(
                    f"The rates of {and_(names)} are the {end} ones tried: {more} ones may suit "
                    "them better."
                )
        if self.narrower:
            only = [
                f"{label_of(start)} only at {and_([compact(rate) for rate in rates])}"
                for start, rates in self.narrower.items()
            ]
            said.append(f"Not all were tried at the same rates: {'; '.join(only)}.")
        return [Sentence("", one) for one in said]

    @property
    def _starts(self) -> list[str]:
        """The starts whose rates are known, in the contest's order."""
        return [entry.name for entry in self.held.entries if entry.name in self.rates]


def matches_of(field: Field, examples: Examples, *, plain_text: bool, at: str = "") -> list[Match]:
    """Compare the starts of a field: at the rate that the main two share, and at their best.

    Parameters
    ----------
    at : what the field differs in from others of the race, in words; then only the best rates are
        compared. It may be empty.
    """
    shared = None if at else at_shared_rate(field, examples, plain_text=plain_text)
    if shared and field.is_one_pair:
        return [shared]
    best = at_best_rates(field, examples, plain_text=plain_text, at=at)
    return [one for one in (shared, best) if one]


def at_shared_rate(field: Field, examples: Examples, *, plain_text: bool) -> Match | None:
    """Compare the main two starts at the lowest rate that both race at."""
    (hero, rival), shared = field.roles, field.shared_rates
    if not shared:
        return None
    entries = [
        Entry(init, one.lanes)
        for init in (hero, rival)
        for one in field.contenders
        if one.init == init and one.lr == shared[0]
    ]
    held = contest(entries, examples, plain_text=plain_text, told=field.told)
    if held is None or len(held.entries) < 2:
        return None
    names = [entry.name for entry in held.entries]
    where = f"At one shared rate ({compact(shared[0])})"
    return Match(where, held, tuple(map(label_of, names)), names.index(hero))


def at_best_rates(
    field: Field, examples: Examples, *, plain_text: bool, at: str = ""
) -> Match | None:
    """Compare the starts of a field, each at its best rate, or one start at all of its rates.

    The rates are chosen on one half of the held-out examples, and compared on the other.
    """
    if len(field.starts) == 1:
        return _one_start(field, examples, plain_text)
    rates = {start: field.rates(start) for start in field.starts}
    several = max(map(len, rates.values())) > 1
    one_rate = len({one.lr for one in field.contenders}) == 1
    choose, judge = halves(examples) if several else (slice(None), slice(None))
    best = _chosen(field, examples, choose)
    chosen_on = len(range(examples.loss.shape[1])[choose]) if choose != judge else 0
    held = contest(
        [Entry(one.init, one.lanes) for one in best.values()], examples,
        plain_text=plain_text, columns=judge, chosen_on=chosen_on, told=field.told,
    )  # fmt: skip
    if held is None or len(held.entries) < 2:
        return None
    named = [
        label_of(e.name) + ("" if one_rate else f" ({compact(best[e.name].lr)})")
        for e in held.entries
    ]
    how = "" if one_rate else "each at its best rate" if several else "each at its only rate"
    where = ", ".join(part for part in (at, how) if part)
    where = f"{where[:1].upper()}{where[1:]}," if where else ""
    chosen = {start: (best[start].lr, rates[start]) for start in best}
    return Match(where, held, tuple(named), rates=chosen)


def of_every_lane(lanes: Sequence[Lane], examples: Examples, *, plain_text: bool) -> Match | None:
    """Compare all lanes, of which no two starts may be compared; seeds are one contender."""
    groups = seed_groups(lanes)
    counts = {len(group.lanes) for group in groups}
    shown = [replace(group.lane, seed=0) for group in groups] if len(counts) == 1 else lanes
    places = [g.lanes for g in groups] if len(counts) == 1 else [(k,) for k in range(len(lanes))]
    entries = [Entry(n, ks) for n, ks in zip(display_names(shown), places, strict=True)]
    held = contest(entries, examples, plain_text=plain_text)
    return Match("", held, tuple(entry.name for entry in held.entries)) if held else None


def _one_start(field: Field, examples: Examples, plain_text: bool) -> Match | None:
    """Compare the rates of the only start."""
    name = label_of(field.starts[0])
    entries = [Entry(f"{name} {compact(one.lr)}", one.lanes) for one in field.contenders]
    held = contest(entries, examples, plain_text=plain_text)
    if held is None or len(held.entries) < 2:
        return None
    return Match("", held, tuple(entry.name for entry in held.entries))


def _chosen(field: Field, examples: Examples, choose: slice) -> dict[str, Contender]:
    """Return every start at the rate with the lowest loss on some examples, if any is whole."""
    found: dict[str, Contender] = {}
    for start in field.starts:
        tried = [one for one in field.contenders if one.init == start]
        k = best_of([Entry(start, one.lanes) for one in tried], examples, choose)
        if k is not None:
            found[start] = tried[k]
    return found
