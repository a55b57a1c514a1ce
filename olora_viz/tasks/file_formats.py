"""The formats of a task file, each with a short example."""

from __future__ import annotations

from typing import NamedTuple


class FileFormat(NamedTuple):
    """One form of a task file."""

    title: str
    """What it holds."""
    ending: str
    """The extension of the example."""
    example: str
    """The content of a file."""


FILE_FORMATS = (
    FileFormat("Prompts and answers", ".csv", "prompt,answer\n3 and 4 make,7\n2 and 9 make,11"),
    FileFormat("Questions and answers", ".csv", "question,answer\nWhat is 3 + 4?,7"),
    FileFormat(
        "Instructions, as in Alpaca",
        ".json",
        '[{"instruction": "Add the numbers.",\n  "input": "3, 4", "output": "7"}]',
    ),
    FileFormat(
        "Chat messages, one chat per line",
        ".jsonl",
        '{"messages": [{"role": "user", "content": "3 + 4?"}, '
        '{"role": "assistant", "content": "7"}]}',
    ),
)
"""One example of each kind of row; JSON, JSON lines and CSV take all of them, but CSV no chats."""
