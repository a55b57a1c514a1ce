"""CONTRIBUTING is true: a member that is added by its recipe shows everywhere, and its walks are those of a race."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

import pytest
from support.waiting import wait_until
from support.wired import BLANK, LIMITS, SETUP, board_of, start

from olora_viz.models import load_model
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.jobs.queue import Jobs
from olora_viz.web.race.cards import CARDS
from olora_viz.web.race.events import Commands
from olora_viz.web.race.stream import Streams

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CODE = dict(re.findall(r"```python\n# (?:in )?(olora_viz/\S+\.py)\n(.*?)```", GUIDE, re.DOTALL))
"""The code of the recipes, by the file that it is, or that it goes into."""

LOOK = """
import io, json, sys

import olora_viz as ov

entered = {}  # the files of the package, in the order in which a race enters them


def enter(frame, event, argument):
    file = frame.f_code.co_filename.rpartition("/olora_viz/")[2]
    if "/" in file and not file.startswith("/"):
        entered.setdefault(file)


ov.load_model("glassllm")  # and with it libraries, which would be long to watch
ov.race, ov.RaceConfig, ov.Lane  # loaded when they are first used
sys.setprofile(enter)
next(ov.race(ov.RaceConfig(lanes=(ov.Lane("lora"), ov.Lane("olora")), steps=1)))
sys.setprofile(None)

from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

from olora_viz.__main__ import main
from olora_viz.lanes.lane_spec import parse_lanes, read_lanes, write_lanes
from olora_viz.background.record import ready_race
from olora_viz.learn.gallery import GALLERY
from olora_viz.views.race import race_view
from olora_viz.web import page
from olora_viz.web.race.cards import CARDS

assert Path(ov.__file__).is_relative_to(Path.cwd()), ov.__file__


def run(*arguments):
    out = io.StringIO()
    with redirect_stdout(out):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
    assert code == 0, arguments
    return out.getvalue()


def objects(*arguments):
    return [json.loads(line) for line in run(*arguments, "--json").splitlines()]


few = ("--batch-size", "4", "--eval-size", "4", "--test-size", "4")
lanes = ("--lane", "lora:r=2", "--lane", "first_rows:r=2,jitter=0.1/0.2")
race = objects("race", "--task", "swapped", *lanes, "--steps", "2", *few, "--run", "run")
try:
    ov.Lane("lora", jitter=2.0)
except ValueError as error:
    refusal = str(error)
parsed = parse_lanes("lora:jitter=0.1/0.2")
frame = ov.steps_frame("run")
config = ov.RaceConfig(lanes=(ov.Lane("lora"),), steps=1)
step = next(ov.race(config))
(card,) = (card for card in CARDS if card.name == "done")

print(json.dumps({
    "entered": list(entered),
    "help": run("--help"),
    "size": run("size", "glassllm"),
    "lists": {name: objects(name) for name in ("initializers", "tasks")},
    "claims": objects("claims", "--only", "half"),
    "ov": [list(table) for table in (ov.INITIALIZERS, ov.MEASURES, ov.CLAIMS, ov.TASKS)],
    "race": race,
    "step": step.measures["theta_norm"].tolist(),
    "charts": list(race_view(replace(ready_race(config), steps=(step,))).measurements),
    "card": card.drawn(race_view(next(iter(GALLERY.values())))),
    "files": {path.name: path.read_text() for path in (Path("run/config.json"), Path("run/steps.jsonl"))},
    "columns": list(frame),
    "lanes": sorted(set(frame["lane"])),
    "refusal": refusal,
    "written": write_lanes(parsed),
    "of a file": [lane.jitter for lane in read_lanes([{"init": "lora", "jitter": [0.1, 0.2]}])],
    "page": json.dumps(page.build().config, default=str, ensure_ascii=False),
}))
"""


def walk(title: str) -> list[str]:
    """Return the files of a walk through the house, in its order."""
    (items,) = re.findall(rf"\*\*{title}\*\*.*?\n\n((?:\d+\. .*\n(?:   .*\n)*)+)", GUIDE)
    return re.findall(r"^\d+\. `([^`]+)`", items, re.MULTILINE)


def insert(file: Path, after: str, *lines: str) -> None:
    """Add lines to a file behind a text that stands there once."""
    text = file.read_text(encoding="utf-8")
    assert text.count(after) == 1, (file, after)
    file.write_text(text.replace(after, after + "".join(lines)), encoding="utf-8")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Follow all recipes in a copy of the package; return what its readers say."""
    home = tmp_path_factory.mktemp("contributor")
    package = home / "olora_viz"
    shutil.copytree(ROOT / "olora_viz", package)
    tasks, lane = package / "tasks" / "built_in.py", package / "lanes" / "lane.py"
    written = package / "lanes" / "lane_spec.py"
    for name, code in CODE.items():
        file = home / name
        if file != tasks:
            assert not file.exists(), file
            file.write_text(code, encoding="utf-8")
    # A measurement and a card: their names in the table.
    measures = package / "measures" / "catalogue.py"
    insert(measures, "import Any\n", "from olora_viz.measures.theta_norm import THETA_NORM\n")
    insert(measures, "UPDATE_SPECTRA, CURVATURE, GRADIENTS", ", THETA_NORM")
    cards = package / "web" / "race" / "cards.py"
    insert(cards, "import Any, NamedTuple\n", "from olora_viz.web.race import done\n")
    insert(cards, "    REFUSED,\n", "    done.CARD,\n")
    # A task: a function, and its card in the list.
    function, card = CODE["olora_viz/tasks/built_in.py"].split("SWAPPED = ")
    insert(tasks, "    return letters\n", f"\n\n{function}")
    insert(tasks, "BUILT_IN_TASKS = (\n", f"    {card.strip()},\n")
    # A lane's key: a field, its check and its reader.
    insert(lane, "    dropout: float = 0.0\n", "    jitter: float = 0.0\n")
    insert(lane, 'for name in ("beta1", "beta2", "dropout"', ', "jitter"')
    insert(written, '    "dropout": (float, "a number"),\n', '    "jitter": (float, "a number"),\n')
    # A verb: its module in the list.
    main = package / "__main__.py"
    insert(main, "import check, claims, decide, lists, measure, race, run, serve, ", "size, ")
    insert(main, "for module in (lists, race, study, decide, claims, start, run, measure", ", size")
    answer = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=home, env=os.environ | {"PYTHONPATH": str(home)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def test_an_initialization_is_one_file(seen: dict) -> None:
    initializers, *_ = seen["ov"]
    assert "first_rows" in initializers
    (entry,) = (line for line in seen["lists"]["initializers"] if line["name"] == "first_rows")
    assert entry["label"] == "First rows"
    assert "First rows" in seen["page"]
    assert {"lora", "first_rows@jitter=0.1"} < set(seen["race"][-1]["summary"]["lanes"])


def test_a_measurement_is_one_file_and_its_name_in_the_table(seen: dict) -> None:
    _, measures, *_ = seen["ov"]
    assert measures[-1] == "theta_norm"
    assert seen["step"][0] > 0
    first = json.loads(seen["files"]["steps.jsonl"].splitlines()[0])
    assert first["theta_norm"] == seen["race"][0]["theta_norm"]
    assert "theta_norm" in seen["columns"]
    assert "theta_norm" in seen["charts"]


def test_a_claim_is_one_file(seen: dict) -> None:
    assert seen["ov"][2][-1] == "half"
    (line,) = seen["claims"]
    assert line["verdict"] in ("holds", "fails")
    assert f"{line['numbers']['least']:.0%}" in line["words"]
    assert "The first columns of W span half of its energy." in seen["page"]


def test_a_task_is_a_function_and_a_card(seen: dict) -> None:
    assert "swapped" in seen["ov"][3]
    (entry,) = (line for line in seen["lists"]["tasks"] if line["name"] == "swapped")
    assert (entry["prompt"], entry["answer"]) == ("big garden swapped:", " garden big")
    assert "swapped" in seen["page"]
    assert json.loads(seen["files"]["config.json"])["task"] == "swapped"


def test_a_card_is_one_file_and_its_name_in_the_list(seen: dict) -> None:
    assert "done-card" in seen["page"]
    assert re.fullmatch(r"\d+ steps are done", seen["card"][0])


def test_a_key_of_a_lane_is_a_field_and_a_reader(seen: dict) -> None:
    assert {"first_rows@jitter=0.1", "first_rows@jitter=0.2"} < set(seen["lanes"])
    assert [lane["jitter"] for lane in json.loads(seen["files"]["config.json"])["lanes"]] == [0.0, 0.1, 0.2]
    assert seen["written"] == ["lora:lr=1e-3,r=8,jitter=0.1", "lora:lr=1e-3,r=8,jitter=0.2"]
    assert seen["of a file"] == [0.1, 0.2]
    assert seen["refusal"] == "jitter must be a number from 0 to below 1, not 2.0"


def test_a_verb_is_one_file_and_its_module_in_the_list(seen: dict) -> None:
    assert "the size of a model" in seen["help"]
    assert seen["size"] == "852,608\n"


def test_a_race_enters_the_files_of_its_walk_in_their_order(seen: dict) -> None:
    files = walk("A step of a race")
    assert [file for file in seen["entered"] if file in files] == files


def test_a_press_of_race_enters_the_files_of_its_walk_in_their_order(jobs: Jobs) -> None:
    entered: dict[str, None] = {}

    def enter(frame: FrameType, *_: object) -> None:
        entered.setdefault(frame.f_code.co_filename.rpartition("/olora_viz/")[2])

    async def follow(key: str) -> None:
        async for _ in streams.follow("page", key):
            pass

    load_model("glassllm")  # and with it libraries, which would be long to watch
    streams = Streams(jobs, board_of(CARDS), BLANK)
    threading.setprofile(enter)
    sys.setprofile(enter)
    try:
        job = start(jobs, Commands(jobs, LIMITS, VisitorFiles(LIMITS)), SETUP)
        wait_until(lambda: job.complete)
        asyncio.run(follow(job.id))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    files = walk("A press of Race")
    assert [file for file in entered if file in files] == files
