"""The user's own file: every format gives the same examples, every fault one sentence by line."""

import csv
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olora_viz.tasks import Example, load_task
from olora_viz.tasks import files as task_files
from olora_viz.tasks.rows import alpaca_prompt, example_of

PAIR = '{"prompt": "one and one make", "answer": "two"}'
ALPACA = '{"instruction": "Add.", "input": "1 1", "output": "2"}'


def all_of(task):
    return sorted(task.examples, key=lambda example: example.line)


def write(folder, name, content):
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return path


def load(folder, name, content):
    return load_task(write(folder, name, content))


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


def test_lines_are_those_on_which_rows_begin(tmp_path):
    row = '{"prompt":\n "p%d",\n "answer": "a"}'
    task = load(tmp_path, "a.json", "\n[\n" + ",\n\n".join(row % i for i in range(3)) + "\n]\n")
    assert [e.line for e in all_of(task)] == [3, 7, 11]
    task = load(tmp_path, "a.jsonl", '\n{"prompt": "a", "answer": "b"}\n\n' + PAIR)
    assert [e.line for e in all_of(task)] == [2, 4]
    task = load(tmp_path, "a.csv", 'prompt,answer\r\n"a\r\nb",c\r\n\r\nd,"e, ""f"""\r\n')
    assert [(e.line, e.prompt, e.answer) for e in all_of(task)] == [
        (2, "a\r\nb", " c"),
        (5, "d", ' e, "f"'),
    ]


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
    assert example_of(row, "here") == Example(alpaca_prompt("Add.", "1 and 1"), "It is 2.")
    without = {"instruction": "Add.", "input": "", "output": "It is 2.", "answer": None}
    assert example_of(without, "here") == Example(alpaca_prompt("Add."), "It is 2.")
    decided = {**row, "answer": "2"}
    assert example_of(decided, "here") == example_of(row, "here")
    assert "### Input:\n1 and 1\n" in alpaca_prompt("Add.", "1 and 1")
    assert "Input" not in alpaca_prompt("Add.")


def test_an_instruction_that_lists_its_answers_is_multiple_choice():
    row = {
        "instruction": "Which is warm?\n\nAnswer1: ice Answer2: fire\n\n"
        "Answer format: answer1/answer2",
        "input": "",
        "output": "the correct answer is answer2",
        "answer": "answer2",
    }
    assert example_of(row, "here").choices == (
        "the correct answer is answer1",
        "the correct answer is answer2",
    )
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


def test_a_row_that_is_both_kinds_is_an_alpaca_row():
    row = {"prompt": "Add 1 and 1.", "instruction": "Add.", "output": "It is 2.", "answer": "2"}
    assert example_of(row, "here") == Example(alpaca_prompt("Add."), "It is 2.")
    half = {"prompt": "Add 1 and 1.", "instruction": "Add.", "answer": "2"}
    assert example_of(half, "here") == Example("Add 1 and 1.", " 2")


@pytest.mark.parametrize("count", [2, 19, 40, 6000])
def test_a_tenth_is_held_out_and_a_tenth_kept_for_the_test(tmp_path, count):
    rows = [{"prompt": f"p{i}", "answer": "a"} for i in range(count)]
    path = as_csv(tmp_path / "a.csv", rows)
    task = load_task(path, seed=1)
    assert len(task.train) + len(task.held_out) + len(task.test) == count
    assert len(task.held_out) >= 1
    assert len(task.train) >= 1
    for part in (task.held_out, task.test):
        # Every prompt is drawn by itself: five standard deviations of a binomial count.
        assert abs(len(part) - count / 10) < 5 * (count * 0.09) ** 0.5
    assert load_task(path, seed=1) == task
    assert task.ends
    assert not task.plain_text
    assert count < 40 or load_task(path, seed=2).held_out != task.held_out


def test_a_file_may_have_fields_of_its_own(tmp_path):
    text = '{"id": 7, "prompt": "a", "answer": "b", "source": null}\n' + PAIR
    assert len(all_of(load(tmp_path, "a.jsonl", text))) == 2


FAULTS = {
    "nothing in it": ("a.jsonl", "", "a.jsonl is empty"),
    "blank lines only": ("a.csv", " \n\n", "a.csv is empty"),
    "an ending that nobody knows": ("a.txt", "a", "a.txt ends in '.txt', not in one of .json, "),
    "JSON cut off": ("a.jsonl", PAIR + '\n{"prompt": "a",', "line 2 of .* is invalid JSON: "),
    "JSON without a quote": ("a.json", '[\n{"prompt: 1}\n]', "line 2 of .* is invalid JSON: "),
    "a comma too few": ("a.json", f"[{PAIR}\n{PAIR}]", "line 2 of .*: expected a comma or ]"),
    "a comma too many": ("a.json", f"[{PAIR},\n]", "line 2 of .* is invalid JSON: expecting value"),
    "a list not closed": ("a.json", f"[{PAIR}\n", "line 2 of .*: expected a comma or ]"),
    "words after the list": ("a.json", f"[{PAIR}]\nx", "unexpected text after the list"),
    "words after the object": (
        "a.jsonl",
        f"{PAIR} 5",
        "line 1 .*: unexpected text after the object",
    ),
    "no list": ("a.json", PAIR, "holds an object, not a list of objects .* .jsonl file"),
    "a text": ("a.json", '"a"', "holds a text, not a list"),
    "a number for a row": (
        "a.json",
        f"[{PAIR},\n 5]",
        "line 2 of .* holds a number, not an object",
    ),
    "a list for a row": ("a.jsonl", f"{PAIR}\n[]", "line 2 of .* holds a list, not an object"),
    "lists too deep": ("a.jsonl", f"{PAIR}\n{'[' * 99999}", "line 2 of .* nested too deeply"),
    "a number too long": ("a.jsonl", f"{PAIR}\n{'1' * 9999}", "line 2 of .* a number is too long"),
    "a field missing": (
        "a.jsonl",
        f'{PAIR}\n{{"prompt": "a"}}',
        "line 2 .*'answer' is missing; the",
    ),
    "no field": ("a.jsonl", f"{PAIR}\n{{}}", "line 2 of .*: the field 'prompt' is missing"),
    "a field misspelt": (
        "a.jsonl",
        '{"prompt": "a", "anwser": "b"}',
        "'answer' .*; is it 'anwser'",
    ),
    "a choice misspelt": (
        "a.jsonl",
        '{"prompt": "a", "answer": "b", "choises": ["b", "c"]}',
        "line 1 of .*: unknown field 'choises'; did you mean 'choices'",
    ),
    "Alpaca misspelt": (
        "a.json",
        f'[{ALPACA},\n{{"instruction": "a", "outptu": "b"}}]',
        "line 2 .*is it 'outptu'",
    ),
    "a column misspelt": (
        "a.csv",
        "promt,answer\na,b",
        "line 1 of .*'prompt' is missing; is it 'promt'",
    ),
    "two columns of one name": ("a.csv", "prompt,prompt\na,b", "line 1 of .*the same name"),
    "a wrong type": (
        "a.jsonl",
        '{"prompt": "a", "answer": 7}',
        "line 1 .*'answer' is not a text but 7",
    ),
    "choices that are no list": (
        "a.jsonl",
        '{"prompt": "a", "answer": "b", "choices": "b|c"}',
        "line 1 of .*'choices' is not a list of texts but 'b|c'",
    ),
    "one choice": (
        "a.csv",
        "prompt,answer,choices\na,b,b",
        "line 2 of .*two or more different texts",
    ),
    "a choice twice": (
        "a.csv",
        "prompt,answer,choices\na,b,b|b",
        "line 2 of .*two or more different",
    ),
    "an empty choice": ("a.csv", "prompt,answer,choices\na,b,b|", "line 2 of .*none empty"),
    "an answer that is no choice": (
        "a.csv",
        "prompt,answer,choices\na,b,b|c\nd,e,b|c",
        "line 3 of .*the answer 'e' is not among its choices",
    ),
    "a key that the output lacks": (
        "a.json",
        '[{"instruction": "a", "output": "x", "answer": "b", "choices": ["b", "c"]}]',
        "line 1 of .*the answer 'b' does not occur as a word in the output 'x'",
    ),
    "a key that the output has within a word only": (
        "a.json",
        f'[{ALPACA},\n{{"instruction": "a", "output": "eyes", "answer": "yes", '
        '"choices": ["yes", "no"]}]',
        "line 2 of .*the answer 'yes' does not occur as a word in the output 'eyes'",
    ),
    "an empty answer": (
        "a.jsonl",
        f'{PAIR}\n{{"prompt": "a", "answer": " "}}',
        "line 2 .*'answer' is empty",
    ),
    "an empty prompt": (
        "a.csv",
        "prompt,answer\na,b\n ,c",
        "line 3 of .*the field 'prompt' is empty",
    ),
    "an empty output": (
        "a.json",
        '[{"instruction": "a", "output": ""}]',
        "line 1 .*'output' is empty",
    ),
    "half a character": (
        "a.jsonl",
        '{"prompt": "a", "answer": "\\ud800"}',
        "line 1 .*half a character",
    ),
    "a cell too many": ("a.csv", "prompt,answer\na,b,c", "line 2 of .*3 cells, the header names 2"),
    "a quote not closed": ("a.csv", 'prompt,answer\na,b\n"c\nd', "line 3 of .* is invalid CSV"),
    "a cell too long": (
        "a.csv",
        f"prompt,answer\n{'a' * 200_000},b",
        "line 2 of .* is invalid CSV",
    ),
    "one example": ("a.jsonl", PAIR, "too few examples, 1: at least two"),
    "a header alone": ("a.csv", "prompt,answer\n", "too few examples, 0: at least two"),
    "one prompt": ("a.jsonl", f"{PAIR}\n{PAIR}", "the same prompt on every line"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_that_names_the_file_and_the_rule(tmp_path, fault):
    name, content, rule = FAULTS[fault]
    with pytest.raises(ValueError, match=rule) as caught:
        load(tmp_path, name, content)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 200


def test_what_is_no_file_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*nothing\.csv"):
        load_task(tmp_path / "nothing.csv")
    with pytest.raises(ValueError, match="is a folder; a task is a file"):
        load_task(str(tmp_path))
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="is not a readable file"):
        load_task(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="cannot be read: File name too long"):
        load_task("a" * 300 + ".csv")


def test_bytes_that_are_no_text_are_said_by_line(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"prompt,answer\na,b\nc,caf\xe9\n")
    with pytest.raises(ValueError, match=r"line 3 of .*a\.csv is not UTF-8 text"):
        load_task(tmp_path / "a.csv")


def test_too_large_a_file_is_not_read(tmp_path):
    with (tmp_path / "a.csv").open("wb") as file:
        file.truncate(task_files.MAX_BYTES + 1)
    with pytest.raises(ValueError, match="is too large: 67,108,865 bytes, at most 67,108,864"):
        load_task(tmp_path / "a.csv")


@given(st.binary(max_size=60), st.sampled_from([".json", ".jsonl", ".csv"]))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_task_or_one_sentence(tmp_path_factory, content, ending):
    path = tmp_path_factory.getbasetemp() / f"any{ending}"
    path.write_bytes(content)
    fault = None
    try:
        load_task(path)
    except ValueError as error:
        fault = error
    assert fault is None or type(fault) is ValueError
    assert fault is None or path.name in str(fault)


def test_a_file_is_told_from_a_name(tmp_path, monkeypatch):
    write(tmp_path, "own.jsonl", f'{PAIR}\n{{"prompt": "a", "answer": "b"}}')
    monkeypatch.chdir(tmp_path)
    assert load_task("own.jsonl").name == "own.jsonl"
    assert load_task("./own.jsonl") == load_task("own.jsonl")
    (tmp_path / "addition").mkdir()
    assert load_task("addition").name == "addition"
    with pytest.raises(ValueError, match="there is no file missing/own"):
        load_task("missing/own")
