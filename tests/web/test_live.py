"""Races in the browser, run by Node: they are those of Python, lane for lane and step for step."""

import base64
import io
import json
import math
import random
import re
import shutil
import subprocess
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from markupsafe import Markup
from scipy import special
from support.needs import NEEDS_JAX
from support.nightly import at_night
from support.steps import a_step, judged, measuring

import olora_viz as ov
from olora_viz.background.race import FINAL_ANSWERS
from olora_viz.background.record import ready_race
from olora_viz.initializers import label_of
from olora_viz.measures.factors import Picture
from olora_viz.measures.training import Examples
from olora_viz.races.step import STOPPED, Step
from olora_viz.studies.contest import latest_examples
from olora_viz.studies.verdict_line import verdict_line
from olora_viz.tasks.built_in import stories
from olora_viz.tasks.encoding import encode
from olora_viz.tasks.evaluation import Evaluation, HeldOut, best_guess
from olora_viz.views.race import race_view
from olora_viz.web.site import live_script
from olora_viz.web.site.live_data import live_data
from olora_viz.web.site.race import LIVE_STARTS

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
pytestmark = NEEDS_JAX

LONG = ov.RaceConfig(
    lanes=(
        ov.Lane("olora"), ov.Lane("lora", lr=3e-3, r=4), ov.Lane("pissa", lr=3e-4, r=16), ov.Lane("milora", lr=3e-3),
        ov.Lane("random_orthonormal", r=16),
    ),
    steps=60, factors_every=5,
)  # fmt: skip
MIXED = ov.RaceConfig(
    task="number-words",
    lanes=(
        ov.Lane("lora", lr=3e-4, r=4, seed=7), ov.Lane("pissa", lr=3e-3, r=16), ov.Lane("milora", r=8, alpha=16),
        ov.Lane("random_orthonormal", lr=3e-3, r=4, weight_decay=0.1), ov.Lane("pissa", lr=3e-4, r=16),
    ),
    steps=6,
)  # fmt: skip
BY_SEED = ov.RaceConfig(task="addition", lanes=tuple(ov.Lane("olora", 3e-3, r=16, seed=s) for s in (0, 2)), steps=6)
RACES = {"begun": replace(LONG, steps=10), "mixed": MIXED, "by seed": BY_SEED, "long": LONG}
NAMES = ["begun", "mixed", "by seed", *at_night("long")]


def test_the_page_offers_the_starts_that_are_raced_here() -> None:
    assert {lane.init for config in RACES.values() for lane in config.lanes} == set(LIVE_STARTS)


def asked(config: ov.RaceConfig, **options: Any) -> dict[str, Any]:
    """Return a race as a page asks for it."""
    lanes = [
        {"init": e.init, "r": e.r, "lr": e.lr, "alpha": e.lora_alpha, "seed": e.seed, "weightDecay": e.weight_decay}
        for e in config.lanes
    ]
    return {"task": config.task, "lanes": lanes, "steps": config.steps, "evalEvery": config.eval_every} | options


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What pages hear of the races, of one lane alone, and of a race that has rested."""
    data = json.loads(live_data())
    alone = ov.RaceConfig(task=MIXED.task, lanes=MIXED.lanes[1:2], steps=MIXED.steps)
    races = {name: asked(config, cores=1) for name, config in RACES.items() if name != "long"}
    task = data["tasks"][MIXED.task]
    held_out = [task["heldOut"][i] for i in task["asked"]]
    races["mixed"]["prompts"] = [tokens[:start] for start, *tokens in held_out]
    races |= {"alone": asked(alone, cores=1), "rested": asked(BY_SEED, rest=3, cores=2)}
    return Heard(races, partial(raced_by_node, tmp_path_factory.mktemp("live"), data))


class Heard(dict[str, list[dict[str, Any]]]):
    """What is heard of the races of every day, and of the long one when it is asked for."""

    def __init__(self, races: dict[str, Any], raced: Callable[[list[Any]], list[Any]]) -> None:
        super().__init__(zip(races, raced([*races.values()]), strict=True))
        self._raced = raced

    def __missing__(self, name: str) -> list[dict[str, Any]]:
        assert name == "long"
        (self[name],) = self._raced([asked(LONG, cores=1)])
        return self[name]


def raced_by_node(folder: Path, data: Any, races: list[Any]) -> list[Any]:
    assert NODE
    (folder / "asked.json").write_text(json.dumps({"data": data, "races": races}))
    script = ROOT / "tests" / "js" / "live_race.mjs"
    subprocess.run([NODE, script, folder / "asked.json", folder / "heard.json"], check=True)
    return json.loads((folder / "heard.json").read_text())


def steps(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["kind"] == "step"]


@pytest.mark.parametrize("name", NAMES)
def test_losses_norms_and_held_out_results_are_python_s(name: str, heard: dict[str, list[dict[str, Any]]]) -> None:
    ours = list(ov.race(RACES[name]))
    for theirs, step in zip(steps(heard[name]), ours, strict=True):
        np.testing.assert_allclose(theirs["loss"], step.loss, atol=1e-4, rtol=0)
        np.testing.assert_allclose(theirs["gradNorm"], step.grad_norm, rtol=1e-3)
        assert ("evalLoss" in theirs) == (step.eval_loss is not None)
        if step.eval_loss is not None:
            np.testing.assert_allclose(theirs["evalLoss"], step.eval_loss, atol=1e-4, rtol=0)
            np.testing.assert_array_equal(theirs["evalAccuracy"], step.eval_accuracy)
        if step.factors is not None:
            compare_factors(theirs["factors"][0], step.factors.of["olora"])


def compare_factors(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    assert list(theirs) == list(ours)
    for layer, each in ours.items():
        for side in ("A", "B"):
            picture, other = Picture(**theirs[layer][side]), getattr(each, side)
            np.testing.assert_allclose(picture.matrix, other.matrix, atol=1.01 * other.scale / 31)
        np.testing.assert_allclose(theirs[layer]["sigma"], each.sigma, rtol=5e-3, atol=1e-3 * each.sigma[0])


@pytest.mark.parametrize("name", NAMES)
def test_starts_are_python_s(name: str, heard: dict[str, list[dict[str, Any]]]) -> None:
    model, _ = ov.load_model("glassllm")
    lanes = ov.attach(model, RACES[name].lanes)
    done = heard[name][-1]
    assert done["kind"] == "done"
    for k, theirs in enumerate(done["lanes"]):
        assert theirs["scale"] == RACES[name].lanes[k].scale
        for layer in lanes.layers:
            start = lanes.factors(layer, k)
            for side in ("A", "B"):
                matrix = getattr(start, side)
                np.testing.assert_allclose(theirs["start"][layer][side], matrix.flatten(), atol=1e-4, rtol=0)


def test_answers_are_python_s(heard: dict[str, list[dict[str, Any]]]) -> None:
    _, tokenizer = ov.load_model("glassllm")
    racing = ov.race(MIXED)
    list(racing)

    ours = racing.answers(FINAL_ANSWERS)
    assert any(answer.base != answer.lanes[1] for answer in ours)
    ready = next(message for message in heard["mixed"] if message["kind"] == "ready")
    each = [ready["answers"], *steps(heard["mixed"])[-1]["answers"]]
    for said, texts in zip(each, zip(*((answer.base, *answer.lanes) for answer in ours), strict=True), strict=True):
        for tokens, text in zip(said, texts, strict=True):
            assert tokens
            begun = tokenizer.decode(tokens, skip_special_tokens=True).strip().partition("\n")[0].strip()
            assert bool(begun) == bool(text)
            assert text.startswith(begun[: len(text)])  # Python goes on to the end of the word


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_taken_from_the_page_has_its_loss_in_peft(
    name: str, heard: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    held_out = json.loads(live_data([RACES[name].task]))["tasks"][RACES[name].task]["heldOut"]
    *_, last, done = heard[name]
    for k, lane in enumerate(done["lanes"]):
        folder = tmp_path / str(k)
        zipfile.ZipFile(io.BytesIO(base64.b64decode(lane["adapter"]))).extractall(folder)
        model, _ = ov.load_model("glassllm", device="cpu")
        theirs = peft.PeftModel.from_pretrained(model, str(folder)).eval()
        lost, tokens = 0.0, 0
        for start, *ids in held_out:
            with torch.no_grad():
                logits = theirs(input_ids=torch.tensor([ids])).logits[0, start - 1 : -1]
            lost += torch.nn.functional.cross_entropy(logits, torch.tensor(ids[start:]), reduction="sum").item()
            tokens += len(ids) - start
        assert lost / tokens == pytest.approx(last["evalLoss"][k], abs=1e-4)


def test_tokens_are_python_s(tmp_path: Path) -> None:
    assert NODE
    _, tokenizer = ov.load_model("glassllm")
    rng = random.Random(0)
    signs = "abcdefgh ABC  .,!?'\n\t0123456789-éü\u0301▁中😀"
    texts = stories(rng, 700) + ["".join(rng.choices(signs, k=rng.randrange(40))) for _ in range(600)]
    texts += ["", "<eos> in a text", "the  end ", "a<pad>b"]
    task = ov.load_task("addition")
    encoding = encode(task.train, tokenizer, context=2048, ends=True)
    given = {
        "data": json.loads(live_data([])),
        "texts": texts,
        "pairs": [(each.prompt, each.answer) for each in encoding.examples],
    }
    (tmp_path / "asked.json").write_text(json.dumps(given))
    script = ROOT / "tests" / "js" / "live_tokens.mjs"
    subprocess.run([NODE, script, tmp_path / "asked.json", tmp_path / "told.json"], check=True, timeout=120)
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["encoded"] == [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    assert told["decoded"] == [
        tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) for ids in told["encoded"]
    ]
    assert told["examples"] == [[each.supervised_from, *each.ids] for each in encoding.kept]


def drawn_race(rng: np.random.Generator) -> tuple[list[ov.Lane], list[Step], float | None]:
    """Return a race of starts that differ by much, by little or not at all, and what guessing gets there."""
    inits = rng.permutation(LIVE_STARTS)[: rng.integers(2, 6)].tolist()
    seeds = range(rng.integers(1, 4))
    lanes = [ov.Lane(init, seed=seed) for init in inits for seed in seeds]
    n, apart, noise = rng.choice([12, 64]), rng.choice([0.0, 0.02, 0.2, 1.0]), rng.choice([1e-4, 0.01, 0.1])
    common = rng.choice([0.3, 0.8, 0.99])
    level = {init: common * (1 - 0.5 * apart * rng.random()) for init in inits}
    hard = rng.random(n)
    share = np.array([level[lane.init] * (1 - noise * rng.random()) for lane in lanes])
    right = (hard < share[:, None]) ^ (rng.random((len(lanes), n)) < noise / 4)
    loss = (1.2 - share[:, None]) * (0.5 + hard) + noise * rng.random((len(lanes), n))
    if rng.random() < 0.1:
        loss[rng.integers(len(lanes))] = np.nan
    steps = [a_step(1, loss.mean(1) + 3)]
    for at in range(10, 61, 10):
        scatter = 0.05 * noise * rng.normal(size=len(lanes))
        steps.append(a_step(at, loss.mean(1), eval_loss=loss.mean(1) + 3 * share * (60 - at) / 60 * np.exp(scatter)))
    steps[-1] = judged(steps[-1], loss, right.astype(float))
    return lanes, steps, rng.choice([None, 0.1, 0.5])


def groups_of(lanes: Sequence[ov.Lane]) -> list[dict[str, Any]]:
    """Return the lanes of each start as a page has them."""
    groups: dict[str, list[int]] = {}
    for k, lane in enumerate(lanes):
        groups.setdefault(lane.init, []).append(k)
    return [{"init": init, "name": label_of(init), "lanes": ks} for init, ks in groups.items()]


def by_lane(examples: Examples) -> list[dict[str, Any] | None]:
    """Return results by example as a page hears them."""
    return [
        {"loss": loss.tolist(), "right": right.tolist()} if np.isfinite(loss).all() else None
        for loss, right in zip(examples.loss, examples.right, strict=True)
    ]


def stopped_race(rng: np.random.Generator) -> tuple[Markup, dict[str, Any]]:
    """Return what Python's page says of a drawn race that was stopped, and what a page in the browser has heard."""
    lanes, drawn, guess = drawn_race(rng)
    done, base, evaluated = int(rng.integers(60)), 4.5, {step.step: step for step in drawn[1:]}
    examples = latest_examples(drawn)
    assert examples
    steps = [evaluated.get(at) or a_step(at, drawn[0].loss) for at in range(1, done + 1)]
    if done >= 10:
        last = done // 10 * 10
        steps[last - 1] = measuring(steps[last - 1], eval_examples=examples)
    count = examples.loss.shape[1]
    about = HeldOut(count, guess, "always “true”", 80, 80)
    config = ov.RaceConfig(lanes=tuple(lanes), steps=60, eval_every=10)
    record = replace(
        ready_race(config),
        state=STOPPED,
        complete=True,
        steps=tuple(steps),
        held_out=about,
        baseline=Evaluation.of_totals(np.full(1, base), np.zeros(1)),
    )
    messages: list[dict[str, Any]] = [{"kind": "ready", "base": {"evalLoss": base, "evalAccuracy": 0}, "answers": []}]
    for step in steps:
        told: dict[str, Any] = {"kind": "step", "step": step.step, "loss": [], "gradNorm": [], "diverged": []}
        if step.eval_loss is not None:
            lost = [value if math.isfinite(value) else None for value in step.eval_loss.tolist()]
            told |= {"evalLoss": lost, "evalAccuracy": lost}
            told |= {"examples": by_lane(step.eval_examples)} if step.eval_examples else {}
        messages.append(told)
    messages.append({"kind": "done", "status": "stopped", "step": done})
    setup = {
        "groups": groups_of(lanes), "questions": [], "starts": {}, "layers": {}, "steps": 60, "every": 10,
        "examples": count, "guess": guess, "rate": "1e-3", "baseline": False,
    }  # fmt: skip
    return race_view(record).verdict, {"setUp": setup, "messages": messages}


def words_of(verdict: str) -> tuple[str, ...]:
    """Return the headline of a page's verdict, how sure it is, and what is below; empty where nothing is."""
    opened = ('p role="status"', 'strong class="certainty', 'p class="below"')
    parts = (re.search(f"<{tag}[^>]*>(.*?)</{tag[0]}", verdict) for tag in opened)
    return tuple(re.sub("<[^>]*>", "", part[1]) if part else "" for part in parts)


def test_the_verdict_is_python_s(tmp_path: Path) -> None:
    assert NODE
    rng, base, races, ours = np.random.default_rng(0), 4.5, [], []
    for _ in range(200):
        lanes, steps, guess = drawn_race(rng)
        examples = latest_examples(steps)
        assert examples
        about = HeldOut(examples.loss.shape[1], guess, "always “true”", 80, 80)
        line = verdict_line(lanes, examples, ended=True, held_out=about, steps=steps, start_loss=base)
        ours.append(line and (line.headline, line.tag, line.certainty.replace(" ", "-"), str(line.sentences[0])))
        points = [{"step": 0, "values": [base] * len(lanes)}]
        for step in steps[1:]:
            lost = [value if math.isfinite(value) else None for value in step.eval_loss.tolist()]
            points.append({"step": step.step, "values": lost})
        heard = {"groups": groups_of(lanes), "examples": by_lane(examples), "points": points}
        races.append(heard | {"rate": "1e-3", "guess": guess})
    stopped = [stopped_race(rng) for _ in range(200)]
    t = [(t, freedom) for t in (0.0, 0.3, 2.0, 7.0, 90.0) for freedom in (1.0, 2.0, 3.7, 63.0, 65.4)]
    tasks = json.loads(live_data())["tasks"]
    given = {"races": races, "stopped": [heard for _, heard in stopped], "tasks": list(tasks.values()), "t": t}
    (tmp_path / "asked.json").write_text(json.dumps(given))
    script = ROOT / "tests" / "js" / "live_verdict.mjs"
    subprocess.run([NODE, script, tmp_path / "asked.json", tmp_path / "told.json"], check=True, timeout=120)
    told = json.loads((tmp_path / "told.json").read_text())
    for theirs, line in zip(told["verdicts"], ours, strict=True):
        assert (theirs is None) == (line is None)
        if line:
            headline, tag, certainty, first = line
            assert (theirs["headline"], theirs["tag"], theirs["certainty"]) == (headline, tag, certainty)
            if "steps earlier" in headline:
                assert re.sub("^.*: t", "T", first) in theirs["below"]
    cut: Counter[str] = Counter()
    for theirs, (python, _) in zip(told["stopped"], stopped, strict=True):
        headline, tag, below = words_of(python)
        cut[tag or headline] += 1
        if tag:
            assert words_of(theirs)[:2] == (headline, tag)
        elif headline == "Stopped":
            assert words_of(theirs) == ("Stopped", "", f"{below} Trained by this page, on your machine.")
    assert len(cut) >= 8, cut
    assert cut["Stopped"], cut
    tags = Counter(line[1] for line in ours if line)
    assert len(tags) >= 8, tags
    for words in ("earlier than", "are ahead of", "end level", "too few", "did better in this run", "No lane"):
        assert any(words in line[0] for line in ours if line), words
    assert told["twoSided"] == pytest.approx([2 * special.stdtr(freedom, -t) for t, freedom in t], abs=1e-10)
    assert told["critical"] == pytest.approx([special.stdtrit(freedom, 0.975) for _, freedom in t], rel=1e-9)
    known = [ov.load_task(name) for name in tasks]
    assert told["guesses"] == [best_guess(task.train, task.held_out[: ov.RaceConfig().eval_size])[0] for task in known]


def test_a_lane_beside_others_is_itself_alone_to_the_last_bit(heard: dict[str, list[dict[str, Any]]]) -> None:
    for beside, alone in zip(steps(heard["mixed"]), steps(heard["alone"]), strict=True):
        assert beside["loss"][1] == alone["loss"][0]
    assert heard["mixed"][-1]["lanes"][1] == heard["alone"][-1]["lanes"][0]


def test_a_race_that_has_rested_is_the_same_to_the_last_bit(heard: dict[str, list[dict[str, Any]]]) -> None:
    whole, rested = (
        [{key: value for key, value in message.items() if key != "seconds"} for message in steps(heard[name])]
        for name in ("by seed", "rested")
    )
    assert whole == rested
    assert heard["by seed"][-1]["lanes"] == heard["rested"][-1]["lanes"]


def test_the_joined_script_runs_in_a_page_and_keeps_the_notice(tmp_path: Path) -> None:
    assert NODE
    script = live_script.live_script()
    assert script
    assert "</script" not in script
    assert "<!--" not in script
    assert "Copyright (c) 2025 Eric Zhang" in script
    (tmp_path / "live.cjs").write_text(
        f"globalThis.document = {{}};\n{script}console.log(typeof oloraLive.startRace);"
    )
    printed = subprocess.run([NODE, tmp_path / "live.cjs"], check=True, capture_output=True, text=True).stdout
    assert printed == "function\n"


def test_without_the_library_there_is_no_script_and_a_package_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = live_script.live_script()
    monkeypatch.setattr(live_script, "LIBRARY", tmp_path / "jax.js")
    live_script.keep_library()
    monkeypatch.setattr(live_script, "IN_CLONE", tmp_path / "nowhere")
    kept = live_script.live_script()
    assert whole
    assert kept
    assert kept.replace("// @ts-nocheck\n", "") == whole
    (tmp_path / "jax.js").unlink()
    assert live_script.live_script() is None
    with pytest.raises(ValueError, match="npm ci"):
        live_script.keep_library()
