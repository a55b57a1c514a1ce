"""A chain as a setting of a study: its rows are those of the chain, whatever stops it, and what is chosen by them."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.races.chain import kept
from olora_viz.studies import chains
from olora_viz.studies.chains import chosen_alone, pooled, words_alone
from olora_viz.studies.folder import Ledger
from olora_viz.studies.rows import FORGOTTEN, column_of_link
from olora_viz.studies.run import run_study
from olora_viz.studies.study import Candidate, Study
from olora_viz.studies.timing import estimate
from olora_viz.tasks.evaluation import Evaluation
from olora_viz.tasks.task import links_of, task_words

LINKS = ("addition", "uppercase", "addition")

STUDY = Study().changed(
    race={
        "task": "+".join(LINKS), "steps": 3, "batch_size": 4, "eval_size": 8, "test_size": 6, "eval_every": 0,
        "keep": "auto",
    },
    across={"r": (2,)},
    tune={"lr": (1e-3, 4e-3)},
    seeds=2,
    threads=1,
    compare=("lora", "olora"),
)  # fmt: skip


def finished(study: Study | None, out: Path, workers: int = 1) -> pd.DataFrame:
    """Run a study to its end; return the rows of its races, without clocks."""
    list(run_study(study, out, workers=workers))
    return Ledger(out).rows().drop(columns=["seconds", "run"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("chains") / "whole"
    return out, finished(STUDY, out)


def test_a_row_has_what_the_chain_has_at_its_end(whole: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    out, _ = whole
    ledger = Ledger(out)
    trials = [trial for trial in ledger.trials() if trial.lr == 1e-3 and trial.seed == 0]
    config = ledger.study.config(trials)
    race = ov.chain(replace(config, device="cpu"), LINKS, folder=tmp_path / "chain")
    for link in race:
        list(link)
    frame, ended = race.frame(), {each.method: each for each in kept(race)}
    for trial, label in zip(trials, race.labels, strict=True):
        row, of_lane = ledger.trials()[trial], frame[frame["lane"] == label]
        end = of_lane[of_lane["after"] == len(LINKS)]
        assert row["valid_loss"] == pytest.approx(end["loss"].mean(), rel=1e-6)
        assert row["valid_accuracy"] == pytest.approx(end["accuracy"].mean())
        assert row["base_valid_loss"] == pytest.approx(frame[frame["after"] == 0]["loss"].mean())
        for number, task in enumerate(LINKS, 1):
            (loss,) = of_lane[(of_lane["after"] == number) & (of_lane["task"] == task)]["loss"]
            assert row["measures"][column_of_link(number)] == pytest.approx(loss, rel=1e-6)
        assert row["valid_losses"] == pytest.approx(of_lane.groupby("after")["loss"].mean(), rel=1e-6)
        assert list(row["evaluated"]) == [3, 6, 9]
        assert row["steps"] == 9
        assert row["measures"][FORGOTTEN] == pytest.approx(ended[trial.method].forgotten[0], rel=1e-4)
    race, tasks = race.at_end()
    for k, trial in enumerate(trials):
        row = ledger.trials()[trial]
        tested = [each.tested.lanes for each in tasks.values() if each.tested]
        assert row["test_loss"] == pytest.approx(np.mean([each.loss[k] for each in tested]), rel=1e-6)
        assert row["test_loss"] == pytest.approx(np.mean(row["test_loss_by_example"]), rel=1e-4)
        assert row["test_examples"] == len(row["test_loss_by_example"]) == 12
        assert race.forgotten is not None
        assert row["drift"] == pytest.approx(race.forgotten.drift[k], rel=1e-5)


def test_a_study_that_is_stopped_in_any_link_goes_on_bitwise(
    whole: tuple[Path, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0

    def watch(_: ov.Step) -> bool:
        nonlocal seen
        seen += 1
        return seen not in (2, 5, 9)

    killed = iter([True])
    written = chains.write_part

    def kill(*given: object) -> None:
        if next(killed, False):
            raise KeyboardInterrupt  # after the last link, before the rows
        written(*given)  # pyrefly: ignore

    monkeypatch.setattr(chains, "write_part", kill)
    for _ in range(3):
        assert not list(run_study(STUDY, tmp_path / "study", watch=watch))
    with pytest.raises(KeyboardInterrupt):
        list(run_study(STUDY, tmp_path / "study", watch=watch))
    pd.testing.assert_frame_equal(finished(None, tmp_path / "study"), whole[1])
    assert not list((tmp_path / "study").rglob("*.safetensors"))


def test_races_in_processes_have_the_same_rows(whole: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(finished(STUDY, tmp_path / "study", workers=2), whole[1])


def test_a_lane_has_read_the_tokens_of_its_own_seed_whoever_raced_beside_it(tmp_path: Path) -> None:
    study = STUDY.changed(race={"task": "number-words+sentiment"}, tune={"lr": (1e-3,)})
    read = []
    for most in (2, 4):
        list(run_study(study, tmp_path / f"{most}", most=most))
        read.append({trial: row["tokens"] for trial, row in Ledger(tmp_path / f"{most}").trials().items()})
    assert read[0] == read[1]
    assert len({tokens for trial, tokens in read[0].items()}) == 2  # of two seeds


def test_each_link_says_what_it_would_have_chosen(whole: tuple[Path, pd.DataFrame]) -> None:
    ledger = Ledger(whole[0])
    verdicts, (cell,) = ledger.verdicts(), ledger.study.cells()
    for verdict in verdicts.each:
        assert verdict.best is not None
        by_rate: dict[float, list[float]] = {}
        rows = [(t, row) for t, row in ledger.trials().items() if t.method == verdict.method]
        for number, chosen in enumerate(chosen_alone(verdicts, cell, verdict.method), 1):
            by_rate = {}
            for trial, row in rows:
                by_rate.setdefault(trial.lr, []).append(row["measures"][column_of_link(number)])
            means = {lr: np.mean(each) for lr, each in by_rate.items() if len(each) == verdict.seeds}
            assert chosen == Candidate(min(means, key=lambda lr: means[lr]))
    words = words_alone(verdicts)
    assert list(words) == [f"glassllm, addition → uppercase → addition, rank 2, {name}" for name in ("LoRA", "OLoRA")]
    assert all("over all tasks, chooses" in said and "for uppercase and" in said for said in words.values())


def test_a_lane_that_diverges_in_a_link_has_a_row_that_says_so(tmp_path: Path) -> None:
    race = {"steps": 8, "keep": "none", "task": "addition+uppercase"}
    study = STUDY.changed(race=race, tune={"lr": (1e-3, 1e9)}, seeds=1)
    ledger = Ledger(tmp_path / "study", study)
    next(iter(run_study(study, tmp_path / "study", most=4)))
    for trial, row in ledger.trials().items():
        has_diverged = trial.lr > 1
        assert row["status"] == ("diverged" if has_diverged else "finished")
        assert math.isnan(row["valid_loss"]) == math.isnan(row["measures"][FORGOTTEN]) == has_diverged
        assert len(row["test_loss_by_example"]) == 12
        assert np.isnan(row["test_loss_by_example"]).all() == has_diverged
        assert row["steps"] == (8 if has_diverged else 16)


def test_the_mean_over_tasks_has_an_interval_that_is_not_narrower_than_a_stratified_one() -> None:
    drawn = np.random.default_rng(0)
    tasks = []
    for n, mean in ((5, 0.1), (40, 3.0), (13, -1.0)):
        losses = drawn.normal(mean, 1.0, (2, n))
        unknown = np.full(2, np.nan)
        tasks.append(Evaluation(losses.mean(1), unknown, unknown, unknown, losses, losses > 0, unknown))
    whole = pooled(tasks)
    assert whole.loss == pytest.approx(np.mean([each.loss for each in tasks], axis=0))
    assert whole.example_loss.mean(1) == pytest.approx(whole.loss)
    gaps = [each.example_loss[0] - each.example_loss[1] for each in tasks]
    stratified = math.sqrt(sum(gap.var() / len(gap) for gap in gaps)) / len(gaps)
    gap = whole.example_loss[0] - whole.example_loss[1]
    assert gap.std() / math.sqrt(len(gap)) > stratified


def test_the_time_of_a_chain_is_that_of_its_links() -> None:
    trials = list(STUDY.trials(STUDY.cells()[0], "lora", STUDY.candidates(), 1))
    data = estimate(STUDY, trials).data
    assert list(data) == ["glassllm, addition", "glassllm, uppercase"]


def test_a_chain_that_cannot_be_raced_is_one_sentence_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for changes, said in (
        ({"compare": ("lora", "eva")}, "eva starts from data that each lane's own base would have to read anew"),
        ({"race": {"task": "addition+"}}, "the chain 'addition\\+' lacks a task"),
        ({"race": {"test": "rows.jsonl"}}, "a chain is judged on those held out"),
    ):
        with pytest.raises(ValueError, match=said):
            STUDY.changed(**changes)
    assert main(["race", "--task", "addition+uppercase", "--steps", "1"]) == 2
    assert "is a chain of 2 tasks" in capsys.readouterr().err


def test_a_file_whose_name_has_a_plus_is_one_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert links_of("a+b.jsonl") == ("a", "b.jsonl")
    Path("a+b.jsonl").write_text("")
    assert links_of("a+b.jsonl") == ("a+b.jsonl",)
    assert task_words("a+b.jsonl") == "a+b.jsonl"
