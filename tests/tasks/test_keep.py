"""Texts to keep: those of the package, and the user's own files."""

import json
from itertools import pairwise

import pytest
from support.tiny import FAMILIES, tiny

from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig, setup_facts
from olora_viz.tasks import keep as texts
from olora_viz.tasks import load_task
from olora_viz.tasks.keep import AUTO, ENGLISH, MOST_EXAMPLES, NONE, PORTUGUESE, TOKENS_A_PASSAGE, text_to_keep
from olora_viz.tasks.losses import context_of

PROSE = "The old bird sat upon the gate, and looked at the sea, and thought about the summer. "
ROWS = [{"prompt": f"{a} and {b} make", "answer": str(a + b)} for a in range(2, 12) for b in range(a)]


def read(keep, model="glassllm", task="uppercase"):
    loaded, tokenizer = load_model(model)
    return text_to_keep(str(keep), model, tokenizer, context=context_of(loaded), train=load_task(task).train)


@pytest.mark.parametrize(("model", "text"), [("glassllm", ENGLISH), ("glassllm-pt", PORTUGUESE)])
def test_the_text_of_the_package_is_cut_into_passages_that_the_model_can_read(model, text):
    kept, tokenizer = read(AUTO, model), load_model(model)[1]
    assert len(kept.encoded) == texts.PASSAGES
    assert kept.tokens == texts.PASSAGES * TOKENS_A_PASSAGE
    assert all(tokenizer.unk_token_id not in passage.ids for passage in kept.encoded)
    words = [tokenizer.decode(passage.ids[passage.supervised_from :]) for passage in kept.encoded]
    assert all(passage.strip() in text for passage in words)
    assert kept.bytes == sum(len(passage.encode()) for passage in words)


def test_passages_do_not_overlap_and_reach_from_the_first_to_the_last_token():
    kept, (_, tokenizer) = read(AUTO), load_model("glassllm")
    ids = tokenizer(ENGLISH, verbose=False)["input_ids"]
    front = kept.encoded[0].supervised_from
    supervised = [passage.ids[front:] for passage in kept.encoded]
    assert supervised[-1] == tuple(ids[-TOKENS_A_PASSAGE:])
    places = [next(i for i in range(len(ids)) if tuple(ids[i : i + TOKENS_A_PASSAGE]) == part) for part in supervised]
    assert places[0] <= 1
    assert all(after - before >= TOKENS_A_PASSAGE for before, after in pairwise(places))


def test_none_is_no_text_and_neither_is_that_of_the_package_for_a_model_without_one():
    assert read(NONE) is None
    model, tokenizer = load_model("glassllm")
    other = text_to_keep(AUTO, "my/glassllm", tokenizer, context=context_of(model), train=())
    assert other is None
    config = RaceConfig(model="my/glassllm", keep=AUTO)
    assert not any(config.is_due("drift", number) for number in range(1, config.steps + 1))
    assert "text to keep" not in setup_facts(config)


def test_of_a_task_the_answers_are_kept_and_of_a_plain_one_every_token():
    answers, whole = read("addition"), read("text")
    assert len(answers.encoded) == len(whole.encoded) == MOST_EXAMPLES
    assert answers.tokens < sum(len(each.ids) for each in answers.encoded) / 2
    assert whole.tokens == sum(len(each.ids) - 1 for each in whole.encoded)
    held_out = load_task("addition").held_out
    assert answers.bytes == sum(len(example.answer.encode()) for example in held_out)


def test_a_file_is_a_task_by_its_ending_and_otherwise_plain_text(tmp_path):
    rows, notes = tmp_path / "rows.jsonl", tmp_path / "notes.md"
    rows.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    notes.write_text(PROSE * 20, encoding="utf-8-sig")
    of_rows, of_notes = read(rows), read(notes)
    assert (of_rows.name, of_notes.name) == ("rows.jsonl", "notes.md")
    assert len(of_rows.encoded) == MOST_EXAMPLES
    assert len(of_notes.encoded) == min(texts.PASSAGES, len(of_notes.encoded))
    assert of_notes.encoded[0].supervised_from == 1


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (PROSE.encode(), f"has {{}} tokens: at least {texts.LEAST_TOKENS} are needed"),
        (b"caf\xe9 " * 300, "line 1 of .* is not UTF-8 text"),
    ],
)
def test_a_text_that_cannot_be_kept_is_one_sentence(tmp_path, content, rule):
    path = tmp_path / "kept.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rule.format(r"\d+")):
        read(path)


def test_what_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        read(tmp_path / "missing.txt")
    with pytest.raises(ValueError, match="is a folder; a text to keep is a file"):
        read(f"{tmp_path}/")
    with pytest.raises(ValueError, match="unknown text to keep 'adition'; did you mean 'addition'"):
        read("adition")


def test_a_text_that_is_trained_on_is_refused(tmp_path):
    task = load_task("number-words")
    prose = tmp_path / "kept.txt"
    prose.write_text("\n".join(f"{each.prompt}{each.answer}." for each in task.train), encoding="utf-8")
    for keep in ("number-words", prose):
        with pytest.raises(ValueError, match="has all training examples"):
            read(keep, task="number-words")
    assert read("addition", task="number-words")


def test_of_conversations_to_keep_the_last_answer_is_measured_and_the_others_are_no_other_text(tmp_path):
    said = [[("user", f"{n}?"), ("assistant", f"{n}"), ("user", "more?"), ("assistant", "no")] for n in range(100)]
    rows = [{"messages": [{"role": role, "content": text} for role, text in turns]} for turns in said]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    kept, tokenizer = read(path), load_model("glassllm")[1]
    asked = [tokenizer.decode(each.ids[: each.supervised_from]) for each in kept.encoded]
    assert len(set(asked)) == MOST_EXAMPLES
    assert all("more?" in prompt for prompt in asked)
    assert len(kept.to_replay) > 100 - MOST_EXAMPLES  # of the others every answer
    with pytest.raises(ValueError, match="has all training examples"):
        read(path, task=path)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_models_reads_the_text_of_the_package(family):
    model, (_, tokenizer) = tiny(family), load_model("glassllm")
    context = context_of(model) or 10**9
    kept = text_to_keep(AUTO, "glassllm", tokenizer, context=context, train=())
    assert all(len(passage.ids) - 1 <= context for passage in kept.encoded)
