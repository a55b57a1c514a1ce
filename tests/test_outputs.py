"""What a notebook's cells show: read from a real kernel, as it is saved with the notebook."""

from collections.abc import Iterator

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from races import PAIR, raced, small

import olora_viz as ov
from notebooks.build import kernel

CONFIG = small(PAIR, steps=4, batch_size=2, eval_every=2)
FIRST = f"""import olora_viz as ov
from olora_viz import Lane, RaceConfig
config = {CONFIG!r}
race = ov.race(config)"""


@pytest.fixture(scope="module")
def running() -> Iterator[KernelManager]:
    with kernel() as started:
        outputs(FIRST, started)
        yield started


def outputs(code: str, running: KernelManager) -> list[nbformat.NotebookNode]:
    """Run a cell and return its outputs."""
    cell = nbformat.v4.new_code_cell(code)
    NotebookClient(nbformat.v4.new_notebook(cells=[cell]), km=running, timeout=300).execute()
    return cell.outputs


def test_a_watched_loop_leaves_one_table_and_goes_on_in_the_next_cell(running):
    code = "seen = []\nfor step in ov.watch(race):\n    seen.append(step)\n    if step.step == 3:"
    (table,) = outputs(f"{code} break", running)
    _, steps = raced(CONFIG)
    lines = table.data["text/plain"].splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["0", "2"]
    assert f"{steps[1].eval_loss[0]:.2f}" in lines[3]
    (table,) = outputs("for step in ov.watch(race): seen.append(step)", running)
    lines = table.data["text/plain"].splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["0", "2", "4"]
    assert table.data["text/html"].count("<tr>") == 4
    (said,) = outputs("print([step.step for step in seen])", running)
    assert said.text == "[1, 2, 3, 4]\n"


def test_a_watched_loop_prints_its_rows_in_a_terminal(capsys):
    _, steps = raced(CONFIG)
    assert list(ov.watch(ov.race(CONFIG))) == steps
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["step", *CONFIG.labels]
    assert [row.split()[0] for row in rows] == ["0", "2", "4"]


def test_seeds_of_a_contender_share_a_column_with_their_mean(capsys):
    lanes = tuple(ov.Lane("olora", r=2, seed=seed) for seed in (0, 1))
    config = small(lanes, steps=1)
    (step,) = ov.watch(ov.race(config))
    head, _, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["step", "olora"]
    assert last.split()[1] == f"{step.eval_loss.mean():.2f}"


def test_a_catalogue_is_a_table_in_a_notebook(running):
    (table,) = outputs("ov.TASKS", running)
    assert "<td>addition</td>" in table.data["text/html"]
    assert table.data["text/plain"].splitlines()[0] == f"{len(ov.TASKS)} tasks:"
