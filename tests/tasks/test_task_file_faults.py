"""Task files with faults: one sentence each, with the line and the rule."""

import gzip
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.task_files import PAIR, load

from olora_viz.tasks import files as task_files
from olora_viz.tasks import load_task

ALPACA = '{"instruction": "Add.", "input": "1 1", "output": "2"}'


def chat(*messages):
    """A row of chat messages on the second line of a file."""
    return "a.jsonl", f'{PAIR}\n{{"messages": {json.dumps(messages)}}}'


ASKED = {"role": "user", "content": "1 + 1?"}
SAID = {"role": "assistant", "content": "2"}
FAULTS = {
    "nothing in it": ("a.jsonl", "", "a.jsonl is empty"),
    "blank lines only": ("a.csv", " \n\n", "a.csv is empty"),
    "an ending that nobody knows": ("a.txt", "a", "a.txt ends in '.txt', not in one of .json, "),
    "an archive": ("a.zip", "PK\3\4", "a.zip ends in '.zip', not in one of .json, .jsonl, .csv: unpack it$"),
    "an archive by another name": ("a.jsonl", "PK\3\4\24\0", "a.jsonl is a zip archive, .*: unpack it, or save "),
    "no ending": ("a", "a", "a has no ending: a task file has one of .json, "),
    "UTF-16": ("a.jsonl", PAIR.encode("utf-16").decode("latin-1"), "a.jsonl is not UTF-8 text: if it is UTF-16, "),
    "a spreadsheet's semicolons": ("a.csv", "prompt;answer\na;b", "has no comma: .* by commas, not ';'"),
    "tabs": ("a.csv", "prompt\tanswer\na\tb", "has no comma: separate its cells by commas, not "),
    "JSON cut off": ("a.jsonl", PAIR + '\n{"prompt": "a",', "line 2 of .* is invalid JSON: "),
    "JSON without a quote": ("a.json", '[\n{"prompt: 1}\n]', "line 2 of .* is invalid JSON: "),
    "a text not closed": ("a.jsonl", '{"prompt": "c', "line 1 of .*: unterminated string starting at column 12$"),
    "a comma too few": ("a.json", f"[{PAIR}\n{PAIR}]", "line 2 of .*: expected a comma or ]"),
    "a comma too many": ("a.json", f"[{PAIR},\n]", "line 2 of .* is invalid JSON: expecting value"),
    "a list not closed": ("a.json", f"[{PAIR}\n", "line 2 of .*: expected a comma or ]"),
    "words after the list": ("a.json", f"[{PAIR}]\nx", "unexpected text after the list"),
    "words after the object": ("a.jsonl", f"{PAIR} 5", "line 1 .*: unexpected text after the object"),
    "no list": ("a.json", PAIR, "holds an object, not a list of objects .* .jsonl file"),
    "a text": ("a.json", '"a"', "holds a text, not a list"),
    "a number for a row": ("a.json", f"[{PAIR},\n 5]", "line 2 of .* holds a number, not an object"),
    "a list for a row": ("a.jsonl", f"{PAIR}\n[]", "line 2 of .* holds a list, not an object"),
    "lists too deep": ("a.jsonl", f"{PAIR}\n{'[' * 99999}", "line 2 of .* nested too deeply"),
    "a number too long": ("a.jsonl", f"{PAIR}\n{'1' * 9999}", "line 2 of .* a number is too long"),
    "a field missing": ("a.jsonl", f'{PAIR}\n{{"prompt": "a"}}', "line 2 .*the fields are 'prompt', and a row needs"),
    "no field": ("a.jsonl", f"{PAIR}\n{{}}", "line 2 of .*: there are no fields, and a row needs "),
    "fields of no kind": (
        "a.csv",
        "source,target\na,b",
        "line 1 of .*: the fields are 'source', 'target', and a row ",
    ),
    "a completion misspelt": (
        "a.jsonl",
        '{"prompt": "a", "compleiton": "b"}',
        "'completion' is missing; is it 'compleiton'",
    ),
    "an empty text": ("a.jsonl", '{"text": "A fox."}\n{"text": ""}', "line 2 of .*: the field 'text' is empty"),
    "a text that is none": ("a.jsonl", '{"text": 7}', "line 1 of .*: the field 'text' is not a text but 7"),
    "a text with a label": (
        "a.csv",
        "text,label\na,b",
        "line 1 of .*: 'text' beside 'label' is no plain text; call them",
    ),
    "a text with a prompt": ("a.csv", "prompt,text\na,b", "line 1 of .*: 'text' beside 'prompt' is no plain text"),
    "texts and prompts": (
        "a.jsonl",
        f'{PAIR}\n{{"text": "A fox."}}',
        "a.jsonl has plain texts, 1, beside 1 prompts with answers",
    ),
    "one text": ("a.csv", "text\na fox\na fox", "a.csv has the same text on every line"),
    "a field misspelt": ("a.jsonl", '{"prompt": "a", "anwser": "b"}', "'answer' .*; is it 'anwser'"),
    "a choice misspelt": (
        "a.jsonl",
        '{"prompt": "a", "answer": "b", "choises": ["b", "c"]}',
        "line 1 of .*: unknown field 'choises'; did you mean 'choices'",
    ),
    "Alpaca misspelt": ("a.json", f'[{ALPACA},\n{{"instruction": "a", "outptu": "b"}}]', "line 2 .*is it 'outptu'"),
    "a column misspelt": ("a.csv", "promt,answer\na,b", "line 1 of .*'prompt' is missing; is it 'promt'"),
    "two columns of one name": ("a.csv", "prompt,prompt\na,b", "line 1 of .*the same name"),
    "a wrong type": ("a.jsonl", '{"prompt": "a", "answer": 7}', "line 1 .*'answer' is not a text but 7"),
    "choices that are no list": (
        "a.jsonl",
        '{"prompt": "a", "answer": "b", "choices": "b|c"}',
        "line 1 of .*'choices' is not a list of texts but 'b|c'",
    ),
    "one choice": ("a.csv", "prompt,answer,choices\na,b,b", "line 2 of .*two or more different texts"),
    "a choice twice": ("a.csv", "prompt,answer,choices\na,b,b|b", "line 2 of .*two or more different"),
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
        f'[{ALPACA},\n{{"instruction": "a", "output": "eyes", "answer": "yes", "choices": ["yes", "no"]}}]',
        "line 2 of .*the answer 'yes' does not occur as a word in the output 'eyes'",
    ),
    "an empty answer": ("a.jsonl", f'{PAIR}\n{{"prompt": "a", "answer": " "}}', "line 2 .*'answer' is empty"),
    "an empty prompt": ("a.csv", "prompt,answer\na,b\n ,c", "line 3 of .*the field 'prompt' is empty"),
    "an empty output": ("a.json", '[{"instruction": "a", "output": ""}]', "line 1 .*'output' is empty"),
    "an empty question": ("a.csv", "question,answer\na,b\n ,c", "line 3 of .*the field 'question' is empty"),
    "messages misspelt": (
        "a.jsonl",
        f'{PAIR}\n{{"mesages": []}}',
        "line 2 of .*'messages' is missing; is it 'mesages'",
    ),
    "messages that are no list": (
        "a.jsonl",
        f'{PAIR}\n{{"messages": "hi"}}',
        "line 2 of .*'messages' is not a list but 'hi'",
    ),
    "a talk without an end": (
        *chat(*[ASKED, SAID] * 129),
        "line 2 of .*: the field 'messages' has 258 messages, at most ",
    ),
    "no message": (*chat(), r"line 2 of .*needs a message and the assistant's answer.* not \[\]"),
    "an answer to nothing": (*chat(SAID), "line 2 of .*needs a message and the assistant's answer"),
    "a message that is no object": (
        *chat("hi", SAID),
        "line 2 of .*, message 1 is not an object with 'role' and 'content' but 'hi'",
    ),
    "a message of nobody": (
        *chat({"content": "hi"}, SAID),
        "line 2 of .*, message 1: the field 'role' is missing in {'content': 'hi'}",
    ),
    "a message without words": (
        *chat(ASKED, {"role": "assistant"}),
        "line 2 of .*, message 2: the field 'content' is missing in {'role': 'assistant'}",
    ),
    "an empty message": (
        *chat({**ASKED, "content": " "}, SAID),
        "line 2 of .*, message 1: the field 'content' is empty",
    ),
    "a message in parts": (
        *chat({**ASKED, "content": [{"type": "text", "text": "hi"}]}, SAID),
        "line 2 of .*, message 1: the field 'content' is not a text but",
    ),
    "a role that nobody knows": (
        *chat({**ASKED, "role": "tool"}, SAID),
        "line 2 of .*, message 1: the role is one of system, user, assistant, not 'tool'",
    ),
    "a role that is no text": (
        *chat({**ASKED, "role": ["user"]}, SAID),
        "line 2 of .*, message 1: the role is one of system, user, assistant, not",
    ),
    "a chat without an answer": (*chat(ASKED, ASKED), "line 2 of .*needs a message and the assistant's answer to it"),
    "a system message in the middle": (
        *chat(ASKED, SAID, {**ASKED, "role": "system"}, SAID),
        "line 2 of .*, message 3: it is the turn of 'user', not of 'system'; after at most one system message, user ",
    ),
    "an answer without a question": (*chat(SAID, ASKED, SAID), "message 1: it is the turn of 'user', not of 'assis"),
    "two answers": (*chat(ASKED, SAID, SAID), "line 2 of .*, message 3: it is the turn of 'user', not of 'assistant'"),
    "two questions": (*chat(ASKED, ASKED, SAID), "line 2 of .*, message 2: it is the turn of 'assistant', not of 'us"),
    "an empty turn of a conversation": (
        "a.jsonl",
        f'{PAIR}\n{{"conversations": [{{"from": "human", "value": " "}}]}}',
        "line 2 of .*, message 1: the field 'value' is empty",
    ),
    "a preference without its rejected answer": (
        "a.jsonl",
        f'{PAIR}\n{{"prompt": "a", "chosen": "b"}}',
        "line 2 of .*the field 'rejected' is missing$",
    ),
    "a preference of one answer": (
        "a.jsonl",
        f'{PAIR}\n{{"prompt": "a", "chosen": "b", "rejected": "b"}}',
        "'chosen' and 'rejected' are the same",
    ),
    "messages in a CSV": ("a.csv", "messages\na", "line 1 of .*: a CSV cannot hold 'messages', which are lists"),
    "half a character": ("a.jsonl", '{"prompt": "a", "answer": "\\ud800"}', "line 1 .*half a character"),
    "a cell too many": ("a.csv", "prompt,answer\na,b,c", "line 2 of .*3 cells, the header names 2"),
    "a quote not closed": ("a.csv", 'prompt,answer\na,b\n"c\nd', "line 3 of .* is invalid CSV"),
    "a cell too long": ("a.csv", f"prompt,answer\n{'a' * 200_000},b", "line 2 of .* is invalid CSV"),
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
    for name in ("nowhere.csv", "link.csv"):
        (tmp_path / "link.csv").unlink(missing_ok=True)
        (tmp_path / "link.csv").symlink_to(name)
        with pytest.raises(ValueError, match=rf"link\.csv is a link to '{name}', where there is no file"):
            load_task(tmp_path / "link.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="is not a readable file"):
        load_task(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="cannot be read: File name too long"):
        load_task("a" * 300 + ".csv")


def test_bytes_that_are_no_text_are_said_by_line(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"prompt,answer\na,b\nc,caf\xe9\n")
    with pytest.raises(ValueError, match=r"line 3 of .*a\.csv is not UTF-8 text"):
        load_task(tmp_path / "a.csv")


def test_a_compressed_file_by_another_name_is_to_be_unpacked(tmp_path):
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"prompt,answer\na,b\n"))
    with pytest.raises(ValueError, match=r"a\.csv is compressed by gzip: unpack it$"):
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
