"""The results of a race in sentences.

Pure functions of lanes and steps. Every number comes from the run; who is ahead of whom is decided
by `olora_viz.studies.decision` alone, among lanes that may be compared, and worded by
`olora_viz.studies.who_leads`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from olora_viz.initializers import label_of
from olora_viz.lanes.labels import display_names
from olora_viz.lanes.lane import Lane
from olora_viz.machine.numbers import compact, nats, percent
from olora_viz.measures.examples import Examples
from olora_viz.races.step import Step
from olora_viz.studies.comparison import (
    MOST_FIELDS,
    Contender,
    Field,
    differences,
    fields_of,
)
from olora_viz.studies.contest import Entry, best_of, contest, halves, latest_examples
from olora_viz.studies.contest_words import told_of
from olora_viz.studies.remarks import departures, no_better_than_guessing
from olora_viz.studies.seed_groups import seed_groups
from olora_viz.studies.standings import Place, standings
from olora_viz.studies.words import Sentence, and_, listed, times
from olora_viz.tasks.held_out import HeldOut

SAME_LOSS = 0.02
"""Losses of the first batch within this many nats come from the same function."""

SAME_NORM = 1.1
"""Gradient norms within this factor are about equally large."""


def tell(
    lanes: Sequence[Lane],
    names: Sequence[str],
    steps: Sequence[Step],
    *,
    plain_text: bool = False,
    held_out: HeldOut | None = None,
) -> list[Sentence]:
    """Return sentences on the results so far.

    Parameters
    ----------
    lanes, names : one each per lane, see `display_names`.
    steps : what was measured so far, from the first step on.
    plain_text : whether every token is judged, so that the loss decides; else accuracy does.
    """
    examples = latest_examples(steps)
    rows = standings(steps, len(lanes), plain_text=plain_text)
    fields = [field for field in fields_of(lanes) if len(field.starts) > 1]
    if examples is None:
        said = _without_examples(rows, names, steps)
    elif fields:
        several = len(fields) > 1
        said = [
            sentence
            for field in fields[:MOST_FIELDS]
            for sentence in _told_of(
                field, examples, plain_text, _at(field, lanes) if several else ""
            )
        ]
    else:
        said = _every_lane(lanes, examples, plain_text)
    if fields and len(fields) == 1:
        said = _scope(fields[0], lanes) * bool(said) + said + _first_gradients(fields[0], steps[0])
    return said + no_better_than_guessing(rows, held_out) + departures(rows, names)


def _without_examples(
    rows: Sequence[Place], names: Sequence[str], steps: Sequence[Step]
) -> list[Sentence]:
    """Report the start, or results that were not kept by example and cannot be compared."""
    known = [row for row in rows if math.isfinite(row.loss)]
    if not known:
        return _same_function(steps[0]) if steps else []
    each = [f"{names[row.lane]} {nats(row.loss)}" for row in sorted(known, key=lambda r: r.lane)]
    rest = f"The held-out loss is {listed(each)} nats. Results by example were not kept"
    return [Sentence("", f"{rest}, so the lanes are not compared.")]


def _same_function(first: Step) -> list[Sentence]:
    """Report the loss of the first batch before any update, the same in every lane."""
    losses = [float(loss) for loss in first.loss if math.isfinite(loss)]
    if not losses or max(losses) - min(losses) >= SAME_LOSS:
        return []
    rest = f"on the first batch the loss is {losses[0]:.2f} nats."
    return [Sentence("Before training, every lane answers exactly as the base model:", rest)]


def _told_of(field: Field, examples: Examples, plain_text: bool, at: str) -> list[Sentence]:
    """Compare the starts of a field: at the rate that the main two share, and at their best."""
    shared = [] if at else _at_shared_rate(field, examples, plain_text)
    if shared and field.is_one_pair:
        return shared
    return shared + best_rates(field, examples, plain_text=plain_text, at=at)


def best_rates(
    field: Field, examples: Examples, *, plain_text: bool, at: str = ""
) -> list[Sentence]:
    """Compare the starts of a field, each at its best rate, or one start at all of its rates.

    The rates are chosen on one half of the held-out examples, and compared on the other.

    Parameters
    ----------
    at : what the field differs in from others of the race, in words; may be empty.
    """
    rates = {start: field.rates(start) for start in field.starts}
    if len(rates) == 1:
        return _one_start(field, examples, plain_text)
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
        return []
    named = [
        label_of(e.name) + ("" if one_rate else f" ({compact(best[e.name].lr)})")
        for e in held.entries
    ]
    how = "" if one_rate else "each at its best rate" if several else "each at its only rate"
    where = ", ".join(part for part in (at, how) if part)
    where = f"{where[:1].upper()}{where[1:]}," if where else ""
    return told_of(where, held, named) + _edges(held.entries[0].name, best, rates)


def _chosen(field: Field, examples: Examples, choose: slice) -> dict[str, Contender]:
    """Return every start at the rate with the lowest loss on some examples, if any is whole."""
    found: dict[str, Contender] = {}
    for start in field.starts:
        tried = [one for one in field.contenders if one.init == start]
        k = best_of([Entry(start, one.lanes) for one in tried], examples, choose)
        if k is not None:
            found[start] = tried[k]
    return found


def _edges(first: str, best: dict[str, Contender], rates: dict[str, list[float]]) -> list[Sentence]:
    """Say that the first one's rate is an end of those tried."""
    tried = rates[first]
    if len(tried) < 2 or best[first].lr not in (tried[0], tried[-1]):
        return []
    end, beyond = ("largest", "larger") if best[first].lr == tried[-1] else ("lowest", "lower")
    rest = f"{label_of(first)}'s rate is the {end} one tried: a {beyond} one may suit it better."
    return [Sentence("", rest)]


def _one_start(field: Field, examples: Examples, plain_text: bool) -> list[Sentence]:
    """Compare the rates of the only start."""
    name = label_of(field.starts[0])
    entries = [Entry(f"{name} {compact(one.lr)}", one.lanes) for one in field.contenders]
    held = contest(entries, examples, plain_text=plain_text)
    if held is None or len(held.entries) < 2:
        return []
    return told_of("", held, [entry.name for entry in held.entries])


def _at_shared_rate(field: Field, examples: Examples, plain_text: bool) -> list[Sentence]:
    """Compare the main two starts at the lowest rate that both race at."""
    (hero, rival), shared = field.roles, field.shared_rates
    if not shared:
        return []
    entries = [
        Entry(init, one.lanes)
        for init in (hero, rival)
        for one in field.contenders
        if one.init == init and one.lr == shared[0]
    ]
    held = contest(entries, examples, plain_text=plain_text, told=field.told)
    if held is None or len(held.entries) < 2:
        return []
    names = [entry.name for entry in held.entries]
    where = f"At one shared rate ({compact(shared[0])})"
    return told_of(where, held, [label_of(name) for name in names], names.index(hero))


def _every_lane(lanes: Sequence[Lane], examples: Examples, plain_text: bool) -> list[Sentence]:
    """Compare all lanes, of which no two starts may be compared; seeds are one contender."""
    groups = seed_groups(lanes)
    counts = {len(group.lanes) for group in groups}
    shown = [replace(group.lane, seed=0) for group in groups] if len(counts) == 1 else lanes
    places = [g.lanes for g in groups] if len(counts) == 1 else [(k,) for k in range(len(lanes))]
    entries = [Entry(n, ks) for n, ks in zip(display_names(shown), places, strict=True)]
    held = contest(entries, examples, plain_text=plain_text)
    if held is None:
        return []
    names = [entry.name for entry in held.entries]
    if len(names) == 1:
        n = held.examples
        score = f"accuracy {percent(held.accuracy[0])}, " * (not plain_text)
        loss = f"{held.loss_name} {nats(held.loss[0])}"
        rest = f"{score}{loss} ({n} held-out example{'s' * (n > 1)})."
        return [Sentence(f"{names[0]}:", rest)]
    seeds = {tuple(sorted(lanes[k].seed for k in group.lanes)) for group in groups}
    apart = [what for what in differences(lanes) if what != "seed" or len(seeds) > 1]
    what = Sentence("", f"The lanes differ in {and_(apart)}.") if apart else None
    return [*told_of("", held, names), *filter(None, [what])]


def _at(field: Field, lanes: Sequence[Lane]) -> str:
    """Return in what a field differs from the others, in words."""
    return f"with {and_(_setting(field, lanes))}"


def _setting(field: Field, lanes: Sequence[Lane]) -> list[str]:
    setting, clip = field.setting, field.setting.clip
    words = {
        "rank": f"rank {setting.r}",
        "scaling": f"scaling {compact(setting.scale)}",
        "weight decay": f"weight decay {compact(setting.weight_decay)}",
        "clipping": "no clipping" if clip is None else f"clipping at {compact(clip)}",
        "betas": "betas {:g} and {:g}".format(*setting.betas),
        "LoRA+ ratio": f"LoRA+ ratio {compact(setting.lora_plus)}",
        "dropout": f"dropout {setting.dropout:g}",
        "targets": f"targets {', '.join(setting.targets)}"
        if setting.targets
        else "no targets of their own",
        "seed": f"seed{'s' * (len(field.seeds) > 1)} {and_([str(s) for s in field.seeds])}",
    }
    return [words[name] for name in differences(lanes) if name in words]


def _scope(field: Field, lanes: Sequence[Lane]) -> list[Sentence]:
    """Report which lanes are compared, if not all are."""
    if field.size == len(lanes):
        return []
    apart = and_(differences([lanes[k] for one in field.contenders for k in one.lanes]))
    named = and_(_setting(field, lanes))
    rest = f"Compared here: the lanes with {named}, which differ only in {apart}."
    return [Sentence("", rest)]


def _first_gradients(field: Field, first: Step) -> list[Sentence]:
    """Compare the norms of the first gradients, which do not depend on the learning rate."""
    means = {init: float(first.grad_norm[field.lanes_of(init)].mean()) for init in field.roles}
    if not all(0 < mean < math.inf for mean in means.values()):
        return []
    small, large = sorted(means, key=lambda init: means[init])
    ratio = means[large] / means[small]
    much, little = label_of(large), label_of(small)
    if ratio < SAME_NORM:
        rest = f"The first gradients of {much} and {little} are about equally large."
        return [Sentence("", rest)]
    return [Sentence("", f"{much}'s first gradient is {times(ratio)} {little}'s.")]
