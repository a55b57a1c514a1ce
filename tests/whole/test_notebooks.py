"""The notebooks: committed without outputs, honest in their prose, and they run."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from notebooks import address
from notebooks.build import NOTEBOOKS, executed, kernel, page, parameters_of
from olora_viz import MODELS

ROOT = Path(__file__).parents[2]

SMALL = {
    "1-what-olora-is": {"RANK": 4},
    "2-racing-initializations": {"STEPS": 4, "BATCH": 2, "EVAL_EVERY": 2, "RANK": 2},
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

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


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
    assert 10 <= len(notebook.cells) <= 20
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
def test_the_first_cell_of_code_does_nothing_outside_of_colab(path, monkeypatch):
    (first, *_) = sources(path, "code")
    (_, guarded) = first.split("if ", 1)
    assert guarded.startswith('"google.colab" in sys.modules')
    assert "\n    " in guarded
    assert not re.search(r"^(?!import |REPOSITORY|if |#|\s|$)", first, re.MULTILINE)

    def refused(*_, **__):
        raise AssertionError("a command was run")

    monkeypatch.setattr("subprocess.run", refused)
    exec(first, {})


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


@each
def test_a_notebook_runs_from_top_to_bottom(path, running):
    found = executed(path, running, SMALL[path.stem])
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
