"""Data sets of the Hugging Face hub: the paper's tasks, as prompts with choices, and any other by its name there."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from olora_viz.machine.process import within
from olora_viz.tasks.built_in import alpaca_messages, alpaca_prompt, question_prompt
from olora_viz.tasks.files import MAX_BYTES, own_task
from olora_viz.tasks.task import Example, Task, TaskCard, by_content

HUB_TIMEOUT = 5.0
"""Timeout in seconds after which the hub counts as unreachable."""

MAX_HELD_OUT = 500
"""Maximum number of held-out examples of a data set."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """The source of a task's rows, and the conversion of a row to an example."""

    name: str
    repository: str
    """The data set on the hub, with data files and no loading script."""
    configuration: str | None
    """Its configuration, if it has several."""
    held_out: str | None
    """Its evaluation split; None if a part of the training split is held out."""
    example: Callable[[Row], Example]
    """Converts a row to an example; a row with a blank answer is skipped."""
    summary: str
    """One sentence on the task, with the reference of the data."""
    sample: Example


def question_and_choices(row: Row) -> Example:
    """Turn a row of ARC or OpenBookQA into a question whose choices are texts.

    >>> question_and_choices({
    ...     "question": "What do bees make?", "answerKey": "B",
    ...     "choices": {"text": ["milk", "honey"], "label": ["A", "B"]},
    ... })
    Example(prompt='Question: What do bees make?\\nAnswer:', answer=' honey', \
choices=(' milk', ' honey'), line=0)
    """
    question = row["question"] if "question" in row else row["question_stem"]
    right = row["choices"]["label"].index(row["answerKey"])
    question = question.strip()
    return _choice(question_prompt(question), row["choices"]["text"], right, question)


def yes_or_no(row: Row) -> Example:
    """Turn a row of BoolQ into a passage and a question, to be answered by yes or no.

    >>> yes_or_no({"passage": "Bees make honey.", "question": "do bees make honey", "answer": True})
    Example(prompt='Bees make honey.\\nQuestion: do bees make honey?\\nAnswer:', answer=' yes', \
choices=(' no', ' yes'), line=0)
    """
    question = f"{row['question'].strip().rstrip('?')}?"
    passage = row["passage"].strip()
    prompt = f"{passage}\n{question_prompt(question)}"
    return _choice(prompt, ("no", "yes"), int(row["answer"]), f"{passage}\n{question}")


def ending(row: Row) -> Example:
    """Turn a row of HellaSwag into the beginning of a story with four endings.

    Titles in square brackets, left over from the pages that the data came from, are dropped.
    """
    prompt = f"{row['activity_label']}: {row['ctx']}"
    return _choice(_plain(prompt), [_plain(text) for text in row["endings"]], int(row["label"]))


def solution(row: Row) -> Example:
    """Turn a row of PIQA into a goal with two ways to reach it."""
    goal = row["goal"].strip()
    return _choice(question_prompt(goal), (row["sol1"], row["sol2"]), int(row["label"]), goal)


def instruction(row: Row) -> Example:
    """Turn a row of Alpaca into an instruction under the headings of its template."""
    asked = row["instruction"].strip(), (row["input"] or "").strip()
    return Example(alpaca_prompt(*asked), row["output"].strip(), messages=alpaca_messages(*asked))


def load_from_hub(source: Source, seed: int = 0) -> Task:
    """Load a task's rows from the hub, or from the cache of an earlier load.

    The seed determines the held-out examples, at most `MAX_HELD_OUT`; answers end with the end-of-text token.

    Raises:
        ValueError: if the hub is unreachable (for a few seconds) and there is no cached copy, or if a row does not
            have the documented form.
    """
    splits = _splits(source.name, source.repository, source.configuration)
    train: Sequence[Example] = _examples(splits["train"], source)
    test: tuple[Example, ...] = ()
    if source.held_out is None:
        count = min(MAX_HELD_OUT, len(train) // 10)
        train, held_out, test = by_content(train, source.name, count, seed)
    else:
        rows = list(splits[source.held_out])
        random.Random(f"{source.name} {seed}").shuffle(rows)
        held_out = tuple(_examples(rows[:MAX_HELD_OUT], source))
        judged = {example.prompt for example in held_out}
        train = tuple(example for example in train if example.prompt not in judged)
    return Task(source.name, source.summary, tuple(train), held_out, ends=True, test=test)


HUB = "hf:"
"""How the name of a task begins that is any data set of the hub."""

_NAME = re.compile(HUB + r"(\w[\w.-]*/\w[\w.-]*)(?::(\w[\w.+-]*))?")


@lru_cache(maxsize=4)
def load_by_name(name: str, seed: int = 0) -> Task:
    """Load a data set of the hub whose rows have the columns of a task file, such as ``hf:owner/name:configuration``.

    They are those of its first split that begins with "train", or else of its first one, divided as a file is; rows
    with a blank answer are left out. It is data alone: nothing that it holds is run. Later calls return the same task.

    Raises:
        ValueError: another name, rows that no task file could have or that are too many, or see `load_from_hub`.
    """
    found = _NAME.fullmatch(name)
    if not found:
        raise ValueError(f"a data set of the hub is {HUB}OWNER/NAME or {HUB}OWNER/NAME:CONFIGURATION, not {name!r}")
    splits: Mapping[str, Any] = _splits(name, *found.groups())
    rows = splits[next((split for split in splits if split.startswith("train")), next(iter(splits)))]
    if rows.data.nbytes > MAX_BYTES:
        raise ValueError(
            f"{name} is too large: {rows.data.nbytes:,} bytes, at most {MAX_BYTES:,} are read; save a part of it as "
            "a .jsonl file"
        )
    return own_task(rows, seed, name)


def _examples(rows: Iterable[Row], source: Source) -> list[Example]:
    examples = []
    for number, row in enumerate(rows, start=1):
        try:
            if str(row.get("output", "…")).strip():  # a few Alpaca rows have no answer at all
                examples.append(source.example(row))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"row {number} of {source.repository} does not have the form that {source.name!r} "
                f"expects: {type(error).__name__}: {error}"
            ) from error
    return examples


def _choice(prompt: str, texts: Iterable[str], right: int, asked: str = "") -> Example:
    """Make an example; a question is asked without its heading where a chat template frames it."""
    choices = tuple(f" {text.strip()}" for text in texts)
    if right < 0:
        raise ValueError(f"the label is {right}, so the right choice is not given")
    messages = (("user", asked),) if asked else ()
    return Example(prompt, choices[right], choices, messages=messages)


def _plain(text: str) -> str:
    return " ".join(re.sub(r"\[[^\]]*\]", " ", text).split())


def _splits(name: str, repository: str, configuration: str | None) -> Mapping[str, Iterable[Row]]:
    """Download the rows, or read the cached copy; raises if neither is available."""
    import datasets  # takes about a second, and other tasks do not need it
    from datasets import config
    from huggingface_hub import HfApi

    failure = None
    try:
        within(HUB_TIMEOUT, lambda: HfApi().dataset_info(repository, timeout=HUB_TIMEOUT))
    except Exception as error:
        failure = error
    before = config.HF_HUB_OFFLINE
    try:
        # If the hub is unreachable, the library would retry for half a minute before using its cache.
        config.HF_HUB_OFFLINE = before or failure is not None
        return datasets.load_dataset(repository, configuration)  # pyrefly: ignore[bad-return]
    except Exception as error:
        reason = " ".join(str(failure or error).split())[:160] or type(error).__name__
        absent = ", and there is no copy on this machine" if failure else ""
        raise ValueError(
            f"cannot load {name!r} ({repository}) from the Hugging Face hub{absent} ({reason}); built-in tasks need "
            "no network"
        ) from error
    finally:
        config.HF_HUB_OFFLINE = before


SOURCES = (
    Source("arc-easy", "allenai/ai2_arc", "ARC-Easy", "validation", question_and_choices,
           "Grade-school science questions, the easy set (Clark et al. 2018, arXiv 1803.05457).",
           Example("Question: What do bees make?\nAnswer:", " honey")),
    Source("arc-challenge", "allenai/ai2_arc", "ARC-Challenge", "validation", question_and_choices,
           "Grade-school science questions, the hard set (Clark et al. 2018, arXiv 1803.05457).",
           Example("Question: Why does a ball fall?\nAnswer:", " gravity")),
    Source("boolq", "google/boolq", None, "validation", yes_or_no,
           "Yes/no questions on a passage (Clark et al. 2019, arXiv 1905.10044).",
           Example("Bees make honey.\nQuestion: do bees make honey?\nAnswer:", " yes")),
    Source("hellaswag", "Rowan/hellaswag", None, "validation", ending,
           "The continuation of a scene (Zellers et al. 2019, arXiv 1905.07830).",
           Example("Baking: A man opens the oven. He", " takes out a cake.")),
    Source("openbookqa", "allenai/openbookqa", "main", "validation", question_and_choices,
           "Questions on elementary science (Mihaylov et al. 2018, arXiv 1809.02789).",
           Example("Question: Plants grow towards\nAnswer:", " the light")),
    Source("piqa", "baber/piqa", None, "validation", solution,
           "How to do everyday things (Bisk et al. 2020, arXiv 1911.11641).",
           Example("Question: To open a jar,\nAnswer:", " turn the lid.")),
    Source("alpaca-cleaned", "yahma/alpaca-cleaned", None, None, instruction,
           "Follow instructions (Taori et al. 2023, Stanford Alpaca, cleaned).",
           Example(alpaca_prompt("Name a colour."), "Blue.")),
)  # fmt: skip
"""The tasks of the OLoRA paper (Büyükakyüz 2024, arXiv 2406.01775) and its instruction data."""

TASK_CARDS = tuple(
    TaskCard(
        each.name, each.summary, each.sample.prompt, each.sample.answer, partial(load_from_hub, each), offline=False,
        choices=each.example is not instruction,
    )
    for each in SOURCES
)  # fmt: skip
"""The same as entries of the task catalogue."""
