"""Set-ups in TOML for races, decisions and studies: options go first, and errors name the line."""

import json
from pathlib import Path

import pytest
from support.verbs import run

from olora_viz.lanes.lane import Lane
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig
from olora_viz.studies.study import Study

RACE = """\
task = "number-words"
steps = 3
batch_size = 4
eval_every = 3
eval_size = 8
test_size = 8
clip = 2
lanes = ["lora:lr=1e-3/3e-3", "olora:clip=1"]
"""
TABLES = """\
task = "number-words"

[[lanes]]
init = "lora"
lr = [1e-3, 3e-3]

[[lanes]]
init = "olora"
r = 4
targets = ["q_proj", "v_proj"]
"""
SHORT = ("--steps", "2", "--batch-size", "4", "--eval-size", "8", "--test-size", "8")


def file(folder: Path, text: str | bytes) -> str:
    path = folder / "setup.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def refused(*arguments: str) -> str:
    """Run a verb that is refused in one sentence, and return this."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (sentence,) = done.stderr.strip().splitlines()
    assert len(sentence) < 1000
    return sentence


def test_a_file_sets_a_race_up_and_options_take_the_place_of_its_values(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = run("race", file(tmp_path, RACE), "--run", str(folder), "--steps", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert runs.read_config(folder) == RaceConfig(
        task="number-words", steps=2, batch_size=4, eval_every=3, eval_size=8, test_size=8, dtype="float32",
        lanes=(Lane("lora", lr=1e-3, clip=2), Lane("lora", lr=3e-3, clip=2), Lane("olora", clip=1)),
    )  # fmt: skip


def test_lanes_of_a_file_are_tables_too_and_those_of_options_replace_them(tmp_path: Path) -> None:
    small = Lane("olora", r=4, targets=("q_proj", "v_proj"))
    for options, lanes in (
        ((), (Lane("lora"), Lane("lora", lr=3e-3), small)),
        (("--lane", "pissa", "--clip", "1"), (Lane("pissa", clip=1),)),
    ):
        folder = tmp_path / f"run{len(options)}"
        done = run("race", file(tmp_path, TABLES), "--run", str(folder), *SHORT, *options)
        assert done.returncode == 0, done.stderr
        assert runs.read_config(folder).lanes == lanes


def test_a_decision_is_set_up_by_a_file(tmp_path: Path) -> None:
    text = 'task = "number-words"\nminutes = 0.2\ncompare = ["olora"]\nsearch = []\nr = 2\nlr = [3e-3]\n'
    text += "seeds = 3\nsteps = 2\nbatch_size = 4\neval_size = 8\ntest_size = 20\nthreads = 1\n"
    out = tmp_path / "decision"
    made = "decide", file(tmp_path, text), "--out", str(out), "--seeds", "1"
    done = run(*made, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["decision"]["r"] == 2
    study = Study.read(out / "study.toml")
    assert (study.race.task, study.compare) == ("number-words", ("lora", "olora"))
    assert (study.lrs, study.values("r"), study.seeds, study.race.steps) == ((3e-3,), (2,), 1, 2)


def test_options_are_checked_together_with_the_values_of_a_study(tmp_path: Path) -> None:
    path = file(tmp_path, "warmup = 150\nsteps = 100\n")
    out = "--out", str(tmp_path / "out")
    assert "line 1 of " in refused("study", path, *out)
    assert Study.read(Path(path), race={"steps": 200}).race.warmup == 150


def test_any_name_of_a_task_file_is_read_back(tmp_path: Path) -> None:
    study = Study(across={"task": ("Prüfung 🏁.jsonl", 'a "b" \\ c\n.csv')})
    assert Study.from_toml(study.to_toml()) == study


def test_a_file_may_begin_with_a_mark_and_end_its_lines_as_windows_does(tmp_path: Path) -> None:
    path = Path(file(tmp_path, b'\xef\xbb\xbftask = "addition"\r\nseeds = 2\r\n'))
    assert Study.read(path) == Study().changed(race={"task": "addition"}, seeds=2)


COMMANDS = {"race": ("race",), "decide": ("decide", "--out", "decision"), "study": ("study", "--out", "study")}


@pytest.mark.parametrize("verb", COMMANDS)
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps = 3\nstep = 5\n", "line 2 of 'setup.toml': unknown setting 'step'; did you mean"),
        ('steps = "ten"\n', "line 1 of 'setup.toml': steps must be a whole number, not \"ten\""),
        ("\nsteps = [1, 2]\n", "line 2 of 'setup.toml': steps must be a whole number, not [1, 2]"),
        ("steps = true\n", "line 1 of 'setup.toml': steps must be a whole number, not true"),
        ("steps = 3.0\n", "line 1 of 'setup.toml': steps must be a whole number, not 3.0"),
        ("steps = 2024-01-01\n", 'steps must be a whole number, not "2024-01-01"'),
        ("[steps]\nall = 3\n", "line 1 of 'setup.toml': steps must be a whole number, not {"),
        ("device = 3\n", "line 1 of 'setup.toml': device must be a string, not 3"),
        ("# a race\nsteps = 0\n", "line 2 of 'setup.toml': steps must be a whole number from 1"),
        (f"steps = {'9' * 400}\n", "line 1 of 'setup.toml': steps must be a whole number from 1"),
        (f"steps = {'9' * 5000}\n", "'setup.toml' is not TOML: "),
        ('device = "gpu"\n', "line 1 of 'setup.toml': unknown device 'gpu'"),
        ("steps = 3\nsteps = 4\n", "'setup.toml' is not TOML: Cannot overwrite a value (at line 2"),
        ("steps = 3\nlrs = [\n", "at the end, line 2"),
        ("steps: 3\n", "'setup.toml' is not TOML: Expected '='"),
        ("", "'setup.toml' sets nothing: its keys can be "),
        ("# nothing\n", "'setup.toml' sets nothing: its keys can be "),
        (b"\x89PNG\r\n\x1a\n\x00", "'setup.toml' is not TOML: it is not UTF-8 text"),
        (b"\x00" * 99, "'setup.toml' is not TOML: Invalid statement (at line 1"),
        ("a = " + "[" * 5000, "'setup.toml' is not TOML: it is nested too deeply"),
        ('task = "' + "x" * 10_000_000 + '"\n', "'setup.toml' has more than 1 MB"),
    ],
)
def test_a_broken_file_is_refused_in_a_sentence_with_its_line(
    verb: str, text: str | bytes, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file(tmp_path, text)
    name, *more = COMMANDS[verb]
    assert sentence in refused(name, "setup.toml", *more)
    assert [path.name for path in tmp_path.iterdir()] == ["setup.toml"]


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_file_that_is_missing_is_named(verb: str, tmp_path: Path) -> None:
    name, *more = COMMANDS[verb]
    assert "no such file" in refused(name, str(tmp_path / "none.toml"), *more).lower()


@pytest.mark.parametrize("verb", ["race", "decide"])
def test_a_folder_is_no_file(verb: str, tmp_path: Path) -> None:
    name, *more = COMMANDS[verb]
    assert "is a folder, not a set-up in TOML" in refused(name, str(tmp_path), *more)


@pytest.mark.parametrize(
    ("lanes", "sentence"),
    [
        ('lanes = ["lora", "olra"]', "'setup.toml': lane 2: unknown initialization 'olra'"),
        ('lanes = ["lora:lr=x"]', "line 1 of 'setup.toml': lane 1: lr must be a positive number"),
        ("lanes = [3]", "line 1 of 'setup.toml': lane 1: a lane is a SPEC such as"),
        ("lanes = []", "a race takes 1 to 64 lanes, not 0"),
        ('lanes = ["lora:seed=0-39", "olora:seed=0-39"]', "lanes makes 80 lanes"),
        ('[[lanes]]\ninit = "lora"\n[[lanes]]\ninit = "lora"\nlrr = 1\n',
         "line 3 of 'setup.toml': lane 2: unknown lane key 'lrr'; did you mean 'lr'"),
        ("[[lanes]]\nlr = 1e-3\n", "line 1 of 'setup.toml': lane 1: a lane needs the name"),
        ('[[lanes]]\ninit = "lora"\nlr = true\n', "learning rate must be a positive number, not"),
        ('[[lanes]]\ninit = "lora"\nlr = []\n', "lane 1: lr must not be an empty list"),
        ('[[lanes]]\ninit = ["lora"]\n', "an initialization must be a name, not ['lora']"),
        ('[[lanes]]\ninit = "lora"\nseed = [0, 1]\nr = "8"\n', "rank must be a whole number"),
    ],
)  # fmt: skip
def test_a_broken_lane_of_a_file_is_named_with_its_line(
    lanes: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file(tmp_path, lanes)
    assert sentence in refused("race", "setup.toml")


def test_the_error_of_an_option_does_not_name_the_file(tmp_path: Path) -> None:
    path = file(tmp_path, RACE)
    assert refused("race", path, "--steps", "0").startswith("error: steps must be")
    assert refused("race", path, "--lane", "olra").startswith("error: unknown initialization")
    assert refused("race", path, "--resume", str(tmp_path)).startswith("error: --resume takes the")
