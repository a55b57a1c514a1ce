"""The documentation agrees with the code: its blocks run, its reference is complete, its links lead somewhere."""

import ast
import builtins
import doctest
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser
from support.pages import DOCS, PAGES, ROOT, blocks_of, check_command, commands_of, run_page
from support.verbs import objects, run

import olora_viz as ov
from olora_viz.__main__ import _parser
from olora_viz.checks import trials
from olora_viz.web.guard.limits import Limits
from olora_viz.web.jobs.accelerator import MOST_SECONDS, seconds_needed

sys.path.insert(0, str(DOCS))
import reference

MKDOCS = importlib.util.find_spec("mkdocs") is not None
needs_mkdocs = pytest.mark.skipif(not MKDOCS, reason="mkdocs is in the extra docs")

RECORDS = ("RESULTS.md", "RELIABILITY.md", "VERDICTS.md", "findings/dtype.md", "guides/site.md")
"""Pages with what was run once, for hours, or what other tests run: their commands are read, not run."""

FIRST = {
    "guides/adapters.md": ("start/command-line.md",),
    "guides/claims.md": ("guides/studies.md",),
    "guides/notebooks.md": ("start/command-line.md", "guides/race.md"),
}
"""Pages that a reader of a page has followed before."""

Follow = Callable[[str], tuple[str, dict]]


def words_of(name: str) -> str:
    """Return what stands on a page, with what is generated."""
    return reference.on_page_markdown((DOCS / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader."""
    place = tmp_path_factory.mktemp("reader")
    rows = (f'{{"prompt": "{number} doubled is", "answer": "{2 * number}"}}\n' for number in range(300))
    (place / "my.jsonl").write_text("".join(rows), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def followed() -> dict[str, tuple[str, dict]]:
    """What came of the pages that the reader has followed."""
    return {}


@pytest.fixture
def follow(folder: Path, followed: dict[str, tuple[str, dict]], monkeypatch: pytest.MonkeyPatch) -> Follow:
    """Follow a page in the reader's folder, once, after the pages that come first."""
    monkeypatch.chdir(folder)
    return partial(_follow, followed)


def _follow(followed: dict[str, tuple[str, dict]], name: str) -> tuple[str, dict]:
    for earlier in FIRST.get(name, ()):
        _follow(followed, earlier)
    if name not in followed:
        try:
            followed[name] = run_page(DOCS / name)
        finally:
            for own, remove in (("rows", ov.unregister), ("size", ov.unregister_measure)):
                if own in (*ov.INITIALIZERS, *ov.MEASURES):
                    remove(own)
    return followed[name]


LONG = ("guides/claims.md",)
"""The pages whose blocks take minutes."""

WITH_BLOCKS = [
    pytest.param(name, marks=[pytest.mark.nightly] * (name in LONG))
    for path in PAGES
    if (name := path.relative_to(DOCS).as_posix()) not in RECORDS
    and any(block.language in ("python", "sh") for block in blocks_of(path))
]


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_the_blocks_of_a_page_run(name: str, follow: Follow) -> None:
    follow(name)


def test_the_blocks_are_of_languages_that_are_run_or_shown() -> None:
    languages = {block.language for path in PAGES for block in blocks_of(path)}
    assert languages <= {"python", "sh", "toml", "json", "text"}


@pytest.mark.parametrize("name", RECORDS)
def test_the_commands_of_what_was_run_once_can_be_read(name: str) -> None:
    for block in blocks_of(DOCS / name):
        for words in commands_of(block) if block.language == "sh" else ():
            if words[:3] == ["python", "-m", "olora_viz"]:
                _parser().parse_args(words[3:])
            else:
                check_command(words)


def test_the_verdicts_of_a_study_can_be_computed_again(follow: Follow) -> None:
    follow("guides/studies.md")
    names: dict = {}
    (block,) = (block for block in blocks_of(DOCS / "VERDICTS.md") if block.language == "python")
    exec(block.code, names)
    assert names["gap"].ndim == 2


def test_peft_loads_what_the_command_line_exports(follow: Follow) -> None:
    printed, names = follow("start/command-line.md")
    assert printed.endswith("olora@lr=3e-3 written to my-adapter\n")
    assert type(names["model"]).__name__.startswith("PeftModel")


def test_the_set_up_in_a_file_runs(folder: Path, follow: Follow) -> None:
    follow("guides/race.md")
    done = run("race", "race.toml", "--steps", "2", "--json")
    assert done.returncode == 0, done.stderr
    summary = objects(done.stdout)[-1]["summary"]
    assert set(summary["lanes"]) == {"lora@lr=1e-3", "lora@lr=3e-3", "olora@lr=1e-3", "olora@lr=3e-3"}


def test_a_panel_and_a_race_of_its_set_up_say_how_they_ended(follow: Follow) -> None:
    printed, names = follow("start/notebook.md")
    (line,) = printed.splitlines()
    assert line.startswith("No lane is clearly better than guessing: ")  # after 4 steps
    assert " At one rate (1e-3) " in line
    assert repr(names["panel"]) == "RacePanel: finished, step 4 of 4"
    assert len(names["panel"].steps) == 8


def test_a_panel_takes_what_its_traits_are_set_to(follow: Follow) -> None:
    _, names = follow("guides/notebooks.md")
    assert (names["panel"].config.steps, names["spectra"][1].rank) == (20, 16)


def test_the_commands_about_conditioning_run(folder: Path, follow: Follow) -> None:
    printed, _ = follow("concepts/curvature.md")
    assert "λ_max of olora is" in printed
    assert (folder / "curvature.png").is_file()


def test_the_example_of_an_own_initialization_and_measurement_runs(follow: Follow) -> None:
    printed, _ = follow("guides/own.md")
    *by_lane, largest = map(float, re.findall(r"\d+\.\d+", printed))
    assert len(by_lane) == 2
    assert max(by_lane) == pytest.approx(largest)


def test_every_file_of_a_run_a_study_and_a_decision_is_described(folder: Path, follow: Follow) -> None:
    for page in ("start/command-line.md", "guides/studies.md", "guides/decide.md"):
        follow(page)
    text = words_of("reference/files.md")
    for kind in ("runs/first", "studies/first", "decisions/first"):
        assert {path.name for path in (folder / kind).iterdir() if path.name not in text} == set()


def test_every_argument_of_the_command_line_is_in_the_reference() -> None:
    text = words_of("reference/command-line.md")
    verbs = next(action for action in _parser()._actions if action.choices)
    for name, verb in verbs.choices.items():
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        options = {option for action in verb.whole()._actions for option in action.option_strings} - {"-h", "--help"}
        assert options <= set(re.findall(r"--[\w-]+", section)), name


def test_every_key_of_a_lane_is_in_the_reference() -> None:
    keys = re.findall(r"^\| `(\w+)` \| `", words_of("reference/lanes.md"), re.MULTILINE)
    assert "lr" in keys
    for key in {field.name for field in fields(ov.Lane)} - {"init", "fair"}:
        assert key in keys
        with pytest.raises(ValueError, match=f"{key!r} needs a value"):
            ov.parse_lanes(f"lora:{key}=,")


def test_every_start_is_in_both_tables_of_starts_with_what_the_catalogue_says() -> None:
    text = words_of("reference/starts.md")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE)
    assert [name for name, _ in rows] == 2 * list(ov.INITIALIZERS)
    for (name, row), start in zip(rows, ov.INITIALIZERS.values(), strict=False):
        cells = dict(zip(trials.COLUMNS[1:], row.split(" | "), strict=True))
        untouched = start.zero_product or not start.keeps_function
        assert cells["keeps the function"] == ("yes" if start.keeps_function else "no"), name
        assert cells["on 4 bits"] == ("no" if start.dense else "yes" if untouched else "at 2r"), name
        assert cells["on experts"] == ("if tokens reach each" if start.needs else "yes"), name
        assert cells["rank as plain LoRA"] in (
            ("min(out, in)",) if start.dense else ("r", "2r") if untouched else ("2r",)
        )
        passes = {"": "", "inputs": " + 8 forward"}.get(start.needs, " + 8 forward, 8 backward")
        assert re.fullmatch(rf"[\d.]+ ms{re.escape(passes)}", cells["costs"]), name


def test_every_limit_of_a_server_is_in_the_table_with_its_default() -> None:
    text = words_of("reference/environment.md")
    rows = dict(re.findall(r"^\| `OLORA_VIZ_([A-Z_]+)` \|.*\| ([^|]+) \|$", text, re.MULTILINE))
    for field in fields(Limits):
        name = field.name.upper()
        assert name == "MODELS" or rows[name] == str(field.default)


def test_every_environment_variable_that_is_read_is_in_the_table() -> None:
    text = words_of("reference/environment.md")
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "olora_viz").rglob("*.py"))
    own = set(re.findall(r"OLORA_VIZ_[A-Z_]+[A-Z]", code))
    others = re.findall(r"(?:environ|environment|env)(?:\.get\(|\.setdefault\(|\[)\"([A-Z_]+)\"", code)
    others += re.findall(r"\"([A-Z_]+)\" (?:not )?in os\.environ", code)
    assert own
    assert others
    assert {name for name in {*own, *others} if f"`{name}`" not in text} == set()


def test_the_seconds_of_a_race_on_zero_gpu_are_those_that_are_asked_for() -> None:
    stated = re.search(r"`seconds_needed`.*?never more than \d+ s", words_of("guides/space.md"), re.DOTALL)[0]
    asked = [seconds_needed(ov.RaceConfig()), MOST_SECONDS]
    assert [int(one) for one in re.findall(r"(\d+)\s+s\b", stated)] == asked


SHOWN = [name for path in PAGES for name in re.findall(r"^::: olora_viz\.(\S+)$", path.read_text("utf-8"), re.M)]
"""What the reference shows, by its name in the package."""

DOORS = {"olora_viz", "olora_viz.notebook"}


def test_everything_public_is_in_the_reference_once() -> None:
    panels = [f"notebook.{name}" for name in importlib.import_module("olora_viz.notebook").__all__]
    assert sorted(SHOWN) == sorted([*ov.__all__, *panels])


@pytest.fixture(scope="module")
def entries() -> dict[str, Any]:
    """What the reference shows, as it reads it."""
    griffe = importlib.import_module("griffe")
    package = griffe.load("olora_viz", search_paths=[str(ROOT)], docstring_parser="google")
    return {name: package[name].final_target if package[name].is_alias else package[name] for name in SHOWN}


def examples_of(entry: Any) -> list[doctest.Example]:
    """Return the examples in the section of that name in a docstring."""
    sections = entry.docstring.parse(trim_doctest_flags=False) if entry.docstring else []
    texts = [text for section in sections if section.kind.value == "examples" for _, text in section.value]
    return doctest.DocTestParser().get_examples("\n\n".join(texts))


@needs_mkdocs
def test_everything_public_has_an_example(entries: dict[str, Any]) -> None:
    assert [name for name, entry in entries.items() if not examples_of(entry)] == []


@needs_mkdocs
def test_every_example_runs(entries: dict[str, Any]) -> None:
    for name, entry in entries.items():
        examples = examples_of(entry)
        assert not any(doctest.SKIP in example.options for example in examples), name
        if entry.is_attribute:  # of which the language has no docstring: doctest does not see it
            test = doctest.DocTest(examples, {}, name, None, None, None)
            assert doctest.DocTestRunner().run(test).failed == 0, name
        else:
            module = importlib.import_module(entry.module.path)
            (test,) = (test for test in doctest.DocTestFinder().find(module) if test.name == entry.path)
            assert len(test.examples) == len(examples), name


@needs_mkdocs
def test_every_example_can_be_pasted(entries: dict[str, Any]) -> None:
    for name, entry in entries.items():
        code = "".join(example.source for example in examples_of(entry))
        assert set(re.findall(r"\b(?:from|import) (olora_viz[\w.]*)", code)) <= DOORS, name
        assert names_from_elsewhere(code) == set(), name


def names_from_elsewhere(code: str) -> set[str]:
    """Return the names that a code reads and never defines."""
    own, used = set(dir(builtins)), set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                own.add(name)
            case ast.alias(name=name, asname=short):
                own.add(short or name)
    return used - own


@needs_mkdocs
def test_everything_public_has_types(entries: dict[str, Any]) -> None:
    for name, entry in entries.items():
        methods = [each for each in entry.all_members.values() if is_shown_method(each)] if entry.is_class else []
        for function in [entry] if entry.is_function else methods:
            typed = {each.name for each in function.parameters if each.annotation is not None}
            assert {each.name for each in function.parameters} - typed <= {"self", "cls"}, (name, function.name)
            assert function.returns is not None, (name, function.name)


def is_shown_method(member: Any) -> bool:
    """Whether a class shows a member of its own as a method."""
    return not member.is_alias and member.is_function and (member.name == "__init__" or member.name[0] != "_")


def test_the_site_has_every_page_of_its_navigation_and_asks_no_other_host(documentation: Path) -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert settings["strict"] is True
    pages = [path.relative_to(DOCS).with_suffix(".html").as_posix() for path in PAGES]
    for name in pages:
        text = (documentation / name).read_text("utf-8")
        asked = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]+(?:src|href)=[\"']?(https?://[^\"' >]+)", text)
        assert not asked, name
        assert "generated:" not in text, name
    for index in ("search_index.json", "search_index.js"):  # for a server, and for pages opened from a folder
        assert (documentation / "search" / index).is_file()


def test_doctests_are_shown_as_code(documentation: Path) -> None:
    examples = 0
    for page in (documentation / "reference").glob("*.html"):
        text = page.read_text("utf-8")
        assert "<blockquote>\n<blockquote>" not in text, page.name
        assert "doctest:" not in text, page.name
        examples += len(re.findall(r">Examples:</span></p>\s*(?:<p>[^<]*</p>\s*)?<div class=\"highlight\">", text))
    assert examples >= len(SHOWN)


@needs_mkdocs
def test_what_is_copied_from_an_example_is_its_code(
    documentation: Path, entries: dict[str, Any], browser: Browser
) -> None:
    with browser.new_context(permissions=["clipboard-read", "clipboard-write"]) as reader:
        page = reader.new_page()
        page.goto((documentation / "reference" / "claims.html").as_uri())
        shown = page.locator(".highlight", has_text=">>> ").first
        shown.hover()
        shown.get_by_role("button").first.click()
        copied = page.evaluate("navigator.clipboard.readText()")
    code = [example.source.strip() for example in examples_of(entries["CLAIMS"])]
    assert [line for line in copied.splitlines() if line] == code
