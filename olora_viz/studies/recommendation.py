"""One recommendation from the verdicts of a study: what to take, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from olora_viz.machine.tables import finite_or_none
from olora_viz.machine.wording import and_, counted, nats, percent, signed
from olora_viz.races.step import DIVERGED
from olora_viz.studies.difference import Difference, difference, order, p_values_of
from olora_viz.studies.method import lane_of, method_name
from olora_viz.studies.rows import beats_untrained, column, gain_of, lost
from olora_viz.studies.sentences import Basis, who_leads
from olora_viz.studies.statistics import (
    BETTER,
    LEAST_SEEDS,
    LEVEL,
    UNDECIDED,
    WORSE,
    Comparison,
    interval_of_share,
    t_interval,
)
from olora_viz.studies.study import Candidate, Cell
from olora_viz.studies.verdicts import Verdict, Verdicts, untrained
from olora_viz.tasks.batches import Epochs

LEVER = "replay=0.05"
"""The key of a lane that is proposed where everything forgets too much: on glassllm it leaves less than a fifth of the
rise of OLoRA's and PiSSA's loss on a text, and nothing of LoRA's."""

MORE_STEPS = "more steps, more time"
"""What to try where the loss still falls."""

NOT_BETTER = "no better than untrained"
"""A doubt, see `Recommendation`."""


class RunnerUp(NamedTuple):
    """Of the methods and rates that are not taken, those with the lowest validation loss."""

    method: str
    at: Candidate
    valid_loss: float
    test_loss: float
    test_accuracy: float

    @property
    def lr(self) -> float:
        """Its rate."""
        return self.at.lr

    @property
    def name(self) -> str:
        """The method and its rate in words."""
        return f"{method_name(self.method)} at {self.at.words}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite become null."""
        loss, right = finite_or_none(self.test_loss), finite_or_none(self.test_accuracy)
        chosen = {"lr": self.lr, **dict(self.at.tuned)}
        return {"method": self.method, **chosen, "test_loss": loss, "test_accuracy": right}


@dataclass(frozen=True)
class Recommendation:
    """The method, rank and rate to take."""

    method: Verdict
    """The verdict on what to take; for the reference, on itself."""
    headline: str
    why: str
    """What that rests on, in a few sentences."""
    verdict: str
    """``better`` than the reference; or the reference is taken, and all others are ``level`` or worse, or something is
    ``undecided``."""
    beats_guessing: bool | None = None
    """Whether it is right more often than a guess on other test examples and seeds too, by its 95% interval; None
    where answers are not scored."""
    doubt: str = ""
    """What speaks against taking anything yet: ``may be guessing``, or ``no better than untrained``, by the loss of
    every method or by the right answers of this one; empty for nothing."""
    runner_up: RunnerUp | None = None
    """None if nothing else has finished with every seed; its validation loss may be below that of what is taken."""
    limit: float | None = None
    """By how many nats the loss on the text to keep may rise; None for any number."""
    more_steps: bool = False
    """Whether more steps, more time are the advice: less than an epoch was seen, and the loss still falls."""

    @property
    def sentence(self) -> str:
        """The whole recommendation."""
        return f"{self.headline} {self.why}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite become null."""
        method, results = self.method, ("test_loss", "test_accuracy", "difference", "interval", "over_rates")
        plain = method.to_json()
        return {
            **{name: plain[name] for name in ("method", "init", "r")}, **plain["tuned"],
            **{name: plain[name] for name in results},
            "verdict": self.verdict, "beats_guessing": self.beats_guessing, "doubt": self.doubt,
            "more_steps": self.more_steps, "seeds": method.seeds,
            "valid_examples": method.valid_examples, "test_examples": method.test_examples, "forget": self.limit,
            **{name: plain[name] for name in ("text_loss_rise", "drift") if name in plain},
            "runner_up": self.runner_up and self.runner_up.to_json(), "sentence": self.sentence,
        }  # fmt: skip


def recommend(verdicts: Verdicts, epochs: Epochs | None = None) -> Recommendation | None:
    """Return what to take; None if no method has a best rate yet.

    Of the methods that are better than the reference, the one with the lowest validation loss: the test has no part in
    the choice. If none is better, the reference. A larger rank is taken only if it is better than the smaller one. A
    method that may be guessing is passed over if another one is not.

    Args:
        verdicts: of a study with one model and one task.
        epochs: how much of the training rows each lane has seen; None while unknown.
    """
    cells = sorted(verdicts.study.cells(), key=lambda cell: cell.r or 0)
    picks = [pick for cell in cells if (pick := _of_cell(verdicts, cell))]
    if not picks:
        return None
    taken, *larger = picks
    for method, (_, _, word) in zip(larger, _ordered(verdicts, [(each, picks[0]) for each in larger]), strict=True):
        if word == BETTER and method.valid_loss < taken.valid_loss:
            taken = method
    return _worded(verdicts, taken, epochs)


def beats_guessing(verdicts: Verdicts, method: Verdict) -> bool | None:
    """Return whether a method is right more often than a guess, see `Recommendation`."""
    base = untrained(verdicts, method.cell)
    if base is None or base.guess is None or method.best_lr is None:
        return None
    right = _at_best(verdicts, method, "test_accuracy")
    right = right[np.isfinite(right)]
    if not len(right):
        return None
    low, _ = interval_of_share(float(right.mean()), right, method.test_examples)
    return low > base.guess


def _of_cell(verdicts: Verdicts, cell: Cell) -> Verdict | None:
    """Return the method to take in a cell."""
    ended = [method for method in verdicts.of(cell) if method.best_lr is not None]
    fit = [method for method in ended if beats_guessing(verdicts, method)] or ended
    if not fit:
        return None
    better = [method for method in fit if method.verdict == BETTER]
    reference = [method for method in fit if method.method == verdicts.study.reference]
    return min(better or reference or fit, key=lambda method: method.valid_loss)


def _worded(verdicts: Verdicts, taken: Verdict, epochs: Epochs | None) -> Recommendation:
    where = f"{_named(taken)}, rank {taken.rank}"
    headline, why, verdict = _reason(verdicts, taken, where)
    beats, base, doubt, otherwise = beats_guessing(verdicts, taken), untrained(verdicts, taken.cell), "", ""
    if base is not None and taken.test_accuracy <= base.accuracy:
        doubt, otherwise = NOT_BETTER, "more data, more time or a larger model"
        headline = (
            f"Training makes no more answers right: {percent(taken.test_accuracy)} of the test examples, and "
            f"{percent(base.accuracy)} without it"
        )
    if beats is False and base is not None:
        doubt, otherwise = "may be guessing", "more data, other rates or a larger model"
        # Some may be right more often than a guess in this test alone.
        is_open = any(method.test_accuracy > (base.guess or 0.0) for method in verdicts.of(taken.cell))
        headline = f"No method {'is clearly' if is_open else 'does'} better than guessing here"
        why = (
            f"{method_name(taken.method)} is right in {percent(taken.test_accuracy)} of the test examples, "
            f"where {base.guess_words} is right in {percent(base.guess or 0.0)}. {why}"
        )
    unlearned, instead = _unlearned(verdicts, taken)
    if unlearned:
        doubt, otherwise, headline = NOT_BETTER, f"{MORE_STEPS} or {instead}", unlearned
    falls = _still_falls(verdicts, taken, bool(doubt)) if epochs and epochs.number < 1 else ""
    if doubt:
        headline, until = f"{headline}. Try {MORE_STEPS if falls else otherwise}.", f"Until then, {where}."
        # What has learned nothing is not named in the headline.
        headline, why = (headline, f"{until} {why}") if unlearned else (f"{headline} {until}", why)
    if falls:
        why = f"{falls} {why}"
    if runner_up := _runner_up(verdicts, taken):
        why += f" {_beside(taken, runner_up)}"
    limit = verdicts.study.race.forget
    if limit is not None:
        headline = f"Within {limit:g} nats of forgetting, {headline[0].lower()}{headline[1:]}"
        why += f" {_given_up(verdicts, taken)}"
    elif taken.forgotten:
        why += f" {_named(taken)} {_forgets(taken.forgotten.lost)} of the text to keep."
    return Recommendation(taken, headline, why, verdict, beats, doubt, runner_up, limit, more_steps=bool(falls))


def _unlearned(verdicts: Verdicts, taken: Verdict) -> tuple[str, str]:
    """Say that nothing was learned yet, and what to try beside more steps; both empty if something was.

    Nothing was if no method lowers the loss, or if what would be taken is right in none of the test examples.
    """
    if not any(beats_untrained(verdicts.rows, method.trials) for method in verdicts.of(taken.cell)):
        return "Nothing was learned yet: no method is clearly better than the untrained model", "other rates"
    if percent(taken.test_accuracy) != percent(0.0):
        return "", ""
    others = any(percent(method.test_accuracy) not in (percent(0.0), percent(math.nan)) for method in verdicts.each)
    learned = f"{method_name(taken.method)} has learned nothing yet" if others else "Nothing was learned yet"
    return f"{learned}: {percent(0.0)} of the test examples are right", "a larger model"


def _still_falls(verdicts: Verdicts, taken: Verdict, since_start: bool) -> str:
    """Say by how much the held-out loss of a method still falls; empty if it does not, or nobody knows.

    It does if it is lower at the end than at the evaluation before, by the rule of `beats_untrained` and by more than
    does not matter, unless the loss itself does not matter any more.

    Args:
        since_start: whether the untrained model's loss counts where there is no evaluation before. Only where nothing
            is learned yet: a loss that is lower than at the start may have stopped to fall.
    """
    runs = [verdicts.rows[trial] for trial in taken.trials]
    earlier = [int(step) for step in runs[0]["evaluated"]][:-1]
    gain, error = gain_of(runs, "earlier_valid_loss")
    if not (earlier or since_start) or not gain > error or min(gain, taken.valid_loss) <= taken.margin:
        return ""
    since = f"since step {earlier[-1]}" if earlier else "from the untrained model's"
    return (
        f"In less than an epoch the held-out loss of {_named(taken)} still falls, by {nats(gain)} ± {nats(error)} "
        f"nats {since}: {MORE_STEPS} come first."
    )


def _named(method: Verdict) -> str:
    return f"{method_name(method.method)} at {method.best.words if method.best else '–'}"


def _forgets(loss: float) -> str:
    """Say by how much the loss on the text to keep has risen, in nats; by nothing, if it has fallen."""
    return f"forgets {nats(loss)} nats" if nats(max(0.0, loss)) != nats(0.0) else "forgets nothing"


def _given_up(verdicts: Verdicts, taken: Verdict) -> str:
    """Say what the limit on forgetting costs: the test loss of what would be taken without it, and what that forgets.

    Rates beyond the limit race with the seeds of the first pass alone, so that it is compared on these.
    """
    study, rows, cell = verdicts.study, verdicts.rows, taken.cell
    every = {
        (compared, runs.at): runs
        for compared in study.compare
        for runs in verdicts.runs[cell, compared].rates
        if len(runs.valid) >= study.first_seeds
    }
    seeds = slice(study.first_seeds)
    means = {where: float(runs.valid[seeds].mean()) for where, runs in every.items()}
    compared, at = min((where for where in means if math.isfinite(means[where])), key=lambda where: means[where])
    assert taken.best is not None
    ours, theirs = every[taken.method, taken.best], every[compared, at]
    forgets = f"{_named(taken)} {_forgets(taken.forgotten.lost if taken.forgotten else math.nan)}"
    if theirs.allowed:
        return f"{forgets}; without the limit it would be no other."
    gain = float(ours.test[seeds].mean() - theirs.test[seeds].mean())
    risen = float(np.mean([lost(rows[trial]) for trial in study.trials(cell, compared, [at], study.first_seeds)]))
    how = f"{nats(abs(gain))} nats {'better' if gain > 0 else 'worse'} on the test"
    name, basis = f"{method_name(compared)} at {at.words}", counted(study.first_seeds, "seed")
    return f"{forgets}; without the limit {name} would be {how} and forget {nats(risen)} ({basis})."


def nothing_fits(verdicts: Verdicts) -> str:
    """Say that every rate tried forgets more than the study allows, and which is nearest; empty if that is not so."""
    limit, risen = verdicts.study.race.forget, {}
    for trial, row in verdicts.rows.items():
        risen.setdefault((trial.method, trial.candidate), []).append(
            lost(row) if row["status"] != DIVERGED else math.nan
        )
    most = {where: max(values) for where, values in risen.items() if all(map(math.isfinite, values))}
    if limit is None or not most or min(most.values()) <= limit:
        return ""
    compared, at = min(most, key=lambda where: most[where])
    return (
        f"Nothing that was tried stays within {limit:g} nats of forgetting: the nearest, {method_name(compared)} at "
        f"{at.words}, forgets {nats(most[compared, at])}. Allow more, try lower rates or train for fewer steps"
        f"{_lever(compared)}."
    )


def _lever(method: str) -> str:
    """Propose that a method replays the text to keep, which was not tried; empty if it does.

    >>> _lever("olora"), _lever("lora:alpha=2r,replay=0.01")
    ('; or replay the text to keep, as --init olora:replay=0.05 does', '')
    """
    if lane_of(method).replays:
        return ""
    return f"; or replay the text to keep, as --init {method}{',' if ':' in method else ':'}{LEVER} does"


def _near_guessing(verdicts: Verdicts, method: Verdict) -> str:
    """Return how a method compares with guessing, which it does not clearly beat."""
    base = untrained(verdicts, method.cell)
    assert base is not None
    assert base.guess is not None
    guess = f"{base.guess_words}: {percent(base.guess)}"
    right = f"is right in {percent(method.test_accuracy)}"
    return f"{right}, which on other seeds and examples may be no better than guessing ({guess})"


def _reason(verdicts: Verdicts, taken: Verdict, where: str) -> tuple[str, str, str]:
    """Return what to take, why, and the verdict."""
    name = verdicts.study.reference
    reference = next(method for method in verdicts.of(taken.cell) if method.method == name)
    others = [method for method in verdicts.of(taken.cell) if method.method not in (taken.method, name)]
    if taken.verdict == BETTER and taken.method != name:
        gap = _comparison(taken, taken.difference, taken.p_value, taken.verdict)
        forgets = taken.forgotten.at_best.clause if taken.forgotten else ""
        against = _standing(verdicts, taken, [reference], [gap], "Each at its best rate,", forgets)
        rivals = _rivals(verdicts, taken, [method for method in others if method.verdict == BETTER])
        return f"Take {where}.", f"{against}{_over_rates(taken)}{rivals}", BETTER
    if taken.method != name:
        failed = "has diverged" if verdicts.study.race.forget is None else "has diverged, or forgets too much,"
        fails = f"{failed} at every rate" if reference.best_lr is None else _near_guessing(verdicts, reference)
        return f"Take {where}, for now.", f"{method_name(name)} {fails}. {_loss(verdicts, taken)}", UNDECIDED
    if taken.seeds < LEAST_SEEDS:
        why = f"{_loss(verdicts, taken)} A verdict needs {LEAST_SEEDS} seeds."
        return f"Nothing is decided yet: take plain {where}, for now.", why, UNDECIDED
    known = [method for method in others if method.seeds >= LEAST_SEEDS]
    gaps = [_comparison(method, method.difference, method.p_value, method.verdict).reversed for method in known]
    only = known[0].forgotten if len(known) == 1 else None
    forgets = only.at_best.reversed.clause if only else ""
    why = (
        _standing(verdicts, taken, known, gaps, "Each at its best rate,", forgets) if known else _loss(verdicts, taken)
    )
    undecided = [method for method in others if method.verdict == UNDECIDED]
    for reason in dict.fromkeys(method.why for method in undecided):
        names = [method_name(method.method) for method in undecided if method.why == reason]
        why += f" {'This leaves' if reason == undecided[0].why else 'And'} {and_(names)} open: {reason}."
    return f"Take plain {where}.", why, UNDECIDED if undecided else LEVEL


def _over_rates(taken: Verdict) -> str:
    """Say how far the choice of the rates matters to a difference, if it does."""
    low, high = (signed(end, ".2f") for end in taken.difference.over_rates)
    if low == high:
        return ""
    return (
        f" The interval is of these rates; over those that the {taken.valid_examples} held-out "
        f"examples cannot tell from them the difference is {low} to {high} nats."
    )


def _loss(verdicts: Verdicts, taken: Verdict) -> str:
    """Say what the test loss of a method is."""
    interval = t_interval(_at_best(verdicts, taken, "test_loss"))
    half = interval.high - interval.mean
    spread = f" ± {half:.2g}, 95% over seeds" if math.isfinite(half) else ""
    basis = _basis(verdicts, taken, len(taken.valid_losses))
    return f"{method_name(taken.method)}'s test loss is {nats(taken.test_loss)}{spread} ({basis})."


def _runner_up(verdicts: Verdicts, taken: Verdict) -> RunnerUp | None:
    """Return the best of the other methods and rates that have run with as many seeds."""
    best, lowest = None, math.inf
    for compared in verdicts.study.compare:
        for runs in verdicts.runs[taken.cell, compared].rates:
            loss, seeds = float(runs.valid.mean()), len(runs.valid)
            is_taken = (compared, runs.at) == (taken.method, taken.best)
            if not is_taken and runs.allowed and seeds >= len(taken.valid_losses) and loss < lowest:
                trials = verdicts.study.trials(taken.cell, compared, [runs.at], seeds)
                right = float(np.mean(column(verdicts.rows, trials, "test_accuracy")))
                best, lowest = RunnerUp(compared, runs.at, loss, float(runs.test.mean()), right), loss
    return best


def _beside(taken: Verdict, other: RunnerUp) -> str:
    """Put the test results of what is taken beside those of the runner-up."""
    what = "has a lower" if other.valid_loss < taken.valid_loss else "is the runner-up by"
    ours, theirs = (
        f"{nats(each.test_loss)} nats"
        + f" and is right in {percent(each.test_accuracy)}" * math.isfinite(each.test_accuracy)
        for each in (taken, other)
    )
    return f"On the test {_named(taken)} has {ours}; {other.name}, which {what} held-out loss, has {theirs}."


def _rivals(verdicts: Verdicts, taken: Verdict, better: Sequence[Verdict]) -> str:
    """Compare the method with those that are better than the reference as well."""
    if not better:
        return ""
    gaps = [_comparison(taken, *gap) for gap in _ordered(verdicts, [(taken, method) for method in better])]
    against = _standing(verdicts, taken, better, gaps, "Of those that are better,")
    same = any(gap.in_these_runs == LEVEL for gap in gaps)
    return f" {against}{' Of those that differ too little to matter, take the one you know.' * same}"


def _standing(
    verdicts: Verdicts, method: Verdict, others: Sequence[Verdict], gaps: Sequence[Comparison],
    where: str, forgets: str = "",
) -> str:  # fmt: skip
    """Say how a method stands to others by its test loss; last what it forgets, if that is decided."""
    each = [method, *others]
    basis = _basis(verdicts, method, min(gap.seeds for gap in gaps))
    names, losses = [method_name(verdict.method) for verdict in each], [verdict.test_loss for verdict in each]
    sentence = str(who_leads(names, losses, gaps, basis, score="test loss", where=where))
    return f"{sentence.removesuffix('.')}, and {forgets}." if forgets else sentence


def _basis(verdicts: Verdicts, method: Verdict, seeds: int) -> Basis:
    chosen_on = method.valid_examples if len(method.rates_like) else 0
    dtype = verdicts.study.fixed().race.dtype
    return Basis(seeds, method.test_examples, part="test", chosen_on=chosen_on, study=True, dtype=dtype)


def _comparison(method: Verdict, gap: Difference, p_value: float, verdict: str) -> Comparison:
    """Return a verdict of the study as a comparison that comes to the same verdict.

    Args:
        verdict: undecided also where a best rate is not known.
    """
    return Comparison(
        gap.interval.mean, gap.interval.low, gap.interval.high,
        p_value=p_value if verdict in (BETTER, WORSE) else 1.0,
        margin=method.margin if verdict == LEVEL else 0.0,
        shares=False, examples=method.test_examples, seeds=gap.seeds,
    )  # fmt: skip


def _ordered(verdicts: Verdicts, pairs: Sequence[tuple[Verdict, Verdict]]) -> list[tuple[Difference, float, str]]:
    """Return the difference of each pair of methods, with its p-value and verdict; they share one error rate."""
    runs, cells = verdicts.runs, {method.cell for pair in pairs for method in pair}
    every = [of_method for (cell, _), of_method in runs.items() if cell in cells]
    gaps = {at: difference(runs[a.cell, a.method], runs[b.cell, b.method], every) for at, (a, b) in enumerate(pairs)}
    p_values = p_values_of(gaps)
    return [
        (gaps[at], p_values[at], order(gaps[at], p_values[at], method.margin, method.test_examples))
        for at, (method, _) in enumerate(pairs)
    ]


def _at_best(verdicts: Verdicts, method: Verdict, name: str) -> np.ndarray:
    """Return a column of the rows of a method at its best rate (seeds,)."""
    return np.array(column(verdicts.rows, method.trials, name))
