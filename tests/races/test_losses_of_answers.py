"""A loss is that of the answers: their end token, and what all of them share, are trained and reported apart."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support.chats import TEMPLATES, bytes_tokenizer
from support.kinds_of_tokenizers import TOKENIZERS
from support.races import small
from support.tiny import tiny, tiny_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

import olora_viz as ov
from olora_viz.__main__ import main
from olora_viz.background.record import RaceRecord
from olora_viz.measures.training import Examples
from olora_viz.tasks import BUILT_IN_TASKS
from olora_viz.tasks.task import Example, Task
from olora_viz.views.race import race_view

YES_NO = [Example(f"is {word} so", f" {answer}") for word in "abcdefghijklmnopqrst" for answer in ("yes", "no")]
"""Balanced, and each prompt has both answers: nothing can be known."""
SENTENCES = [Example(f"is {word} so", f" it is clear that {answer}") for word in "abcdefghij" for answer in "yn"]
LONG = [Example(f"say {word}", f" {word} and then {word * 2}") for word in ("ab", "c", "def", *"ghijk")]
ALIKE = [Example(f"say {word}", " yes it is") for word in "abcdefgh"]
FILES = {"yes or no": YES_NO, "sentences": SENTENCES, "several tokens": LONG, "all the same": ALIKE}


def task_of(examples: list[Example], **options) -> Task:
    """Return a task whose last examples are held out and tested."""
    third = len(examples) // 4
    parts = examples[: -2 * third], examples[-2 * third : -third], examples[-third:]
    train, held_out, test = map(tuple, parts)
    return Task("own", "", train, held_out, test=test, **{"ends": True, **options})


def model_for(tokenizer) -> LlamaForCausalLM:
    """Return a small random model with a token for each of the tokenizer's."""
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=256, initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval().requires_grad_(False)


def by_hand(model: torch.nn.Module, ids: tuple[int, ...], begin: int) -> np.ndarray:
    """The cross-entropy of every token from a place on, by transformers."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    lost = -torch.log_softmax(logits, -1)
    return np.array([float(lost[at - 1, ids[at]]) for at in range(begin, len(ids))])


@pytest.mark.parametrize("examples", FILES.values(), ids=FILES)
@pytest.mark.parametrize("name", [*TOKENIZERS, "no end token", *(f"chat: {name}" for name in TEMPLATES)])
def test_a_loss_is_the_cross_entropy_of_the_answers_without_their_end(name: str, examples: list[Example]) -> None:
    chat = name.removeprefix("chat: ") if name.startswith("chat: ") else ""
    known = {"no end token": tiny_tokenizer()} | TOKENIZERS
    tokenizer = bytes_tokenizer(TEMPLATES[chat]) if chat else known[name]
    model = model_for(tokenizer)
    race = ov.race(
        small(steps=1, eval_size=99, test_size=99, chat=bool(chat)), task=task_of(examples), model=model,
        tokenizer=tokenizer,
    )  # fmt: skip
    step, data, tested = next(race), race.data, race.tested()
    race.lanes.detach()
    ends = 0 if name == "no end token" else 1
    front, back = data._boilerplate
    assert back >= ends
    for test, results in ((False, race.baseline), (True, tested.base)):
        losses = [by_hand(model, e.ids, e.supervised_from) for e in data.judged(test)]
        counted = [each[front : len(each) - back] for each in losses]
        others = np.concatenate([np.r_[each[:front], each[len(each) - back :]] for each in losses])
        assert results.loss[0] == pytest.approx(np.concatenate(counted).mean(), rel=1e-4)
        assert results.example_loss.mean(1) == pytest.approx(results.loss, rel=1e-4)
        if ends:
            assert results.boilerplate_loss[0] == pytest.approx(others.mean(), rel=1e-4)
        else:
            assert np.isnan(results.boilerplate_loss[0]) == (front + back == 0)
    about = data.about_held_out
    of_all = np.concatenate([by_hand(model, e.ids, e.supervised_from) for e in data.held_out]).mean()
    assert about.supervised_loss(race.baseline.loss, race.baseline.boilerplate_loss)[0] == pytest.approx(of_all, 1e-4)
    if examples is LONG or examples is ALIKE:
        assert (front, back) == (0, ends), "whatever an answer has beside its end counts"
    batch = data.batch(1, 0)
    assert ends * len(batch.input_ids) <= sum(batch.targets.tolist().count(i) for i in ends_of(tokenizer, data))
    trained = model(input_ids=batch.input_ids).logits.flatten(0, 1)[batch.index]
    assert step.loss == pytest.approx(torch.nn.functional.cross_entropy(trained, batch.targets).item(), rel=1e-4)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_of_a_text_all_tokens_count_but_its_end(name: str) -> None:
    tokenizer, texts = TOKENIZERS[name], [Example("", f"the {word} is here and {word}") for word in "abcdefgh"]
    model = model_for(tokenizer)
    race = ov.race(small(), task=task_of(texts, plain_text=True), model=model, tokenizer=tokenizer)
    race.lanes.detach()
    losses = [by_hand(model, e.ids, 1) for e in race.data.held_out]
    assert all(e.ids[-1] == tokenizer.eos_token_id for e in race.data.held_out)
    assert race.baseline.loss[0] == pytest.approx(np.concatenate([each[:-1] for each in losses]).mean(), rel=1e-4)
    assert race.baseline.boilerplate_loss[0] == pytest.approx(np.mean([each[-1] for each in losses]), rel=1e-4)


def ends_of(tokenizer, data) -> set[int]:
    """The token with which the answers of a race end."""
    return {data.chat.end} if data.chat else {tokenizer.eos_token_id} - {None}


@pytest.mark.parametrize("before", ["", "it is ", "that is what they say "])
@pytest.mark.parametrize("stops", [True, False])
def test_chance_is_the_logarithm_of_two_on_balanced_yes_and_no(before: str, stops: bool) -> None:
    """It is so whether the model has learned to stop or not, and whatever stands before all answers."""
    tokenizer, model = tiny_tokenizer(eos_token="</s>"), tiny("llama")
    space, yes, no, end = tokenizer.convert_tokens_to_ids(["Ġ", "y", "n", "</s>"])
    with torch.no_grad():  # what comes next depends on the last token alone
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        hidden = model.model.norm(model.get_input_embeddings().weight[[space, yes, no]])
        logits = torch.zeros(3, 64)
        logits[0, [yes, no]], logits[1:, end] = 40.0, 40.0 * stops
        model.lm_head.weight = torch.nn.Parameter((torch.linalg.pinv(hidden) @ logits).T.contiguous())
    examples = [Example(f"is {word} so ", f"{before}{answer}") for word in "abcdefghijklmnopqrst" for answer in "yn"]
    race = ov.race(small(eval_size=99), task=task_of(examples), model=model, tokenizer=tokenizer)
    assert race.baseline.loss[0] == pytest.approx(math.log(2), abs=1e-4)
    if not before:
        assert race.baseline.boilerplate_loss[0] == pytest.approx(0.0 if stops else math.log(64), abs=1e-4)


def test_what_all_answers_share_counts_while_it_is_less_than_half() -> None:
    known = {"ab{}": (2, 1), "ab{}c": (2, 2), "{}bb": (0, 3), "b{}b": (1, 2), "a{}": (0, 1), "{}b": (0, 1)}
    for answer, boilerplate in known.items():
        examples = [Example(f"say {word} ", answer.format(word * 2)) for word in "defghijklmnopq"]
        race = ov.race(
            small(), task=task_of(examples), model=tiny("llama"), tokenizer=tiny_tokenizer(eos_token="</s>")
        )
        assert race.data._boilerplate == boilerplate, answer


def test_no_token_counts_as_shared_that_differs_in_the_test_alone() -> None:
    tokenizer = tiny_tokenizer(eos_token="</s>")
    task = task_of([Example(f"say {word} ", f"aaaa{word}") for word in "bcdefghijklmnopq"])
    other = Task(task.name, "", task.train, task.held_out, ends=True, test=(Example("say z ", "zaaaz"),))
    race = ov.race(small(), task=other, model=tiny("llama"), tokenizer=tokenizer)
    assert race.data._boilerplate == (0, 1)


@pytest.mark.parametrize("name", [card.name for card in BUILT_IN_TASKS if not card.load(0).ends])
def test_of_built_in_tasks_every_token_counts(name: str) -> None:
    race = ov.race(small(task=name, eval_size=16, test_size=16))
    list(race)
    assert race.data._boilerplate == (0, 0)
    assert race.data.about_held_out.boilerplate == race.data.about_held_out.boilerplate_name == ""
    for results in (race.baseline, race.tested().lanes):
        assert np.isnan(results.boilerplate_loss).all()
        assert results.example_loss.mean(1) == pytest.approx(results.loss, rel=1e-4)


def yes_no_file(folder: Path) -> Path:
    """Write a user's file: whether a number is even."""
    path = folder / "even.csv"
    rows = [f"Is {n} an even number?,{'no' if n % 2 else 'yes'}" for n in range(60)]
    path.write_text("prompt,answer\n" + "\n".join(rows) + "\n")
    return path


def test_a_users_file_is_judged_by_its_answers_and_its_end_token_is_reported_apart(tmp_path, capsys) -> None:
    path = yes_no_file(tmp_path)
    words = f"race --model glassllm --task {path} --lane lora:lr=3e-3,r=2 --lane olora:lr=3e-3,r=2 --steps 8"
    folder = tmp_path / "run"
    assert main([*words.split(), "--eval-every", "4", "--device", "cpu", "--run", str(folder), "--json"]) == 0
    *steps, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    summary = last["summary"]
    model, _ = ov.load_model("glassllm")
    race = ov.race(ov.load_run(folder).config)
    of_tokens = [by_hand(model, e.ids, e.supervised_from) for e in race.data.test]
    assert {len(each) for each in of_tokens} == {2}
    answer, end = np.mean(of_tokens, axis=0)
    assert summary["base"]["test_loss"] == pytest.approx(answer, rel=1e-4)
    assert summary["base"]["test_boilerplate_loss"] == pytest.approx(end, rel=1e-4)
    assert abs(answer - end) > 0.1, "a mean of both would be neither"
    for label, lane in summary["lanes"].items():
        assert lane["final_loss"] == steps[-1]["eval_loss"][label]
        of_lane = steps[-1]["eval_examples"][label]
        assert lane["final_boilerplate_loss"] == of_lane["boilerplate_loss"]
        assert np.mean(of_lane["loss"]) == pytest.approx(lane["final_loss"], rel=1e-4)
    record = RaceRecord.of_run(ov.load_run(folder))
    page = str(race_view(record).results)
    assert "end token</th>" in page.replace("</span>", "")
    assert f"{summary['base']['boilerplate_loss']:.2f}" in page
    assert "its loss is reported apart" in page
    assert "boilerplate_loss" in ov.steps_frame(folder)
    assert "| end token, held out | " in (folder / "adapters" / "olora" / "README.md").read_text()
    assert main([*words.split(), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "end token" in shown
    assert f"{end:.4f}" in shown


def test_a_studys_losses_and_its_margin_are_those_of_the_answer(tmp_path) -> None:
    path = yes_no_file(tmp_path)
    study = ov.Study().changed(
        race={"task": str(path), "steps": 6, "eval_size": 8, "test_size": 8, "device": "cpu"},
        across={"r": (2,)},
        tune={"lr": (3e-3,)},
        seeds=1,
    )
    for _ in ov.run_study(study, tmp_path / "study"):
        pass
    verdicts = ov.verdicts(tmp_path / "study")
    model, _ = ov.load_model("glassllm")
    rows = pd.read_parquet(tmp_path / "study" / "lanes.parquet")
    race = ov.race(ov.load_run(tmp_path / "study" / "runs" / rows["run"][0]).config)
    of_tokens = np.mean([by_hand(model, e.ids, e.supervised_from) for e in race.data.test], axis=0)
    assert rows["base_test_loss"].tolist() == pytest.approx([of_tokens[0]] * 2, rel=1e-4)
    assert rows["base_boilerplate_loss"].tolist() == pytest.approx([of_tokens[1]] * 2, rel=1e-4)
    assert np.isfinite(rows["boilerplate_loss"]).all()
    (cell,) = study.cells()
    reference = next(each for each in verdicts.of(cell) if each.init == "lora")
    assert reference.margin == pytest.approx(0.02 * (of_tokens[0] - reference.test_loss), rel=1e-3)


def as_written_before(line: dict) -> dict:
    """Return a step as earlier versions wrote it, where most supervised tokens were boilerplate."""
    for label, row in line.get("eval_examples", {}).items():
        row["deciding_loss"] = line["eval_loss"][label]
        line["eval_loss"][label] = 0.125
        del row["boilerplate_loss"]
    return line


def test_runs_of_earlier_versions_open_and_are_not_gone_on_with(tmp_path) -> None:
    path = yes_no_file(tmp_path)
    config = small(task=str(path), steps=4, eval_every=2, device="cpu")
    race = ov.race(config)
    next(race), next(race)
    race.save(tmp_path / "run")
    steps = tmp_path / "run" / "steps.jsonl"
    before = [step.eval_loss for step in ov.load_run(tmp_path / "run").steps]
    lines = [as_written_before(json.loads(line)) for line in steps.read_text().splitlines()]
    steps.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = ov.load_run(tmp_path / "run").steps
    assert again[0].eval_loss is before[0] is None
    np.testing.assert_array_equal(again[1].eval_loss, before[1])
    assert np.isnan(again[1].eval_examples.boilerplate_loss).all()
    with pytest.raises(ValueError, match="made by an earlier version, whose losses were not without the end token"):
        ov.resume_run(tmp_path / "run")


def test_records_of_earlier_versions_are_read(tmp_path) -> None:
    race = ov.race(small(task=str(yes_no_file(tmp_path)), device="cpu"))
    list(race)
    record = replace(RaceRecord.of(race), tested=race.tested())
    values = json.loads(json.dumps(record.to_json()))
    for results in (values["baseline"], *values["tested"]):
        results["deciding_loss"], results["loss"] = results["loss"], [0.125] * len(results["loss"])
        del results["boilerplate_loss"]
    del values["held_out"]["ends"]
    again = RaceRecord.from_json(values)
    np.testing.assert_array_equal(again.tested.lanes.loss, race.tested().lanes.loss)
    np.testing.assert_array_equal(again.baseline.loss, race.baseline.loss)
    assert np.isnan(again.baseline.boilerplate_loss).all()
    assert asdict(again.held_out) | {"ends": True} == asdict(record.held_out)


def test_rows_of_an_earlier_version_are_not_pooled_with_new_ones(tmp_path) -> None:
    path, folder = yes_no_file(tmp_path), tmp_path / "study"
    race = {"task": str(path), "steps": 2, "eval_size": 4, "test_size": 4, "device": "cpu"}
    study = ov.Study().changed(race, across={"r": 2}, tune={"lr": 3e-3})
    for _ in ov.run_study(replace(study, seeds=1), folder):
        pass
    for written in (folder / "runs").glob("*.parquet"):
        rows = pd.read_parquet(written)
        rows.drop(columns=["base_boilerplate_loss", "boilerplate_loss"]).to_parquet(written, index=False)
    assert len(ov.verdicts(folder).each) == 2, "it still opens"
    with pytest.raises(ValueError, match="was written by an earlier version, whose losses were of other tokens"):
        list(ov.run_study(replace(study, seeds=2), folder))
    assert len(ov.verdicts(folder).each) == 2


def test_results_by_example_without_a_loss_of_boilerplate_are_read() -> None:
    examples = Examples(np.ones((1, 2)), np.ones((1, 2)), np.array([np.nan]), np.array([0.5]))
    values = examples.to_json(["lora"])
    assert Examples.from_json(values, ["lora"]) == examples
    del values["lora"]["boilerplate_loss"]
    assert np.isnan(Examples.from_json(values, ["lora"]).boilerplate_loss).all()
