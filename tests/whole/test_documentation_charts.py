"""The charts of the documentation: what embeds one, what it takes, and that the words beside it are true of it."""

import json
import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.pages import DOCS, PAGES, ROOT

import olora_viz as ov
from olora_viz.figures.live.bundle import pack
from olora_viz.figures.plots import study_figures
from olora_viz.studies.method import method_name
from olora_viz.studies.statistics import BETTER, LEVEL, WORSE

sys.path.insert(0, str(DOCS))
charts = pytest.importorskip("charts", reason="mkdocs is in the extra docs")
mkdocs = pytest.importorskip("mkdocs.commands.build")
config = pytest.importorskip("mkdocs.config")
exceptions = pytest.importorskip("mkdocs.exceptions")

W = '"glassllm", "model.layers.0.self_attn.q_proj"'

WRONG = {
    'rase("first")': "unknown chart 'rase'; did you mean 'race'?",
    'race("frist")': "unknown recording 'frist'; did you mean 'first'?",
    'race("first", "rats")': "unknown chart of the race 'first', 'rats'; did you mean 'rates'?",
    "race()": "race() must be race(name: str, chart: str), with literals",
    "race(1)": "race(1) must be race(name: str, chart: str), with literals",
    'race("first"': 'race("first" must be race(name: str, chart: str), with literals',
    'race("first", open)': 'race("first", open) must be race(name: str, chart: str), with literals',
    'race("first", chart="rates")': 'race("first", chart="rates") must be race(name: str, chart: str), with literals',
    'study("number-wrds")': "unknown study 'number-wrds'; did you mean 'number-words'?",
    'study("number-words", "rat")': "unknown chart of a study, 'rat'; did you mean 'rates'?",
    'spectrum("glassllm", "q_proj", 8)': "unknown layer 'q_proj'; choose from model.layers.0.self_attn.q_proj",
    f'spectrum({W}, "8")': f'spectrum({W}, "8") must be spectrum(model: str, layer: str, rank: int, chart: str)',
    f"spectrum({W}, 800)": "rank 800 exceeds min(out, in) = 128",
    f'spectrum({W}, 8, "enrgy")': "unknown chart of a spectrum, 'enrgy'; did you mean 'energy'?",
}  # fmt: skip


@pytest.mark.parametrize("call", WRONG)
def test_a_wrong_call_is_one_sentence(call: str) -> None:
    with pytest.raises(ValueError, match=re.escape(WRONG[call])) as error:
        charts.chart_of(call)
    assert "\n" not in str(error.value)


def built(folder: Path, text: str) -> Path:
    """Build a site of one page, in a folder of its own below the first one."""
    (folder / "docs" / "in").mkdir(parents=True)
    (folder / "docs" / "in" / "page.md").write_text(text, "utf-8")
    setup = {
        "site_name": "One page", "strict": True, "use_directory_urls": False, "theme": {"name": "material"},
        "plugins": ["search"], "hooks": [str(DOCS / "charts.py")],
    }  # fmt: skip
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(setup), "utf-8")
    mkdocs.build(config.load_config(str(folder / "mkdocs.yml")))
    return folder / "site"


def test_a_wrong_call_ends_the_build_and_names_the_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(exceptions.Abort):
        built(tmp_path, '# A page\n\n<!-- race("frist") -->\n')
    assert "in/page.md: unknown recording 'frist'; did you mean 'first'?" in caplog.text


def test_a_page_has_its_charts_and_the_way_to_what_draws_them(tmp_path: Path) -> None:
    calls = ['race("one-rate")', 'race("one-rate", "gradient")']
    site = built(tmp_path, "# A page\n\n" + "\n\n".join(f"<!-- {call} -->" for call in calls))
    page = site / "in" / "page.html"
    text = page.read_text("utf-8")
    given = re.findall(r'class="olora-viz-numbers">(.*?)</script>', text)
    drawn = {name: figure for one in given for name, figure in json.loads(one)["figures"].items()}
    wanted = {f"chart-{i}": pack(charts.chart_of(call).figure) for i, call in enumerate(calls, 1)}
    assert drawn == wanted
    assert re.findall(r'data-figure="([\w-]+)"', text) == list(wanted)
    (script,) = re.findall(r'<script defer src="([^"]+)"', text)
    (style,) = re.findall(r'<link rel="stylesheet" href="([^"]+charts.css)"', text)
    for path in (script, style, str(Path(script).with_name("plotly.min.js"))):
        assert (page.parent / path).is_file(), path
    assert "<b>Loss</b> nats per answer token" in text
    assert "figures" not in (site / "search" / "search_index.json").read_text("utf-8")


def test_every_concept_has_a_chart() -> None:
    (concepts,) = (part["Concepts"] for part in yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
                   if "Concepts" in part)  # fmt: skip
    for path in (path for entry in concepts for path in entry.values()):
        assert charts.PLACE.search((DOCS / path).read_text("utf-8")), path


def numbers_in(node: object) -> list[float]:
    """Return all numbers of the traces of a figure."""
    if isinstance(node, dict):
        return [number for key in ("x", "y") for number in numbers_in(node.get(key))]
    if isinstance(node, list):
        return [number for item in node for number in numbers_in(item)]
    return [abs(node)] if isinstance(node, int | float) else []


BESIDE = re.compile(r"<!-- (\w+\([^\n]*\)) -->\n\n(.+?)\n\n", re.DOTALL)
"""A chart and the paragraph after it."""

NUMBER = re.compile(r"(?<![\w.])(\d+\.\d+(?!\d|e-)|\d+(?=%))(%?)")
"""A number with a point or of percent, not a rate."""

WITH_CHARTS = [path for path in PAGES if charts.PLACE.search(path.read_text("utf-8"))]


@pytest.mark.parametrize("path", WITH_CHARTS, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_the_numbers_beside_a_chart_stand_in_it(path: Path) -> None:
    for call, words in BESIDE.findall(path.read_text("utf-8") + "\n\n"):
        known = numbers_in(charts.chart_of(call).figure["data"])
        for text, percent in NUMBER.findall(words):
            stated, digits = float(text), len(text.partition(".")[2])
            scale = 100 if percent else 1
            assert any(round(scale * number, digits) == stated for number in known), (call, text)


def test_the_study_is_read_as_any_other_and_its_chart_says_the_same() -> None:
    verdicts = ov.verdicts(DOCS / "studies" / "number-words")
    differences = {each.method: each for each in verdicts.each if each.method != "lora"}
    assert {each.verdict for each in differences.values()} == {LEVEL}
    (figure,) = study_figures(verdicts, ["differences"])
    assert charts.chart_of('study("number-words", "differences")').figure == figure
    origin = json.loads((DOCS / "studies" / "number-words" / "origin.json").read_text("utf-8"))
    source = charts.chart_of('study("number-words")').source
    assert all(words in source for words in (origin["date"], origin["device"], *origin["versions"].values()))
    rows = (DOCS / "RESULTS.md").read_text("utf-8")
    for each in differences.values():
        low, mean, high = (f"{x:+.3f}" for x in (each.interval.low, each.interval.mean, each.interval.high))
        assert f"{mean} ({low} to {high})" in rows, each.method
        assert f"| {mean} (" in rows, each.method  # of the ablation, whose other methods tell another interval


def test_the_map_of_starts_has_every_recorded_study_and_says_what_it_recorded() -> None:
    assert {*charts.TITLES} == {folder.name for folder in (DOCS / "studies").iterdir()}
    figure = charts.chart_of("start_map()").figure
    drawn = {trace["text"][0]: trace for trace in figure["data"] if "text" in trace}
    limit, decided, circumstances = max(figure["layout"]["xaxis"]["range"]), 0, 0
    for name in charts.TITLES:
        found = ov.verdicts(DOCS / "studies" / name)
        assert found.study.reference == "lora", name
        for cell in found.study.cells():
            lora, *others = found.of(cell)
            base = found.rows_of(cell)[0]["base_test_loss"]
            starts = [each for each in others if each.method in ov.INITIALIZERS and each.method != "full"]
            assert starts, (name, cell)
            for each in starts:
                (of_start,) = (
                    trace
                    for words, trace in drawn.items()
                    if words.endswith(f"study {name}, {cell.words()}") and trace["name"] == method_name(each.method)
                )
                share, *ends = (
                    x / (base - lora.test_loss) for x in (each.test_loss - lora.test_loss, *each.interval[1:3])
                )
                assert of_start["x"][0] == pytest.approx(np.clip(share, -0.98 * limit, 0.98 * limit))
                (line,) = (trace for trace in figure["data"] if trace["y"][3:4] == of_start["y"])
                assert [line["x"][3], line["x"][4]] == pytest.approx(np.clip(ends, -limit, limit))
                is_open = of_start["marker"]["symbol"] == "circle-open"
                assert is_open == (each.verdict not in (BETTER, WORSE) and abs(share) < limit)
            decided += any(each.verdict in (BETTER, WORSE) for each in starts)
            circumstances += 1
    assert f"{decided} of {circumstances} " in figure["layout"]["meta"]["title"]
    assert sum(shape["type"] == "rect" for shape in figure["layout"]["shapes"]) == decided
