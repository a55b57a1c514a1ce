"""Objects say what they are, in a line and as a table, and bad input says what was expected."""

import ast
import dataclasses
import json
from dataclasses import replace
from functools import cache, partial
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from IPython.core.completer import IPCompleter, provisionalcompleter
from support.races import PAIR, raced, small
from tqdm import tqdm

import olora_viz as ov
from olora_viz.races import run as runs

CONFIG = small(PAIR, steps=3, batch_size=2, eval_every=2)
TABLES = {
    "MODELS": ov.MODELS, "TASKS": ov.TASKS, "INITIALIZERS": ov.INITIALIZERS,
    "MEASURES": ov.MEASURES, "CLAIMS": ov.CLAIMS, "RECIPES": ov.RECIPES,
}  # fmt: skip


@cache
def shown() -> dict[str, object]:
    racing, steps = raced(CONFIG)
    weight = torch.randn(12, 9, generator=torch.Generator().manual_seed(0))
    return {
        "race": racing, "config": CONFIG, "lanes": racing.lanes, "step": steps[-1],
        "truncation": ov.truncation(weight, 3), "answers": racing.answers(2),
        "curvature": ov.Curvature(*np.ones((7, 2)), converged=np.array([True, False])),
        **TABLES,
    }  # fmt: skip


NAMES = ("race", "config", "lanes", "step", "truncation", "answers", "curvature", *TABLES)
"""Of all that is shown, which no worker makes that does not test it."""


@pytest.mark.parametrize("name", NAMES)
def test_an_object_is_a_few_lines_and_a_well_formed_table(name):
    assert shown().keys() == set(NAMES)
    its = shown()[name]
    assert max(map(len, repr(its).splitlines())) < 250
    assert "object at 0x" not in repr(its)
    html = ElementTree.fromstring(f"<div>{its._repr_html_()}</div>")
    assert html.findall(".//table/tbody/tr/td")


@pytest.mark.parametrize("name", TABLES)
def test_a_catalogue_names_every_entry_and_suggests_names(name):
    catalogue = TABLES[name]
    html = catalogue._repr_html_()
    for key in catalogue:
        assert key in repr(catalogue)
        assert f"<td>{key}</td>" in html
    first = next(iter(catalogue))
    with pytest.raises(KeyError, match=f"did you mean '{first}'"):
        catalogue[f"{first}x"]
    assert catalogue.get("nothing") is None


@pytest.mark.parametrize(
    "made",
    [
        ov.Lane("olora"),
        ov.Lane("lora", lr=0.00123456789, r=3, targets=("q_proj",), label="mine"),
        ov.RaceConfig(),
        CONFIG,
        ov.RaceConfig(task="addition", schedule="cosine", warmup=2, targets=["q_proj"]),
    ],
)
def test_a_set_up_is_written_as_the_call_that_makes_it(made):
    assert eval(repr(made), vars(ov)) == made
    given = [
        field.name
        for field in dataclasses.fields(made)
        if field.default is dataclasses.MISSING or getattr(made, field.name) != field.default
    ]
    (call,) = ast.parse(repr(made)).body
    assert {word.arg for word in call.value.keywords} == set(given) - {"init"}


def test_names_from_outside_are_escaped():
    config = small(PAIR, task="<script>", steps=1)
    assert "<script>" not in config._repr_html_()


def test_a_race_has_the_length_of_what_is_left():
    racing = ov.race(CONFIG)
    assert len(racing) == 3
    next(racing)
    assert len(racing) == 2
    bar = tqdm(racing, disable=True)
    assert bar.total == 2
    list(bar)
    assert len(racing) == 0
    assert racing


def test_only_public_names_are_offered():
    assert set(dir(ov)) < set(ov.__all__)
    completer = IPCompleter(namespace={"ov": ov}, use_jedi=False)
    with provisionalcompleter():
        offered = {its.text.removeprefix("ov").removeprefix(".") for its in completer.completions("ov.", 3)}
    assert offered == set(dir(ov)) - {"__version__"}  # which completers keep for who types "_"


@pytest.mark.parametrize("at", [0, 2, 3])
def test_a_saved_race_is_read_back_and_goes_on_bitwise(tmp_path, at):
    whole, steps = raced(CONFIG)
    racing = ov.race(CONFIG)
    for _ in range(at):
        next(racing)
    assert racing.steps == steps[:at]
    racing.save(tmp_path / "run")
    saved = ov.load_run(tmp_path / "run")
    assert list(saved.steps) == steps[:at]
    assert saved.config == racing.config
    assert (saved.summary is not None) == (at == 3)
    assert list(runs.resume_run(tmp_path / "run")) == steps[at:]
    ended = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert ended["lanes"] == whole.summary()["lanes"]
    with pytest.raises(ValueError, match="must be new or empty"):
        racing.save(tmp_path / "run")


def test_what_does_not_know_its_steps_is_not_saved(tmp_path):
    first, second = ov.race(CONFIG), ov.race(CONFIG)
    next(first)
    second.restore(first.snapshot())
    with pytest.raises(ValueError, match="does not know its first 1 steps"):
        second.save(tmp_path / "run")
    with pytest.raises(ValueError, match="does not keep them"):
        ov.steps_frame(second)
    next(first)
    first.restore(second.snapshot())
    assert [step.step for step in first.steps] == [1]


def test_figures_and_tables_take_a_race_with_its_steps_so_far():
    racing = ov.race(CONFIG)
    next(racing)
    assert ov.steps_frame(racing)["step"].max() == 1
    assert racing.done == 1
    list(racing)
    assert ov.steps_frame(racing).equals(ov.steps_frame(racing.steps, racing))


MODEL = ov.load_model("glassllm")[0]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (partial(ov.race, "glassllm"), "expected a RaceConfig, .* not 'glassllm'"),
        (partial(ov.plot_race, []), "no steps to draw: pass a Race"),
        (partial(ov.plot_race, CONFIG), "expected a Race, .* not a RaceConfig"),
        (partial(ov.plot_race, None), "expected a Race, .* not None"),
        (partial(ov.steps_frame, 5), "expected a Race, .* not 5"),
        (partial(ov.parse_lanes, "olora:rank=4"), "'rank'; did you mean 'r'"),
        (partial(ov.Lane, "lora", lr="fair"), r"use Lane\('lora', fair=True\)"),
        (partial(ov.attach, "glassllm", []), "expected a model, .* not 'glassllm'"),
        (partial(ov.attach, MODEL, "lora"), "expected a list of Lane, .* not 'lora'"),
        (partial(ov.watch, CONFIG), "expected a Race, .* not a RaceConfig"),
        (partial(ov.load_model, 3), "expected the name of a model .* not 3"),
        (partial(ov.load_model, "glassllm", dtype="bfloat16"), "expected a dtype, .* not 'bfloat16'"),
        (partial(ov.load_task, 3), "expected the name of a task .* not 3"),
        (partial(ov.plot_spectrum, 3), "expected the name of a model, .* not 3"),
        (partial(ov.plot_conditioning, 3), "expected a RaceConfig, .* not 3"),
        (partial(ov.plot_study, 3), "expected the result of verdicts, .* not 3"),
        (partial(ov.verdicts, 3), "expected the folder of a study, not 3"),
        (partial(ov.update_spectra, MODEL), "expected Lanes, .* not a LlamaForCausalLM"),
        (partial(ov.curvature, MODEL, None), "expected Lanes, .* not a LlamaForCausalLM"),
        (partial(ov.write_peft, MODEL, 0, "x"), "expected Lanes, .* not a LlamaForCausalLM"),
        (partial(ov.compare_setups, 3), "expected a list of set-ups, .* not 3"),
        (lambda: next(ov.run_study(CONFIG, "x")), "expected a Study, .* not a RaceConfig"),
        (lambda: next(ov.decide(CONFIG)), "expected the folder .* not a RaceConfig"),
    ],
)
def test_another_type_gets_a_sentence_with_what_was_expected(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_steps_are_of_one_race_in_order():
    racing, steps = raced(CONFIG)
    for wrong in ([steps[0], steps[0]], [*steps, *steps], steps[::-1]):
        for read in (ov.plot_race, ov.steps_frame, ov.plot_rates):
            with pytest.raises(ValueError, match=r"step \d comes after step \d: pass the steps"):
                read(wrong, racing)
    for read in (ov.plot_race, ov.steps_frame):
        with pytest.raises(ValueError, match="not a Step"):
            read(steps[0], racing)
    with pytest.raises(ValueError, match="expected the RaceConfig of the steps"):
        ov.steps_frame(steps, "glassllm")


def test_a_set_up_that_changed_says_only_what_changed():
    assert repr(replace(ov.RaceConfig(), steps=7)) == "RaceConfig(steps=7)"
