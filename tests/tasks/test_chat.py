"""A model's chat template: it writes what transformers writes, and only the answer counts."""

import copy
import hashlib
import json
import re
import sys
from pathlib import Path

import peft
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.chats import CHATML, PLAIN, SPOKEN, TEMPLATES, bytes_tokenizer
from support.races import small
from support.tiny import tiny_folder

from olora_viz.__main__ import main
from olora_viz.lanes.lane import Lane
from olora_viz.models import load_model
from olora_viz.models.loading import tokenizer_here
from olora_viz.races.config import setup_facts
from olora_viz.races.export import export_lane
from olora_viz.races.race import race
from olora_viz.races.script import olora_viz_script, peft_script
from olora_viz.studies.claims.commands import command_of_study
from olora_viz.studies.claims.evidence import ClaimEvidence, study_within
from olora_viz.studies.study import Study
from olora_viz.tasks import Example, Task, encode
from olora_viz.tasks.chat import Chat
from olora_viz.tasks.encoding import pieces_of
from olora_viz.tasks.files import sha256_of
from olora_viz.tasks.rows import all_answers, example_of
from olora_viz.views.runs import preview

texts = st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=12)
words = texts.filter(str.strip)
END = {"chatml": "<|im_end|>", "llama": "<|im_end|>", "mistral": "</s>", "phi": "<|im_end|>"}


def dicts(messages, answer=None):
    """As transformers takes them."""
    said = [*messages, *([("assistant", answer)] if answer is not None else [])]
    return [{"role": role, "content": text} for role, text in said]


@pytest.fixture(scope="module")
def talking():
    """glassllm, with a chat template."""
    model, tokenizer = load_model("glassllm")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = PLAIN
    tokenizer.split_special_tokens = False  # it reads "<eos>" in a text as letters otherwise
    return model, tokenizer


@pytest.mark.parametrize("name", TEMPLATES)
@given(words=st.lists(texts, min_size=1, max_size=5), system=texts, answer=texts, other=texts)
def test_the_tokens_are_those_of_transformers_and_the_answer_with_its_end_is_supervised(
    name, words, system, answer, other
):
    tokenizer = bytes_tokenizer(TEMPLATES[name])
    spoken = [*words[: len(words) - 1 + len(words) % 2]]  # the user has the last word
    messages = tuple((("user", "assistant")[i % 2], text.strip()) for i, text in enumerate(spoken))
    messages = (("system", system.strip()), *messages)
    choices = tuple(dict.fromkeys((f" {answer}", f" {other}")))
    example = Example("as plain text", f" {answer}", choices, messages=messages)
    (found,) = encode([example], tokenizer, context=sys.maxsize, chat=Chat(tokenizer, name), ends=True).kept
    prompt = tokenizer.apply_chat_template(dicts(messages), add_generation_prompt=True)["input_ids"]
    for one, text in zip((found, *found.choices), (f" {answer}", *choices), strict=True):
        whole = tokenizer.apply_chat_template(dicts(messages, text.strip()))["input_ids"]
        assert list(one.ids) == whole[: len(one.ids)]
        assert list(one.ids[: one.supervised_from]) == prompt
        # By hand: the bytes of the answer, and the one token that ends a turn.
        gap = " " if name == "mistral" else ""
        assert tokenizer.decode(one.ids[one.supervised_from :]) == gap + text.strip() + END[name]
        assert one.ids[-1] == Chat(tokenizer, name).end
        assert tokenizer.convert_tokens_to_ids(END[name]) == one.ids[-1]


@pytest.mark.parametrize("name", SPOKEN)
@given(spoken=st.lists(st.tuples(words, words), min_size=1, max_size=4), system=st.none() | words)
def test_what_is_supervised_of_a_conversation_is_what_transformers_takes_for_the_assistant_s(name, spoken, system):
    turns = [turn for said in spoken for turn in zip(("user", "assistant"), said, strict=True)]
    turns = [*[("system", system)] * (system is not None), *turns]
    messages = dicts([(role, text.strip()) for role, text in turns])
    tokenizer = bytes_tokenizer(TEMPLATES[name])
    examples = all_answers([example_of({"messages": messages}, "a row")])
    kept = encode(examples, tokenizer, context=sys.maxsize, chat=Chat(tokenizer, name), ends=True).kept
    whole = tokenizer.apply_chat_template(
        messages, chat_template=SPOKEN[name], return_dict=True, return_assistant_tokens_mask=True
    )
    assert whole["input_ids"] == tokenizer.apply_chat_template(messages)["input_ids"]
    assert [list(each.ids) for each in kept] == [whole["input_ids"][: len(each.ids)] for each in kept]
    supervised = [at for each in kept for at in range(each.supervised_from, len(each.ids))]
    assert supervised == [at for at, is_said in enumerate(whole["assistant_masks"]) if is_said]
    assert len(kept) == len(spoken)


def test_rows_are_messages_without_the_headings_of_plain_text():
    tokenizer = bytes_tokenizer()
    chat = Chat(tokenizer, "it")
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "user?"},
        {"role": "assistant", "content": "assistant!"},
        {"role": "user", "content": "What do bees make?"},
    ]
    for row, messages in (
        ({"prompt": " 3 + 4 =", "answer": "7"}, [{"role": "user", "content": "3 + 4 ="}]),
        ({"question": "Who?", "answer": "7"}, [{"role": "user", "content": "Who?"}]),
        ({"instruction": "Add.", "input": "3 and 4", "output": "7"}, [{"role": "user", "content": "Add.\n\n3 and 4"}]),
        ({"messages": [*said, {"role": "assistant", "content": "7"}]}, said),
    ):
        (found,) = encode([example_of(row, "a row")], tokenizer, context=999, chat=chat).kept
        whole = [*messages, {"role": "assistant", "content": "7"}]
        text = tokenizer.apply_chat_template(whole, tokenize=False)
        assert tokenizer.decode(found.ids) + "\n" == text
        assert tokenizer.decode(found.ids[found.supervised_from :]) == "7<|im_end|>"


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (None, "the model 'm' has no chat template: race it without chat"),
        ("{{ raise_exception('no system') }}", "the chat template of 'm' fails: no system"),
        ("{{ nobody.knows }}", "the chat template of 'm' fails: 'nobody' is undefined"),
        ("{% for %}", "the chat template of 'm' fails: Expected"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "the chat template of 'm' fails: "),
        ("{{ 'x' * (2 ** 60) }}", "the chat template of 'm' fails: "),
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "the chat template of 'm' fails: Range too"),
        ("hello", "the chat template of 'm' leaves a message out, or repeats one"),
        (CHATML.replace("<|im_end|>", ""), "ends an answer with no special token"),
        (
            "{% if not add_generation_prompt %}{{ 'Answered. ' }}{% endif %}" + CHATML,
            "the chat template of 'm' writes a prompt otherwise once it is answered",
        ),
        (
            CHATML.replace("message['content']", "message['content'] | upper"),
            "the chat template of 'm' changes the text of messages",
        ),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_in_a_sentence(template, sentence):
    tokenizer = bytes_tokenizer(template)
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        encode([Example("q", " a")], tokenizer, context=99, chat=Chat(tokenizer, "m"))
    assert "\n" not in str(caught.value)


def test_a_prompt_whose_last_token_depends_on_the_answer_is_refused():
    # As GPT-2's splitting: two line breaks are one token, unless a letter follows.
    tokenizer = bytes_tokenizer(TEMPLATES["llama"], merges=(("Ċ", "Ċ"),))
    with pytest.raises(ValueError, match="writes a prompt otherwise once it is answered"):
        encode([Example("q", " a")], tokenizer, context=99, chat=Chat(tokenizer, "m"))


def test_an_end_of_turn_that_is_no_token_of_its_own_is_refused():
    tokenizer = copy.deepcopy(load_model("glassllm")[1])
    tokenizer.chat_template = PLAIN
    with pytest.raises(ValueError, match="reads the end-of-turn token '<eos>' as 4 tokens"):
        Chat(tokenizer, "glassllm")


def test_a_race_with_a_chat_learns_answers_and_is_exported_as_it_was_trained(talking, tmp_path):
    model, tokenizer = talking
    config = small(
        (Lane("lora", lr=3e-3), Lane("olora", lr=1e-3)), task="sentiment", steps=20, chat=True,
        batch_size=8, eval_size=16, max_length=64,
    )  # fmt: skip
    running = race(config, model=model, tokenizer=tokenizer)
    steps = list(running)
    assert (steps[-1].eval_loss < running.baseline.loss[0] / 2).all()
    end = tokenizer.eos_token_id
    assert all(example.ids[-1] == end for example in running.data.held_out)
    (answer,) = running.answers(1)
    example = running.task.held_out[0]
    assert (answer.prompt, answer.expected) == (example.prompt.strip(), example.answer.strip())
    assert not any("<eos>" in text or "assistant" in text for text in (answer.base, *answer.lanes))
    (own,) = running.answer(example.prompt)
    assert own.prompt == answer.prompt
    assert own.lanes == answer.lanes, "the same prompt has the same answer"
    exported = export_lane(running, 1, tmp_path / "adapter")
    assert "apply_chat_template" in (exported.folder / "README.md").read_text("utf-8")
    prompt = tokenizer.apply_chat_template(
        dicts([("user", example.prompt.strip())]), add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    with running.lanes.only(1), torch.no_grad():
        ours = running.model(prompt).logits
    running.lanes.detach()
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(model), str(exported.folder))
    with torch.no_grad():
        logits = theirs(prompt).logits
    torch.testing.assert_close(logits, ours, rtol=1e-4, atol=1e-4)
    first = tokenizer.decode([int(logits[0, -1].argmax())]).strip()
    assert first
    assert answer.lanes[1].startswith(first)


def test_a_plain_text_is_no_conversation(talking):
    with pytest.raises(ValueError, match="the task 'text' is plain text, without prompts"):
        race(small(task="text", chat=True), model=talking[0], tokenizer=talking[1])


def test_the_hash_of_an_own_task_is_that_of_older_versions():
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    examples = (example_of(row, "a row"), Example("c", " d", (" d", " e")))
    task = Task("mine", "", examples, examples)
    parts = [[(e.prompt, e.answer, e.choices, e.line) for e in part] for part in (examples, examples, ())]
    assert sha256_of(task) == hashlib.sha256(repr((False, False, parts)).encode()).hexdigest()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a chat template in a file of its own, as models have it now."""
    made = tiny_folder("llama", tmp_path / "tiny-chat")
    (made / "chat_template.jinja").write_text(PLAIN.replace("message['role']", "'u'"), "utf-8")
    return made


@pytest.fixture
def sums(tmp_path) -> Path:
    rows = [{"prompt": f"{n % 7} {n // 7} is", "answer": "ab"[n % 2]} for n in range(300)]
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def test_the_command_line_says_once_that_a_template_is_not_used(folder, sums, tmp_path, capsys):
    begin = ["race", "--model", str(folder), "--task", str(sums), "--lane", "lora:r=2"]
    begin += ["--steps", "1", "--batch-size", "2"]
    said = "tiny-chat's chat template is not used: plain text (--chat uses it)\n"
    assert main(begin) == 0
    assert capsys.readouterr().err.count(said) == 1
    # Its generation prompt "assistant:" is not what it writes before an answer.
    assert main([*begin, "--chat"]) == 2
    assert "writes a prompt otherwise once it is answered" in capsys.readouterr().err
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text("utf-8").replace("assistant:", "u:"), "utf-8")
    out = tmp_path / "run"
    assert main([*begin, "--chat", "--run", str(out)]) == 0
    assert "chat template" not in capsys.readouterr().err
    assert json.loads((out / "config.json").read_text("utf-8"))["chat"] is True
    template.unlink()
    assert main([*begin, "--chat"]) == 2
    error = capsys.readouterr().err
    assert "has no chat template: race it without chat" in error
    assert str(folder) in error


def test_claims_are_measured_on_examples_as_the_options_or_the_study_read_them(folder, sums, tmp_path, capsys):
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text("utf-8").replace("assistant:", "u:"), "utf-8")
    about = ["--model", str(folder), "--task", str(sums)]
    begin = ["claims", "--only", "depth", "--rank", "2", "--batch-size", "2", "--json"]
    found = []
    for more in ([], ["--chat"], ["--chat", "--truncate", "--max-length", "9"]):
        assert main([*begin, *about, *more]) == 0
        found.append(json.loads(capsys.readouterr().out))
    plain, chat, cut = found
    assert len({str(one["numbers"]) for one in found}) == 3
    assert "chat" not in plain["command"].split("--batch-size")[1]
    assert cut["command"].endswith("--max-length 9 --truncate --chat")
    study = ["study", *about, "--lr", "1e-3", "--seeds", "1", "--steps", "1", "--batch-size", "2"]
    out = str(tmp_path / "study")
    assert main([*study, "--r", "2", "--chat", "--out", out]) == 0
    capsys.readouterr()
    assert main([*begin, "--study", out]) == 0
    assert json.loads(capsys.readouterr().out)["numbers"] == chat["numbers"]


def test_a_study_for_claims_reads_examples_as_they_do(folder, sums, tmp_path):
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text("utf-8").replace("assistant:", "u:"), "utf-8")
    evidence = ClaimEvidence(str(folder), str(sums), rank=2, truncate=True, chat=True)
    road = study_within(1, tmp_path / "study", evidence)
    its = next(road).plan.study
    road.close()
    assert (its.race.truncate, its.race.chat) == (True, True)


def test_scripts_studies_and_commands_carry_both_settings():
    config = small(chat=True, truncate=True)
    for script in (olora_viz_script, peft_script):
        assert "    truncate=True,\n    chat=True,\n" in script(config)
        assert "add_generation_prompt=True" in script(config)
        assert "chat" not in script(small()).lower()
    study = Study().changed(race={"chat": True, "truncate": True})
    assert Study.from_toml(study.to_toml()) == study
    assert "--truncate --chat" in command_of_study(study, Path("out"))
    (cell,) = study.cells()
    its = study.config(study.trials(cell, "lora", [1e-3]))
    assert its.chat
    assert its.truncate
    words = {"prompts": "in the model's chat template", "long examples": "cut at the left of their prompt"}
    for setup in (config, its):
        assert words.items() <= setup_facts(setup).items()
    assert not words.keys() & setup_facts(small()).keys()
    with pytest.raises(ValueError, match="chat must be True or False, not 'yes'"):
        study.changed({"chat": "yes"})


def boxes(shown, tag):
    return "".join(re.findall(f"<{tag}>(.*?)</{tag}>", shown, re.S))


def test_a_preview_shows_the_tokens_of_the_template_and_that_it_is_not_used():
    tokenizer = bytes_tokenizer()
    examples = [Example("Who?", " me", line=line) for line in (1, 2)]
    pieces = pieces_of(examples[0], tokenizer, chat=Chat(tokenizer, "m"))
    text = tokenizer.apply_chat_template(dicts([("user", "Who?")], "me"), tokenize=False)
    assert "".join(piece.text for piece in pieces) + "\n" == text
    assert [piece.text for piece in pieces if piece.supervised] == ["m", "e", "<|im_end|>"]
    shown = preview(examples, tokenizer, model="m", longest=99, chat=True)
    assert "&lt;|im_end|&gt;" in boxes(shown, "mark")
    assert "&lt;|im_start|&gt;" in boxes(shown, "span")
    assert "is not used" not in shown
    plain = preview(examples, tokenizer, model="m", longest=99)
    assert "m&#39;s chat template is not used: plain text." in plain
    none = preview(examples, bytes_tokenizer(None), model="m", longest=99, chat=True)
    assert "the model &#39;m&#39; has no chat template: race it without chat." in none
    assert "template" not in preview(examples, bytes_tokenizer(None), model="m", longest=99)


def test_the_tokenizer_of_a_folder_is_known_by_its_path(folder):
    tokenizer = tokenizer_here(str(folder))
    assert tokenizer is not None
    assert tokenizer.chat_template
    assert tokenizer_here(str(folder / "nothing")) is None
