"""A prompt that is too long is cut at its left; what is supervised, and the split, stay."""

import json
import re
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chats import TEMPLATES, bytes_tokenizer
from support.kinds_of_tokenizers import TOKENIZERS
from support.races import small
from support.verbs import run

from olora_viz.__main__ import main
from olora_viz.background.record import ready_race
from olora_viz.models import load_model
from olora_viz.races.own_loop import training_batches
from olora_viz.races.race import race
from olora_viz.tasks import Example, encode
from olora_viz.tasks.chat import Chat
from olora_viz.tasks.encoding import encode_prompt
from olora_viz.views.race import race_view
from olora_viz.views.runs import preview

letters = st.text("abcdefgh", min_size=1, max_size=6)
phrases = st.lists(letters, min_size=1, max_size=6).map(" ".join)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(
    rows=st.lists(st.tuples(phrases, phrases, phrases), min_size=1, max_size=4),
    ends=st.booleans(),
    limit=st.integers(2, 40),
)
@settings(max_examples=40, deadline=None)
def test_a_longer_example_loses_the_first_tokens_of_its_prompt_alone(name, rows, ends, limit):
    tokenizer = TOKENIZERS[name]
    examples = [
        Example(prompt, f" {answer}", tuple(dict.fromkeys((f" {answer}", f" {other}"))))
        for prompt, answer, other in rows
    ]
    whole = encode(examples, tokenizer, context=sys.maxsize, ends=ends).kept
    front = 1 if tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id] else 0
    lengths = [max(len(s.ids) for s in (e, *e.choices)) for e in whole]
    begins = [min(s.supervised_from for s in (e, *e.choices)) for e in whole]
    # At least one token of the prompt itself stays.
    fits = [length <= limit or begin - front > length - limit for length, begin in zip(lengths, begins, strict=True)]
    wanted = dict(max_length=limit, context=sys.maxsize, ends=ends, truncate=True)
    if not any(fits):
        with pytest.raises(ValueError, match=f"none of {len(rows)} examples is within {limit}"):
            encode(examples, tokenizer, **wanted)
        return
    found = encode(examples, tokenizer, **wanted)
    assert found.left_out == len(rows) - sum(fits)
    assert found.cut == sum(fit and length > limit for fit, length in zip(fits, lengths, strict=True))
    kept = [e for e, fit in zip(whole, fits, strict=True) if fit]
    for before, after in zip(kept, found.kept, strict=True):
        length = max(len(s.ids) for s in (before, *before.choices))
        count = max(0, length - limit)
        prompts = set()
        for a, b in zip((before, *before.choices), (after, *after.choices), strict=True):
            assert b.ids == a.ids[:front] + a.ids[front + count :]
            assert b.ids[b.supervised_from :] == a.ids[a.supervised_from :]
            assert b.supervised_from >= 1
            prompts.add(b.ids[: min(s.supervised_from for s in (after, *after.choices))])
        assert len(prompts) == 1, "all choices see the same prompt"
        assert not count or max(len(s.ids) for s in (after, *after.choices)) == limit


@pytest.mark.parametrize("name", TEMPLATES)
@given(
    first=st.text("ABCD ", min_size=1, max_size=12), last=st.text("EFGH ", min_size=2, max_size=12),
    share=st.floats(0, 1),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_chat_loses_the_first_words_of_its_user_and_no_token_of_the_template(name, first, last, share):
    tokenizer = bytes_tokenizer(TEMPLATES[name], merges=(("Ġ", "A"), ("Ġ", "E"), ("G", "H")))
    chat = Chat(tokenizer, name)
    messages = (("system", "user"), ("user", first), ("assistant", "user"), ("user", f"{last}H"))
    example = Example("plain", " 1 2 3", messages=messages)
    (whole,) = encode([example], tokenizer, context=sys.maxsize, chat=chat).kept
    of_user = re.compile("[A-H ]")
    count = 1 + int(share * (len(re.findall("[A-H]", first + last)) // 2 - 1))
    if len(re.findall("[A-H]", first + last)) < 2:
        return
    found = encode(
        [example], tokenizer, context=sys.maxsize, chat=chat, truncate=True, max_length=len(whole.ids) - count
    )
    (cut,) = found.kept
    assert (found.cut, len(cut.ids)) == (1, len(whole.ids) - count)
    assert cut.ids[cut.supervised_from :] == whole.ids[whole.supervised_from :]
    before, after = (
        tokenizer.decode(e.ids[: e.supervised_from], clean_up_tokenization_spaces=False) for e in (whole, cut)
    )
    assert of_user.sub("", before) == of_user.sub("", after), "all else stays"
    letters = ["".join(re.findall("[A-H]", text)) for text in (before, after)]
    assert letters[0].endswith(letters[1])
    assert letters[1]
    assert "".join(re.findall("[A-H]", cut.prompt)) == letters[1]
    assert cut.prompt.startswith("user")


def test_without_a_maximum_the_context_is_one_and_a_text_without_prompt_stays_whole():
    tokenizer = load_model("glassllm")[1]
    long, short = Example("tea " * 40, " yes"), Example("tea", " yes")
    with pytest.raises(ValueError, match="set a maximum length to skip such examples, or truncate"):
        encode([long, short], tokenizer, context=32)
    found = encode([long, short], tokenizer, context=32, truncate=True)
    assert (found.cut, found.left_out, len(found.kept[0].ids)) == (1, 0, 32)
    story = Example("", "tea " * 40)
    found = encode([story, short], tokenizer, context=32, truncate=True, plain_text=True)
    assert (found.cut, found.left_out) == (0, 1)


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"tea {'and tea ' * (k % 9)}{k}", "answer": "good" if k % 2 else "so bad"} for k in range(80)]
    lines[3]["answer"] = "word " * 40
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_a_race_says_what_it_cut_and_its_split_stays(rows):
    plain = small(task=str(rows), max_length=14)
    racing, whole = race(replace(plain, truncate=True)), race(plain)
    assert racing.task == whole.task, "the split is that of the whole prompts"
    about = racing.data.about_held_out
    assert about.train + about.train_cut > about.train == len(whole.task.train) - 1
    assert racing.data.left_out == 1 < whole.data.left_out
    cuts = about.cuts
    assert cuts[0] == (f"{about.train_cut} training examples were cut at the left of their prompt to 14 tokens.")
    assert about.train_cut == whole.data.left_out - 1
    view = race_view(replace(ready_race(racing.config), held_out=about, left_out=racing.data.left_out))
    assert cuts[0] in view.results
    assert "as longer than 14 tokens without the prompt: 1 training example." in view.results
    longest = max(racing.data.held_out, key=lambda e: len(e.ids))
    answers = racing.answers(len(racing.data.held_out))
    read = racing.tokenizer.decode(longest.ids[: longest.supervised_from], skip_special_tokens=True)
    assert read in {answer.prompt for answer in answers}
    (own,) = racing.answer(f"cup {'and tea ' * 60}1")
    assert own.prompt.endswith("and tea 1")
    assert not own.prompt.startswith("cup")
    with pytest.raises(ValueError, match="more than the model's context"):
        whole.answer("and tea " * 60)
    for running in (racing, whole):
        running.lanes.detach()


def test_training_batches_are_those_of_the_race_and_need_to_know_its_context(rows):
    config = small(task=str(rows), max_length=14, truncate=True)
    racing = race(config)
    batch = next(training_batches(config, racing.tokenizer))
    assert batch["input_ids"].shape[1] <= 14
    assert batch["input_ids"].tolist()[0][: len(racing.batch(1).input_ids[0])] == (
        racing.batch(1).input_ids[0].tolist()
    )
    unknown = replace(config, max_length=None)
    with pytest.raises(ValueError, match="truncate without max_length cuts to the model's context"):
        next(training_batches(unknown, racing.tokenizer))
    assert next(training_batches(unknown, racing.tokenizer, model=racing.model))
    racing.lanes.detach()


def test_a_prompt_alone_is_cut_as_in_front_of_an_answer():
    tokenizer = TOKENIZERS["bos-and-eos"]
    whole = encode_prompt("abcdef", tokenizer).ids
    assert encode_prompt("abcdef", tokenizer, limit=4).ids == whole[:1] + whole[-3:]
    assert encode_prompt("abcdef", tokenizer, limit=1).ids == whole


def test_the_command_line_says_what_was_cut(rows):
    done = run(
        "race", "--task", str(rows), "--max-length", "14", "--truncate", "--steps", "1",
        "--lane", "lora:r=2", "--batch-size", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "training examples were cut at the left of their prompt to 14 tokens." in done.stderr
    said = "1 training example is longer than 14 tokens without the prompt and left out"
    assert said in done.stderr


def test_a_plan_says_once_of_each_task_what_was_cut_and_what_is_left_out(rows, tmp_path, capsys):
    short = ["--truncate", "--max-length", "14", "--plan"]
    begin = ["study", "--lr", "1e-3", "--seeds", "1", "--steps", "2", "--batch-size", "2"]
    out = ["--out", str(tmp_path / "out")]
    assert main([*begin, "--task", f"{rows},sentiment", *short, *out]) == 0
    _, said = capsys.readouterr().err.split(f"glassllm, {rows.name}: ")
    assert said.count("48 training examples were cut at the left of their prompt to 14") == 1
    assert said.count("1 training example is longer than 14 tokens without the prompt") == 1
    assert "glassllm, sentiment: 1,500 training examples" in said
    more = ({"prompt": f"tea {'and tea ' * (k % 9)}{k}", "answer": "good"} for k in range(80, 400))
    with rows.open("a", encoding="utf-8") as file:  # so that there are enough for a test
        file.write("".join(f"\n{json.dumps(row)}" for row in more))
    begin = ["decide", "--task", str(rows), "--minutes", "20"]
    assert main([*begin, *short, *out]) == 0
    planned = capsys.readouterr().err
    assert planned.count("training examples were cut at the left of their prompt to 14") == 1
    assert planned.count("1 training example is longer than 14 tokens without the prompt") == 1


def test_a_preview_says_that_a_prompt_is_cut():
    tokenizer = TOKENIZERS["glassllm"]
    examples = [Example("a b " * 90, " c", line=1), Example("a", " c" * 90, line=2)]
    shown = preview(examples, tokenizer, model="glassllm", longest=64, truncate=True)
    assert shown.count("a race cuts its prompt at the left to 64 tokens in all") == 1
    assert shown.count("a race leaves out examples of more than 64") == 1
