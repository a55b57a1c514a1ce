"""Pages for people, in Markdown, whose blocks of code run as a reader would run them, only shorter."""

import math
import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from support.verbs import run

ROOT = Path(__file__).parents[2]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

FEW = "--batch-size 4 --eval-size 20 --test-size 20"
LESS = {
    "curvature": "--batch-size 2 --batches 2",
    "claims": "--only subset convergence",
    "study": f"{FEW} --threads 1",
    "decide": "one-thread.toml --steps 2 --batch-size 2 --init olora --lr 1e-3/3e-3 --seeds 1 --search none",
}
"""Options by which a verb computes less."""

SHORTER = (
    (r"(steps|every)([ =]\d+)0\b", r"\1\2"),
    (r"--seeds (5|6|10)\b", lambda seeds: f"--seeds {math.ceil(int(seeds[1]) / 5)}"),
    (r"\bseeds=[23]\b", "seeds=1"),
    (r"rows=50/200\b", "rows=50"),
    (r"\bov\.Study\((?=\w|\s)", "ov.Study(threads=1, "),
    (r"\bov\.RaceConfig\((?=\w|\s)", "ov.RaceConfig(batch_size=4, eval_size=20, test_size=20, "),
    (r"olora_viz race (?=--(?!resume))", f"olora_viz race {FEW} "),
    (r"smollm2-135m", "glassllm"),
    (r"layers\.15\.", "layers.1."),
    (r"olora_viz (\w+)", lambda verb: f"{verb[0]} {LESS.get(verb[1], '')}"),
)
"""What is replaced in a block: races have a tenth of their steps, studies few seeds, models are small."""


class Block(NamedTuple):
    """A block of code of a page."""

    language: str
    title: str
    """The file that a reader saves it as; empty for what is to be run."""
    code: str


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page as they stand there."""
    found = re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [Block(*block) for block in found]


def commands_of(block: Block) -> list[list[str]]:
    """Return the words of each command of a block."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_page(page: Path) -> tuple[str, dict[str, Any]]:
    """Run the blocks of a page, in this folder; return what they print, and the names of the Python blocks."""
    out, names = "", {}
    Path("one-thread.toml").write_text("threads = 1\n", encoding="utf-8")  # decide has no option for it
    for language, title, code in blocks_of(page):
        for pattern, shorter in SHORTER:
            code = re.sub(pattern, shorter, code)
        if title:
            with open(title, "a", encoding="utf-8") as file:
                file.write(code)
        elif language == "python":
            with redirect_stdout(StringIO()) as printed:
                exec(compile(code, f"a block of {page.name}", "exec"), names)
            out += printed.getvalue()
        elif language == "sh":
            out += "".join(map(_run, commands_of(Block(language, "", code))))
    return out, names


def _run(words: list[str]) -> str:
    """Run a command of the program here, which saves loading the libraries; of others, look for what they run."""
    if words[:3] != ["python", "-m", "olora_viz"]:
        check_command(words)
        return ""
    done = run(*words[3:])
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def check_command(words: list[str]) -> None:
    """Check that there is what a command runs."""
    if words[0] == "python":
        file = words[2].replace(".", "/") + ".py" if words[1] == "-m" else words[1]
        assert (ROOT / file).exists(), words
    else:
        assert words[0] in ("python3", "pip", "mkdocs"), words
