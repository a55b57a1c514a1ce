"""Set the repository of the notebooks: ``python -m notebooks.address OWNER/NAME``.

Their link then opens them in Colab directly, and their first cell installs the package from the repository. Without
one (``--none``) the link opens Colab's upload dialog, and the first cell installs the newest release.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat

from notebooks.build import FOLDER, NOTEBOOKS

COLAB = "https://colab.research.google.com"
LINK = re.compile(r"^\[Open in Colab\].*$", re.MULTILINE)
REPOSITORY = re.compile(r'^REPOSITORY = "(.*?)"', re.MULTILINE)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")


def link(path: Path, repository: str) -> str:
    """Return the line that opens a notebook in Colab; `repository` may be empty."""
    if repository:
        return f"[Open in Colab]({COLAB}/github/{repository}/blob/main/notebooks/{path.name})"
    return f"[Open in Colab]({COLAB}/#upload=true): upload this file there. Its first cell installs the package."


def write(path: Path, repository: str) -> None:
    """Write the repository into the link and the first cell of one notebook.

    Raises:
        ValueError: the notebook lacks one of the two places.
    """
    notebook = nbformat.read(path, as_version=4)
    for kind, place, text in (
        ("markdown", LINK, link(path, repository)),
        ("code", REPOSITORY, f'REPOSITORY = "{repository}"'),
    ):
        cells = [c for c in notebook.cells if c.cell_type == kind and place.search(c.source)]
        if len(cells) != 1:
            raise ValueError(f"{path.name} has {len(cells)} places for {text!r}, not one")
        cells[0].source = place.sub(text.replace("\\", r"\\"), cells[0].source)
    nbformat.write(notebook, path)


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Write a repository into all notebooks."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.address", description=__doc__)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("repository", nargs="?", metavar="OWNER/NAME", help="on GitHub")
    given.add_argument("--none", action="store_true", help="remove the repository again")
    chosen = parser.parse_args(arguments)
    repository = "" if chosen.none else chosen.repository
    if repository and not NAME.fullmatch(repository):
        parser.error(f"{repository!r} is not of the form OWNER/NAME")
    for path in NOTEBOOKS:
        write(folder / path.name, repository)
    return 0


if __name__ == "__main__":
    sys.exit(main())
