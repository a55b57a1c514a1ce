"""The user's own file: every format gives the same examples."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.task_files import PAIR, load, write

import olora_viz as ov
from olora_viz.races.data import task_of
from olora_viz.tasks import Example, files, load_task
from olora_viz.tasks import rows as of_rows
from olora_viz.tasks.built_in import SPEAKERS, alpaca_messages, alpaca_prompt, chat_prompt, question_prompt
from olora_viz.tasks.files import own_task, read_examples
from olora_viz.tasks.rows import all_answers, example_of
from olora_viz.tasks.task import Parts, by_content, conversations


def all_of(task):
    return sorted(task.examples, key=lambda example: example.line)


def as_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


# A prompt keeps its text to the letter, but for the space that goes over to the answer.
plain = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=9)
phrase = st.lists(plain, min_size=1, max_size=3).map(" ".join)
pairs = st.lists(
    st.fixed_dictionaries({"prompt": phrase, "answer": phrase}),
    min_size=2,
    max_size=8,
    unique_by=lambda row: row["prompt"],
)


@given(rows=pairs)
@settings(max_examples=30, deadline=None)
def test_every_format_gives_the_same_examples(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    want = sorted((row["prompt"], " " + row["answer"]) for row in rows)
    written = {
        "rows.json": json.dumps(rows),
        "spread.json": json.dumps(rows, indent=2, ensure_ascii=False),
        "rows.jsonl": "\n".join(json.dumps(row) for row in rows),
    }
    paths = [write(folder, name, text) for name, text in written.items()]
    for path in (*paths, as_csv(folder / "rows.csv", rows)):
        assert sorted((e.prompt, e.answer) for e in all_of(load_task(path))) == want


ROWS = {
    of_rows.PAIR: {"prompt": "{} and one make", "answer": "{}"},
    of_rows.COMPLETION: {"prompt": "{} and one make", "completion": "{}"},
    of_rows.QUESTION: {"question": "{} and one?", "answer": "{}"},
    of_rows.ALPACA: {"instruction": "Add one to {}.", "output": "{}"},
    of_rows.CHAT: {"messages": [{"role": "user", "content": "{}?"}, {"role": "assistant", "content": "{}"}]},
    of_rows.SHAREGPT: {"conversations": [{"from": "human", "value": "{}?"}, {"from": "gpt", "value": "{}"}]},
    of_rows.PREFERENCE: {"prompt": "{} and nothing make", "chosen": "{}", "rejected": "none"},
    of_rows.PLAIN_TEXT: {"text": "The fox has {} tails."},
}
"""A row of each kind, with a place for a number."""


@pytest.mark.parametrize("ending", files.TASK_ENDINGS)
@pytest.mark.parametrize("kind", of_rows.ROW_KINDS, ids=lambda kind: " ".join(kind.needed))
def test_every_kind_of_row_is_read_from_every_format_and_from_python(tmp_path, kind, ending):
    texts = [json.dumps(ROWS[kind]).replace("{}", str(n)) for n in range(40)]
    rows = [json.loads(text) for text in texts]
    path = tmp_path / f"mine{ending}"
    if ending == ".csv" and kind in (of_rows.CHAT, of_rows.SHAREGPT):
        with pytest.raises(ValueError, match=f"a CSV cannot hold '{kind.needed[0]}'"):
            load_task(as_csv(path, rows))
        return
    if ending == ".csv":
        as_csv(path, rows)
    else:
        path.write_text("\n".join(texts) if ending == ".jsonl" else json.dumps(rows))
    task = load_task(path)
    read = sorted((example.prompt, example.answer.strip()) for example in task.examples)
    assert len(read) == 40
    assert read == sorted((example.prompt, example.answer.strip()) for example in own_task(rows).examples)
    assert task.plain_text == own_task(rows).plain_text == (kind is of_rows.PLAIN_TEXT)
    if kind is of_rows.PLAIN_TEXT:
        assert read == sorted(("", row["text"]) for row in rows)
    else:
        assert sorted(answer for _, answer in read) == sorted(map(str, range(40)))
        assert all(answer in prompt for prompt, answer in read)


def test_the_documentation_the_page_and_the_sentence_on_other_fields_name_every_kind():
    guide = (Path(__file__).parents[2] / "docs/guides/data.md").read_text("utf-8")
    with pytest.raises(ValueError, match="a row needs") as caught:
        example_of({"source": "a", "target": "b"}, "line 1")
    shown = [set(re.findall(r"[a-z]+", form.example)) for form in files.FILE_FORMATS]
    for kind in of_rows.ROW_KINDS:
        assert "+".join(kind.needed) in str(caught.value)
        assert any(all(f"`{name}`" in line for name in kind.needed) for line in guide.splitlines() if line[:1] == "|")
        assert any(shown_fields >= {*kind.needed} for shown_fields in shown)


TURNS = [("system", "Be short."), ("user", "1?"), ("assistant", "2"), ("user", "3?"), ("assistant", "4")]


def chat_of(turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def test_every_answer_of_a_chat_is_an_example_after_what_was_said_and_what_follows_the_last_is_left_out():
    whole = example_of(chat_of(TURNS), "here", 7)
    first, last = all_answers([whole])
    assert (first.messages, first.answer, first.line) == (tuple(TURNS[:2]), " 2", 7)
    assert (last.messages, last.answer, last.line) == (tuple(TURNS[:-1]), " 4", 7)
    assert first == example_of(chat_of(TURNS[:3]), "here", 7)
    assert example_of(chat_of([*TURNS, ("user", "Thanks!")]), "here", 7) == whole
    spoken = {"user": "human", "assistant": "gpt"}
    said = [{"from": spoken.get(role, role), "value": content} for role, content in TURNS]
    assert example_of({"conversations": said}, "here", 7) == whole


def test_choices_are_those_of_the_last_answer_which_alone_is_asked_then():
    row = chat_of(TURNS) | {"choices": ["4", "5"]}
    (asked,) = all_answers([example_of(row, "here")])
    assert (asked.answer, asked.choices, asked.messages) == (" 4", (" 4", " 5"), tuple(TURNS[:-1]))


def chats(count):
    """Conversations of one to four answers, half of which begin with the same words."""
    rows = []
    for n in range(count):
        asked = ["Hello" if n % 2 else f"Who is number {n}?", *(f"And {n} times {k}?" for k in range(n % 4))]
        turns = [(("user", text), ("assistant", f"{k}")) for k, text in enumerate(asked)]
        rows.append(chat_of([each for turn in turns for each in turn]))
    return rows


def test_a_conversation_is_never_in_two_parts_of_a_task_and_its_other_rows_change_no_part(tmp_path):
    rows = chats(200)
    path = write(tmp_path, "chats.jsonl", "\n".join(map(json.dumps, rows)))
    task = load_task(path)
    parts = [{each.line for each in part} for part in (task.train, task.held_out, task.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 200
    assert all(parts)
    read = read_examples(path)
    assert len(read) == len(conversations(all_answers(read))) == 200
    assert len(all_answers(read)) == sum(1 + n % 4 for n in range(200))
    some, every = (
        {(each.prompt, part) for part in ("train", "held_out", "test") for each in getattr(own_task(given), part)}
        for given in (rows[50:], rows)
    )
    assert some <= every
    assert len({prompt for prompt, _ in every}) == len(every)


def said_by(row):
    return tuple((each["role"], each["content"]) for each in row["messages"])


def last_of(row):
    """The prompt and the answer of the last answer of a conversation."""
    *before, (_, answer) = said_by(row)
    return chat_prompt(before), f" {answer}"


@pytest.mark.parametrize("own_part", ["a file", "rows", "a Task", "a test file"])
def test_every_answer_of_a_training_conversation_is_learned_and_of_a_judged_one_the_last_alone(tmp_path, own_part):
    rows = chats(120)
    texts = [json.dumps(row) for row in rows]
    path = write(tmp_path, "chats.jsonl", "\n".join(texts[:90] if own_part == "a test file" else texts))
    config = ov.RaceConfig(task=str(path), eval_size=9999)
    if own_part == "a test file":
        config = config.replace(test=str(write(tmp_path, "test.jsonl", "\n".join(texts[90:]))))
    task = task_of(config, {"rows": rows, "a Task": load_task(path)}.get(own_part))
    lasts = dict(map(last_of, rows))
    judged = [(each.prompt, each.answer) for each in task.held_out + task.test]
    assert len(set(judged)) == len(judged) >= 20
    assert {*judged} <= {*lasts.items()}  # as many as conversations, each by its last answer
    if own_part == "a test file":
        assert {(each.prompt, each.answer) for each in task.test} == {*map(last_of, rows[90:])}
    learned = {(each.prompt, each.answer) for each in task.train}
    for row in rows:
        said = said_by(row)
        every = {(chat_prompt(said[:k]), f" {said[k][1]}") for k in range(1, len(said), 2)}
        assert last_of(row) in judged or every <= learned


def test_rows_that_begin_another_conversation_are_parts_of_it(tmp_path):
    """A file may have a row for each answer, with what was said before it: its answers are not independent either."""
    rows = chats(120)
    begun = [chat_of(said_by(row)[:k]) for row in rows for k in range(2, len(row["messages"]) + 1, 2)]
    assert len(begun) > len(rows)
    whole, in_parts = own_task(rows), own_task(begun)
    read = [
        [(each.prompt, each.answer) for each in read_examples(write(tmp_path, f"{len(each)}.json", json.dumps(each)))]
        for each in (begun, rows)
    ]
    assert read[0] == read[1] == [*map(last_of, rows)]
    assert [[(each.prompt, each.answer) for each in part] for part in (in_parts.held_out, in_parts.test)] == [
        [(each.prompt, each.answer) for each in part] for part in (whole.held_out, whole.test)
    ]
    assert {(each.prompt, each.answer) for each in in_parts.train} == {
        (each.prompt, each.answer) for each in whole.train
    }
    every = all_answers(example_of(row, "a row") for row in rows)
    by_hand = ov.Task("by hand", "", every[:100], every[100:200], test=every[200:])
    judged = own_task(by_hand)
    assert (judged.train, len(judged.held_out)) == (every[:100], len(conversations(every[100:200])))
    for part in (judged.held_out, judged.test):
        assert len(part) == len(conversations(part)) < 100


def test_a_run_whose_version_judged_every_answer_of_a_conversation_is_not_resumed(tmp_path, monkeypatch):
    path = write(tmp_path, "chats.jsonl", "\n".join(map(json.dumps, chats(60))))
    config = ov.RaceConfig(task=str(path), lanes=(ov.Lane("lora"),), steps=3, batch_size=2, eval_every=1)
    with monkeypatch.context() as earlier:
        earlier.setattr(files, "by_content", lambda *given: Parts(*map(all_answers, by_content(*given))))
        race = ov.race(config)
        next(race)
        race.save(tmp_path / "run")
    with pytest.raises(ValueError, match="made by an earlier version, whose losses were of other examples: start it"):
        ov.resume_run(tmp_path / "run")


def test_a_race_on_conversations_counts_them_and_their_answers(tmp_path):
    path = write(tmp_path, "chats.jsonl", "\n".join(map(json.dumps, chats(60))))
    config = ov.RaceConfig(task=str(path), lanes=(ov.Lane("lora"),), steps=2, batch_size=2, eval_every=1)
    race = ov.race(config)
    *_, last = race
    assert np.isfinite(last.eval_loss).all()
    task = race.task
    assert race.summary()["examples"]["train"] == len(task.train) > 60
    count = len({each.line for each in task.examples})
    about = race.data.about_held_out
    words = (
        f"{len(task.test)} for the test at the end: answers in {count} conversations, of each held-out and test one "
    )
    assert f"{words}the last." in about.parts
    judged = {each.line for each in task.held_out}
    assert (about.examples, about.test) == (len(judged), len({each.line for each in task.test}))
    assert last.eval_examples.loss.shape == (1, len(judged))
    pairs = write(tmp_path, "pairs.jsonl", "\n".join(f'{{"prompt": "{n}?", "answer": "{n}"}}' for n in range(60)))
    assert "conversation" not in ov.race(replace(config, task=str(pairs))).data.about_held_out.parts


def test_plain_texts_are_raced_and_tested_with_plain_texts_alone(tmp_path):
    rows = [json.dumps({"text": f"The {n}th fox sat by the river and thought of tea."}) for n in range(60)]
    pair = write(tmp_path, "pairs.jsonl", "\n".join(f'{{"prompt": "{n}?", "answer": "{n}"}}' for n in range(9)))
    path = write(tmp_path, "texts.jsonl", "\n".join(rows))
    config = ov.RaceConfig(task=str(path), lanes=(ov.Lane("lora"),), steps=2, batch_size=2, eval_every=1)
    *_, last = ov.race(config)
    assert np.isfinite(last.eval_loss).all()
    for task, test in ((path, pair), (pair, path)):
        with pytest.raises(
            ValueError, match=r"is plain text, and '.*' has prompts with answers: the test must be of one"
        ):
            ov.race(replace(config, task=str(task), test=str(test)))


def test_lines_are_those_on_which_rows_begin(tmp_path):
    row = '{"prompt":\n "p%d",\n "answer": "a"}'
    task = load(tmp_path, "a.json", "\n[\n" + ",\n\n".join(row % i for i in range(3)) + "\n]\n")
    assert [e.line for e in all_of(task)] == [3, 7, 11]
    task = load(tmp_path, "a.jsonl", '\n{"prompt": "a", "answer": "b"}\n\n' + PAIR)
    assert [e.line for e in all_of(task)] == [2, 4]
    task = load(tmp_path, "a.csv", 'prompt,answer\r\n"a\r\nb",c\r\n\r\nd,"e, ""f"""\r\n')
    assert [(e.line, e.prompt, e.answer) for e in all_of(task)] == [(2, "a\r\nb", " c"), (5, "d", ' e, "f"')]


@pytest.mark.parametrize("ending", [".csv", ".json", ".jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, ending):
    text = {
        ".csv": "prompt,answer\na,b\nc,d",
        ".json": f'[{PAIR}, {{"prompt": "a", "answer": "b"}}]',
        ".jsonl": f'{PAIR}\n{{"prompt": "a", "answer": "b"}}',
    }[ending]
    plain, marked = (load(tmp_path, f"a{ending}", mark + text) for mark in ("", "\ufeff"))
    assert plain == marked


@pytest.mark.parametrize(
    ("prompt", "answer", "want"),
    [
        ("3 + 4 =", "7", ("3 + 4 =", " 7")),
        ("3 + 4 = ", " 7\n", ("3 + 4 =", " 7")),
        ("Say it:\n", "yes", ("Say it:\n", "yes")),
        ("  indented", "yes", ("  indented", " yes")),
    ],
)
def test_one_space_stands_between_prompt_and_answer(prompt, answer, want):
    example = example_of({"prompt": prompt, "answer": answer}, "here")
    assert (example.prompt, example.answer) == want


def test_choices_come_from_a_list_or_from_a_cell(tmp_path):
    listed = '{"prompt": "sky", "answer": "blue", "choices": ["red", "blue"]}\n' + PAIR
    cell = "prompt,answer,choices\nsky,blue,red | blue\none and one make,two,\n"
    first = Example("sky", " blue", (" red", " blue"))
    for task in (load(tmp_path, "a.jsonl", listed), load(tmp_path, "a.csv", cell)):
        examples = all_of(task)
        assert (examples[0].prompt, examples[0].answer) == (first.prompt, first.answer)
        assert [e.choices for e in examples] == [first.choices, ()]


def test_an_alpaca_row_supervises_its_output():
    row = {"instruction": "Add.", "input": "1 and 1", "output": "It is 2."}
    assert example_of(row, "here") == Example(
        alpaca_prompt("Add.", "1 and 1"), "It is 2.", messages=(("user", "Add.\n\n1 and 1"),)
    )
    without = {"instruction": "Add.", "input": "", "output": "It is 2.", "answer": None}
    assert example_of(without, "here") == Example(alpaca_prompt("Add."), "It is 2.", messages=alpaca_messages("Add."))
    decided = {**row, "answer": "2"}
    assert example_of(decided, "here") == example_of(row, "here")
    assert "### Input:\n1 and 1\n" in alpaca_prompt("Add.", "1 and 1")
    assert "Input" not in alpaca_prompt("Add.")


def test_an_instruction_that_lists_its_answers_is_multiple_choice():
    row = {
        "instruction": "Which is warm?\n\nAnswer1: ice Answer2: fire\n\nAnswer format: answer1/answer2",
        "input": "",
        "output": "the correct answer is answer2",
        "answer": "answer2",
    }
    assert example_of(row, "here").choices == ("the correct answer is answer1", "the correct answer is answer2")
    # One that is not among those listed stays open, for nobody said that the line is a list.
    assert example_of({**row, "answer": "answer"}, "here").choices == ()
    given = {**row, "instruction": "Which is warm?", "choices": ["answer1", "answer2", "answer3"]}
    assert len(example_of(given, "here").choices) == 3


@pytest.mark.parametrize(
    ("output", "answer", "choices", "want"),
    [
        ("yes, since eyes see it", "yes", ["yes", "no"], "no, since eyes see it"),
        ("no, no-one knows", "no", ["yes", "no"], "yes, no-one knows"),
        ("5 is less than 5.5 and 15", "5", ["5", "6"], "6 is less than 5.5 and 15"),
        ("true; I repeat: 'true'.", "true", ["true", "false"], "true; I repeat: 'false'."),
        ("It is (b).", "(b)", ["(a)", "(b)"], "It is (a)."),
        ("C++", "C++", ["C++", "C"], "C"),
    ],
)
def test_a_choice_takes_the_place_of_a_whole_word(output, answer, choices, want):
    row = {"instruction": "Say.", "output": output, "answer": answer, "choices": choices}
    made = example_of(row, "here")
    assert made.answer == output
    assert set(made.choices) == {output, want}


@given(spoken=st.lists(st.tuples(phrase, phrase), max_size=2), asked=phrase, system=st.none() | phrase, answer=phrase)
@settings(max_examples=30, deadline=None)
def test_the_last_message_of_a_chat_is_its_answer_and_all_others_are_its_prompt(spoken, asked, system, answer):
    turns = [turn for said in spoken for turn in zip(("user", "assistant"), said, strict=True)]
    before = chat_of([*[("system", system)] * bool(system), *turns, ("user", asked)])["messages"]
    row = {"messages": [*before, {"role": "assistant", "content": answer, "name": "ignored"}]}
    example = example_of(row, "here")
    assert example.answer == " " + answer
    *blocks, last = example.prompt.split("\n\n")
    # Nothing but the message and its role: no token of any model's chat template.
    assert blocks == [f"{SPEAKERS[one['role']]}: {one['content']}" for one in before]
    assert last == f"{SPEAKERS['assistant']}:"


@given(rows=pairs)
@settings(max_examples=20, deadline=None)
def test_questions_are_pairs_whose_prompt_names_the_question(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    asked = [{"question": row["prompt"], "answer": row["answer"]} for row in rows]
    want = sorted((question_prompt(row["prompt"]), " " + row["answer"]) for row in rows)
    paths = [
        write(folder, "rows.json", json.dumps(asked)),
        write(folder, "rows.jsonl", "\n".join(map(json.dumps, asked))),
        as_csv(folder / "rows.csv", asked),
    ]
    for path in paths:
        assert sorted((e.prompt, e.answer) for e in all_of(load_task(path))) == want


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_chats_and_questions_may_have_choices_and_stand_in_one_file(tmp_path, ending):
    said = [{"role": "user", "content": "The sky?"}, {"role": "assistant", "content": "blue"}]
    rows = [
        {"messages": said, "choices": ["red", "blue"]},
        {"question": "The sky?", "answer": "blue", "choices": ["red", "blue"]},
    ]
    text = json.dumps(rows) if ending == ".json" else "\n".join(map(json.dumps, rows))
    task = load(tmp_path, f"a{ending}", text)
    assert {e.prompt for e in task.examples} == {chat_prompt([("user", "The sky?")]), question_prompt("The sky?")}
    assert {e.choices for e in task.examples} == {(" red", " blue")}


def test_a_row_that_is_both_kinds_is_an_alpaca_row():
    row = {"prompt": "Add 1 and 1.", "instruction": "Add.", "output": "It is 2.", "answer": "2"}
    assert example_of(row, "here") == Example(alpaca_prompt("Add."), "It is 2.", messages=alpaca_messages("Add."))
    half = {"prompt": "Add 1 and 1.", "instruction": "Add.", "answer": "2"}
    assert example_of(half, "here") == Example("Add 1 and 1.", " 2")


@pytest.mark.parametrize("count", [2, 19, 40, 6000])
def test_a_tenth_is_held_out_and_a_tenth_kept_for_the_test(tmp_path, count):
    rows = [{"prompt": f"p{i}", "answer": "a"} for i in range(count)]
    path = as_csv(tmp_path / "a.csv", rows)
    task = load_task(path, split_seed=1)
    assert len(task.train) + len(task.held_out) + len(task.test) == count
    assert len(task.held_out) >= 1
    assert len(task.train) >= 1
    for part in (task.held_out, task.test):
        # Every prompt is drawn by itself: five standard deviations of a binomial count.
        assert abs(len(part) - count / 10) < 5 * (count * 0.09) ** 0.5
    assert load_task(path, split_seed=1) == task
    assert task.ends
    assert not task.plain_text
    assert count < 40 or load_task(path, split_seed=2).held_out != task.held_out


def test_a_file_may_have_fields_of_its_own(tmp_path):
    text = '{"id": 7, "prompt": "a", "answer": "b", "source": null}\n' + PAIR
    assert len(all_of(load(tmp_path, "a.jsonl", text))) == 2


def test_a_file_is_told_from_a_name(tmp_path, monkeypatch):
    write(tmp_path, "own.jsonl", f'{PAIR}\n{{"prompt": "a", "answer": "b"}}')
    monkeypatch.chdir(tmp_path)
    assert load_task("own.jsonl").name == "own.jsonl"
    assert load_task("./own.jsonl") == load_task("own.jsonl")
    (tmp_path / "addition").mkdir()
    assert load_task("addition").name == "addition"
    with pytest.raises(ValueError, match="there is no file missing/own"):
        load_task("missing/own")
