"""A visitor's own examples before the race: the formats, their tokens, and what is supervised."""

import html
import json
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kinds_of_tokenizers import TOKENIZERS
from support.task_files import write
from support.tiny import tiny_folder
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from olora_viz.models import load_model
from olora_viz.models import loading as tokenizers
from olora_viz.tasks import Example, encode
from olora_viz.tasks.encoding import pieces_of
from olora_viz.tasks.files import FILE_FORMATS, read_examples
from olora_viz.tasks.rows import all_answers
from olora_viz.views import runs as own_examples
from olora_viz.views.runs import preview
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import VisitorFiles
from olora_viz.web.race.settings import bring, sample

letters = st.text("abcdefgh", min_size=1, max_size=6)
phrases = st.lists(letters, min_size=1, max_size=4).map(" ".join)
anything = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ONE_BYTE_EACH = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(BPE({c: k for k, c in enumerate(ByteLevel.alphabet())}, []))
)
ONE_BYTE_EACH.backend_tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
ROWS = [{"prompt": f"<b>{k}</b> &", "answer": f"<i>{k}"} for k in range(12)]
TEXT = "\n".join(map(json.dumps, ROWS))
SPOKEN = (("user", "one and three?"), ("assistant", "four"), ("user", "and two?"), ("assistant", "six"))


def boxes(shown: str, tag: str) -> list[str]:
    """Return the texts in a preview's tags of one kind, with the legend's."""
    return [html.unescape(text) for text in re.findall(f"<{tag}>(.*?)</{tag}>", shown, re.S)]


@pytest.mark.parametrize("shown", FILE_FORMATS, ids=lambda shown: shown.title)
def test_every_format_on_the_page_is_one_that_is_read(tmp_path, shown):
    examples = read_examples(write(tmp_path, f"a{shown.ending}", shown.example))
    assert examples
    is_plain = '"text"' in shown.example
    assert all(bool(example.prompt) != is_plain and example.answer.strip() for example in examples)
    page = bring(Limits()).html_template
    assert html.escape(shown.example) in page.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")


@pytest.mark.parametrize("name", TOKENIZERS)
@given(prompt=phrases, answer=phrases, ends=st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_pieces_of_an_example_are_its_tokens_and_join_to_its_text(name, prompt, answer, ends):
    tokenizer = TOKENIZERS[name]
    example = Example(prompt, f" {answer}")
    pieces = pieces_of(example, tokenizer, ends=ends)
    (encoded,) = encode([example], tokenizer, context=sys.maxsize, ends=ends).kept
    assert [piece.supervised for piece in pieces] == [at >= encoded.supervised_from for at in range(len(encoded.ids))]
    special = {str(token) for token in tokenizer.all_special_tokens}
    texts = [piece.text for piece in pieces]
    first, last = texts[0] in special, ends and tokenizer.eos_token is not None
    assert "".join(texts[first : len(texts) - last]) == example.prompt + example.answer
    assert not last or texts[-1] == tokenizer.eos_token


@given(text=anything)
@settings(max_examples=40, deadline=None)
def test_a_character_of_several_tokens_is_written_once(text):
    example = Example("a", f" {text}")
    texts = [piece.text for piece in pieces_of(example, ONE_BYTE_EACH)]
    assert "".join(texts) == example.prompt + example.answer
    assert len(texts) == len((example.prompt + example.answer).encode())


def test_a_preview_of_conversations_counts_them_and_highlights_each_answer_of_the_assistant_once(tmp_path):
    said = {"messages": [{"role": role, "content": text} for role, text in SPOKEN]}
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, [said, said, ROWS[0]])))
    examples = all_answers(read_examples(path))
    shown = preview(examples, TOKENIZERS["glassllm"], model="glassllm", longest=128)
    assert "3 conversations, 5 examples: all answers are learned, or the last judged." in shown
    marked = ["".join(boxes(part, "mark")) for part in shown.split('class="tokens')[1:]]
    assert marked == [f" {answer}<eos>" for answer in ("four", "six", "four")]
    assert "conversation" not in preview(examples[-1:], TOKENIZERS["glassllm"], model="glassllm", longest=128)


@pytest.mark.parametrize("name", ["glassllm", None])
def test_a_preview_shows_every_right_answer_and_highlights_the_one_that_is_learned(tmp_path, name):
    rows = [{"prompt": "one and three make", "answers": ["four", "<4>", "IV", "five less one", "4.0"]}, ROWS[0]]
    examples = read_examples(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    shown = preview(examples, TOKENIZERS[name] if name else None, model="glassllm", longest=128)
    words = "; a metric also accepts “&lt;4&gt;”, “IV”, “five less one” and 1 more"
    assert shown.count(words) == shown.count("accepts") == 1
    assert "four" in "".join(boxes(shown, "mark"))
    assert "IV" not in "".join(boxes(shown, "mark") + boxes(shown, "span"))


def test_an_unknown_character_is_shown_as_the_model_reads_it_and_said():
    tokenizer = tokenizers.tokenizer_here("glassllm")
    assert tokenizer is not None
    examples = [Example("one + one make", " two", line=1), Example("one", " two", line=2)]
    assert tokenizer.unk_token in [piece.text for piece in pieces_of(examples[0], tokenizer)]
    shown = preview(examples, tokenizer, model="glassllm", longest=128)
    assert "<unk>" in boxes(shown, "span")
    assert shown.count("does not know") == 1


@given(texts=st.lists(st.tuples(anything, anything), min_size=2, max_size=5), told=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_preview_escapes_all_and_highlights_exactly_what_is_supervised(texts, told):
    examples = [Example(p, f" {a}", line=k) for k, (p, a) in enumerate(texts, start=1)]
    tokenizer = TOKENIZERS["glassllm"] if told else None
    shown = preview(examples[::-1], tokenizer, model="glassllm", longest=128)
    assert set(re.findall(r"<(\w+)", shown)) <= {"div", "p", "mark", "span", "details", "summary"}
    marked, plain = boxes(shown, "mark")[1:], boxes(shown, "span")
    wanted: dict[bool, list[str]] = {True: [], False: []}
    for example in examples[: own_examples.RUNS_SHOWN]:
        if tokenizer is None:
            wanted[False].append(example.prompt)
            wanted[True].append(example.answer)
        else:
            for piece in pieces_of(example, tokenizer, ends=True):
                wanted[piece.supervised].append(piece.text or "·")
    assert marked == [text.replace("\n", "↵\n") for text in wanted[True]]
    assert plain == [text.replace("\n", "↵\n") for text in wanted[False]]


@pytest.mark.parametrize("told", [True, False])
def test_a_long_example_is_shortened_counted_and_said_to_be_left_out(told):
    examples = [Example("a b " * 900, " c d" * 900, line=line) for line in (1, 2)]
    tokenizer = TOKENIZERS["glassllm"] if told else None
    shown = preview(examples, tokenizer, model="glassllm", longest=128)
    assert len(shown) < 6000
    if tokenizer is not None:
        pieces = pieces_of(examples[0], tokenizer, ends=True)
        assert f"{len(pieces)} tokens, {sum(p.supervised for p in pieces)} supervised" in shown
        assert "a race leaves out examples of more than 128" in shown
        # Every token is a box, or counted among those that are left out.
        left_out = sum(map(int, re.findall(r"… (\d+) more …", shown)))
        assert len(boxes(shown, "mark")[1:] + boxes(shown, "span")) + left_out == 2 * len(pieces)


def test_a_tokenizer_on_this_machine_is_that_of_the_race_and_none_is_fetched(tmp_path, monkeypatch):
    text = "The tea was horrid and cold."
    ours = tokenizers.tokenizer_here("glassllm")
    assert ours is not None
    assert ours(text)["input_ids"] == load_model("glassllm")[1](text)["input_ids"]

    def refused(*args, **more):
        raise AssertionError("nothing may be asked of the hub")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refused)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refused)
    monkeypatch.setattr("socket.socket.connect", refused)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("OLORA_VIZ_CACHE", str(tmp_path / "empty"))
    for absent in ("gpt2", "smollm2-135m"):
        tokenizers._found.cache_clear()
        assert tokenizers.tokenizer_here(absent) is None
    folder = tmp_path / "models--openai-community--gpt2" / "snapshots" / "one"
    tiny_folder("gpt2", folder)
    found = tokenizers.tokenizer_here("gpt2")  # it has come since, by a race
    tokenizers._found.cache_clear()
    assert found is not None
    assert found("ab")["input_ids"] == load_model(str(folder))[1]("ab")["input_ids"]


def test_the_page_shows_examples_of_its_own_file_alone_by_the_model_that_it_has_chosen():
    limits = Limits(models=("glassllm", "glassllm-pt"))
    files = VisitorFiles(limits)
    found = files.bring("mine", "a.jsonl", TEXT)
    shown = {model: sample(limits, files, "mine", model, found.token) for model in limits.models}
    assert shown["glassllm"] != shown["glassllm-pt"]
    for model, part in shown.items():
        assert model in part
        assert "<b>" not in part
        assert len(re.findall(r"Line \d+", part)) == 3
    chat = sample(limits, files, "mine", "glassllm", found.token, {"chat": "1"})
    assert "has no chat template" in chat
    for sent in ({"chat": "yes"}, {"chat": ["1"]}, ["chat"], "1", None):
        asked = sample(limits, files, "mine", "glassllm", found.token, sent)
        assert asked == shown["glassllm"]
    for page, model, task in [
        ("other", "glassllm", found.token), (None, "glassllm", found.token),
        ("mine", "gpt2", found.token), ("mine", "/etc", found.token), ("mine", None, found.token),
        ("mine", ["glassllm"], found.token), ("mine", "glassllm", found.token[:-1]),
        ("mine", "glassllm", str(found.path)), ("mine", "glassllm", None),
        ("mine", "glassllm", ["addition"]),
    ]:  # fmt: skip
        assert sample(limits, files, page, model, task) == ""
    assert "make" not in sample(limits, files, "mine", None, "addition")
    assert sample(limits, files, "mine", None, "addition")
    files.forget("mine")
    assert sample(limits, files, "mine", "glassllm", found.token) == ""
