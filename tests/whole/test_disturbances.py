"""A full disk, a read-only folder, a jumping clock, changed files: a sentence, and it goes on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from reliability.disturbances import ALL


@pytest.mark.parametrize("disturbance", ALL, ids=lambda each: each.__name__)
def test_a_run_outlives(tmp_path: Path, disturbance: Callable[[Path], str]) -> None:
    said = disturbance(tmp_path)
    if said.startswith("not tried"):
        pytest.skip(said)
