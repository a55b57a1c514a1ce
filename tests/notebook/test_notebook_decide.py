"""A decision in a panel: stopped with what is known, gone on with, and its adapter."""

import math
from pathlib import Path
from typing import Any

import pytest
from support.panels import press, shown, text
from support.waiting import wait_until

from olora_viz.notebook import DecidePanel
from olora_viz.studies.budget import Plan
from olora_viz.studies.study import Study

STUDY = Study().changed(
    race={"task": "number-words", "steps": 2, "batch_size": 2, "eval_size": 4, "test_size": 8, "eval_every": 0},
    across={"r": (2,)},
    tune={"lr": (1e-3,)},
    seeds=2,
    coarse=1,
    threads=1,
)
PLAN = Plan(STUDY, minutes=5, seconds=10, final=1, most=2)


def test_a_decision_stops_with_what_is_known_and_goes_on_to_its_adapter(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    panel = DecidePanel(plan=PLAN, compare=["olora"], r=[2], minutes=5)
    seen: list[str] = []
    panel.observe(lambda change: seen.append(change["new"]), "state")
    assert shown(panel, "folder")["value"] == "decisions/glassllm-number-words"
    press(panel, "decide")
    wait_until(lambda: panel.known is not None and panel.known.lanes)
    press(panel, "stop")
    first = panel.result()
    assert first.adapter is None
    assert "Until then, LoRA at 1e-3" in shown(panel, "headline")
    assert "There is no adapter yet; the report is" in shown(panel, "taken")
    assert shown(panel, "decide") == {"disabled": False, "label": "▶ Continue"}
    assert shown(panel, "stop")["disabled"]
    assert repr(panel).startswith("DecidePanel: stopped, ")
    assert f"{first.lanes} of 4 lanes" in repr(panel)
    press(panel, "decide")
    known = panel.result()
    assert known.folder == first.folder == Path("decisions/glassllm-number-words")
    assert known.lanes > first.lanes
    assert f"The adapter is in {known.adapter}, and the report is" in shown(panel, "taken")
    assert f"The recipe is in {known.folder / 'recipe'}." in shown(panel, "taken")
    assert (tmp_path / known.adapter / "adapter_config.json").is_file()
    assert (tmp_path / known.folder / "report.html").is_file()
    assert "OLoRA" in shown(panel, "table")
    assert "with the adapter" in shown(panel, "answers")
    assert "What a merge costs" in shown(panel, "headline")
    assert panel._still is not None
    assert known.sentence in panel._still["text/plain"]
    assert "starts lora, olora; ranks 2; steps 2; learning rates 0.001; seeds 2" in panel._still["text/plain"]
    assert shown(panel, "decide")["label"] == "▶ Decide"
    assert shown(panel, "folder")["value"] == "decisions/glassllm-number-words-2"
    assert [s for s in seen if s in ("planning", "stopped")] == ["planning", "stopped", "planning"]
    assert seen[-2:] == ["done", "finished"]


def test_what_is_wrong_with_a_decision_gets_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    wrong: dict[str, Any]
    for wrong, rule in (
        ({"minutez": 3}, "did you mean 'minutes'"), ({"minutes": 0}, "a number from 0.1 to 10000"),
        ({"compare": ["olra"]}, "did you mean 'olora'"), ({"r": [0]}, "rank must be"),
        ({"r": []}, "at least one rank"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rule):
            DecidePanel(**wrong)
    with pytest.raises(ValueError, match="the plan is for another model or task"):
        DecidePanel(plan=PLAN, task="sentiment").start()
    panel = DecidePanel(task="adition")
    with pytest.raises(AttributeError, match="'minute'; did you mean 'minutes'"):
        panel.minute = 3
    with pytest.raises(ValueError, match="press Decide, or call start"):
        panel.result()
    panel.set_state({"starts": ["olra"]})  # as a browser does
    assert "did you mean &#39;olora&#39;" in text(panel)
    panel.set_state({"task": ""})
    press(panel, "decide")
    assert "the task is empty: give a name or a path" in text(panel)
    panel.set_state({"task": "adition", "starts": []})
    press(panel, "decide")
    assert "choose a start to compare with plain LoRA" in text(panel)
    panel.set_state({"ranks": ["16", "8"]})  # as a browser does
    assert panel.ranks == (8, 16)
    assert len(panel._config().lanes) == 2
    panel.starts = ("olora", "lora")
    assert panel.starts == ("olora",)
    press(panel, "decide")
    with pytest.raises(ValueError, match="did you mean 'addition'"):
        panel.result()
    assert "did you mean &#39;addition&#39;" in text(panel)
    assert 'class="status failed"' not in text(panel)


def test_too_few_rows_are_refused_with_how_many_are_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_text("prompt,answer\n" + "".join(f"{n} and 2 make,{n + 2}\n" for n in range(60)))
    panel = DecidePanel(task="mine.csv")
    press(panel, "decide")
    with pytest.raises(ValueError, match=r"'mine.csv' has \d+ test examples, and a verdict needs at least 20"):
        panel.result()
    assert "are missing, or about" in text(panel)
    assert 'class="status failed"' not in text(panel)


def test_a_limit_needs_a_text_and_reaches_the_decision() -> None:
    panel = DecidePanel(keep="auto", forget=0.25)
    assert panel._checked().forget == 0.25
    with pytest.raises(ValueError, match=r"forget 0.1 limits what may be lost of a text to keep"):
        DecidePanel(keep="none", forget=0.1)
    with pytest.raises(ValueError, match="forget, in nats, must be a number of at least 0, not nan"):
        DecidePanel(keep="auto", forget=math.nan)
