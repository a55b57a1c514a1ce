"""The notebooks: committed without outputs, honest in their prose, and they run."""

import re
import shutil
import sys
from importlib.metadata import metadata
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from packaging.requirements import Requirement
from support.nightly import at_night

from notebooks import address
from notebooks.build import NOTEBOOKS, executed, kernel, page, parameters_of
from olora_viz import MODELS

ROOT = Path(__file__).parents[2]

SMALL = {
    "1-what-olora-is": {"RANK": 4},
    "2-racing-initializations": {"STEPS": 4, "BATCH": 2, "EVAL_EVERY": 2, "RANK": 2, "REWARD_STEPS": 2},
    "3-spectra": {"LAYERS": "layers.1", "RANKS": (2,), "RANK": 4},
    "4-gradients-and-curvature": {"STEPS": 2, "BATCH": 2, "LOOK_EVERY": 1, "RANK": 2},
    "5-a-fair-comparison": {
        "STEPS": 4, "BATCH": 2, "EVAL_EVERY": 2, "RANK": 2, "RATES": (1e-3, 3e-3), "SEEDS": 2,
    },
    "6-your-own": {"STEPS": 6, "BATCH": 4, "RANK": 2},
    "7-studies-and-claims": {
        "STEPS": 4, "BATCH": 2, "EVAL_EVERY": 2, "RANK": 2, "RATES": (1e-3, 3e-3), "SEEDS": 2,
        "INITS": ("lora", "olora"),
    },
}  # fmt: skip
"""Each lesson in seconds: the parameters that its tagged cell is given instead."""

ANSWERS = {
    "1-what-olora-is": {
        "by-hand": ("[1, 0]", "[0, 3]", "[0]"),
        "same-function": ("1.5", "-0.5"),
        "first-step": ("(norms['olora'][1] / norms['olora'][0]) ** 0.5", "1"),
        "real-layer": ("W.norm(dim=0).argsort(descending=True)", "list(range(W.shape[1]))", "[0, 0]"),
    },
    "2-racing-initializations": {
        "task": ("math.log(len(tokenizer))", "math.log2(len(tokenizer))"),
        "one-rate": (
            "steps[0].grad_norm[1] / steps[0].grad_norm[0]", "steps[0].grad_norm[0] / steps[0].grad_norm[1]",
        ),
        "another-rate": (
            "both.labels[steps[-1].eval_loss.argmin()]", "both.labels[steps[-1].eval_loss.argmax()]", "'olora'",
        ),
        "controls": ("torch.linalg.pinv(B) @ W", "B.T", "torch.zeros(RANK, W.shape[1])"),
        "rewards": ("[reward - sum(earned) / len(earned) for reward in earned]", "earned", "[0, 0, 0, 0]"),
        "panel": ("abs(panel.history[-1].eval_loss - at_one_rate.eval_loss).max()", "1.0", "-1.0"),
    },
    "3-spectra": {
        "two-by-two": ("[[3, 1], [1, -3]]", "[[1, 2], [3, 4]]", "[[2, 0], [0, 1]]", "[1, 2]"),
        "real-layer": ("len(weight) - RANK", "RANK", "len(weight)"),
        "every-layer": ("len(weight)", "len(weight) // 2", "0"),
        "chance": ("1e-6", "tolerance", "-1"),
        "energy": ("'pissa'", "'milora'", "'eva'", "'dora'"),
    },
    "4-gradients-and-curvature": {
        "by-hand": ("s**2 * (B @ B.T @ G + G @ A.T @ A)", "G", "B.T @ G"),
        "depth": ("'lora'", "'olora'", "'dora'"),
        "slope": (
            "config.labels[at_start.hessian.lambda_max.argmin()]",
            "config.labels[at_start.hessian.lambda_max.argmax()]", "'dora'",
        ),
        "quadratic": ("1 / steep", "2 / steep"),
        "fair": ("8", "2"),
    },
    "5-a-fair-comparison": {
        "seeds": ("3", "4", "2"),
        "sweep": (
            "min(RATES, key=lambda lr: sum(point.mean for c in curves for point in c.points if point.lr == lr))",
            "max(RATES, key=lambda lr: sum(point.mean for c in curves for point in c.points if point.lr == lr))",
            "1.0",
        ),
        "pairs": (
            "(by_init['olora'].loss - by_init['lora'].loss)[0].std()", "(ours.var() + theirs.var()) ** 0.5", "10", "0",
        ),
        "reach": (
            "min(s for s in evaluated if start_loss - evaluated[s] >= (start_loss - evaluated[STEPS]) / 2)",
            "min(s for s in evaluated if s != there)", "-1",
        ),
        "recorded": ("'pissa'", "'lora'", "'dora'"),
    },
    "6-your-own": {
        "data": (
            """'{"prompt": "the number after ninety-nine is", "answer": "one hundred"}'""",
            """'{"prompt": "the number after one is", "answer": "two"}'""", """'{"prompt": "one"}'""", "rows[0]",
        ),
        "model": ("RANK * sum(sum(W.shape) for W in ov.layers_like(model, '*').values())", "RANK", "parameters"),
        "race": (
            "abs(steps[-1].eval_accuracy[0] - steps[-1].eval_accuracy[1]) * len(task.held_out)", "-1",
            "len(task.held_out) + 1",
        ),
        "export": (
            "torch.cat([now.A, now.A - start.A]), torch.cat([now.B - start.B, start.B], 1)", "(start.A, start.B)",
        ),
        "inspect": (
            "max({one.layer.split('.')[-1] for one in found}, key=lambda kind: torch.tensor("
            "[one.relative_norm for one in found if one.layer.endswith(kind)]).mean())",
            "min({one.layer.split('.')[-1] for one in found}, key=lambda kind: torch.tensor("
            "[one.relative_norm for one in found if one.layer.endswith(kind)]).mean())",
            "'lm_head'",
        ),
        "loop": ("1 / len(RATES)", "1", "0"),
    },
    "7-studies-and-claims": {
        "study": ("len(INITS) * len(RATES) * SEEDS", "len(INITS) * len(RATES)", "1000"),
        "verdicts": (
            "lambda low, high, margin: 'level' if abs(low) < margin and abs(high) < margin else "
            "'better' if high <= 0 else 'worse' if low >= 0 else 'undecided'",
            "lambda low, high, margin: 'better' if high < 0 else 'worse' if low > 0 else 'level'",
        ),
        "weights": ("[[1, 2], [3, 4]]", "[[2, 0], [0, 1]]", "[1, 2]"),
        "start": ("'depth'", "'convergence'", "'subset'"),
        "recorded": ("'convergence'", "'subset'", "'dora'"),
    },
}  # fmt: skip
"""To the exercise of every section a right answer, then wrong ones."""

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

RUN = [NOTEBOOKS[0], *at_night(*NOTEBOOKS[1:])]
"""The notebooks that are run: all of them at night."""


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def sources(path: Path, kind: str) -> list[str]:
    return [cell.source for cell in read(path).cells if cell.cell_type == kind]


def test_the_lessons_are_in_order_and_each_has_small_settings():
    assert [path.stem for path in NOTEBOOKS] == list(SMALL)
    assert [name[0] for name in SMALL] == [str(n) for n in range(1, len(SMALL) + 1)]


@each
def test_a_notebook_is_valid_short_and_committed_without_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert len(notebook.cells) <= 42
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
    assert notebook.metadata.kernelspec.name == "python3"


@each
def test_a_notebook_says_nothing_of_the_machine_that_it_was_written_on(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(work|tmp|home|root|Users)/", text)


@each
def test_the_first_cell_of_code_does_nothing_outside_of_colab_and_kaggle(path, monkeypatch):
    (first, *_) = sources(path, "code")

    def refused(*_, **__):
        raise AssertionError("a command was run")

    monkeypatch.setattr("subprocess.run", refused)
    exec(first, {})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(first, {})


@each
def test_in_colab_and_kaggle_the_first_cell_installs_the_package_with_an_extra_that_it_has(path, monkeypatch):
    commands = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("subprocess.run", lambda command, check: commands.append(command))
    (first, *_) = sources(path, "code")
    with monkeypatch.context() as kaggle:
        kaggle.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
        exec(first, {})
    monkeypatch.setitem(sys.modules, "google.colab", None)
    exec(first.replace('REPOSITORY = ""', 'REPOSITORY = "someone/a.fork"'), {})
    released, asked = (Requirement(wanted) for (*_, wanted) in commands)
    assert (released.name, released.url) == ("olora_viz", None)
    assert (asked.name, asked.url) == ("olora_viz", "git+https://github.com/someone/a.fork")
    assert released.extras == asked.extras == {"notebook"} <= {*metadata("olora_viz").get_all("Provides-Extra")}


@each
def test_the_second_cell_of_code_holds_the_parameters_and_nothing_else(path):
    notebook = read(path)
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    assert code[1] == parameters_of(notebook)
    for line in notebook.cells[code[1]].source.splitlines():
        assert re.match(r"[A-Z_]+ = ", line), line


@each
def test_every_section_ends_with_a_question_whose_answer_is_folded(path):
    prose = "\n\n".join(sources(path, "markdown"))
    sections = re.split(r"^## ", prose, flags=re.MULTILINE)[1:]
    assert len(sections) >= 3
    asked = [section for section in sections if "**Question.**" in section]
    assert len(asked) >= len(sections) - 2  # one on panels, and one that a table ends
    for section in asked:
        (_, answer) = section.split("**Question.**", 1)
        assert re.search(r"<details><summary>Answer</summary>\n\n.+\n\n</details>", answer, re.DOTALL)


@each
def test_every_section_asks_for_a_guess_before_its_result_and_has_one_exercise_with_a_check(path):
    sections, exercises = [], []
    for cell in read(path).cells:
        if cell.source.startswith("## "):
            sections.append([])
        if sections:
            sections[-1].append(cell)
    for section in sections:
        assert "**Guess.**" in "".join(cell.source for cell in section[: kinds(section).index("code")])
        (at,) = (i for i, cell in enumerate(section) if cell.source.startswith("**Exercise.**"))
        _, answer, check = section[at : at + 3]
        assert (answer.metadata.tags, check.metadata.tags) == (["answer"], ["check"])
        exercises.append(check.id.removesuffix("-checked"))
    assert exercises == list(ANSWERS[path.stem])


def kinds(cells: list[nbformat.NotebookNode]) -> list[str]:
    return [cell.cell_type for cell in cells]


@each
def test_numbers_in_the_prose_are_computed_by_a_cell(path):
    """Outside of code spans prose has no digits; a number in one stands in a cell as well."""
    code = "\n".join(sources(path, "code"))
    for text in sources(path, "markdown"):
        text = re.sub(r"^# \d\. ", "", text)
        for span in set(re.findall(r"`([^`]+)`", text)) - {*MODELS}:
            for number in re.findall(r"(?<![A-Za-z\d.])\d+(?:\.\d+)?(?:e-?\d+)?", span):
                assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", code), span
        plain = re.sub(r"`[^`]+`|\]\([^)]+\)", "", text)
        assert not re.findall(r"(?<![A-Za-z])\d[\d.]*", plain), plain


@pytest.fixture(scope="module")
def running():
    with kernel() as started:
        yield started


def answered(path: Path) -> nbformat.NotebookNode:
    """Return the notebook with each check run again behind it, once for each of the answers."""
    notebook = read(path)
    for name, answers in ANSWERS[path.stem].items():
        (at,) = (i for i, cell in enumerate(notebook.cells) if cell.id == f"{name}-checked")
        check = notebook.cells[at].source
        again = [
            nbformat.v4.new_code_cell(f"answer = {one}\n{check}", id=f"{name}-{i}") for i, one in enumerate(answers)
        ]
        notebook.cells[at + 1 : at + 1] = again
    return notebook


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom_and_its_checks_tell_right_answers_from_wrong_ones(path, running, tmp_path):
    nbformat.write(answered(path), tmp_path / path.name)
    found = executed(tmp_path / path.name, running, SMALL[path.stem])
    shown = {cell.id: "".join(output.get("text", "") for output in cell.get("outputs", ())) for cell in found.cells}
    for name, (_, *wrong) in ANSWERS[path.stem].items():
        assert shown[f"{name}-checked"] == "Fill in the answer above.\n"
        assert shown[f"{name}-0"].startswith("Right"), shown[f"{name}-0"]
        for i in range(1, len(wrong) + 1):
            assert shown[f"{name}-{i}"].startswith("Not yet: "), shown[f"{name}-{i}"]
    said = [
        output
        for cell in found.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert not [output.text for output in said if "olora_viz" in output.text]


def test_no_name_is_left_to_the_notebook_after(running, tmp_path):
    (first, second) = (tmp_path / f"{name}.ipynb" for name in ("first", "second"))
    for path, code in ((first, "LEFT = 1"), (second, "LEFT")):
        cell = nbformat.v4.new_code_cell(code, metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    executed(first, running)
    with pytest.raises(CellExecutionError, match="name 'LEFT' is not defined"):
        executed(second, running)


def test_a_page_holds_the_outputs_and_asks_nothing_of_another_host():
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Lesson"),
            nbformat.v4.new_code_cell(
                "figure",
                outputs=[
                    nbformat.v4.new_output(
                        "display_data",
                        {
                            "application/vnd.plotly.v1+json": {
                                "data": [{"type": "scatter", "y": [1, 4, 2]}], "layout": {},
                            }
                        },
                    )
                ],
            ),
        ]
    )  # fmt: skip
    text = page(notebook, "lesson")
    assert text.count("Plotly.newPlot(") >= 1
    asked = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?(https?://[^\"' >]+)", text)
    assert not asked
    assert not re.search(r"import\s[^;]*[\"']https?://", text[text.index("</script>") :])


def test_a_value_for_no_parameter_is_refused(running):
    with pytest.raises(ValueError, match="SPEED is not a parameter of 1-what-olora-is"):
        executed(NOTEBOOKS[0], running, {"SPEED": 1})


def test_the_readme_lists_every_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        assert f"(notebooks/{path.name})" in readme


def test_an_address_opens_the_notebooks_in_colab_and_can_be_taken_out_again(tmp_path, capsys):
    for path in NOTEBOOKS:
        shutil.copy(path, tmp_path)
    assert address.main(["someone/a.fork"], tmp_path) == 0
    for path in NOTEBOOKS:
        intro, first = (sources(tmp_path / path.name, kind)[0] for kind in ("markdown", "code"))
        where = f"{address.COLAB}/github/someone/a.fork/blob/main/notebooks/{path.name}"
        assert f"[Open in Colab]({where})" in intro
        assert 'REPOSITORY = "someone/a.fork"' in first
    assert address.main(["--none"], tmp_path) == 0
    for path in NOTEBOOKS:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    for wrong in ("a.fork", "https://github.com/someone/a.fork", 'a/b"\nimport os'):
        with pytest.raises(SystemExit, match="2"):
            address.main([wrong], tmp_path)
        assert f"{wrong!r} is not of the form OWNER/NAME" in capsys.readouterr().err
