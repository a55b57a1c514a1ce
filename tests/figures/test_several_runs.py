"""Several runs over each other, and what differs in their set-ups."""

from dataclasses import fields, replace

import numpy as np
import pytest
from support.races import raced, small, steps_of

import olora_viz as ov
from olora_viz.races import run as runs
from olora_viz.races.tables import differing

CONFIG = small(eval_every=2)
OTHER = replace(CONFIG, seed=1, steps=6)


def curves(figure) -> dict[str, list[float]]:
    return {t.name: list(t.y) for t in figure.data if "lines" in t.mode}


def test_runs_over_each_other_hold_what_each_measured(tmp_path):
    list(runs.start(CONFIG, tmp_path / "first"))
    race, steps = raced(CONFIG)
    for some in (
        [tmp_path / "first", ov.race(OTHER)],
        {"first": steps, "run 2": steps_of(OTHER)},
        (ov.load_run(tmp_path / "first"), steps_of(OTHER)),
    ):
        figure = ov.plot_race(some, race, what=("loss", "gradient", "accuracy"))
        measured = [
            (f"{name}: {lane}", [step.measures[key][k] for step in its if key in step.measures])
            for key in ("eval_loss", "grad_norm", "eval_accuracy")
            for name, its in (("first", steps), ("run 2", steps_of(OTHER)))
            for k, lane in enumerate(("LoRA", "OLoRA"))
        ]
        drawn = [(t.name, list(t.y)) for t in figure.data if "lines" in t.mode]
        named = {note.text for note in figure.layout.annotations if note.name and note.name.startswith("end ")}
        assert named == {name for name, _ in drawn}, "every curve is named"
        assert [name for name, _ in drawn] == [name for name, _ in measured]
        for (_, y), (_, values) in zip(drawn, measured, strict=True):
            np.testing.assert_allclose(y, values, rtol=1e-3)


def test_a_list_of_one_run_is_drawn_as_runs_and_steps_are_one_race():
    assert set(curves(ov.plot_race([ov.race(CONFIG)], what="loss"))) == {"run 1: LoRA", "run 1: OLoRA"}
    assert set(curves(ov.plot_race(steps_of(CONFIG), CONFIG, what="loss"))) == {"LoRA", "OLoRA"}


def test_folders_of_one_name_are_told_apart(tmp_path):
    for place in "ab":
        list(runs.start(CONFIG, tmp_path / place / "run"))
    drawn = ov.plot_race([tmp_path / "a/run", tmp_path / "b/run"], what="loss")
    assert {name.split(":")[0] for name in curves(drawn)} == {"run", "run #2"}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda steps: ov.plot_race([steps, steps], what="sharpness"), "unknown figure"),
        (lambda steps: ov.plot_race({"a": "nowhere"}), "'nowhere' is not a run folder"),
        (lambda steps: ov.plot_race({}), "there is no run to draw"),
        (lambda steps: ov.compare_setups([steps, CONFIG]), "expected a RaceConfig, .* not a list"),
        (lambda steps: ov.compare_setups([CONFIG]), "two or more"),
    ],
)
def test_what_cannot_be_compared_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(steps_of(CONFIG))


def test_only_what_differs_is_said():
    assert differing([CONFIG, CONFIG]) == []
    other = replace(CONFIG, seed=3, lanes=CONFIG.lanes[:1])
    assert differing([CONFIG, other]) == [("seed", ["0", "3"]), ("lanes", ["+ olora:lr=1e-3,r=2", ""])]
    named = tuple(replace(lane, label=f"a, {k}") for k, lane in enumerate(CONFIG.lanes))
    assert differing([CONFIG, replace(CONFIG, lanes=named)]) == []


CHANGES = {
    "model": "smollm2-135m", "task": "addition", "lanes": (ov.Lane("lora"),), "max_length": 99,
    "device": "cpu", "dtype": "float64", "schedule": "linear", "targets": ("q_proj",),
    "batches": "by-seed", "test": "test.jsonl", "keep_best": True, "truncate": True, "chat": True, "keep": "auto",
    "forget": 0.1, "rows": 50, "epochs": 2.0, "metric": "f1", "objective": "dpo", "base": "nf4",
}  # fmt: skip
"""Another value for each setting that is no number."""


@pytest.mark.parametrize("field", [field.name for field in fields(ov.RaceConfig)])
def test_no_setting_of_a_race_is_left_out_of_the_comparison(field):
    config = replace(CONFIG, keep="auto") if field == "forget" else CONFIG  # which limits what is lost of a text
    config = replace(CONFIG, steps=ov.RaceConfig.steps) if field == "epochs" else config  # which takes their place
    other = config.replace(**{field: CHANGES.get(field) or getattr(config, field) + 1})
    table = ov.compare_setups({"one": config, "other": other})
    assert table.shape == (1, 2)
    assert table.columns.tolist() == ["one", "other"]


def test_set_ups_are_compared_wherever_they_are(tmp_path):
    list(runs.start(CONFIG, tmp_path / "first"))
    race, _ = raced(OTHER)
    table = ov.compare_setups([tmp_path / "first", ov.load_run(tmp_path / "first"), race, CONFIG])
    assert table.columns.tolist() == ["first", "first #2", "run 3", "run 4"]
    assert table.loc["seed"].tolist() == ["0", "0", "1", "0"]
