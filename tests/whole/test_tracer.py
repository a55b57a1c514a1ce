"""How much of the page one press of Race enters, from the press to the first held-out results."""

import re
import threading
from collections import Counter
from types import FrameType
from typing import Any

from support.served import ROOT, Visitor, launched

from olora_viz.web import page

PACKAGE = ROOT / "olora_viz"
SHELLS = ("web", "views", "figures/live")
CEILING = 20
"""The most files of `SHELLS` that a reader has to know to follow the press; lower it, do not raise it."""

EVALUATED = 11
"""After this step the first held-out results are drawn, so that the count is the same each time."""

ROW = {"init": "lora", "r": 2, "alpha": "", "lr": "1e-3", "seed": 0}


def drawn_steps(status: str) -> int:
    """Return the step that the line in the top bar shows."""
    found = re.search(r"<b>(\d+)</b>", status)
    return int(found[1]) if found else 0


def test_one_press_of_race_enters_few_files_of_the_page() -> None:
    entered: set[str] = set()
    armed = threading.Event()

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and armed.is_set() and frame.f_code.co_name != "<module>":
            entered.add(frame.f_code.co_filename)

    threading.setprofile(look)
    try:
        with launched(page.build()) as url:
            visitor = Visitor(url, "tracer")
            armed.set()
            job = visitor.race(steps=50, lanes=[ROW])
            for _ in visitor.heard({visitor.follow(job): "follow"}):
                if drawn_steps(visitor.shown["status"]) >= EVALUATED:
                    break
            armed.clear()
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]
    files = sorted(
        file.relative_to(PACKAGE).as_posix()
        for shell in SHELLS
        for file in (PACKAGE / shell).rglob("*.py")
        if str(file) in entered
    )
    count = Counter(next(s for s in SHELLS if file.startswith(s)) for file in files)
    assert len(files) <= CEILING, f"{len(files)} {dict(count)}:\n" + "\n".join(files)
