"""The paper's tasks: rows in each data set's documented form become prompts with choices."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.fresh import run_fresh
from support.races import small
from support.small_hub import Repository, small_hub

from olora_viz.races import run as runs
from olora_viz.tasks import TASKS, hub, load_task
from olora_viz.tasks.files import own_task
from olora_viz.tasks.hub import SOURCES, load_by_name, load_from_hub

BY_NAME = {source.name: source for source in SOURCES}

# One row of each data set, in the schema of its card on the hub.
ROWS = {
    "arc-easy": {
        "id": "a1",
        "question": "Which of these is a mammal?",
        "choices": {"text": ["trout", "whale", "eagle"], "label": ["A", "B", "C"]},
        "answerKey": "B",
    },
    "arc-challenge": {  # some rows number their choices
        "id": "a2",
        "question": "Ice melts when it is",
        "choices": {"text": ["warmed", "cooled"], "label": ["1", "2"]},
        "answerKey": "1",
    },
    "boolq": {"question": "is salt soluble", "answer": True, "passage": "Salt dissolves. "},
    "hellaswag": {
        "ind": 4,
        "activity_label": "Baking",
        "ctx_a": "[header] How to bake [title] Mix the dough.",
        "ctx_b": "then",
        "ctx": "[header] How to bake [title] Mix the dough. Then",
        "endings": ["fly away.", "[step] bake it.", "sing.", "sleep."],
        "source_id": "x",
        "split": "train",
        "split_type": "indomain",
        "label": "1",
    },
    "openbookqa": {
        "id": "o1",
        "question_stem": "Plants need",
        "choices": {"text": ["light", "noise", "sand", "wind"], "label": ["A", "B", "C", "D"]},
        "answerKey": "A",
    },
    "piqa": {"goal": "To dry a shirt,", "sol1": "hang it up.", "sol2": "wet it.", "label": 0},
    "alpaca-cleaned": {"instruction": "Name a colour.", "input": "", "output": "Blue.\n"},
}

WANT = {
    "arc-easy": ("Question: Which of these is a mammal?\nAnswer:", " whale", 3),
    "arc-challenge": ("Question: Ice melts when it is\nAnswer:", " warmed", 2),
    "boolq": ("Salt dissolves.\nQuestion: is salt soluble?\nAnswer:", " yes", 2),
    "hellaswag": ("Baking: How to bake Mix the dough. Then", " bake it.", 4),
    "openbookqa": ("Question: Plants need\nAnswer:", " light", 4),
    "piqa": ("Question: To dry a shirt,\nAnswer:", " hang it up.", 2),
    "alpaca-cleaned": ("### Instruction:\nName a colour.\n\n### Response:\n", "Blue.", 0),
}

LOAD = """
import json, sys
from olora_viz.tasks import load_task
calls = []
sys.addaudithook(lambda event, _: calls.append(event) if event == "socket.connect" else None)
for name in sys.argv[1:]:
    calls.clear()
    try:
        task = load_task(name)
        said = [len(task.train), len(task.held_out), task.held_out[0].prompt]
    except ValueError as error:
        said = str(error)
    print(json.dumps([said, len(calls)]))
"""


def load_elsewhere(names, folder, **environment):
    """Load tasks in a new process beneath a folder → [(outcome, connections)]."""
    home = {"HF_HOME": str(folder / "home")}
    done = run_fresh(LOAD, *names, folder=folder, **(home | environment))
    return [json.loads(line) for line in done.stdout.splitlines()[-len(names) :]]


@pytest.mark.parametrize("name", ROWS)
def test_a_row_becomes_a_prompt_with_choices(name):
    example = BY_NAME[name].example(ROWS[name])
    prompt, answer, choices = WANT[name]
    assert (example.prompt, example.answer, len(example.choices)) == (prompt, answer, choices)
    assert all(choice.startswith(" ") for choice in example.choices)
    card = TASKS[name]
    assert card.choices == bool(choices)
    assert not card.offline


def test_every_source_has_a_row_here():
    assert set(ROWS) == set(BY_NAME)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("arc-easy", {"answerKey": "E"}),
        ("piqa", {"label": -1}),
        ("hellaswag", {"label": ""}),
        ("boolq", {"passage": None}),
        ("openbookqa", {"choices": None}),
    ],
)
def test_a_row_without_a_right_answer_is_not_guessed(name, change):
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        BY_NAME[name].example({**ROWS[name], **change})


@pytest.fixture(scope="module")
def arc(tmp_path_factory):
    """A folder beneath which lies what the hub holds of ARC-Easy, in small."""
    folder = tmp_path_factory.mktemp("beneath")
    data = folder / "allenai" / "ai2_arc"
    (data / "ARC-Easy").mkdir(parents=True)
    rows = [{**ROWS["arc-easy"], "question": f"Question {i}?"} for i in range(6)]
    for split, of in (("train", rows), ("validation", rows[:2])):
        pq.write_table(pa.Table.from_pylist(of), data / f"ARC-Easy/{split}-00000-of-00001.parquet")
    (data / "README.md").write_text(
        "---\n"
        "dataset_info:\n"
        "- config_name: ARC-Easy\n"
        "  features:\n"
        "  - {name: id, dtype: string}\n"
        "  - {name: question, dtype: string}\n"
        "  - name: choices\n"
        "    sequence:\n"
        "    - {name: text, dtype: string}\n"
        "    - {name: label, dtype: string}\n"
        "  - {name: answerKey, dtype: string}\n"
        "configs:\n"
        "- config_name: ARC-Easy\n"
        "  data_files:\n"
        "  - {split: train, path: ARC-Easy/train-*}\n"
        "  - {split: validation, path: ARC-Easy/validation-*}\n"
        "---\n"
    )
    return folder


def test_the_datasets_library_gives_rows_of_that_form(arc, monkeypatch):
    # `datasets` takes a folder of the data set's name, beneath the one we are in, for the data set.
    monkeypatch.chdir(arc)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", arc / "cache")
    task = load_from_hub(BY_NAME["arc-easy"], seed=0)
    assert (len(task.train), len(task.held_out)) == (4, 2)
    assert {e.choices for e in task.train} == {(" trout", " whale", " eagle")}
    assert not {e.prompt for e in task.train} & {e.prompt for e in task.held_out}
    assert task.ends


def test_without_a_hub_an_earlier_copy_is_used(arc, tmp_path):
    cache = tmp_path / "home" / "datasets"
    with small_hub({}) as (address, _):
        load_elsewhere(["arc-easy"], arc, HF_HOME=str(tmp_path / "home"), HF_ENDPOINT=address)
        # What came from the hub bears its owner's name in the cache.
        (cache / "ai2_arc").rename(cache / "allenai___ai2_arc")
        (tmp_path / "elsewhere").mkdir()
        [((trained, held_out, prompt), _)] = load_elsewhere(
            ["arc-easy"], tmp_path / "elsewhere", HF_HOME=str(tmp_path / "home"), HF_ENDPOINT=address
        )
    assert (trained, held_out) == (4, 2)
    assert prompt.startswith("Question: Question")


def test_without_a_hub_one_sentence_says_so_after_one_try(tmp_path):
    silent = {"google/boolq": Repository({"main": {}}, silent=True)}
    with small_hub(silent) as (address, asked), ThreadPoolExecutor() as pool:
        outcomes = {
            names: pool.submit(load_elsewhere, names, tmp_path, **environment)
            for names, environment in {
                # A hub that has no such data set; one that takes calls and never answers.
                ("arc-easy", "boolq"): {"HF_ENDPOINT": address},
                ("piqa", "hf:nobody/rows:main"): {"HF_ENDPOINT": "http://127.0.0.1:9"},  # nothing there at all
                ("hellaswag",): {"HF_HUB_OFFLINE": "1"},
            }.items()
        }
        for names, outcome in outcomes.items():
            for name, (said, connections) in zip(names, outcome.result(), strict=True):
                assert said.startswith(f"cannot load {name!r}")
                assert "built-in tasks need no network" in said
                assert "\n" not in said
                assert connections <= int(name != "hellaswag")  # a hub that answers stays connected
                if name == "boolq":
                    assert "timed out" in said or "no answer within" in said
    assert sorted(asked) == ["api/datasets/allenai/ai2_arc", "api/datasets/google/boolq"]


SUMS = [{"prompt": f"{a} plus {b} is", "answer": f"{a + b}"} for a in range(9) for b in range(a)]
CHAT = [("user", "{}?"), ("assistant", "yes"), ("user", "And {} more?"), ("assistant", "no")]
KINDS = {
    "pairs": SUMS,
    "alpaca": [{"instruction": f"Say {n}.", "input": "", "output": f"{n}", "text": "all of it"} for n in range(30)],
    "messages": [
        {"messages": [{"role": role, "content": text.format(n)} for role, text in CHAT], "source": "here"}
        for n in range(30)
    ],
}


@pytest.fixture
def held(monkeypatch):
    """What the hub holds, by repository and configuration; nothing else of ours asks it, and by these two alone."""
    kept: dict[tuple[str, str | None], dict[str, datasets.Dataset]] = {}
    monkeypatch.setattr(hub, "within", lambda *_: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda repository, configuration: kept[repository, configuration])
    load_by_name.cache_clear()
    return kept


@pytest.mark.parametrize("kind", KINDS)
def test_a_data_set_by_its_name_is_the_task_of_its_rows(kind, tmp_path, monkeypatch):
    folder = tmp_path / "owner" / kind
    folder.mkdir(parents=True)
    datasets.Dataset.from_list(KINDS[kind]).to_parquet(folder / "train.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    task, rows = load_task(f"hf:owner/{kind}", 3), own_task(KINDS[kind], 3)
    assert (task.train, task.held_out, task.test) == (rows.train, rows.held_out, rows.test)
    assert (task.name, task.ends, task.duplicates) == (f"hf:owner/{kind}", True, rows.duplicates)
    assert load_task(f"hf:owner/{kind}", 3) is task


def test_its_rows_are_those_of_the_first_split_for_training_of_its_configuration(held):
    train, other = datasets.Dataset.from_list(SUMS), datasets.Dataset.from_list(SUMS[:9])
    held["owner/a", None] = {"test": other, "train_sft": train, "train_gen": other}
    held["owner/a", "main.en"] = {"validation": train}
    want = own_task(SUMS).train
    assert load_task("hf:owner/a").train == load_task("hf:owner/a:main.en").train == want


def test_its_rows_without_an_answer_are_left_out_and_those_with_a_fault_are_told_by_their_numbers(held):
    blank = [{"instruction": "Say nothing.", "output": text} for text in ("", " ", None)]
    rows = [*blank, *({"instruction": f"Say {n}.", "output": f"{n}"} for n in range(30))]
    held["owner/blank", None] = {"train": datasets.Dataset.from_list(rows)}
    assert load_task("hf:owner/blank").train == own_task(rows[3:]).train
    rows[9] = {"instruction": "", "output": "7"}
    held["owner/fault", None] = {"train": datasets.Dataset.from_list(rows)}
    with pytest.raises(ValueError, match=r"^row 10 of hf:owner/fault: the field 'instruction' is empty$"):
        load_task("hf:owner/fault")
    held["owner/other", None] = {"train": datasets.Dataset.from_list([{"source": "a", "label": 1}])}
    with pytest.raises(
        ValueError, match=r"^row 1 of hf:owner/other: the fields are 'source', 'label', and a row needs"
    ):
        load_task("hf:owner/other")


def test_too_large_a_data_set_is_refused_before_its_rows_are_read(held, monkeypatch):
    held["owner/large", None] = {"train": datasets.Dataset.from_list(SUMS)}
    monkeypatch.setattr(hub, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match=r"hf:owner/large is too large: \d+ bytes, at most 100 are read; save a part"):
        load_task("hf:owner/large")


@pytest.mark.parametrize(
    "name", ["hf:", "hf:name", "hf:../name", "hf:a/b/c", "hf:/etc/x", "hf:a/..", "hf:a/b:", "hf:a/b:.."]
)
def test_a_name_that_is_none_is_refused_and_asks_nobody(name, held):
    with pytest.raises(ValueError, match=f"hf:OWNER/NAME:CONFIGURATION, not {re.escape(repr(name))}"):
        load_task(name)


def test_what_a_hub_says_of_a_configuration_is_told_in_one_sentence(monkeypatch):
    def load(repository, configuration):
        raise ValueError("Config name is missing.\nPlease pick one among the available configs: ['main', 'other']")

    monkeypatch.setattr(hub, "within", lambda *_: None)
    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(
        ValueError, match=r"^cannot load 'hf:a/b' .a/b. from the .* hub .Config name .*'other'\]"
    ) as caught:
        load_task("hf:a/b")
    assert "\n" not in str(caught.value)
    assert "no copy" not in str(caught.value)


def test_a_run_goes_on_with_the_same_rows_of_the_hub_alone(held, tmp_path):
    held["owner/sums", None] = {"train": datasets.Dataset.from_list(SUMS)}
    steps = iter(runs.start(small(task="hf:owner/sums"), tmp_path / "run"))
    next(steps)
    steps.close()
    load_by_name.cache_clear()
    held["owner/sums", None] = {"train": datasets.Dataset.from_list(SUMS[1:])}
    with pytest.raises(ValueError, match="the task 'hf:owner/sums' has changed since the run"):
        runs.resume_run(tmp_path / "run")
    load_by_name.cache_clear()
    held["owner/sums", None] = {"train": datasets.Dataset.from_list(SUMS)}
    assert [step.step for step in runs.resume_run(tmp_path / "run")] == [2, 3, 4]
    for readme in (tmp_path / "run" / "adapters").glob("*/README.md"):
        assert "hf:owner/sums" in readme.read_text("utf-8")
    assert len([*(tmp_path / "run" / "adapters").iterdir()]) == 2
