"""One decision: its plan fits the time and is fair, and what it says follows from the verdicts."""

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from html import unescape
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.planted_losses import SPREAD, bowl, row
from support.simulated_studies import row_of
from support.small_decision import STUDY

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.machine.files import read_json_object
from olora_viz.models import load_model
from olora_viz.races import run as runs
from olora_viz.races.step import Step
from olora_viz.studies import decide as deciding
from olora_viz.studies import folder
from olora_viz.studies.budget import EFFORTS, MOST_STEPS, Plan, fitted
from olora_viz.studies.decide import Decision, decide
from olora_viz.studies.folder import COLUMNS, Ledger, write_parquet
from olora_viz.studies.method import METHODS
from olora_viz.studies.preregistration import DECISION
from olora_viz.studies.recommendation import Recommendation, recommend
from olora_viz.studies.search import complete_seeds, most_trials, needed
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.timing import Timing
from olora_viz.studies.verdicts import verdicts_of
from olora_viz.tasks.metrics import exact
from olora_viz.views import decision
from olora_viz.views.reports import report_html

PLANNED = Study(compare=METHODS, seeds=3)
PLAN = Plan(STUDY, minutes=60, seconds=10, final=1, most=64)


@settings(deadline=None, max_examples=30)
@given(
    st.floats(1e-4, 20.0), st.floats(1e-5, 1.0), st.floats(0.05, 60.0), st.floats(10.0, 5000.0),
    st.sampled_from([1, 5]),
)  # fmt: skip
def test_a_plan_fits_its_time_or_says_so_and_every_method_gets_the_same(
    step: float, example: float, setup: float, left: float, evaluations: int
) -> None:
    timing = Timing(setup, step, example, "", 64, 100)
    plan = fitted(PLANNED, timing, left, left / 60, evaluations=evaluations)
    its = plan.study
    looks = (
        len(range(its.race.eval_every or its.race.steps, its.race.steps, its.race.eval_every or its.race.steps)) + 1
    )
    assert min(evaluations, 3) <= looks <= evaluations
    assert its.compare[:2] == METHODS[:2]
    assert (*its.compare, *plan.left_out) == METHODS
    assert plan.lanes == plan.each * len(its.compare) == most_trials(its)
    assert plan.most % len(its.compare) == 0
    assert its.race.steps <= MOST_STEPS
    least = EFFORTS[-1].steps
    if its.race.steps >= least:
        assert plan.seconds <= left
    assert (plan.seconds > 60 * plan.minutes) == any("does not fit" in one for one in plan.words)


def test_more_time_never_makes_a_plan_less_thorough() -> None:
    timing = Timing(2.0, 0.2, 0.01, "", 64, 100)
    plans = [fitted(PLANNED, timing, left, left / 60) for left in np.geomspace(30, 30_000, 40)]
    methods = [len(plan.study.compare) for plan in plans]
    assert methods == sorted(methods)
    assert methods[0] == 2
    assert (methods[-1], plans[-1].study.seeds) == (len(METHODS), EFFORTS[0].seeds)


def test_where_three_seeds_do_not_fit_one_chooses_the_rates_and_nothing_is_decided() -> None:
    """With the times of SmolLM2 on rows of 110 tokens, and two cores."""
    timing = Timing(1.8, 1.4, 0.25, "", 58, 46, first=40.0)
    seeds = {minutes: fitted(PLANNED, timing, 60 * minutes, minutes).study.seeds for minutes in (5, 15, 60)}
    assert seeds == {5: 1, 15: 3, 60: 3}
    plan = fitted(PLANNED, timing, 300, 5)
    assert plan.seconds <= 300
    assert "Nothing is decided with fewer than 3 seeds." in plan.words
    assert fitted(PLANNED, timing, 300, 5, fixed=("seeds",)).study.seeds == PLANNED.seeds


def test_a_plan_evaluates_all_examples_if_there_is_time_and_says_how_many_if_not() -> None:
    timing = Timing(1.0, 0.01, 1e-4, "", 64, 100)
    for evaluations in (1, 5):
        all_, few = (
            fitted(PLANNED, replace(timing, example=each), 600, 10, evaluations=evaluations) for each in (1e-4, 1.0)
        )
        assert (all_.study.race.eval_size, all_.study.race.test_size, all_.data) == (64, 100, "")
        its = few.study
        assert f"{its.race.eval_size} of the held-out, {its.race.test_size} of the test" in few.data
        assert 20 <= its.race.eval_size < 64


def found(
    loss: Callable[[str, float, int], float], inits: tuple[str, ...] = METHODS[:3], seeds: int = 4, **columns: object
) -> Recommendation:
    """Return the recommendation on losses known beforehand, after all stages of a study."""
    study = Study(tune={"lr": (1e-3, 2e-3, 4e-3)}, compare=inits, seeds=seeds, coarse=1)
    losses: dict[Trial, float] = {}
    while todo := needed(study, losses):
        losses |= {one: loss(one.method, one.lr, one.seed) for one in todo}
    assert complete_seeds(study, losses) == seeds
    rows = {
        trial: row(x) | {name: one(trial) if callable(one) else one for name, one in columns.items()}
        for trial, x in losses.items()
    }
    taken = recommend(verdicts_of(study, rows))
    assert taken is not None
    return taken


def losses_with(**gain: float) -> Callable[[str, float, int], float]:
    """Return losses in which a method is better than LoRA by so many nats."""

    def loss(init: str, lr: float, seed: int) -> float:
        noise = np.random.default_rng([seed, *init.encode()]).normal(0, 0.01)
        return 1.0 + bowl(lr) + 0.1 * seed + noise - gain.get(init, 0.0)

    return loss


def test_the_better_method_with_the_lowest_validation_loss_is_taken_and_its_equals_are_named() -> None:
    taken = found(losses_with(olora=0.5, pissa=0.2))
    assert (taken.method.method, taken.method.best_lr, taken.verdict) == ("olora", 2e-3, "better")
    assert taken.headline == "Take OLoRA at 2e-3, rank 8."
    assert "OLoRA is better than LoRA: test loss" in taken.why
    assert "(64 test examples, rates chosen on 64 others; 4 seeds)" in taken.why
    assert "which is the runner-up by held-out loss" in taken.why
    assert "OLoRA is better than PiSSA: test loss" in taken.why
    level = found(losses_with(olora=0.5, pissa=0.499))
    assert re.search("OLoRA differs too little from PiSSA to matter|PiSSA differs too little from OLoRA to", level.why)


def test_without_a_better_method_plain_lora_is_taken_and_the_reason_is_honest() -> None:
    level = found(losses_with())
    assert (level.method.method, level.verdict) == ("lora", "level")
    assert "LoRA differs too little from OLoRA and PiSSA to matter (less than" in level.why
    worse = found(losses_with(olora=-0.5))
    assert "LoRA is better than OLoRA and differs too little from PiSSA to matter (less than" in worse.why

    def noisy(init: str, lr: float, seed: int) -> float:
        return losses_with()(init, lr, seed) - (init == "olora") * [0.5, 0, 0.4, -0.2][seed]

    open_ = found(noisy)
    assert (open_.method.method, open_.verdict) == ("lora", "undecided")
    assert "This leaves OLoRA open: too few seeds: about" in open_.why
    assert "OLoRA at 2e-3, which has a lower held-out loss, has" in open_.why


@pytest.mark.parametrize(
    ("right", "examples", "guess", "beats"),
    [
        (0.72, 25, 0.62, False),  # of 25 examples, that many may be right by chance
        (0.72, 400, 0.62, True),
        (0.5, 400, 0.62, False),
        (1.0, 25, 0.62, True),
        (0.72, 25, None, None),  # answers that are not scored
    ],
)
def test_a_method_that_may_be_guessing_is_taken_with_that_warning(
    right: float, examples: int, guess: float | None, beats: bool | None
) -> None:
    scored = {"test_accuracy": right, "test_examples": examples, "guess": "always “no”"}
    taken = found(losses_with(), **scored, guess_test_accuracy=guess)
    assert (taken.beats_guessing, taken.verdict) == (beats, "level")
    assert ("always “no” is right in 62%." in taken.sentence) == (beats is False)
    words = f"No method {'is clearly' if right > 0.62 else 'does'} better than guessing here"
    assert (words in taken.headline) == (beats is False)


def test_a_reference_that_is_passed_over_as_it_may_be_guessing_is_compared_with_a_guess() -> None:
    def right(trial: Trial) -> float:
        return 0.9 if trial.method == "olora" or trial.seed else 0.4

    scored = {"test_accuracy": right, "test_examples": 64, "guess": "always “no”", "guess_test_accuracy": 0.5}
    taken = found(losses_with(), METHODS[:2], **scored)
    assert (taken.method.method, taken.verdict) == ("olora", "undecided")
    assert taken.why.startswith(
        "LoRA is right in 78%, which on other seeds and examples may be no better than guessing (always “no”: 50%)."
    )


def test_the_certainty_names_the_seeds_that_were_compared_where_the_reference_alone_has_more() -> None:
    study = Study(tune={"lr": (1e-3, 2e-3, 4e-3)}, compare=METHODS[:2], seeds=3, coarse=1)
    loss, losses = losses_with(), {}
    while todo := needed(study, losses):
        losses |= {trial: loss(trial.method, trial.lr, trial.seed) for trial in todo}
    for lr in {trial.lr for trial in losses}:
        losses |= {
            trial: loss(trial.method, trial.lr, trial.seed)
            for trial in study.trials(study.cells()[0], "lora", [lr], 5)
        }
    verdicts = verdicts_of(study, {trial: row(x) for trial, x in losses.items()})
    taken = recommend(verdicts)
    assert taken is not None
    assert (taken.method.method, len(taken.method.valid_losses)) == ("lora", 5)
    assert "; 3 seeds)" in taken.why
    known: Any = SimpleNamespace(verdicts=verdicts, taken=taken, plan=PLAN)
    assert "3 seeds × 64 test examples" in decision.headline(known)
    known = SimpleNamespace(
        verdicts=replace(verdicts, study=study.changed({"dtype": "bfloat16"})), taken=taken, plan=PLAN
    )
    assert "rates chosen on 64 others · bfloat16 base<" in decision.headline(known)
    assert "; 3 seeds; bfloat16 base)" in recommend(known.verdicts).why
    assert "bfloat16" not in taken.why


def test_two_seeds_decide_nothing_and_a_reference_that_always_diverges_is_said() -> None:
    early = found(losses_with(olora=0.5), seeds=2)
    assert (early.method.method, early.verdict) == ("lora", "undecided")
    assert early.headline.startswith("Nothing is decided yet: take plain LoRA")
    assert "OLoRA at 2e-3, which has a lower held-out loss, has 0." in early.why

    def loss(init: str, lr: float, seed: int) -> float:
        return math.nan if init == "lora" else losses_with()(init, lr, seed)

    study = Study(tune={"lr": (1e-3, 2e-3, 4e-3)}, seeds=3)
    rows: dict[Trial, float] = {}
    while todo := needed(study, rows):
        rows |= {one: loss(one.method, one.lr, one.seed) for one in todo}
    taken = recommend(verdicts_of(study, {trial: row(x) for trial, x in rows.items()}))
    assert taken is not None
    assert (taken.method.method, taken.verdict) == ("olora", "undecided")
    assert "LoRA has diverged at every rate" in taken.why


RACED = Study(tune={"lr": (1e-3, 2e-3, 4e-3)}, seeds=3, coarse=1)
BASE = 1.5
"""The held-out loss of the untrained model in `raced`."""


def raced(change: Callable[[float], float]) -> dict[Trial, dict[str, Any]]:
    """Return the runs of a decision in which training changes the held-out loss as the rate says.

    The change differs by example: one standard error of its mean over the 64 examples is 0.1 nats.
    """
    noise = 0.8 * np.tile([-1.0, 1.0], 32) * math.sqrt(63 / 64)
    rows: dict[Trial, dict[str, Any]] = {}
    while todo := needed(RACED, {trial: each["valid_loss"] for trial, each in rows.items()}, rows):
        for one in todo:
            losses = BASE + SPREAD + change(one.lr) + noise
            rows[one] = row_of(losses, losses, BASE, base_valid_loss_by_example=BASE + SPREAD)
    return rows


def rates_of(trials: Iterable[Trial]) -> list[float]:
    return sorted({trial.lr for trial in trials})


def test_no_rate_below_one_that_cannot_be_told_from_the_untrained_model_is_tried_and_all_seeds_race() -> None:
    """With few steps, the loss may be lowest where almost nothing is trained."""
    for change in (lambda lr: 50 * lr, lambda lr: 5 * lr - 0.05):  # worse and better, by less than the noise
        rows = raced(change)
        assert rates_of(rows) == [1e-3, 1.41e-3, 2e-3, 4e-3]
        assert rates_of(trial for trial in rows if trial.seed == 2) == [1e-3, 1.41e-3]


def test_a_best_rate_at_an_edge_that_differs_from_the_untrained_model_is_followed_for_two_rates() -> None:
    for change in (lambda lr: 5 * lr - 0.3, lambda lr: 300 * lr):  # better, and so high that training does harm
        lower = rates_of(raced(change))
        assert (lower[0], lower[-1]) == (2.5e-4, 4e-3)
    for gain in (0.3, -0.3):  # training harder may help, whatever it did at lower rates
        higher = rates_of(raced(lambda lr, gain=gain: -lr - gain))
        assert (higher[0], higher[-1]) == (1e-3, 1.6e-2)


def test_without_a_method_better_than_the_untrained_model_the_recommendation_says_so() -> None:
    taken, better = (recommend(verdicts_of(RACED, raced(lambda lr, at=at: 5 * lr + at))) for at in (0.0, -0.3))
    assert taken is not None
    assert better is not None
    assert taken.headline == (
        "Nothing was learned yet: no method is clearly better than the untrained model. Try more steps, more time or "
        "other rates."
    )
    assert "untrained" not in better.sentence


def test_a_decision_whose_rates_are_all_too_high_tries_two_lower_ones_and_then_more_seeds(tmp_path: Path) -> None:
    study = STUDY.changed({"eval_size": 24}, tune={"lr": (0.2, 0.4)})
    *_, last = decide(tmp_path / "out", minutes=60, plan=replace(PLAN, study=study))
    assert rates_of(last.verdicts.rows)[0] == 0.05
    assert last.taken is not None
    assert len(last.taken.method.valid_losses) >= study.seeds


@pytest.mark.parametrize(("right", "base"), [(0.0, 0.0), (0.4, 0.4), (0.4, 0.6), (1.0, 1.0), (0.4, 0.0)])
def test_an_adapter_with_no_more_right_answers_than_the_untrained_model_is_not_to_be_taken_yet(
    right: float, base: float
) -> None:
    """Its loss is lower, as of a model that has learned the form of the answers alone."""
    taken = found(losses_with(olora=0.5), test_accuracy=right, base_test_accuracy=base)
    assert taken.headline.startswith("Take ") == (right > base)
    assert (taken.doubt, taken.verdict) == ("no better than untrained" * (right <= base), "better")
    known: Any = SimpleNamespace(verdicts=verdicts_of(RACED, raced(lambda lr: -lr)), taken=taken, plan=PLAN)
    assert (">no better than untrained · " in decision.headline(known)) == (right <= base)
    if right == 0:
        assert taken.headline == (
            "Nothing was learned yet: 0% of the test examples are right. Try more steps, more time or a larger model."
        )
        assert taken.why.startswith("Until then, OLoRA at 2e-3, rank 8. ")
    elif right <= base:
        assert taken.headline == (
            f"Training makes no more answers right: {right:.0%} of the test examples, and {base:.0%} without it. Try "
            "more data, more time or a larger model. Until then, OLoRA at 2e-3, rank 8."
        )


BAD = st.sampled_from([0.0, 0.004, 0.3, math.nan])


@settings(deadline=None, max_examples=30)
@given(BAD, BAD, BAD, BAD, st.sampled_from([math.nan, 0.5]), st.sampled_from([0.5, 0.0, -0.5]), st.integers(1, 4))
def test_nothing_to_take_stands_beside_no_right_answer(
    lora: float, olora: float, pissa: float, base: float, guess: float, gain: float, seeds: int
) -> None:
    """Whatever the losses say: where what is taken is right in 0%, the headline is that it has learned nothing."""
    right = dict(zip(METHODS, (lora, olora, pissa), strict=False))
    taken = found(
        losses_with(olora=gain), seeds=seeds, test_accuracy=lambda trial: right[trial.method],
        base_test_accuracy=base, guess_test_accuracy=guess, guess="at random",
    )  # fmt: skip
    nothing = f"{right[taken.method.method]:.0%}" == "0%"
    whose = taken.method.method
    first = re.match("(Nothing was learned|.* has learned nothing) yet: 0% of the test examples", taken.headline)
    assert bool(first) == nothing
    if nothing:
        assert "Try more steps, more time" in taken.headline
        assert "take" not in taken.headline.lower()
        known: Any = SimpleNamespace(verdicts=verdicts_of(RACED, raced(lambda lr: -lr)), taken=taken, plan=PLAN)
        bold = re.search("<b>(.*?)</b>", decision.headline(known))
        assert bold is not None
        assert bold[1].startswith(taken.headline[:20])
        others = any(share >= 0.005 for method, share in right.items() if method != whose)
        assert others == ("has learned nothing" in taken.headline)


def test_a_larger_rank_is_taken_only_if_it_is_better() -> None:
    def picked(gain: float) -> int:
        study = Study(across={"r": (16, 4)}, tune={"lr": (1e-3, 2e-3, 4e-3)}, seeds=4)
        rows: dict[Trial, float] = {}
        while todo := needed(study, rows):
            rows |= {one: losses_with()(one.method, one.lr, one.seed) - gain * (one.cell.r == 16) for one in todo}
        taken = recommend(verdicts_of(study, {trial: row(x) for trial, x in rows.items()}))
        assert taken is not None
        return taken.method.cell.r

    assert (picked(0.0), picked(0.5)) == (4, 16)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Decision]:
    """A decision from its plan to its adapter."""
    return list(decide(tmp_path_factory.mktemp("decide") / "out", minutes=60, plan=PLAN))


def test_a_decision_goes_from_a_plan_to_an_adapter_that_peft_loads(whole: list[Decision]) -> None:
    plan, last = whole[0], whole[-1]
    assert (plan.lanes, plan.taken, plan.stage) == (0, None, "coarse rates")
    assert [one.lanes for one in whole] == sorted(one.lanes for one in whole)
    assert last.stage == "done"
    assert last.taken is not None
    assert last.adapter is not None
    assert last.answers
    assert decision.plan(last).count('class="done"') == 3
    stages = re.findall(r'<li class="(\w*)">(.*?)</li>', decision.plan(replace(last, lanes=6, adapter=None)))
    short = f"all seeds: ended after 6 of {PLAN.lanes} lanes"
    assert stages == [("done", "coarse rates"), ("", short), ("", "final adapter")]
    (reference,) = (one for one in last.verdicts.each if one.method == "lora")
    assert all(math.isfinite(step) for step in reference.reached_at)  # each seed, its own end
    model, _ = load_model("glassllm", device=torch.device("cpu"), dtype=torch.float32)
    loaded = peft.PeftModel.from_pretrained(model, last.adapter)
    # An adapter that starts away from zero is exported as the difference from its start.
    assert loaded.peft_config["default"].r == (2 if last.taken.method.method == "lora" else 4)
    # The adapter is the very lane that the verdict rests on.
    its = last.taken.method
    summary = runs.read_summary(last.folder / "final")
    trial = Trial(its.cell, its.method, its.best_lr or 0, 0)
    found = next(iter((summary or {})["lanes"].values()))
    assert found["final_loss"] == pytest.approx(last.verdicts.rows[trial]["valid_loss"], rel=1e-5)
    # Its merge is measured on the test examples that judged it.
    assert last.merge is not None
    assert last.merge.beside.loss == pytest.approx(last.verdicts.rows[trial]["test_loss"], rel=1e-5)
    assert read_json_object(last.folder / "decision.json")["decision"]["merge"] == last.merge.to_json()
    assert not any(one.merge for one in whole[:-1])
    for told in (decision.texts(last)["headline"], report_html(last, "sentiment", "none")):
        assert last.merge.sentence in unescape(told)
        assert all(f"<td>{cell}</td>" in told for row in last.merge.rows[1:] for cell in row[1:])


def test_what_is_known_can_be_told_from_what_was_known_before(whole: list[Decision]) -> None:
    """A page draws it again if it is another one."""
    assert all(one == one for one in whole)
    assert len(whole) == sum(not any(a == b for b in whole[:i]) for i, a in enumerate(whole))


def test_time_that_is_left_goes_to_more_seeds_and_the_folder_says_the_same(tmp_path: Path) -> None:
    study = STUDY.changed({"eval_size": 24, "test_size": 24}, compare=("lora", "milora"))
    plan = Plan(study, minutes=60, seconds=10, final=1, most=64)
    planned = None
    for known in decide(tmp_path / "out", minutes=60, plan=plan):
        one = known.verdicts.each[1]
        if one.seeds == study.seeds and not needed(study, losses_of(known)):
            planned = planned or one.verdict
        if one.seeds > study.seeds:
            break
    assert planned == "undecided"  # so that it goes on
    assert one.seeds == study.seeds + 1
    assert all(other.seeds == study.seeds + 1 for other in known.verdicts.each)
    written = ov.verdicts(tmp_path / "out").each
    assert [each.to_json() for each in written] == [each.to_json() for each in known.verdicts.each]


def losses_of(known: Decision) -> dict[Trial, float]:
    return {trial: row["valid_loss"] for trial, row in known.verdicts.rows.items()}


def test_an_adapter_that_is_begun_is_finished_though_the_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(PLAN, study=STUDY.changed(tune={"lr": (1e-3,)}, seeds=1, coarse=1))
    known = None
    for known in decide(tmp_path / "late", minutes=60, plan=plan):
        if known.stage == deciding.FINAL:
            monkeypatch.setattr(deciding, "time", SimpleNamespace(monotonic=lambda: math.inf))
    assert known is not None
    assert (known.seconds, known.stage) == (math.inf, deciding.DONE)
    assert known.adapter is not None


def test_the_folder_is_gone_on_with_and_another_set_up_is_refused(whole: list[Decision], tmp_path: Path) -> None:
    last = whole[-1]
    again = list(decide(last.folder, minutes=5))
    assert again[-1].to_json() == last.to_json()
    with pytest.raises(ValueError, match=r"steps is 2 in .*, but 4 here: use another"):
        next(decide(last.folder, steps=4))
    record = json.loads((last.folder / "decision.json").read_text())
    assert record["format"] == 1
    assert record["decision"]["init"] == last.taken.method.method if last.taken else False
    with pytest.raises(ValueError, match=r"minutes must be a number from 0\.1 to 10000"):
        next(decide(tmp_path / "new", minutes=0))
    with pytest.raises(ValueError, match="unknown setting 'stepz'"):
        next(decide(tmp_path / "new", stepz=3))
    assert not (tmp_path / "new").exists()


def test_a_study_refuses_the_folder_of_a_decision_and_names_what_goes_on_with_it(
    whole: list[Decision], capsys: pytest.CaptureFixture[str]
) -> None:
    out = whole[-1].folder
    sentence = f"{str(out)!r} is the folder of a decision, not of a study: python -m olora_viz decide --out {out}"
    before = (out / "verdicts.json").read_bytes(), (out / "study.toml").read_bytes()
    for options in ([], ["--plan"], ["--seeds", "4"]):
        assert main(["study", str(out), *options]) == 2
        assert sentence in capsys.readouterr().err
    with pytest.raises(ValueError, match=re.escape(sentence)):
        next(ov.run_study(None, out))
    assert ((out / "verdicts.json").read_bytes(), (out / "study.toml").read_bytes()) == before
    assert ov.verdicts(out).study == STUDY.fixed()


def test_what_a_folder_still_needs_is_by_the_rule_of_a_study_or_of_a_decision(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RACED)
    ledger.open()
    no_run = dict.fromkeys(COLUMNS, 0.0) | {"evaluated": [], "valid_losses": []}
    rows = [
        no_run | {"init": trial.method, "r": trial.cell.r} | folder.row_of(trial) | results
        for trial, results in raced(lambda lr: 50 * lr).items()
    ]
    write_parquet(pd.DataFrame(rows), ledger.runs / "0001.parquet")
    assert rates_of(ledger.needed()) == [5e-4]  # one below the lowest, which is the best
    (tmp_path / DECISION).touch()
    assert ledger.needed() == []


def test_a_folder_of_a_newer_format_is_refused_with_its_number(tmp_path: Path) -> None:
    Ledger(tmp_path, STUDY).open()
    path = tmp_path / "decision.json"
    path.write_text(json.dumps({"format": 2, "plan": []}))
    rule = f"'{path}' has format 2, and this version of olora_viz reads up to format 1: use a newer version"
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        next(decide(tmp_path))


def test_the_command_prints_the_verdicts_and_the_decision_and_writes_a_report(
    whole: list[Decision], capsys: pytest.CaptureFixture[str]
) -> None:
    out = whole[-1].folder
    assert main(["decide", "--out", str(out), "--minutes", "5", "--json"]) == 0
    printed = capsys.readouterr()
    *each, last = map(json.loads, printed.out.splitlines())
    assert [one["init"] for one in each] == ["lora", "olora"]
    assert f"{out / 'recipe'} has it as files" in printed.err
    assert last == {"decision": whole[-1].to_json()}
    taken = whole[-1].taken
    assert taken is not None
    assert taken.beats_guessing is False  # after two steps
    level = replace(whole[-1], taken=replace(taken, verdict="level"))
    assert f">{taken.doubt} · " in decision.headline(level)
    about = (runs.read_summary(out / "final") or {})["held_out"]
    assert 0 < about["test_guess"] < 1
    for part in ("base model", about["test_guess_words"], f"{about['test_guess']:.0%}"):
        assert part in decision.starts(whole[-1])
    shown, runner_up = decision.starts(whole[-1]), taken.runner_up
    assert runner_up is not None
    for part in (
        ", taken</small>",
        f"{runner_up.test_loss:.2f}",
        f"rates chosen on {taken.method.valid_examples} held-out examples",
        f"judged on {taken.method.test_examples} test examples",
        "intervals: 95% over",
    ):
        assert part in shown
    roles = ("lower held-out loss", "runner-up")
    for role, more in zip(roles, (-0.1, 0.1), strict=True):
        other = runner_up._replace(valid_loss=taken.method.valid_loss + more)
        shown = decision.starts(replace(whole[-1], taken=replace(taken, runner_up=other)))
        assert [name for name in roles if f", {name}</small>" in shown] == [role]
    report = (out / "report.html").read_text()
    for part in ("All starts at their best", "Before and after", "python -m olora_viz decide"):
        assert part in report
    assert main(["decide", "--out", str(out), "--steps", "9"]) == 2
    assert "steps is 2 in" in capsys.readouterr().err


def test_a_plan_is_shown_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--task", "sentiment", "--init", "olora,pissa", "--batch-size", "4", "--seeds", "3"]
    out = str(tmp_path / "new")
    assert main(["decide", "--out", out, *words, "--minutes", "20", "--plan"]) == 0
    said = capsys.readouterr().err
    assert "3 starts (LoRA, OLoRA, PiSSA)" in said
    assert "then 3 seeds at each start's best rate" in said
    assert not (tmp_path / "new").exists()


def test_a_watcher_ends_it_early_with_what_is_known_and_without_an_adapter(tmp_path: Path) -> None:
    steps = count(1)
    *_, last = decide(tmp_path / "out", plan=PLAN, watch=lambda _: next(steps) < 4)
    assert last.adapter is None
    assert last.lanes == 6
    assert last.taken is not None
    assert Ledger(last.folder).study == PLAN.study.fixed()
    assert ov.verdicts(last.folder).study.seeds == last.verdicts.study.seeds == 1


def test_whoever_is_killed_in_the_first_race_goes_on_with_the_same_plan(tmp_path: Path) -> None:
    def killed(_: Step) -> bool:
        raise KeyboardInterrupt

    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        list(decide(folder, plan=PLAN, watch=killed))
    assert next(decide(folder, lr=list(STUDY.lrs))).plan.study == STUDY.fixed()
    assert list(decide(folder))[-1].stage == "done"


def test_a_decision_with_a_metric_of_ones_own_goes_on_with_that_function(tmp_path: Path) -> None:
    folder, plan = tmp_path / "out", replace(PLAN, study=STUDY.changed({"metric": exact}, seeds=1, coarse=1))
    list(decide(folder, plan=plan, watch=lambda _: False))
    with pytest.raises(ValueError, match="the metric 'exact' was a Python function"):
        list(decide(folder))
    with pytest.raises(ValueError, match=r"metric is 'python:exact' in .*, but 'exact' here"):
        next(decide(folder, metric="exact"))
    assert list(decide(folder, metric=exact))[-1].stage == "done"
