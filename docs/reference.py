"""Writes what the documentation says of the code, from the code: a hook of mkdocs.

In a page stands ``<!-- generated: NAME -->``; NAME is a key of `WRITERS`, whose Markdown takes its place.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any

import olora_viz as ov
from olora_viz.__main__ import _parser
from olora_viz.checks import trials
from olora_viz.machine.files import FORMAT
from olora_viz.races.fields import BY_NAME
from olora_viz.studies.folder import BY_EXAMPLE, COLUMNS
from olora_viz.tasks.files import FILE_FORMATS
from olora_viz.web.guard.limits import Limits

PLACE = re.compile(r"<!-- generated: (\w+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the places of a page, which mkdocs has read."""
    return PLACE.sub(lambda place: WRITERS[place[1]](), markdown)


def starts() -> str:
    """Write what every initialization of the catalogue needs, costs and keeps, and where it works."""
    return f"{_filter()}\n\n{_table(trials.COLUMNS, ((f'`{name}`', *cells) for name, *cells in trials.rows()))}"


def start_texts() -> str:
    """Write how every initialization of the catalogue starts."""
    starts = ov.INITIALIZERS.values()
    rows = [(f"`{start.name}`", start.label, f"{start.summary} *{start.source}.*") for start in starts]
    return _table(("start", "label", "how"), rows)


START_FILTERS = (
    ("needs no data", "needs", "–"),
    ("keeps the function at step 0", "keeps the function", "yes"),
    ("works on 4 bits at its rank", "on 4 bits", "yes"),
    ("works on all experts", "on experts", "yes"),
    ("exports as plain LoRA of its rank", "rank as plain LoRA", "r"),
)
"""The boxes above the table of starts: what each asks for, and what then stands in which column."""


def _filter() -> str:
    """Write the boxes and the field by which `scripts/filter.js` filters the table of starts."""
    boxes = "\n".join(
        f'<label><input type="checkbox" data-column="{trials.COLUMNS.index(column)}" value="{value}"> {label}</label>'
        for label, column, value in START_FILTERS
    )
    return (
        f'<form class="filter" aria-label="Filter the starts" hidden>\n{boxes}\n'
        '<label>with the words <input type="search"></label>\n<output aria-live="polite"></output>\n</form>'
    )


def command_line() -> str:
    """Write a section for every verb, with all its arguments."""
    verbs = next(action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    sections = []
    for name, verb in verbs.choices.items():
        texts = verb._get_formatter()
        rows = [
            (_written(action), texts._expand_help(action) if action.help else "")
            for action in verb.whole()._actions
            if not isinstance(action, argparse._HelpAction)
        ]
        sections.append(f"## {name}\n\n{_sentence(verb.description or '')}\n\n{_table(('argument', 'what'), rows)}")
    return "\n\n".join(sections)


def _written(action: argparse.Action) -> str:
    """Return an argument as it is written on the command line."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    if action.nargs == 0:
        value = ""
    elif action.nargs == "+":
        value = f"{value} …"
    return f"`{' '.join(filter(None, [', '.join(action.option_strings), str(value)]))}`"


def lane_keys() -> str:
    """Write a row for every key of a lane."""
    known = arguments_of(ov.Lane)
    keys = [field for field in fields(ov.Lane) if field.name not in ("init", "fair")]
    rows = [(f"`{key.name}`", f"`{_default(key.default)}`", _sentence(known[key.name])) for key in keys]
    return _table(("key", "default", "what"), rows)


def recipes() -> str:
    """Write the defaults of every toolkit, with where they stand."""
    rows = [
        (
            f"`{each.name}`", f"{each.r}", f"{each.alpha}", f"{each.lr:g}", f"{each.dropout:g}",
            f"`{'+'.join(each.targets)}`", f"{each.weight_decay:g}", "–" if each.clip is None else f"{each.clip:g}",
            each.schedule, each.warm_up, each.optimizer, f"{each.batch_size}", each.length,
            f"{each.note} {each.toolkit} {each.version}: "
            + ", ".join(f"[{address.rpartition('/')[2]}]({address})" for address in each.sources),
        )
        for each in ov.RECIPES.values()
    ]  # fmt: skip
    head = (
        "recipe", "r", "alpha", "lr", "dropout", "targets", "weight decay", "clip", "schedule", "warm-up", "optimizer",
        "batch", "length", "source",
    )  # fmt: skip
    return f"Read on {next(iter(ov.RECIPES.values())).read}.\n\n{_table(head, rows)}"


def race_fields() -> str:
    """Write a row for every field of a race's set-up."""
    known, rows = arguments_of(ov.RaceConfig), []
    for field in fields(ov.RaceConfig):
        name, default = field.name, field.default
        shown = f"{len(ov.RaceConfig.lanes)} lanes" if name == "lanes" else f"`{_default(default)}`"
        rows.append((f"`{name}`", BY_NAME[name].label if name in BY_NAME else "", shown, _sentence(known[name])))
    head = ("field", "its label", "default", "what")
    return f"The fields of `config.json`, a set-up's TOML file and `ov.RaceConfig`:\n\n{_table(head, rows)}"


def study_fields() -> str:
    """Write a row for every field of a study."""
    known = arguments_of(ov.Study)
    rows = [(f"`{field.name}`", _sentence(known[field.name])) for field in fields(ov.Study)]
    return f"The fields of `study.toml` and `ov.Study`:\n\n{_table(('field', 'what'), rows)}"


def lane_columns() -> str:
    """Write the names of the columns of a study's table."""
    names = (name for name in (*COLUMNS, *BY_EXAMPLE) if name != "varied")
    return ", ".join(f"`{name}`" for name in names) + "; and one for each setting that the study crosses or tunes."


def task_files() -> str:
    """Write an example of every kind of task file."""
    return "\n\n".join(f"{form.title}:\n\n```text\n{form.example}\n```" for form in FILE_FORMATS)


def formats() -> str:
    """Write which versions of the files this version reads."""
    return (
        f"`config.json`, `study.toml` and `decision.json` have the key `format`; this version writes {FORMAT} and "
        f"reads up to {FORMAT}. A file without the key is of format 1. A newer format is refused with one sentence."
    )


def limits() -> str:
    """Write a row for every limit of a server."""
    texts = _attributes_of(Limits)
    rows = [
        (
            f"`OLORA_VIZ_{field.name.upper()}`", texts.get(field.name, "Models that are offered whatever their size."),
            "all that are small enough and not gated" if field.name == "models" else str(field.default),
        )
        for field in fields(Limits)
    ]  # fmt: skip
    return _table(("variable", "limit", "default"), rows)


def arguments_of(documented: Any) -> dict[str, str]:
    """Return the texts of the section ``Args`` of a docstring, by name."""
    section = (inspect.getdoc(documented) or "").partition("Args:\n")[2]
    texts: dict[str, str] = {}
    latest = ""
    for line in section.splitlines():
        if line and not line.startswith("    "):
            break
        begun = re.match(r" {4}(\w+)((?:, \w+)*): (.*)", line)
        if begun:
            first, others, text = begun.groups()
            texts |= {first: text} | dict.fromkeys(filter(None, others.split(", ")), f"as `{first}`")
            latest = first
        elif line.strip():
            texts[latest] += f" {line.strip()}"
    return texts


def _attributes_of(documented: type) -> dict[str, str]:
    """Return the docstrings of a class's attributes, by name."""
    (body,) = ast.parse(inspect.getsource(documented)).body
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value).replace("\n", " ")
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }  # fmt: skip


def _default(value: Any) -> str:
    return "none" if value is None else str(value).lower()


def _sentence(text: str) -> str:
    """Return a text as a sentence."""
    text = text.replace("``", "`")
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; a bar within a cell is no border."""
    lines = [titles, ["---"] * len(titles), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


WRITERS: dict[str, Callable[[], str]] = {
    writer.__name__: writer
    for writer in (
        starts, start_texts, command_line, lane_keys, recipes,
        race_fields, study_fields, lane_columns, task_files, formats,
        limits,
    )
}  # fmt: skip
