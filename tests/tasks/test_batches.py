"""Encoding and batches: only the answer is supervised, and nothing that counts sees the padding."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kinds_of_tokenizers import TOKENIZERS
from support.tiny import CONTEXT, FAMILIES, tiny, tiny_tokenizer
from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

from olora_viz.models import load_model
from olora_viz.tasks import TASKS, Example, batch_indices, collate, encode, load_task
from olora_viz.tasks.batches import packed
from olora_viz.tasks.encoding import Encoded


def merging_tokenizer(bos=False):
    """Four tokens, one of which reaches from a prompt's last letter to an answer's first."""
    core = Tokenizer(models.BPE({"a": 0, "b": 1, "c": 2, "bc": 3, "<s>": 4}, [("b", "c")]))
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 4)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>")


words = st.text("abcdefgh", min_size=1, max_size=6)
phrases = st.lists(words, min_size=1, max_size=4).map(" ".join)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(prompt=phrases, answer=phrases)
@settings(max_examples=40, deadline=None)
def test_what_is_given_is_the_prompt_and_what_is_supervised_is_the_answer(name, prompt, answer):
    tokenizer = TOKENIZERS[name]
    (encoded,) = encode([Example(prompt, f" {answer}")], tokenizer, context=200).kept
    bos = tokenizer("a")["input_ids"][:1] if name == "bos-and-eos" else []
    alone = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    whole = tokenizer(f"{prompt} {answer}", add_special_tokens=False)["input_ids"]
    assert list(encoded.ids) == bos + whole
    assert list(encoded.ids[: encoded.supervised_from]) == bos + alone


def test_a_token_that_reaches_over_the_border_is_supervised():
    (encoded,) = encode([Example("ab", "ca")], merging_tokenizer(), context=9).kept
    assert encoded.ids == (0, 3, 0)
    assert encoded.supervised_from == 1


def test_one_token_always_stays_in_front():
    (encoded,) = encode([Example("b", "ca")], merging_tokenizer(), context=9).kept
    assert (encoded.ids, encoded.supervised_from) == ((3, 0), 1)
    (encoded,) = encode([Example("b", "ca")], merging_tokenizer(bos=True), context=9).kept
    assert (encoded.ids, encoded.supervised_from) == ((4, 3, 0), 1)
    with pytest.raises(ValueError, match="example 'b' is a single token"):
        encode([Example("b", "c")], merging_tokenizer(), context=9)


def test_the_end_of_the_text_is_supervised_where_it_is_asked_for():
    tokenizer = tiny_tokenizer(eos_token="</s>")
    examples = [Example("abc", " d", (" d", " e"))]
    (bare,) = encode(examples, tokenizer, context=9).kept
    (ended,) = encode(examples, tokenizer, context=9, ends=True).kept
    assert ended.ids == (*bare.ids, tokenizer.eos_token_id)
    assert ended.supervised_from == bare.supervised_from
    end = (tokenizer.eos_token_id,)
    assert [one.ids for one in ended.choices] == [one.ids + end for one in bare.choices]
    (without,) = encode(examples, tiny_tokenizer(), context=9, ends=True).kept
    assert without == bare


def test_of_a_plain_text_every_token_but_the_first_is_supervised():
    _, tokenizer = load_model("glassllm")
    task = load_task("text")
    for encoded in encode(task.train[:9], tokenizer, context=128, plain_text=True).kept:
        assert encoded.supervised_from == 1
        assert collate([encoded], 0).targets.tolist() == list(encoded.ids[1:])


def test_choices_are_compared_from_one_place_on():
    # "b|c" is one token across the border, "b|a" is two: both are judged from the "b" on.
    example = Example("ab", "a", ("a", "ca"))
    (encoded,) = encode([example], merging_tokenizer(), context=9).kept
    assert [choice.ids for choice in encoded.choices] == [(0, 1, 0), (0, 3, 0)]
    assert [choice.supervised_from for choice in encoded.choices] == [1, 1]
    assert encoded.correct == 0


def test_choices_are_the_prompt_with_each_choice():
    _, tokenizer = load_model("glassllm")
    task = load_task("bigger")
    encoding = encode(task.held_out, tokenizer, context=128)
    for example, encoded in zip(encoding.examples, encoding.kept, strict=True):
        texts = [example.prompt + choice for choice in example.choices]
        assert [list(c.ids) for c in encoded.choices] == tokenizer(texts)["input_ids"]
        assert encoded.choices[encoded.correct].ids == encoded.ids
    bare = encode(task.held_out, tokenizer, context=128, choices=False)
    assert [e.ids for e in bare.kept] == [e.ids for e in encoding.kept]
    assert not any(e.choices for e in bare.kept)


def letters(count, line=0):
    return Example("a" * (count - 2), " b", line=line)


def test_an_example_beyond_the_context_is_an_error_that_names_it():
    tokenizer = tiny_tokenizer()
    encode([letters(32)], tokenizer, context=32)
    with pytest.raises(ValueError, match=r"line 7.* is 33 tokens long, more than the 32"):
        encode([letters(5), letters(33, line=7)], tokenizer, context=32)
    with pytest.raises(ValueError, match="is 33 tokens long, more than the 32"):
        encode([letters(32)], tiny_tokenizer(eos_token="</s>"), context=32, ends=True)
    choices = Example("abc", " d", (" d", " " + "e" * 40))
    with pytest.raises(ValueError, match="is 44 tokens long"):
        encode([choices], tokenizer, context=32)


def test_longer_than_the_maximum_is_left_out_and_counted():
    examples = [letters(5), letters(9), letters(40), letters(6)]
    encoding = encode(examples, tiny_tokenizer(), max_length=8, context=32)
    assert encoding.examples == (examples[0], examples[3])
    assert [len(e.ids) for e in encoding.kept] == [5, 6]
    assert encoding.left_out == 2
    with pytest.raises(ValueError, match="none of 4 examples is within 4 tokens: the shortest is 5"):
        encode(examples, tiny_tokenizer(), max_length=4, context=32)


@pytest.mark.parametrize("max_length", [0, 1, 33])
def test_a_maximum_lies_between_two_tokens_and_the_context(max_length):
    with pytest.raises(ValueError, match=f"max_length {max_length} is not between 2 and .* 32"):
        encode([letters(5)], tiny_tokenizer(), max_length=max_length, context=32)


def test_nothing_to_encode_is_an_error():
    with pytest.raises(ValueError, match="no example"):
        encode([], tiny_tokenizer(), context=32)


rows_of_ids = st.lists(st.lists(st.integers(3, 63), min_size=2, max_size=CONTEXT), min_size=1, max_size=6)


@given(ids=rows_of_ids, pad=st.integers(0, 63), cut=st.integers(0, CONTEXT))
@settings(max_examples=60, deadline=None)
def test_a_batch_holds_every_supervised_token_once(ids, pad, cut):
    rows = [Encoded(tuple(row), 1 + cut % (len(row) - 1)) for row in ids]
    batch = collate(rows, pad)
    count, width = batch.input_ids.shape
    assert count <= len(rows)
    assert width == max(len(e.ids) for e in rows) - 1  # the last token predicts nothing
    flat = batch.input_ids.flatten().tolist()
    for k, encoded in enumerate(rows):
        mine = batch.sequence == k
        assert batch.targets[mine].tolist() == list(encoded.ids[encoded.supervised_from :])
        for at, place in zip(
            batch.index[mine].tolist(), range(encoded.supervised_from, len(encoded.ids)), strict=True
        ):
            assert flat[at - at % width : at + 1] == list(encoded.ids[:place])


@given(ids=rows_of_ids)
@settings(max_examples=60, deadline=None)
def test_rows_are_as_few_as_can_be_and_no_row_is_the_front_of_another(ids):
    batch = collate([Encoded(tuple(row), 1) for row in ids], pad_id=-1)
    rows = [[i for i in row if i >= 0] for row in batch.input_ids.tolist()]
    assert all(a is b or a != b[: len(a)] for a in rows for b in rows)


def test_choices_that_differ_in_their_last_token_cost_one_row():
    example = Encoded((5, 6, 7), 2, choices=tuple(Encoded((5, 6, i), 2) for i in (7, 8, 9)))
    batch = collate([example, *example.choices], pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6]]
    assert batch.targets.tolist() == [7, 7, 8, 9]
    assert [len(part) for part in packed([example] * 5, most_rows=2)] == [2, 2, 1]


@given(ids=rows_of_ids, most=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_parts_hold_every_example_once_in_order_and_no_more_rows_than_allowed(ids, most):
    encoded = [Encoded(tuple(row), 1) for row in ids]
    parts = list(packed(encoded, most))
    assert [e for part in parts for e in part] == encoded
    assert all(collate(part, 0).input_ids.shape[0] <= most for part in parts)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_without_a_mask_has_the_losses_of_its_rows_alone(family):
    # The oracle is the model's own loss on each row alone, unpadded.
    model = tiny(family, torch.float64)
    generator = torch.Generator().manual_seed(0)
    rows = []
    for length in (3, 17, 9, 30):
        ids = torch.randint(3, 64, (length,), generator=generator).tolist()
        rows.append(Encoded(tuple(ids), length // 2))
    batch = collate(rows, pad_id=0)
    with torch.no_grad():
        logits = model(input_ids=batch.input_ids).logits.flatten(0, 1)[batch.index]
    losses = F.cross_entropy(logits, batch.targets, reduction="none")
    for k, encoded in enumerate(rows):
        ids = torch.tensor([encoded.ids])
        labels = ids.clone()
        labels[:, : encoded.supervised_from] = -100
        with torch.no_grad():
            alone = model(input_ids=ids, labels=labels).loss
        torch.testing.assert_close(losses[batch.sequence == k].mean(), alone.to(losses), rtol=1e-6, atol=0)


sizes = st.integers(1, 40)


@given(n=sizes, size=sizes, seed=st.integers(-5, 5), epochs=st.integers(1, 3))
@settings(deadline=None)
def test_every_epoch_is_a_permutation_whatever_the_batch_size(n, size, seed, epochs):
    steps = -(-n * epochs // size)
    dealt = [i for step in range(steps) for i in batch_indices(n, size, seed, step)]
    assert len(dealt) == steps * size
    for epoch in range(epochs):
        assert sorted(dealt[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(n=sizes, size=sizes, seed=st.integers(0, 5), step=st.integers(0, 50))
@settings(deadline=None)
def test_a_batch_depends_on_its_step_alone(n, size, seed, step):
    once = batch_indices(n, size, seed, step)
    batch_indices(n, size, seed + 1, 0)
    batch_indices(n + 1, size, seed, step + 3)
    assert batch_indices(n, size, seed, step) == once


def test_epochs_and_seeds_differ():
    epochs = {tuple(batch_indices(100, 100, seed, step)) for seed in range(3) for step in range(3)}
    assert len(epochs) == 9


def test_the_order_is_the_same_on_every_machine():
    assert batch_indices(10, 5, seed=0, step=0) == [0, 9, 8, 1, 7]
    assert batch_indices(10, 5, seed=0, step=1) == [6, 3, 2, 4, 5]


@pytest.mark.parametrize(("n", "size", "step"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_an_impossible_batch_is_an_error(n, size, step):
    with pytest.raises(ValueError, match="a batch needs an example"):
        batch_indices(n, size, 0, step)


@pytest.mark.parametrize("name", [name for name, card in TASKS.items() if card.offline])
def test_no_built_in_example_is_left_out(name):
    task = load_task(name)
    encoding = encode(task.train, load_model("glassllm")[1], context=128, plain_text=task.plain_text)
    assert encoding.left_out == 0
    assert encoding.examples == task.train
