"""Races in the browser, run by Node: they are those of Python, lane for lane and step for step."""

import base64
import io
import json
import random
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.needs import NEEDS_JAX

import olora_viz as ov
from olora_viz.background.race import FINAL_ANSWERS
from olora_viz.initializers import label_of
from olora_viz.measures.factors import Picture
from olora_viz.studies.contest import contests_of, latest_examples
from olora_viz.studies.statistics import interval_of_share
from olora_viz.studies.verdict_line import steps_before_lora
from olora_viz.tasks.built_in import stories
from olora_viz.tasks.encoding import encode
from olora_viz.web.site import live_script
from olora_viz.web.site.live_data import live_data
from olora_viz.web.site.race import LIVE_STARTS

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
pytestmark = NEEDS_JAX

LONG = ov.RaceConfig(lanes=(ov.Lane("olora"),), steps=60, factors_every=5)
MIXED = ov.RaceConfig(
    task="number-words",
    lanes=(
        ov.Lane("lora", lr=3e-4, r=4, seed=7), ov.Lane("pissa", lr=3e-3, r=16), ov.Lane("milora", r=8, alpha=16),
        ov.Lane("random_orthonormal", lr=3e-3, r=4, weight_decay=0.1), ov.Lane("pissa", lr=3e-4, r=16),
    ),
    steps=6,
)  # fmt: skip
BY_SEED = ov.RaceConfig(task="addition", lanes=tuple(ov.Lane("olora", 3e-3, r=16, seed=s) for s in (0, 2)), steps=6)
RACES = {"long": LONG, "mixed": MIXED, "by seed": BY_SEED}


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
    assert NODE
    folder = tmp_path_factory.mktemp("live")
    data = json.loads(live_data())
    alone = ov.RaceConfig(task=MIXED.task, lanes=MIXED.lanes[1:2], steps=MIXED.steps)
    races = {name: asked(config, cores=1) for name, config in RACES.items()}
    task = data["tasks"][MIXED.task]
    held_out = [task["heldOut"][i] for i in task["asked"]]
    races["mixed"]["prompts"] = [tokens[:start] for start, *tokens in held_out]
    races |= {"alone": asked(alone, cores=1), "rested": asked(BY_SEED, rest=3, cores=2)}
    (folder / "asked.json").write_text(json.dumps({"data": data, "races": list(races.values())}))
    script = ROOT / "tests" / "js" / "live_race.mjs"
    subprocess.run([NODE, script, folder / "asked.json", folder / "heard.json"], check=True, timeout=500)
    return dict(zip(races, json.loads((folder / "heard.json").read_text()), strict=True))


def steps(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["kind"] == "step"]


@pytest.mark.parametrize("name", RACES)
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


@pytest.mark.parametrize("name", RACES)
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


@pytest.mark.parametrize("name", RACES)
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


def test_who_learned_sooner_is_what_python_says(tmp_path: Path) -> None:
    assert NODE
    race = ov.load_recording("first")
    lanes, rng = race.config.lanes, np.random.default_rng(0)
    examples = latest_examples(race.steps)
    assert race.baseline
    assert examples
    base = float(race.baseline.loss[0])
    (contest,) = contests_of(lanes, examples, by_loss=False, most=1)
    evaluated = [step for step in race.steps if step.eval_loss is not None]
    groups = [
        {"init": group.lane.init, "name": label_of(group.lane.init), "lanes": group.lanes}
        for group in contest.contenders
    ]
    races, ours = [], []
    for scatter in np.repeat([0.0, 0.1, 0.3], [1, 40, 40]):
        drawn = rng.normal(scale=scatter, size=len(lanes))
        steps = [replace(s, measures={"eval_loss": s.eval_loss * np.exp(drawn)}) for s in evaluated]
        points = [{"step": 0, "values": [base] * len(lanes)}]
        points += [{"step": step.step, "values": step.eval_loss.tolist()} for step in steps]
        races.append({"groups": groups, "points": points, "rate": "1e-3"})
        start = replace(evaluated[0], step=1, measures={})
        sooner = steps_before_lora(contest, lanes, [start, *steps], base)
        ours.append({label_of(start): gap for start, gap in sooner.items()})
    shares = [(k / n, n, guess) for n in (20, 64) for k in range(n + 1) for guess in (0.05, 0.3, 0.5)]
    (tmp_path / "asked.json").write_text(json.dumps({"races": races, "shares": shares}))
    script = ROOT / "tests" / "js" / "live_sooner.mjs"
    subprocess.run([NODE, script, tmp_path / "asked.json", tmp_path / "told.json"], check=True, timeout=120)
    told = json.loads((tmp_path / "told.json").read_text())
    for theirs, gaps in zip(told["races"], ours, strict=True):
        assert [name for name, _ in theirs["starts"]] == list(gaps)
        for (_, gap), known in zip(theirs["starts"], gaps.values(), strict=True):
            assert list(gap.values()) == pytest.approx(list(known), rel=1e-9, abs=1e-12)
    assert 5 < sum(map(bool, ours)) < len(ours) - 5
    verdict = ov.verdict(race)
    assert verdict
    assert told["races"][0]["said"][0] == verdict.headline
    assert told["races"][0]["said"][1].removeprefix("To") in str(verdict.sentences[0])
    lows = [interval_of_share(share, np.empty(0), examples)[0] for share, examples, _ in shares]
    assert told["learned"] == [low > guess for low, (_, _, guess) in zip(lows, shares, strict=True)]


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
