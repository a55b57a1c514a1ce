"""How much a race trains on: its rows, and how often it sees them."""

import json
import math
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from support.races import small, steps_of
from support.verbs import objects, run

import olora_viz as ov
from olora_viz.background.race import BackgroundRace
from olora_viz.background.record import ready_race
from olora_viz.races import run as runs
from olora_viz.races.config import Settings
from olora_viz.races.data import task_of
from olora_viz.races.script import olora_viz_script, peft_script
from olora_viz.tasks import TASKS

of_epochs = partial(small, steps=ov.RaceConfig.steps)

OFFLINE = [name for name, card in TASKS.items() if card.offline]


@pytest.mark.parametrize("name", OFFLINE)
def test_fewer_rows_are_among_more_and_nothing_else_changes(name):
    whole = task_of(small(task=name))
    counts = sorted({1, 2, 10, 100, len(whole.train) - 1, len(whole.train)} & {*range(1, len(whole.train) + 1)})
    for seed in (0, 5):
        tasks = [task_of(small(task=name, rows=rows, split_seed=seed)) for rows in counts]
        full = task_of(small(task=name, split_seed=seed))
        for rows, task in zip(counts, tasks, strict=True):
            assert len(task.train) == rows
            assert replace(task, train=full.train) == full
        for fewer, more in pairwise(tasks):
            assert {*fewer.train} <= {*more.train}
        assert tasks[-1] == full


def test_rows_are_not_the_first_of_the_file_and_differ_by_the_seed_of_the_split():
    parts = [task_of(small(rows=20, split_seed=seed)).train for seed in (0, 1)]
    assert {*parts[0]} != {*parts[1]}
    assert [*parts[0]] != [*task_of(small()).train[:20]]


def test_a_race_on_some_rows_is_bitwise_one_on_a_task_of_these_rows():
    config = small(rows=10, batch_size=4)
    own = ov.race(small(), task=task_of(config))
    assert steps_of(config) == list(own)
    assert ov.race(config).summary()["examples"]["train"] == 10


@pytest.mark.parametrize(("epochs", "rows"), [(2, 10), (0.5, 30), (1.3, 7), (1, None)])
def test_a_race_of_epochs_is_bitwise_one_of_the_steps_that_they_take(epochs, rows):
    config = of_epochs(epochs=epochs, rows=rows, batch_size=40, warmup=1, schedule="linear")
    count = rows or len(task_of(config).train)
    steps = math.ceil(epochs * count / 40)
    if steps == 1:
        config = replace(config, warmup=0)
    race = ov.race(config)
    assert (race.config.steps, race.config.epochs, race.epochs) == (steps, None, epochs)
    plain = replace(config, epochs=None, steps=steps)
    assert list(race) == steps_of(plain)
    batches = [ov.training_batches(each, race.tokenizer) for each in (config, plain)]
    for one, other in zip(*batches, strict=True):
        assert one["input_ids"].equal(other["input_ids"])


def test_a_run_folder_has_epochs_and_steps_and_goes_on(tmp_path):
    config = of_epochs(epochs=2, rows=9)
    plain = replace(config, epochs=None, steps=5)
    begun = iter(runs.start(config, tmp_path))
    steps = [next(begun), next(begun)]
    begun.close()
    saved = json.loads((tmp_path / "config.json").read_text())
    assert (saved["steps"], saved["epochs"], saved["rows"]) == (5, 2.0, 9)
    steps += runs.resume_run(tmp_path)
    assert steps == steps_of(plain)
    assert ov.load_run(tmp_path).config == replace(plain, dtype="float32")
    steps += runs.resume_run(tmp_path, steps=7)
    assert [step.loss.tolist() for step in steps] == [step.loss.tolist() for step in steps_of(replace(plain, steps=7))]


def test_a_race_in_the_background_says_how_many_steps_its_epochs_are():
    config = of_epochs(epochs=1, rows=8)
    race = BackgroundRace("id", config, None, ready_race(config).styles)
    while race.run():
        pass
    assert (race.config.steps, len(race.steps), race.record().config.steps) == (2, 2, 2)


def test_scripts_have_the_rows_and_the_steps():
    race = ov.race(of_epochs(epochs=2, rows=9))
    for script in (olora_viz_script, peft_script):
        text = script(race.config)
        assert "rows=9," in text
        assert "steps=5," in text
    assert "epochs=2.0" in olora_viz_script(of_epochs(epochs=2))
    with pytest.raises(ValueError, match=r"^the set-up has epochs: give that of its race, which has steps$"):
        peft_script(of_epochs(epochs=2))


def test_the_page_has_rows_and_says_that_it_has_no_epochs():
    assert Settings.of(small(rows=5)).changed()["rows"] == "5"
    with pytest.raises(ValueError, match=r"^a page has no epochs, as this race, 2$"):
        Settings.of(of_epochs(epochs=2.0))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--rows 5000", "rows 5000: the task has 268 training examples"),
        ("--rows 0", "rows must be a whole number from 1"),
        ("--epochs 0", "epochs must be a positive number, not 0.0"),
        ("--epochs nan", "epochs must be a positive number, not nan"),
        ("--steps 60 --epochs 2", "steps 60 and epochs 2 both say how long it trains: give one"),
        ("--steps 3 --epochs 2.5", "steps 3 and epochs 2.5 both say how long it trains: give one"),
        ("--epochs 1 --rows 20 --batch-size 10 --warmup 2", "warmup 2 must be shorter than the 2 steps"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(words, sentence):
    done = run("race", "--task", "number-words", "--lane", "lora", "--keep", "none", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr.strip().splitlines()[-1]


def test_an_option_takes_the_place_of_what_a_file_says_of_the_length(tmp_path):
    for text, words, steps in (
        ("steps = 50\nrows = 12", ["--epochs", "2"], 6),
        ("epochs = 2\nrows = 12", ["--steps", "3"], 3),
        ("epochs = 1\nrows = 12", [], 3),
        ("epochs = 1", ["--rows", "4"], 1),
    ):
        path = tmp_path / "race.toml"
        path.write_text(
            f'task = "number-words"\nkeep = "none"\neval_every = 0\nbatch_size = 4\nlanes = ["lora"]\n{text}'
        )
        *made, last = objects(run("race", str(path), "--json", *words).stdout)
        assert (len(made), last["summary"]["steps"]) == (steps, steps)
