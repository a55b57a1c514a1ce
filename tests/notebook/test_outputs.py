"""What a notebook's cells show: read from a real kernel, as it is saved with the notebook."""

import base64
import copy
import json
import re
from collections.abc import Iterator
from io import BytesIO

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image, ImageColor
from support.races import PAIR, raced, small

import olora_viz as ov
from notebooks.build import PLOTLY, execute, kernel
from olora_viz.figures.theme import palette

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
    execute(NotebookClient(nbformat.v4.new_notebook(cells=[cell]), km=running, timeout=300))
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


def test_a_watched_study_shows_its_verdicts_and_at_last_the_win_table(running, tmp_path):
    study = f"""study = ov.Study(race=ov.RaceConfig(task="addition", steps=1, batch_size=2, eval_size=4, test_size=4),
    across={{"r": 2}}, tune={{"lr": 1e-3}}, seeds=1, threads=1)
seen = list(ov.watch(ov.run_study(study, {str(tmp_path / "study")!r})))"""
    table, _, wins = outputs(study, running)
    assert "verdict" in table.data["text/html"]
    lines = table.data["text/plain"].splitlines()
    assert re.fullmatch(r"\d{4}: \d lanes?, none left at this stage.", lines[0])
    methods = [one.method for one in ov.verdicts(tmp_path / "study").each]
    assert [line.split()[:4] for line in lines[2:]] == [
        ["glassllm", "addition", "2", name] for name in (*methods, "base")
    ]
    assert wins.data["image/jpeg"]


def test_a_watched_decision_shows_what_to_take_its_table_and_its_charts(running, tmp_path):
    (shown,) = outputs(
        f"""from olora_viz.studies.budget import Plan
study = ov.Study(race=ov.RaceConfig(task="addition", steps=1, batch_size=2, eval_size=4, test_size=4),
    across={{"r": 2}}, tune={{"lr": 1e-3}}, seeds=1, threads=1)
plan = Plan(study, 5.0, seconds=1.0, final=0.0, most=4, data="")
*_, last = ov.watch(ov.decide({str(tmp_path / "decided")!r}, plan=plan))""",
        running,
    )
    said = json.loads((tmp_path / "decided" / "decision.json").read_text())["decision"]["sentence"]
    assert said in shown.data["text/plain"]
    html = shown.data["text/html"]
    assert (html.count("<img "), html.count("<table>")) == (1, 2)  # the lanes, and what a merge costs
    assert "merged, nf4" in html
    assert "Before and after" in html


def test_a_figure_follows_a_race_that_another_thread_runs_and_ends_with_it(running):
    code = """import threading
from dataclasses import replace
its = ov.race(replace(config, steps=30))
thread = threading.Thread(target=list, args=(its,))
next(its)
thread.start()
ov.plot_race(its)"""
    *_, figure = outputs(code, running)
    assert PLOTLY in figure.data
    (said,) = outputs("print(its.status, thread.is_alive())", running)
    assert said.text.split()[0] == "finished"
    *_, figure = outputs("next(rest := ov.race(config))\nov.plot_race(rest)", running)
    assert PLOTLY in figure.data
    (said,) = outputs("print(rest.done)", running)
    assert said.text == "1\n"


def test_a_catalogue_is_a_table_in_a_notebook(running):
    (table,) = outputs("ov.TASKS", running)
    assert "<td>addition</td>" in table.data["text/html"]
    assert table.data["text/plain"].splitlines()[0] == f"{len(ov.TASKS)} tasks:"


def test_a_figure_carries_a_picture_and_a_text_beside_plotlys_data(running):
    *_, fit, output = outputs("ov.plot_race(race)", running)
    assert fit.data["text/plain"] == ""
    assert re.fullmatch("<style.*</style>", fit.data["text/html"])
    assert set(output.data) == {PLOTLY, "image/jpeg", "text/plain"}
    picture = Image.open(BytesIO(base64.b64decode(output.data["image/jpeg"])))
    assert picture.width > 1000
    assert picture.getpixel((3, 3)) == pytest.approx(ImageColor.getrgb(palette("light")["card"]), abs=2)
    _, steps = raced(CONFIG)
    _, norm, share = re.findall(r"OLoRA: (.*) at 4", output.data["text/plain"])
    assert float(norm) == pytest.approx(steps[-1].grad_norm[1], rel=0.01)
    assert float(share) == pytest.approx(steps[-1].eval_accuracy[1], rel=0.01)


def test_a_plain_export_to_html_shows_the_figure(running):
    cell = nbformat.v4.new_code_cell('ov.plot_spectrum("glassllm", r=2, what="energy")')
    notebook = nbformat.v4.new_notebook(cells=[cell])
    execute(NotebookClient(notebook, km=running, timeout=300))
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert 'src="data:image/jpeg;base64,' in page


def test_a_figure_in_the_dark_theme_has_a_dark_picture():
    bundle = ov.plot_spectrum("glassllm", r=2, what="energy", theme="dark")._repr_mimebundle_()
    picture = Image.open(BytesIO(base64.b64decode(bundle["image/jpeg"])))
    assert picture.getpixel((3, 3)) == pytest.approx(ImageColor.getrgb(palette("dark")["card"]), abs=2)  # a JPEG


def test_a_figure_that_was_changed_has_no_picture_of_its_former_self():
    figure = ov.plot_spectrum("glassllm", r=2, what="energy")
    assert "image/jpeg" in figure._repr_mimebundle_()
    figure.update_layout(title="mine")
    assert "image/jpeg" not in figure._repr_mimebundle_()
    assert "image/jpeg" not in copy.deepcopy(figure)._repr_mimebundle_()


def test_a_race_is_drawn_while_it_runs_and_the_figure_takes_its_place(running):
    shown = []
    code = f"{FIRST}\nov.plot_race(race, what='loss')"
    client = NotebookClient(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), km=running, timeout=300)
    process = client.process_message

    def watched(message, *rest):
        data = message["content"].get("data", {})
        if PLOTLY in data:
            shown.append(max(len(trace.get("y", ())) for trace in data[PLOTLY]["data"]))
        return process(message, *rest)

    client.process_message = watched
    execute(client)
    assert shown[0] < shown[-1]
    live, _, last = client.nb.cells[0].outputs
    assert live.data == {"text/plain": ""}
    assert {PLOTLY, "image/jpeg"} < set(last.data)
    figure = ov.plot_race(raced(CONFIG)[1], raced(CONFIG)[0], what="loss")
    assert last.data["text/plain"] == figure._repr_mimebundle_()["text/plain"]
