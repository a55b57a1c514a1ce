"""What cannot be decided is said before anything trains: too few rows for a verdict, a plan beyond the time limit."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.studies import budget
from olora_viz.studies.budget import fitted
from olora_viz.studies.method import METHODS
from olora_viz.studies.statistics import LEAST_EXAMPLES
from olora_viz.studies.study import Study
from olora_viz.studies.timing import Timing


def rows_file(path: Path, rows: int) -> Path:
    """Write so many different questions."""
    lines = (json.dumps({"prompt": f"{n} and {n % 7} make", "answer": str(n + n % 7)}) for n in range(rows))
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("options", [[], ["--plan"]])
def test_sixty_rows_are_refused_with_how_many_are_missing_before_the_model_is_loaded(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_timing_of", None)
    task, out = rows_file(tmp_path / "my.jsonl", 60), tmp_path / "out"
    test = len(ov.load_task(task).test)
    assert main(["decide", "--task", str(task), "--minutes", "2", "--out", str(out), *options]) == 2
    lacking = LEAST_EXAMPLES - test
    words = (
        f"has {test} test examples, and a verdict needs at least 20: {lacking} are missing, or about {10 * lacking}"
    )
    assert words in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("examples", [1, 19, 20])
def test_a_decision_is_planned_if_a_verdict_is_possible_and_only_then(examples: int, tmp_path: Path) -> None:
    task, test = rows_file(tmp_path / "my.jsonl", 60), tmp_path / "test.csv"
    test.write_text("prompt,answer\n" + "".join(f"{n} less {n % 3} is,{n - n % 3}\n" for n in range(examples)))
    deciding = ov.decide(tmp_path / "out", task=str(task), test=str(test), compare=["olora"], steps=2)
    if examples >= LEAST_EXAMPLES:
        assert next(deciding).plan.study.race.test_size == examples
        return
    are = "1 is missing" if examples == 19 else "19 are missing"
    with pytest.raises(ValueError, match=rf"test\.csv' has {examples} test examples?, and a verdict needs .*: {are}$"):
        next(deciding)


def test_fewer_test_examples_on_request_are_refused_as_well(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="test_size is 10, and a verdict needs at least 20 test examples"):
        next(ov.decide(tmp_path / "out", test_size=10))


def test_a_plan_beyond_its_time_limit_is_not_started_and_the_time_it_names_is_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a model with steps of ten seconds."""
    timing = Timing(setup=20.0, step=10.0, example=0.5, data="", held_out=64, test=64)
    monkeypatch.setattr(budget, "_timing_of", lambda *_: timing)
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: 0.0))
    for options in ([], ["--plan"]):
        assert main(["decide", "--minutes", "4", "--out", str(tmp_path / "out"), *options]) == 2
        said = capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    limits = re.search(r"takes about (\d+) min, and the limit is 4 minutes: allow about (\d+) min,", said)
    assert limits is not None
    takes, enough = map(int, limits.groups())
    study = Study(compare=METHODS, seeds=3)
    assert fitted(study, timing, 240, 4).seconds == pytest.approx(60 * takes, abs=30)
    assert next(ov.decide(tmp_path / "out", minutes=enough + 1)).plan.seconds <= 60 * (enough + 1)
