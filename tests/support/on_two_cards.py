"""The command line on two accelerators, which are pretended: here and in its workers, which read this script too."""

import os
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.pretended import DEVICE, as_there, pretended

from olora_viz.__main__ import main

there = ExitStack()
there.enter_context(as_there(pytest.MonkeyPatch()))
there.enter_context(pretended(count=2))


class Noted(Counter[int | None]):
    """Leaves a file for each that this process uses."""

    def __missing__(self, index: int | None) -> int:
        Path(os.environ["NOTED"], f"{os.getpid()}-{index}").touch()
        return 0


DEVICE.made = Noted()
if __name__ == "__main__":
    sys.exit(main())
