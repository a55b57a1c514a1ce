"""What a lane forgets: its loss on a text to keep, and its drift from the base model's predictions there."""

import json
from dataclasses import replace

import numpy as np
import peft
import pytest
import torch
from support.races import raced, resumed, small

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.background.record import RaceRecord
from olora_viz.initializers import INITIALIZERS
from olora_viz.lanes.memory import Footprint
from olora_viz.machine import memory
from olora_viz.measures.measure import same
from olora_viz.models import load_model
from olora_viz.races import run as runs
from olora_viz.races.config import RaceConfig, setup_facts
from olora_viz.races.export import export_lane
from olora_viz.races.start import Sizing
from olora_viz.tasks.keep import AUTO, NONE

STARTS = tuple(
    ov.Lane(init, lr=3e-3, r=4, alpha=6, seed=k)
    for k, init in enumerate(("lora", "olora", "pissa", "milora", "olora_unsubtracted"))
)
LANES = (*STARTS, ov.Lane("full", lr=1e-4))
CONFIG = small(LANES, steps=12, eval_every=4, keep=AUTO)


def by_transformers(race: ov.Race, k: int) -> tuple[float, float]:
    """Return lane k's loss and drift on the text by the logits of the merged model, in float64."""
    merged = race.lanes.merge(k)
    nll, kl = [], []
    for passage in race.data.text.encoded:
        ids = torch.tensor([passage.ids])
        with torch.no_grad():
            lane = merged(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
            with race.lanes.off():
                base = race.model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
        at = torch.arange(passage.supervised_from - 1, len(passage.ids) - 1)
        nll += (-lane[at, ids[0, at + 1]]).tolist()
        kl += (base.exp() * (base - lane)).sum(1)[at].tolist()
    return float(np.mean(nll)), float(np.mean(kl))


def test_loss_and_drift_are_those_of_the_merged_models_logits():
    race, steps = raced(CONFIG)
    for k in range(len(LANES)):
        loss, drift = by_transformers(race, k)
        assert steps[-1].text_loss[k] == pytest.approx(loss, abs=1e-5)
        assert steps[-1].drift[k] == pytest.approx(drift, abs=1e-5)
        assert drift > 1e-4
    assert race.text.loss == pytest.approx(by_text_alone(race), abs=1e-5)


@pytest.mark.parametrize(
    "lane",
    [
        ov.Lane("lora", lr=3e-3, r=4, alpha=3, rslora=True, seed=1),
        ov.Lane("olora", lr=3e-3, r=4, alpha=3, rslora=True),
        ov.Lane("pissa", lr=3e-3, r=4, alpha=3),
    ],
    ids=["rslora", "rslora from olora", "pissa"],
)
def test_loss_and_drift_are_those_of_pefts_merged_model(lane, tmp_path):
    race = ov.race(small((lane, ov.Lane("lora", r=2)), steps=12, keep=AUTO))
    steps = list(race)
    export_lane(race, 0, tmp_path / "adapter")
    base, _ = load_model("glassllm", device=torch.device("cpu"), dtype=torch.float32)
    other, _ = load_model("glassllm", device=torch.device("cpu"), dtype=torch.float32)
    loaded = peft.PeftModel.from_pretrained(other, tmp_path / "adapter")
    assert loaded.peft_config["default"].use_rslora == (lane.rslora and lane.init == "lora")
    merged = loaded.merge_and_unload()
    nll, kl = [], []
    for passage in race.data.text.encoded:
        ids = torch.tensor([passage.ids])
        with torch.no_grad():
            theirs, before = (m(input_ids=ids).logits[0, :-1].double().log_softmax(-1) for m in (merged, base))
        at = torch.arange(passage.supervised_from - 1, len(passage.ids) - 1)
        nll += (-theirs[at, ids[0, at + 1]]).tolist()
        kl += (before.exp() * (before - theirs)).sum(1)[at].tolist()
    assert steps[-1].text_loss[0] == pytest.approx(np.mean(nll), abs=1e-5)
    assert steps[-1].drift[0] == pytest.approx(np.mean(kl), abs=1e-5)
    assert np.mean(kl) > 1e-3


def test_the_memory_check_counts_the_predictions_of_the_base_model(monkeypatch):
    race = ov.race(small(keep=AUTO))
    _, predictions = race.data._base_predictions
    assert race.data.predictions_bytes == sum(each.numel() * each.element_size() for each in predictions)
    assert ov.race(small(keep=NONE)).data.predictions_bytes == 0
    footprint = Footprint.of(race.lanes.plan, branching=race.data.branching)
    pass_bytes = Sizing(race.config, race.data, footprint).needed()
    monkeypatch.setattr(memory, "available_memory", lambda _: int(pass_bytes) + race.data.predictions_bytes // 2)
    ov.race(small(keep=NONE))
    with pytest.raises(ValueError, match=r"needs .* of memory, but only .* are free"):
        ov.race(small(keep=AUTO))


def by_text_alone(race: ov.Race) -> float:
    """Return the base model's loss on the passages, by transformers' own loss of each."""
    with race.lanes.off(), torch.no_grad():
        rows = [torch.tensor([passage.ids]) for passage in race.data.text.encoded]
        return float(np.mean([race.model(input_ids=row, labels=row).loss.item() for row in rows]))


def test_a_start_that_keeps_the_function_has_no_drift_bit_for_bit():
    inits = [name for name, entry in INITIALIZERS.items() if entry.keeps_function]
    lanes = tuple(ov.Lane(init, **given) for init in inits for given in ({"r": 4, "alpha": 6}, {"r": 2}))
    race = ov.race(small(lanes, keep=AUTO))
    measured = race._trainer.forgotten(race.go_on)
    race.lanes.detach()
    assert dict(zip(lanes, measured.drift.tolist(), strict=True)) == dict.fromkeys(lanes, 0.0)
    assert dict(zip(lanes, measured.text_loss.tolist(), strict=True)) == dict.fromkeys(lanes, race.text.loss)
    assert race.text.start_drift == (0.0,) * len(lanes)
    assert race.text.start_loss == (race.text.loss,) * len(lanes)


def test_a_start_that_does_not_keep_it_has_a_drift_at_step_0():
    race = ov.race(small((ov.Lane("olora", r=4), ov.Lane("olora_unsubtracted", r=4)), keep=AUTO))
    loss, drift = by_transformers(race, 1)
    assert drift > 0.01
    assert race.text.start_drift == (0.0, pytest.approx(drift, abs=1e-5))
    assert race.text.start_loss == (race.text.loss, pytest.approx(loss, abs=1e-5))
    race.lanes.detach()


def test_lanes_together_measure_what_each_does_alone():
    _, together = raced(small(STARTS, steps=3, keep=AUTO))
    for k, lane in enumerate(STARTS):
        _, alone = raced(small((lane,), steps=3, keep=AUTO))
        assert together[-1].text_loss[k] == pytest.approx(alone[-1].text_loss[0], abs=1e-5)
        assert together[-1].drift[k] == pytest.approx(alone[-1].drift[0], abs=1e-5)


def test_the_training_is_bitwise_the_same_with_and_without_a_text():
    race, steps = raced(CONFIG)
    other, plain = raced(replace(CONFIG, keep=NONE))
    assert torch.equal(race.lanes.theta, other.lanes.theta)
    assert other.text is None
    assert other.summary()["text"] is None
    for step, alone in zip(steps, plain, strict=True):
        assert {"text_loss", "drift"}.isdisjoint(alone.measures)
        rest = {key: value for key, value in step.measures.items() if key not in ("text_loss", "drift")}
        assert replace(step, measures=rest) == alone


@pytest.mark.parametrize(("every", "due"), [(4, [12, 24, 25]), (5, [10, 20, 25]), (12, [12, 24, 25]), (0, [25])])
def test_it_is_measured_at_evaluations_ten_steps_or_more_apart_and_at_the_end(every, due):
    config = RaceConfig(steps=25, eval_every=every, keep=AUTO)
    for key in ("text_loss", "drift"):
        assert [step for step in range(1, 26) if config.is_due(key, step)] == due
        assert not any(replace(config, keep=NONE).is_due(key, step) for step in range(1, 26))


def test_a_resumed_race_repeats_it_bitwise():
    config = replace(CONFIG, steps=14)
    race, steps = raced(config)
    other = resumed(config, at=11)
    again = list(other)
    for step, repeated in zip(steps[11:], again, strict=True):
        assert step == repeated
    assert same(race.summary()["lanes"], other.summary()["lanes"])


def test_a_diverged_lane_has_none():
    _, steps = raced(small((ov.Lane("lora", r=2), ov.Lane("olora", r=2, lr=1e30)), steps=3, keep=AUTO))
    assert np.isfinite(steps[-1].drift).tolist() == [True, False]
    assert np.isfinite(steps[-1].text_loss).tolist() == [True, False]


def test_the_summary_and_the_record_of_a_run_have_it(tmp_path):
    run = runs.start(CONFIG, tmp_path / "run")
    steps = list(run)
    summary = runs.read_summary(tmp_path / "run")
    assert summary["base"]["text_loss"] == run.race.text.loss
    for k, label in enumerate(CONFIG.labels):
        assert summary["lanes"][label]["final_drift"] == steps[-1].drift[k]
        assert summary["lanes"][label]["final_text_loss"] == steps[-1].text_loss[k]
    record = RaceRecord.of_run(ov.load_run(tmp_path / "run"))
    assert record.text == run.race.text
    assert RaceRecord.from_json(json.loads(json.dumps(record.to_json())), record.steps).text == run.race.text
    frame = ov.steps_frame(tmp_path / "run")
    assert frame["drift"].tolist()[-len(LANES) :] == steps[-1].drift.tolist()
    loss = record.text.loss
    assert record.text.bits_per_byte(loss) == pytest.approx(loss * 512 / record.text.bytes / np.log(2))


def test_a_run_of_before_opens_and_goes_on_without_it(tmp_path):
    folder, config = tmp_path / "run", replace(CONFIG, keep=NONE, steps=3)
    run = runs.start(config, folder)
    list(run)
    values = json.loads((folder / "config.json").read_text())
    for key in ("keep", "keep_sha256"):
        del values[key]
    (folder / "config.json").write_text(json.dumps(values))
    summary = json.loads((folder / "summary.json").read_text())
    del summary["text"]
    (folder / "summary.json").write_text(json.dumps(summary))
    assert RaceRecord.of_run(ov.load_run(folder)).text is None
    assert len(list(runs.resume_run(folder, steps=5))) == 2
    assert all(step.drift is None for step in runs.read_steps(folder))


def test_a_run_that_goes_on_forgets_what_was_measured_only_because_it_ended(tmp_path):
    folder = tmp_path / "run"
    list(runs.start(small(steps=5, eval_every=5, keep=AUTO), folder))
    assert runs.read_steps(folder)[-1].drift is not None
    list(runs.resume_run(folder, steps=12))
    steps = runs.read_steps(folder)
    assert [step.step for step in steps if step.drift is not None] == [10, 12]
    assert [step.step for step in steps if step.eval_loss is not None] == [5, 10, 12]
    _, whole = raced(small(steps=12, eval_every=5, keep=AUTO))
    assert list(steps) == whole


def test_a_run_remembers_the_content_of_its_file(tmp_path):
    text = tmp_path / "kept.txt"
    text.write_text("One morning the hen sat down by the river and said nothing at all. " * 30, encoding="utf-8")
    folder, config = tmp_path / "run", small(steps=3, keep=str(text))
    run = runs.start(config, folder)
    next(iter(run))
    run.race.close()
    assert run.race.text.name == "kept.txt"
    assert setup_facts(config)["text to keep"] == "kept.txt"
    assert setup_facts(replace(config, keep=AUTO))["text to keep"] == "of the package"
    assert "text to keep" not in setup_facts(replace(config, keep=NONE))
    text.write_text("Another text altogether, of the same length or so as the one before it. " * 30, encoding="utf-8")
    with pytest.raises(ValueError, match=r"the text to keep, '.*kept.txt', has changed since the run"):
        runs.resume_run(folder)


def test_the_command_line_names_a_text_and_prints_both_numbers(tmp_path, capsys):
    few = ("race", "--lane", "lora", "--steps", "1", "--eval-size", "2", "--test-size", "2")
    assert main([*few, "--keep", "addition", "--json"]) == 0
    step, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert step["drift"].keys() == step["text_loss"].keys() == {"lora"}
    assert summary["summary"]["text"]["name"] == "addition"
    assert main([*few, "--keep", "none"]) == 0
    assert "drift" not in capsys.readouterr().out
    assert main(list(few)) == 0
    shown = capsys.readouterr()
    assert "text loss  drift" in shown.out
    assert "To keep: plain English, 512 tokens; the base model has 3.88 nats per token" in shown.err
    assert main([*few, "--keep", "nothing-like-it"]) == 2
    assert "unknown text to keep 'nothing-like-it'" in capsys.readouterr().err
    setup = tmp_path / "race.toml"
    setup.write_text('keep = "addition"\nsteps = 1\nlanes = ["lora"]\neval_size = 2\ntest_size = 2\n')
    assert main(["race", str(setup), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["summary"]["text"]["name"] == "addition"
