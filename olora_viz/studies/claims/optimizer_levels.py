"""Claim: with the right optimizer the start is irrelevant."""

from __future__ import annotations

from olora_viz.lanes.lane import Lane
from olora_viz.lanes.optimizers import OPTIMIZERS
from olora_viz.machine.wording import and_, compact, signed
from olora_viz.studies.claims.beside import at_best, every_one
from olora_viz.studies.claims.claim import (
    FAILS,
    HOLDS,
    OF_LEVEL,
    UNDECIDED,
    Bar,
    Claim,
    Finding,
    ends,
    level_within,
    not_measured,
    on_study,
    over_of,
)
from olora_viz.studies.method import method_name
from olora_viz.studies.rows import unit_of
from olora_viz.studies.verdicts import Verdict, Verdicts

CROSSED = "the study does not cross optimizers: run one with --across opt=adamw/sgd/riemannian"
"""Why a claim on optimizers was not measured."""


def by_optimizer(verdicts: Verdicts) -> dict[str, list[Verdict]]:
    """Return the verdicts on the methods beside the reference under each optimizer of a study, over all its cells."""
    reference, found = verdicts.study.reference, dict[str, list[Verdict]]()
    for cell in verdicts.study.cells() if "opt" in verdicts.study.across else ():
        of = [each for each in verdicts.of(cell) if each.method != reference]
        found.setdefault(cell.settings["opt"], []).extend(of)
    return found


def beside_reference(verdicts: Verdicts, of: list[Verdict]) -> str:
    """Say by how much methods differ from the reference at best rates, and at which these are."""
    rates = {each.method: each.best_lr for each in of}
    rates[verdicts.study.reference] = next(
        each.best_lr for each in verdicts.of(of[0].cell) if each.method == verdicts.study.reference
    )
    said = [
        f"{method_name(each.method)} {signed(each.difference.interval.mean, '+.2g')} "
        f"({ends(each.difference.interval, over_of([each.difference.gap]))}, {each.verdict})"
        for each in of
    ]
    at = [f"{method_name(method)} {compact(rate)}" for method, rate in rates.items() if rate]
    return f"{and_(said)}; best rates {and_(at)}"


def finding(verdicts: Verdicts, of: dict[str, list[Verdict]], result: str, that: str) -> Finding:
    """Return the finding of a claim on these optimizers."""
    study, unit = verdicts.study, unit_of(verdicts.study)
    each = [one for its in of.values() for one in its]
    said = [f"Under {OPTIMIZERS[opt].label}: {beside_reference(verdicts, its)}." for opt, its in of.items()]
    reference = method_name(study.reference)
    names = {
        (opt, one.method): f"{method_name(one.method)}, {OPTIMIZERS[opt].label}"
        for opt, its in of.items()
        for one in its
    }
    return Finding(
        verdict=result,
        words=(
            f"{at_best(study)}, test loss minus {reference}'s, {unit}. {' '.join(said)} {that}"
            f"{level_within(study, [one.verdict for one in each], [one.margin for one in each])}"
        ),
        numbers={
            f"difference_{opt}_{one.method}": one.difference.interval for opt, its in of.items() for one in its
        },
        seeds=study.seeds,
        bars=tuple(
            Bar.of(names[opt, one.method], one.difference.interval) for opt, its in of.items() for one in its
        ),
        unit=f"test loss minus {reference}'s, {unit}",
        over=over_of([one.difference.gap for one in each]),
    )  # fmt: skip


def judge(verdicts: Verdicts) -> Finding:
    """Judge that all methods are level under some optimizer other than AdamW."""
    of = by_optimizer(verdicts)
    parts = {opt: every_one([OF_LEVEL[each.verdict] for each in its]) for opt, its in of.items() if opt != Lane.opt}
    if not parts:
        return not_measured(CROSSED)
    level = [OPTIMIZERS[opt].label for opt, part in parts.items() if part == HOLDS]
    result = HOLDS if level else UNDECIDED if UNDECIDED in parts.values() else FAILS
    that = f"All starts are level under {and_(level)}." if level else "All starts are level under none of the others."
    if Lane.opt in of:
        usual = every_one([OF_LEVEL[each.verdict] for each in of[Lane.opt]])
        words = {HOLDS: "they are", FAILS: "they are not"}.get(usual, "it is undecided")
        that += f" Under {OPTIMIZERS[Lane.opt].label} {words}."
    return finding(verdicts, of, result, that)


CLAIM = Claim(
    number=36,
    name="optimizer-levels",
    sentence="With the right optimizer the start is irrelevant.",
    source="our reading of Zhang & Pilanci 2024 (arXiv 2402.02347) and of LoRA-FA (arXiv 2308.03303)",
    measured=(
        "In a study that crosses optimizers, the verdict on every start beside plain LoRA, each at its best rate. It "
        "holds if all are level under some optimizer other than AdamW, and fails if under each some start differs."
    ),
    judge=on_study(judge, ()),
)
