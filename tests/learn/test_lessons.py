"""Lessons: numbers are those of the recordings, links race again, formulas are drawn."""

import ast
import json
import math
import re
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from support.steps import measuring

from olora_viz.figures.chain import matrix_figure
from olora_viz.learn import lessons
from olora_viz.learn.gallery import load_recording
from olora_viz.learn.gallery.chain import RATES, recorded_chain
from olora_viz.learn.lessons import LESSON_NAMES, LESSONS, WRITERS, Lesson, again, beside
from olora_viz.learn.lessons.lesson import RaceNumbers, example_matrix
from olora_viz.learn.pictures import picture, qr_figure
from olora_viz.learn.terms import GLOSSARY, INLINE, formula, plain, sentence
from olora_viz.races.chain import Chain, kept
from olora_viz.races.config import RaceConfig
from olora_viz.races.script import peft_script
from olora_viz.views.results import story_before
from olora_viz.web import learn as learn_view
from olora_viz.web.guard.limits import Limits, from_environment
from olora_viz.web.page import PAGES
from olora_viz.web.parts.setup import SetUp, of_recording
from olora_viz.web.race import arrival as share
from olora_viz.web.race import controls as shortcuts
from olora_viz.web.race.arrival import lesson_race

EVERY = pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSON_NAMES)
RACED = pytest.mark.parametrize("name", [name for name, (_, recording) in WRITERS.items() if recording])
FOLDER = Path(lessons.__file__).parent
FILES = [file for file in sorted(FOLDER.glob("*.py")) if "lesson(" in file.read_text("utf-8")]


def words(lesson: Lesson) -> str:
    choices = [text for choice in lesson.choices for text in choice]
    return " ".join([*lesson.paragraphs, lesson.idea, lesson.do, lesson.see, lesson.ask, *choices, lesson.answer])


def said(node: ast.AST) -> list[str]:
    """Return the words below a node, without formulas' arguments, format specs and docstrings."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.FormattedValue):
        return said(node.value)
    if isinstance(node, ast.keyword) and node.arg in ("formulas", "name"):
        return []
    if isinstance(node, ast.FunctionDef):
        return [text for child in node.body[1:] for text in said(child)]
    return [text for child in ast.iter_child_nodes(node) for text in said(child)]


def test_there_are_six_to_twelve_lessons_each_in_a_file_of_its_own():
    assert 6 <= len(LESSONS) <= 12
    assert list(LESSONS) == list(LESSON_NAMES) == [lesson.name for lesson in LESSONS.values()]
    assert len([f for f in FILES if f.name not in ("lesson.py", "__init__.py")]) == len(LESSONS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_number_is_typed_into_a_lesson(file):
    tree = ast.parse(file.read_text("utf-8"))
    typed = [
        text
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == "lesson"
        for text in said(node)
        if re.search(r"\d", INLINE.sub("", text)) and text not in LESSON_NAMES
    ]
    assert typed == []


def rolled(found):
    """Give every lane the results of the lane before it."""
    of_lanes = {name: np.roll(values, 1, axis=0) for name, values in vars(found).items()}
    return replace(found, **of_lanes)


@RACED
def test_another_race_makes_other_sentences(name):
    write, recording = WRITERS[name]
    race = load_recording(recording)
    first = race.steps[0]
    steps = [
        measuring(
            step,
            loss=2 * step.loss,
            grad_norm=step.grad_norm**2,
            **(
                {}
                if step.eval_loss is None or step.eval_accuracy is None
                else {
                    "eval_loss": 3 * step.eval_loss,
                    "eval_accuracy": step.eval_accuracy / 2,
                    "eval_examples": rolled(step.eval_examples),
                }
            ),
        )
        for step in race.steps
    ]
    assert first is race.steps[0]
    other = write(RaceNumbers(replace(race, steps=tuple(steps))))
    changed = [a != b for a, b in zip(other.paragraphs, LESSONS[name].paragraphs, strict=True)]
    assert any(changed) or name == "singular-values"  # that one reads no loss, but the spectra
    if any(step.waits and step.waits.kind == "bet" for step in other.guide.steps):
        assert {i for i, changes in enumerate(changed) if changes} <= {*other.outcome}, "told before the bet"


def test_the_numbers_are_those_of_the_recorded_files():
    race = load_recording("one-rate")
    end = race.steps[-1]
    of = race.config.labels.index
    for init, decimals in (("lora", 1), ("olora", 1), ("pissa", 0), ("milora", 0)):
        assert f"{end.eval_accuracy[of(init)]:.{decimals}%}" in words(LESSONS["one-rate"])
    first = race.steps[0].grad_norm
    steep = f"{first[of('olora')] / first[of('lora')]:.2g} times"
    assert steep in words(LESSONS["one-rate"])

    race = load_recording("fair-rates")
    final = race.steps[-1].eval_accuracy
    lowest = min(lane.lr for lane in race.config.lanes)
    for init in ("lora", "olora"):
        lanes = [k for k, lane in enumerate(race.config.lanes) if (lane.init, lane.lr) == (init, lowest)]
        assert f"{final[lanes].mean():.0%}" in words(LESSONS["fair-rates"])

    race = load_recording("curvature")
    style = next(step.curvature for step in race.steps if step.curvature is not None)
    k = race.config.labels.index("olora@lr=1e-3")
    assert f"{style.lambda_max[k]:.2g}" in words(LESSONS["curvature"])

    race = load_recording("what-it-cost")
    lanes = race.config.lanes
    for init in ("lora", "olora"):
        loss, drift = {}, {}
        for lr in {lane.lr for lane in lanes}:
            seeds = [k for k, lane in enumerate(lanes) if (lane.init, lane.lr) == (init, lr)]
            loss[lr], drift[lr] = (
                float(values[seeds].mean()) for values in (race.steps[-1].eval_loss, race.steps[-1].drift)
            )
            assert f"{loss[lr]:.2f}" in words(LESSONS["cost"])
            assert f"{drift[lr]:.2f}" in words(LESSONS["cost"])
        # What the lesson says of both: the rate that learned more forgot more.
        assert min(loss, key=loss.get) == max(drift, key=drift.get)

    for value in ((1 + math.sqrt(5)) / 2, (math.sqrt(5) - 1) / 2, math.sqrt(2)):
        assert f"{value:.3f}" in words(LESSONS["singular-values"])


def test_what_is_said_of_rewards_is_so_in_the_recorded_race():
    race, text = load_recording("rewards"), words(LESSONS["rewards"])
    lanes, right = race.config.lanes, race.steps[-1].eval_accuracy

    def late(key, count=10):
        return np.mean([step.measures[key] for step in race.steps[-count:]], axis=0)

    def of(init, lr):
        return [k for k, lane in enumerate(lanes) if (lane.init, lane.lr) == (init, lr)]

    reward, entropy, differing = map(late, ("reward", "entropy", "differing"))
    low, middle, high = sorted({lane.lr for lane in lanes})
    ends = {
        (init, lr): reward[of(init, lr)].mean() for init in ("lora", "olora", "pissa") for lr in (low, middle, high)
    }
    # The starts that lead at the low rate do not at the high one, and LoRA is level with them a rate higher.
    assert min(ends["olora", low], ends["pissa", low]) > ends["lora", low] + 0.2
    assert max(ends["olora", high], ends["pissa", high]) < ends["lora", high]
    assert ends["lora", middle] > max(ends["olora", low], ends["pissa", low])
    said = {(init, lr): end for (init, lr), end in ends.items() if lr != middle or init == "lora"}
    assert {f"{end:.2f}" for end in said.values()} <= {*re.findall(r"\d\.\d\d", text)}
    assert 0.4 < race.steps[0].measures["reward"].mean() < 0.65, "the base is right in about half of its tries"
    stuck = [k for k in range(len(lanes)) if right[k] < 0.75 and entropy[k] < 0.3]
    assert {lanes[k].lr for k in stuck} == {high}
    for init, label in (("lora", "LoRA"), ("olora", "OLoRA"), ("pissa", "PiSSA")):
        assert f"{sum(lanes[k].init == init for k in stuck)} of 5 of {label}" in text
    assert "none of 30 lanes" in text
    # One answer to all prompts, and no way back; where all is right the entropy is as low.
    for k in stuck:
        assert len({answer.lanes[k][:3] for answer in race.answers}) == 1
        assert abs(reward[k] - late("reward", 40)[k]) < 0.15
    others = [k for init in ("lora", "olora", "pissa") for k in of(init, high) if k not in stuck]
    assert right[others].min() > 0.95
    assert entropy[others].mean() < 0.1
    assert f"Only {differing[stuck].mean():.0%} of the prompts" in text
    seeds = {init: {lanes[k].seed for k in stuck if lanes[k].init == init} for init in ("olora", "pissa")}
    assert seeds["olora"] == seeds["pissa"]


def test_the_numbers_of_the_chain_are_those_of_its_file_and_what_is_said_of_them_is_so():
    chain = recorded_chain()
    of = {(each.lane.init, each.lane.lr): each for each in kept(chain)}
    low, high = RATES["olora"]
    lora, careful, fast, full = (of[key] for key in (("lora", high), ("olora", low), ("olora", high), ("full", low)))
    text = words(LESSONS["again"])
    for each in of.values():
        for numbers in (each.learned, each.forgotten, each.at_end):
            assert f"{np.mean(numbers):.2f}" in text
    # OLoRA learned more at one rate and forgot more; at the lower rate it learned and forgot about as much as LoRA.
    assert np.mean(fast.learned) < np.mean(lora.learned)
    assert f"forgot {np.mean(fast.forgotten) / np.mean(lora.forgotten):.2g} times as much" in text
    assert np.mean(careful.learned) == pytest.approx(np.mean(lora.learned), abs=0.2)
    assert np.mean(careful.forgotten) == pytest.approx(np.mean(lora.forgotten), rel=0.2)
    assert np.mean(full.forgotten) < np.mean(lora.forgotten)
    assert "That chooses OLoRA at 3e-3" in text
    assert "that chooses LoRA at 3e-3" in text
    rows = chain.frame()
    assert rows[rows["after"] == len(chain.tasks)].groupby("lane")["loss"].mean().idxmin().startswith("full")


def test_another_chain_makes_other_sentences():
    values = recorded_chain().to_json()
    text = json.dumps(values["links"]).replace('"loss": 0.', '"loss": 2.')
    other = again.of_chain(Chain.from_json({**values, "links": json.loads(text)}))
    changed = [a != b for a, b in zip(other.paragraphs, LESSONS["again"].paragraphs, strict=True)]
    assert changed == [False, False, True, True]


def test_the_table_of_a_chain_has_every_loss_in_its_place():
    chain, figure = recorded_chain(), picture(LESSONS["again"])
    (cells,) = figure["data"]
    z, rows = cells["z"], chain.frame()
    base = rows[rows["after"] == 0]["loss"].tolist()
    assert [z[0][:3], z[0][4:]] == [base, base]
    lora = rows[rows["lane"].str.startswith("lora")].groupby(["after", "task"], sort=False)["loss"].mean()
    assert [loss for row in z[1:4] for loss in row[:3]] == pytest.approx(lora.tolist())
    assert {None} == {row[3] for row in z} | {*z[4]} | {*z[5]}
    shown = {(each["x"], each["y"]): each["text"] for each in figure["layout"]["annotations"]}
    assert shown[2, 3] == f"{z[3][2]:.2f}"
    assert shown[1, -1.6] == "LoRA 3e-3"
    assert len(z) == len(cells["y"]) == len(cells["text"])


@pytest.mark.parametrize("left", [1, 3], ids=["one seed", "every seed"])
def test_a_method_of_which_a_seed_diverged_has_no_cells_after_that(left):
    values = deepcopy(recorded_chain().to_json())
    for link in values["links"][1:]:
        for label in [label for label in link["lanes"] if label.startswith("lora")][:left]:
            del link["lanes"][label]
    figure = matrix_figure(Chain.from_json(values))
    z = figure["data"][0]["z"]
    assert [row[:3] for row in z[2:4]] == [[None] * 3] * 2
    assert None not in [*z[0][:3], *z[1][:3], *z[3][4:]]
    assert "–" in [each["text"] for each in figure["layout"]["annotations"]]


@EVERY
def test_a_lesson_has_one_thing_to_do_and_to_see_on_a_page_that_there_is(lesson):
    assert lesson.page in PAGES
    assert lesson.do
    assert lesson.see
    assert 1 <= lesson.minutes <= 10
    assert 2 <= len(lesson.paragraphs) <= 6
    assert picture(lesson)["data"]
    if lesson.race:
        assert load_recording(lesson.recording).id == lesson.race


@EVERY
def test_its_link_races_the_recorded_set_up_again(lesson):
    limits = from_environment()
    link = learn_view.live(limits, lesson)
    if lesson.config is None:
        assert link == ""
        return
    query, _, page = link.partition("#")
    asked = share.read(limits, query)
    assert asked.setup == of_recording(lesson.config)
    assert asked.start
    assert asked.lesson == lesson.name
    assert asked.notes == ()
    assert page in PAGES


def test_a_server_that_may_not_race_a_lesson_offers_no_link_for_it():
    limits = Limits(models=("glassllm",), max_lanes=8)
    assert learn_view.live(limits, LESSONS["adapter"]) == ""
    assert learn_view.live(limits, LESSONS["fair-rates"]) == ""
    assert learn_view.live(limits, LESSONS["one-rate"]) != ""
    assert "Race it live" not in learn_view.guided_card(limits, LESSONS["adapter"])


@EVERY
def test_its_formulas_are_mathml(lesson):
    drawn = [formula(one) for one in lesson.formulas]
    drawn += re.findall(r"<math.*?</math>", "".join(map(sentence, lesson.paragraphs)))
    assert len(drawn) > 1
    for math_ml in drawn:
        root = ElementTree.fromstring(math_ml)
        assert root.tag.endswith("math")
        assert "merror" not in math_ml
        assert "\\" not in "".join(root.itertext())
    checks = (lesson.idea, lesson.ask, *(text for choice in lesson.choices for text in choice), lesson.answer)
    for text in (*lesson.paragraphs, lesson.do, lesson.see, *checks):
        assert text.count("$") % 2 == 0
        assert "$" not in plain(text)


def test_words_are_escaped_around_formulas():
    assert sentence("a <b> & $r < 2$").startswith("a &lt;b&gt; &amp; <math")
    shown = replace(LESSONS["qr"], title="<img src=x>", do="<script>", see="<i>", ask="<img>", answer="<i>")
    for html in (
        learn_view.lesson_text(shown),
        learn_view.lesson_guide(shown, learn_view.links(from_environment())),
        learn_view.guided_card(from_environment(), shown),
    ):
        assert not re.search("<img|<script|<i>", html)


def test_a_link_to_a_lesson_opens_its_race_unless_it_says_a_set_up_of_its_own():
    limits = from_environment()
    link = share.read(limits, "lesson=one-rate")
    assert link.setup is None
    assert lesson_race(link, own=False) == "recorded:one-rate"
    assert lesson_race(link, own=True) is None
    same = of_recording(load_recording("one-rate").config).to_query()
    assert lesson_race(share.read(limits, f"{same}&lesson=one-rate"), False) == "recorded:one-rate"
    assert lesson_race(share.read(limits, f"{same}&start=1&lesson=one-rate"), False) is None
    assert lesson_race(share.read(limits, "steps=7&lesson=one-rate"), False) is None
    assert lesson_race(share.read(limits, "lesson=qr"), False) is None


def test_a_recording_is_raced_again_by_what_its_lanes_learned_from():
    config = RaceConfig(task="sentiment", objective="reinforce", samples=4, eval_every=20)
    again = of_recording(config).settings
    assert (again.objective, again.samples) == ("reinforce", 4)
    assert again.eval_every == SetUp.first(from_environment()).settings.eval_every


def test_a_lesson_that_nobody_knows_gets_the_nearest_names():
    link = share.read(from_environment(), "lesson=one-rat")
    assert link.lesson is None
    (note,) = link.notes
    assert "unknown lesson 'one-rat'" in note
    assert "'one-rate'" in note
    with pytest.raises(ValueError, match="unknown lesson 'nothing'"):
        lessons.find("nothing")


def test_the_script_of_the_last_lesson_imports_no_more_than_the_lesson_says():
    lesson = LESSONS["export"]
    script = peft_script(lesson.config)
    assert "import olora_viz" in script
    assert "PEFT alone" not in lesson.see
    assert "olora_viz loads the model and the data" in lesson.see


@pytest.mark.parametrize(
    "text", [story_before(), shortcuts.WORDS, next(t.meaning for t in GLOSSARY if t.word == "race")]
)
def test_what_is_said_of_batches_holds_for_several_seeds_too(text):
    assert SetUp.first(Limits()).to_config(Limits()).batches == "by-seed"
    assert re.search(r"same seed see the\s+same batches", text)


def test_the_lessons_stand_in_a_row():
    assert beside(LESSON_NAMES[0])[0] is None
    assert beside(LESSON_NAMES[-1])[1] is None
    for first, second in pairwise(LESSON_NAMES):
        assert beside(first)[1] is LESSONS[second]
        assert beside(second)[0] is LESSONS[first]


@pytest.mark.parametrize("r", [1, 2, 3, 4])
def test_the_picture_of_a_qr_adds_up_and_agrees_with_torch(r):
    W = example_matrix()
    figure = qr_figure(W, r)
    cells = {trace["name"]: torch.tensor(trace["z"]) for trace in figure["data"]}
    assert torch.equal(cells["W"], W)
    assert torch.allclose(cells["Q_r"] @ cells["R_r"] + cells["rest"], W, atol=1e-3)
    assert cells["rest"][:, :r].abs().max() < 1e-3
    Q, R = torch.linalg.qr(W)
    signs = torch.sign(torch.diagonal(R))
    assert torch.allclose(cells["Q_r"], (Q * signs)[:, :r], atol=1e-4)
    assert torch.allclose(cells["R_r"], (R.T * signs).T[:r], atol=1e-4)


def test_a_rank_that_the_matrix_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="5"):
        qr_figure(example_matrix(), 5)


def test_the_glossary_is_in_order_and_every_formula_is_drawn():
    order = [term.word.lower() for term in GLOSSARY]
    assert order == sorted(order)
    assert len(set(order)) == len(order)
    html = learn_view.glossary()
    assert html.count("<dt>") == html.count("<dd>") == len(GLOSSARY)
    assert "$" not in html
    assert "\\" not in html
    known = {
        "rank",
        "alpha",
        "adapter",
        "lane",
        "race",
        "study",
        "claim",
        "singular value",
        "replay",
        "keep kl",
        "chain",
    }
    assert known <= {*order}
