"""A decision says how little of the rows its lanes saw, and asks for more steps before anything else."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.simulated_studies import row_of

from olora_viz.__main__ import main
from olora_viz.machine.files import read_json_object
from olora_viz.races.data import task_of
from olora_viz.studies.budget import Plan, fitted
from olora_viz.studies.decide import Decision, decide
from olora_viz.studies.folder import Ledger
from olora_viz.studies.preregistration import DECISION
from olora_viz.studies.recommendation import Recommendation, recommend
from olora_viz.studies.rows import Row
from olora_viz.studies.search import needed
from olora_viz.studies.study import Study, Trial
from olora_viz.studies.timing import Timing
from olora_viz.studies.verdicts import verdicts_of
from olora_viz.tasks.batches import Epochs, batch_indices
from olora_viz.views import decision
from olora_viz.views.reports import report_html

SHORT = Epochs(20, 480)
RACED = Study(tune={"lr": (1e-3, 2e-3, 4e-3)}, seeds=3, coarse=1)
MORE = "more steps, more time"


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 50), st.integers(1, 40), st.integers(1, 300))
def test_epochs_count_the_rows_of_the_batches(steps: int, batch_size: int, rows: int) -> None:
    drawn = [i for step in range(steps) for i in batch_indices(rows, batch_size, 0, step)]
    epochs = Epochs(len(drawn), rows)
    assert epochs.number == pytest.approx(len(drawn) / rows)
    whole = min(drawn.count(i) for i in range(rows)) >= 1
    assert (epochs.number >= 1) == whole
    assert (f"({len(set(drawn))} of {rows} rows)" in epochs.words) == (not whole)


@settings(deadline=None, max_examples=50)
@given(st.floats(1e-3, 5.0), st.floats(1.0, 4.0), st.integers(20, 5000), st.floats(60.0, 5000.0))
def test_a_plan_says_the_share_of_the_rows_and_the_minutes_of_an_epoch(
    step: float, slower: float, rows: int, left: float
) -> None:
    timing = Timing(2.0, step, 1e-3, "", 64, 100, alone=slower * step, train=rows)
    plan = fitted(Study(seeds=3), timing, left, left / 60)
    study = plan.study
    assert plan.epochs.number == pytest.approx(study.race.steps * study.race.batch_size / rows)
    assert f"A lane sees {plan.epochs.words}." in " ".join(plan.words)
    alone, together = plan.epoch_seconds
    each = rows / study.race.batch_size
    assert alone == pytest.approx(each * slower * step)
    assert together == pytest.approx(each * step * plan.lanes)
    assert plan.to_json()["epoch_minutes_alone"] == pytest.approx(alone / 60, rel=0.01)


def recommended(epochs: Epochs | None, since: float, since_start: float = 0.5, **columns: Any) -> Recommendation:
    """Recommend by runs whose loss ends lower, by so many nats than before; one standard error is 0.1 nats."""
    noise = 0.8 * np.tile([-1.0, 1.0], 32) * math.sqrt(63 / 64)
    spread = np.linspace(-0.3, 0.3, 64)
    rows: dict[Trial, Row] = {}
    while todo := needed(RACED, {trial: row["valid_loss"] for trial, row in rows.items()}):
        for trial in todo:
            end = 1.0 + spread + abs(math.log(trial.lr / 2e-3)) + noise
            rows[trial] = row_of(
                end, end, 1.5, base_valid_loss_by_example=end + since_start - noise,
                earlier_valid_loss_by_example=end + since - noise, **columns,
            )  # fmt: skip
    taken = recommend(verdicts_of(RACED, rows), epochs)
    assert taken is not None
    return taken


GUESSES = {"guess": "always “no”", "guess_test_accuracy": 0.5, "test_accuracy": 0.5}
WRONG = {"test_accuracy": 0.25, "base_test_accuracy": 0.25}
DOUBTS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    (GUESSES, "may be guessing"),
    (WRONG, "no better than untrained"),
    ({"since_start": -0.5}, "no better than untrained"),
]


@pytest.mark.parametrize(("columns", "doubt"), DOUBTS)
@pytest.mark.parametrize("epochs", [SHORT, Epochs(480, 480), Epochs(20, 0), None])
@pytest.mark.parametrize("since", [0.3, 0.05, -0.3])
def test_more_steps_are_the_advice_where_less_than_an_epoch_was_seen_and_the_loss_still_falls(
    since: float, epochs: Epochs | None, columns: dict[str, Any], doubt: str
) -> None:
    taken = recommended(epochs, since, **columns)
    falls = epochs is SHORT and since > 0.1
    assert taken.doubt == doubt
    assert (taken.more_steps, taken.to_json()["more_steps"]) == (falls, falls)
    assert (": more steps, more time come first." in taken.why) == falls
    if falls:
        at = "LoRA at 2e-3"
        assert taken.why.startswith(
            f"In less than an epoch the held-out loss of {at} still falls, by 0.30 ± 0.10 nats since step 10: "
        )
        for other in ("more data", "other rates", "larger model"):
            assert other not in taken.sentence
    if doubt and falls:
        assert f". Try {MORE}." in taken.headline
        assert "Until then, LoRA at 2e-3, rank 8." in taken.sentence


@pytest.mark.parametrize(("columns", "doubt"), DOUBTS[:3])
def test_a_loss_that_is_lower_than_at_the_start_still_falls_only_where_nothing_is_learned_yet(
    columns: dict[str, Any], doubt: str
) -> None:
    """With one evaluation, at the end: it may have stopped to fall long before."""
    taken = recommended(SHORT, 0.5, **columns, evaluated=[20], valid_losses=[1.0])
    assert taken.more_steps == bool(doubt)
    assert ("from the untrained model's" in taken.why) == bool(doubt)


def test_a_fall_that_does_not_matter_is_none() -> None:
    """By the margin of the verdicts: a share of what the reference gains on the untrained model."""
    assert not recommended(SHORT, 0.3, base_test_loss=1.0 + 0.3 / RACED.margin * 1.1).more_steps
    assert recommended(SHORT, 0.3, base_test_loss=1.0 + 0.3 / RACED.margin * 0.9).more_steps


def test_nothing_is_left_to_fall_where_the_loss_itself_does_not_matter() -> None:
    """The loss ends at 1 nat, after a fall of two."""
    assert not recommended(SHORT, 2.0, base_test_loss=1.0 + 1.1 / RACED.margin).more_steps
    assert recommended(SHORT, 2.0, base_test_loss=1.0 + 0.9 / RACED.margin).more_steps


def test_a_run_keeps_the_losses_of_the_evaluation_before_its_last(tmp_path: Path) -> None:
    """Of the base model, if there is none."""
    for eval_every, evaluated in ((0, [4]), (2, [2, 4])):
        known = decide(
            tmp_path / str(eval_every), minutes=20, task="sentiment", compare=["olora"], steps=4, batch_size=4,
            lr=(1e-3,), seeds=1, eval_size=24, test_size=24, eval_every=eval_every, search=[],
        )  # fmt: skip
        *_, last = known
        for row in Ledger(last.folder).trials().values():
            before = [row["base_valid_loss"], *row["valid_losses"]][-2]
            assert list(row["evaluated"]) == evaluated
            assert np.mean(row["earlier_valid_loss_by_example"]) == pytest.approx(before, rel=1e-4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Decision]:
    """A decision that was planned here, from its plan to its adapter."""
    folder = tmp_path_factory.mktemp("decide") / "out"
    return list(
        decide(
            folder, minutes=20, task="sentiment", compare=["olora"], steps=3, batch_size=4, lr=(1e-3, 3e-3), seeds=3,
            eval_size=24, test_size=24, search=[],
        )
    )  # fmt: skip


def test_every_plan_and_every_answer_says_it_wherever_it_is_shown(whole: list[Decision]) -> None:
    plan, last = whole[0].plan, whole[-1]
    config = plan.study.config([next(plan.study.trials(plan.study.cells()[0], "lora", plan.study.lrs))])
    rows = len(task_of(config).train)
    seen = f"A lane sees {12 / rows:.2g} epochs (12 of {rows:,} rows)."
    assert seen in " ".join(plan.words)
    assert seen in decision.plan(whole[0])
    assert seen in decision.headline(last)
    assert all(seen in known.sentence for known in whole if known.taken)
    assert seen in report_html(last, "sentiment", "none").partition("<table")[0]
    expected = {"rows_seen": 12, "training_rows": rows, "epochs": pytest.approx(12 / rows, rel=1e-3)}
    written = read_json_object(last.folder / DECISION)["decision"]
    for values in (plan.to_json(), last.to_json(), written):
        assert {name: values[name] for name in expected} == expected
        assert values["epoch_minutes_alone"] > 0
        assert values["epoch_minutes_all_lanes"] > 0
    (again, *_) = decide(last.folder, minutes=5)
    assert again.plan.seen == last.plan.seen


def test_the_command_prints_a_plan_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, words = str(tmp_path / "new"), ["--task", "sentiment", "--init", "olora", "--steps", "5", "--batch-size", "4"]
    assert main(["decide", "--out", out, *words, "--minutes", "20", "--plan", "--json"]) == 0
    printed = capsys.readouterr()
    plan = json.loads(printed.out)["plan"]
    assert plan["steps"] * plan["batch_size"] == plan["rows_seen"] == 20
    assert "A lane sees 0." in printed.err


def test_a_decision_too_short_to_learn_says_that_first_wherever_it_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--task number-words --init olora --steps 2 --batch-size 4 --lr 1e-4 --seeds 1 --search none --minutes 20"
    out = tmp_path / "out"
    assert main(["decide", "--out", str(out), *words.split()]) == 0
    said = "Nothing was learned yet: 0% of the test examples are right. Try more steps, more time"
    assert any(line.startswith(said) for line in capsys.readouterr().out.splitlines())
    known = next(decide(out))
    shown = (decision.headline(known), decision.texts(known)["headline"], report_html(known, "number-words", "none"))
    for html in shown:
        bold = html.partition('<p class="decided"><b>')[2].partition("</b>")[0]
        assert bold.startswith(said)
        assert "LoRA" not in bold
    assert said in " ".join(known.recipe["peft.py"].replace("#", "").split())


def test_a_plan_of_an_earlier_version_says_nothing_of_epochs(whole: list[Decision]) -> None:
    last = replace(whole[-1], plan=replace(whole[-1].plan, train=0), tried=())
    assert "epoch" not in " ".join(last.plan.words)
    assert last.taken is not None
    assert last.sentence == last.taken.sentence
    assert last.to_json()["epochs"] is None


@given(st.integers(1, 5))
def test_a_plan_counts_in_words_that_agree(seeds: int) -> None:
    study = Study(tune={"lr": (1e-3,)}, seeds=seeds, coarse=1)
    words = " ".join(Plan(study, minutes=5, seconds=10, final=1, most=4).words)
    assert not re.search(r"\b1 (lanes|rates|seeds)\b", words)
    assert ("–" in words) is False
    assert ("othing is decided with fewer than 3 seeds" in words) == (seeds < 3)
