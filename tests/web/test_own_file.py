"""A visitor's own examples: what is refused, who can race on them, and what others see of them."""

import json
import re
import zipfile
from dataclasses import replace
from functools import partial

import pytest
from support.queued import FEW, wait

from olora_viz.views.race import race_view
from olora_viz.web.conditioning import measure
from olora_viz.web.guard.config import checked_config
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import TEXT, FilesOfPage, VisitorFiles, own_name
from olora_viz.web.jobs.job import readers_key
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.parts.export import EXPORTS, adapter_zip, everything_zip, export
from olora_viz.web.parts.setup import SetUp
from olora_viz.web.race.settings import check_text, offered

LANES = [{"init": "lora", "r": 2, "alpha": "", "lr": "1e-3", "seed": 0}]
ROWS = [{"prompt": f"{a} and one is", "answer": f"{a + 1}"} for a in range(12)]
EXAMPLES = "\n".join(json.dumps(row) for row in ROWS)
LIMITS = Limits(max_upload_kib=4, max_examples=20, max_characters=50, keep_files=2)


@pytest.fixture
def files() -> VisitorFiles:
    return VisitorFiles(LIMITS)


QUEUE = Limits(keep_races=1)


ALL = "\n".join(json.dumps({"prompt": f"{a} and one and two and three make", "answer": f"{a + 6}"}) for a in range(20))
"""Examples of more than 200 tokens."""

STORY = " ".join(f"On day {n} the old king walked to the sea and counted {n} white birds." for n in range(30))


def asked(files: VisitorFiles | None, task: object, steps: int = 2, keep: str = "none"):
    config = checked_config(
        Limits(), model="glassllm", task=task, steps=steps, batch=4, lanes=LANES, settings={"keep": keep}, files=files
    )
    return replace(config, **FEW)


def bring_text(files: VisitorFiles, name: object, text: object, task: str = "addition", visit: str = "one"):
    """Bring a text to keep, as the page does."""
    check = partial(check_text, Limits(), files, visit, "glassllm", task, 0)
    return files.bring(visit, name, text, kind=TEXT, check=check)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("x.jsonl", EXAMPLES.replace('"answer"', '"answr"', 1), "line 1 of your file"),
        ("x.jsonl", EXAMPLES + "\n{", "line 13 of your file is invalid JSON"),
        ("x.json", "[" * 100_000, "your file has 100,000 bytes, more than 4 KiB"),
        ("x.json", "[" * 4000, "line 1 of your file"),
        ("x.csv", "prompt,answer\na,b,c", "line 2 of your file has 3 cells"),
        ("x.csv", "", "your file is empty"),
        ("x.csv", "prompt,answer\na,b", "your file has too few examples, 1"),
        ("x.pt", EXAMPLES, "your file must end in .json, .jsonl, .csv, not in '.pt'"),
        ("../../etc/passwd", EXAMPLES, "your file must end in"),
        ("jsonl", EXAMPLES, "your file must end in .json, .jsonl, .csv, not in ''"),
        ("x.jsonl", "\ud800", "your file is not UTF-8 text"),
        ("x.jsonl", None, "a file must be sent"),
        (["x.jsonl"], EXAMPLES, "a file must be sent"),
        ("x.csv", "prompt,answer\n" + "a,b\n" * 21, "the same prompt on every line"),
        ("x.csv", "prompt,answer\n" + "".join(f"a{k},b\n" for k in range(21)), "21 examples, more than 20"),
        ("x.csv", f"prompt,answer\na,b\nc,{'d' * 51}", "characters, more than 50"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence_without_a_path(
    files: VisitorFiles, name: object, text: object, sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        files.bring("visit", name, text)
    assert "\n" not in str(caught.value)
    assert str(files._folder) not in str(caught.value)
    assert list(files._folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("x.txt", "", "your text to keep is empty"),
        ("x.txt", " \n", "your text to keep is empty"),
        ("x.txt", "A very short story.", "tokens: at least 200 are needed"),
        ("x.csv", "prompt,answer\na,b\nc,d", "tokens: at least 200 are needed"),
        ("x.csv", "prompt,answer\na,b,c", "line 2 of your text to keep has 3 cells"),
        ("x.pdf", STORY, "your text to keep must end in .txt, .md, .json, .jsonl, .csv, not in '.pdf'"),
        ("x.docx", STORY, "not in '.docx': save it as plain text"),
        ("x.txt", "\ud800", "your text to keep is not UTF-8 text"),
        ("x.txt", STORY * 3, "your text to keep has"),
        ("x.txt", None, "a file must be sent"),
        ("x.jsonl", ALL, "your text to keep has all training examples: name a text that is not trained on"),
    ],
)
def test_a_text_to_keep_that_cannot_be_used_is_refused_in_one_sentence_without_a_path(
    files: VisitorFiles, name: object, text: object, sentence: str
) -> None:
    token = files.bring("one", "mine.jsonl", ALL).token
    before = sorted(files._folder.iterdir())
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        bring_text(files, name, text, token)
    assert "\n" not in str(caught.value)
    assert str(files._folder) not in str(caught.value)
    assert sorted(files._folder.iterdir()) == before


def test_a_page_has_examples_and_a_text_to_keep_and_neither_passes_for_the_other(files: VisitorFiles) -> None:
    examples, first = files.bring("one", "a.jsonl", EXAMPLES), bring_text(files, "a.txt", STORY)
    text = bring_text(files, "b.md", STORY)
    assert files.find(first.token, TEXT) is None
    page = FilesOfPage(files, "one")
    config = asked(page, examples.token, keep=text.token)
    assert (config.task, config.keep) == (str(examples.path), str(text.path))
    assert text.path.name == "your-text.md"
    for task, keep in ((text.token, "none"), ("addition", examples.token)):
        with pytest.raises(ValueError, match="is no longer on this server"):
            asked(page, task, keep=keep)
    with pytest.raises(ValueError, match="your text to keep is no longer on this server: choose it again"):
        asked(FilesOfPage(files, "another"), "addition", keep=text.token)
    with pytest.raises(ValueError, match="unknown text to keep '/etc/passwd'"):
        asked(page, "addition", keep="/etc/passwd")
    files.forget("one")
    assert list(files._folder.iterdir()) == []


def test_a_race_measures_the_visitor_s_text_and_shows_nobody_a_word_of_it(files: VisitorFiles, jobs: Jobs) -> None:
    text = bring_text(files, "diary.txt", STORY)
    job = jobs.start(asked(files, "addition", keep=text.token))
    files.forget("one")  # the race has a copy of its own
    wait(job)
    assert (job.state, job.note, job.config.keep) == ("finished", "", "your-text.txt")
    assert job.steps[-1].drift is not None
    about = job.record().text
    assert about
    assert about.name == "your-text.txt"
    shown = [json.dumps(export(jobs, [key, kind])) for kind in EXPORTS for key in (job.id, readers_key(job.id))]
    (taken,) = (text for text in shown if "diary.txt" in text)  # its owner's report, and nothing else
    assert taken == json.dumps(export(jobs, [job.id, "report"]))
    assert "your-text.txt" not in taken
    shown.remove(taken)
    link = SetUp.of(job.config).to_query()
    shown += [str(race_view(job.record())), link, str(job.config)]
    for written in shown:
        for secret in (text.token.removeprefix("file:"), str(jobs.folder), str(files._folder), "old king", "diary"):
            assert secret not in written
    assert "keep=your-file" in link
    assert "keep='your-text.txt'" in (code := export(jobs, [job.id, "code"])["text"])
    assert "Save your own text to keep as your-text.txt" in code.splitlines()[0]
    assert "your-text" not in export(jobs, [job.id, "peft"])["text"]
    with zipfile.ZipFile(everything_zip(job)) as files_of_run:
        for name in files_of_run.namelist():
            assert str(jobs.folder).encode() not in files_of_run.read(name), name
    copy = job.own_files["keep"]
    assert copy.read_text("utf-8") == STORY
    wait(jobs.start(asked(None, "addition")))
    wait(jobs.start(asked(None, "addition")))
    assert not copy.exists()


@pytest.mark.parametrize(
    ("rows", "lacks"),
    [
        (
            60,
            "Of these a verdict needs at least 20: 16 are missing, or about 160 more rows, of which a tenth is "
            "the test.",
        ),
        (300, ""),
    ],
)
def test_a_file_of_few_rows_says_at_once_how_many_more_a_decision_needs(rows: int, lacks: str) -> None:
    lines = (json.dumps({"prompt": f"{k} and one is", "answer": f"{k + 1}"}) for k in range(rows))
    _, parts = offered(VisitorFiles(Limits()).bring("one", "mine.jsonl", "\n".join(lines)))
    assert parts.striptags().partition("for the test at the end.")[2].strip() == lacks


def test_only_a_token_names_a_file_and_it_is_gone_with_its_page(files: VisitorFiles) -> None:
    found = files.bring("one", "../../mine<script>.jsonl", EXAMPLES)
    assert found.path.is_relative_to(files._folder)
    assert found.path.name == "your-file.jsonl"
    assert own_name(found.path) == "mine_script_.jsonl"
    assert asked(files, found.token).task == str(found.path)
    for task in (str(found.path), found.path.parent.name, "file:", "/etc/passwd", found.token[:-1]):
        rule = "your file is no longer" if task.startswith("file:") else "unknown task"
        with pytest.raises(ValueError, match=rule):
            asked(files, task)
    with pytest.raises(ValueError, match="your file is no longer"):
        asked(None, found.token)
    files.forget("two")
    assert files.find(found.token)
    files.forget("one")
    assert files.find(found.token) is None
    assert list(files._folder.iterdir()) == []


def test_a_visit_has_one_file_and_a_server_the_newest_ones(files: VisitorFiles) -> None:
    first, second = (files.bring("one", "a.jsonl", EXAMPLES) for _ in range(2))
    assert files.find(first.token) is None
    for visit in ("two", "three"):
        files.bring(visit, "a.jsonl", EXAMPLES)
    assert files.find(second.token) is None
    assert len(list(files._folder.iterdir())) == LIMITS.keep_files


def test_a_race_learns_the_visitor_s_examples_and_shows_nobody_where_they_lie(files: VisitorFiles, jobs: Jobs) -> None:
    found = files.bring("one", "mine.jsonl", EXAMPLES)
    config = asked(files, found.token)
    job = jobs.start(config)
    files.forget("one")  # the race has a copy of its own
    wait(job)
    assert (job.state, job.note, len(job.steps)) == ("finished", "", 2)
    prompts = {row["prompt"] for row in ROWS}
    assert {answer.prompt.strip() for answer in job.record().answers} <= prompts
    said = [json.dumps(export(jobs, [job.id, kind])) for kind in EXPORTS]
    link = SetUp.of(job.config).to_query()
    said += [str(race_view(job.record())), link, str(job.config), adapter_zip(job, 0).name]
    secrets = (found.token.removeprefix("file:"), str(jobs.folder), str(files._folder))
    assert ["mine.jsonl" in text for text in said] == [kind == "report" for kind in EXPORTS] + 4 * [False]
    for text in said:
        assert not any(secret in text for secret in secrets)
    assert "task=your-file&" in link
    assert "task='your-file.jsonl'" in export(jobs, [job.id, "peft"])["text"]
    for kind in ("code", "peft"):
        text = export(jobs, [job.id, kind])["text"]
        assert "Save your own examples as your-file.jsonl" in text.splitlines()[0]
        compile(text, kind, "exec")
    copy = job.own_files["task"]
    assert copy
    assert copy.read_text("utf-8") == EXAMPLES
    wait(jobs.start(asked(None, "addition")))
    wait(jobs.start(asked(None, "addition")))
    assert not copy.exists()


def test_a_file_that_was_removed_is_a_sentence_and_a_measurement_has_a_copy_too(
    files: VisitorFiles, jobs: Jobs
) -> None:
    config = asked(files, files.bring("one", "mine.jsonl", EXAMPLES).token)
    work = measure(jobs, config)
    files.forget("one")
    wait(work)
    assert work.state == "finished"
    with pytest.raises(ValueError, match="your file is no longer available"):
        jobs.start(config)


def test_a_race_of_too_many_tokens_is_refused_with_the_numbers() -> None:
    few = Limits(max_tokens=1000)
    with pytest.raises(ValueError, match=r"1,024 tokens, but this server allows at most 1,000"):
        checked_config(few, model="glassllm", task="addition", steps=2, batch=4, lanes=LANES)
    checked_config(few, model="glassllm", task="addition", steps=1, batch=4, lanes=LANES)
