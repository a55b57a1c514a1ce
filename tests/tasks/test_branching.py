"""Choices that share the row of their example are scored as if each had a row of its own."""

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import CONTEXT, FAMILIES, VOCABULARY, tiny

from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane
from olora_viz.tasks.batches import collate_examples, packed, packed_size
from olora_viz.tasks.encoding import Encoded
from olora_viz.tasks.evaluation import evaluate
from olora_viz.tasks.losses import can_branch


def asked(prompt: list[int], *choices: list[int]) -> Encoded:
    """An example whose first choice is right."""
    ids = [tuple(prompt + choice) for choice in choices]
    options = tuple(Encoded(its, len(prompt), characters=3) for its in ids)
    return Encoded(ids[0], len(prompt), options, 0)


def examples(longest: int) -> list[Encoded]:
    """Examples with three choices of two tokens after prompts of some lengths."""
    drawn = torch.Generator().manual_seed(0)

    def some(n: int) -> list[int]:
        return torch.randint(3, VOCABULARY, (n,), generator=drawn).tolist()

    lengths = (longest - 2, 5, longest - 3, 6, 5)
    return [asked(some(n), *(some(2) for _ in range(3))) for n in lengths]


tokens = st.lists(st.integers(3, 6), min_size=1, max_size=4)
questions = st.lists(
    st.builds(lambda prompt, its: asked(prompt, *its), tokens, st.lists(tokens, min_size=2)), min_size=1, max_size=4
)


@given(its=questions)
@settings(max_examples=80, deadline=None)
def test_every_supervised_token_sees_what_precedes_it_and_nothing_else(its):
    batch = collate_examples(its, 0, branching=True)
    sequences = [s for e in its for s in (e, *e.choices)]
    rows, width = batch.input_ids.shape
    assert (rows, width, len(batch.index)) <= packed_size(its, rows, branching=True)
    assert batch.positions is not None
    assert batch.seen is not None
    for k, sequence in enumerate(sequences):
        mine = batch.sequence == k
        assert batch.targets[mine].tolist() == list(sequence.ids[sequence.supervised_from :])
        for place, at in enumerate(batch.index[mine].tolist(), sequence.supervised_from):
            row, column = divmod(at, width)
            seen = batch.seen[row, column]
            order = batch.positions[row, seen].argsort()
            assert batch.input_ids[row, seen][order].tolist() == list(sequence.ids[:place])
            assert batch.positions[row, seen][order].tolist() == list(range(place))


@given(its=questions, most=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_an_example_with_its_choices_is_one_row(its, most):
    parts = list(packed(its, most, branching=True))
    assert [e for part in parts for e in part] == its
    for part in parts:
        assert len(collate_examples(part, 0, branching=True).input_ids) == len(part) <= most


@pytest.mark.parametrize("family", FAMILIES)
def test_an_evaluation_with_shared_rows_is_the_one_without(family):
    model, its = tiny(family, torch.float64), examples(longest=7)
    assert can_branch(model, its, 0)
    lanes = attach(model, [Lane("olora", r=4), Lane("pissa", r=2)])
    noise = torch.randn(lanes.theta.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        lanes.theta += 0.3 * noise * (lanes.theta != 0)
    apart, shared = (evaluate(model, its, 2, pad_id=0, batch_size=3, branching=b) for b in (False, True))
    np.testing.assert_allclose(shared.loss, apart.loss, rtol=1e-9)
    np.testing.assert_allclose(shared.example_loss, apart.example_loss, rtol=1e-4)
    np.testing.assert_array_equal(shared.example_right, apart.example_right)
    np.testing.assert_array_equal(shared.accuracy_normalized, apart.accuracy_normalized)


def test_rows_branch_only_where_the_model_reads_them_so():
    # Gemma 3 here looks back over 8 tokens; BLOOM derives distances from places in the row.
    long = examples(longest=20)
    assert can_branch(tiny("llama"), long, 0)
    assert not can_branch(tiny("gemma3"), long, 0)
    bloom = hf.BloomForCausalLM(hf.BloomConfig(vocab_size=VOCABULARY, hidden_size=24, n_layer=2, n_head=4)).eval()
    assert not can_branch(bloom, long, 0)


def test_rows_do_not_branch_where_that_saves_little_or_is_too_long():
    model = tiny("llama")
    assert not can_branch(model, [asked([5], [6, 7, 8], [9, 8, 7], [4, 4, 4])], 0)
    assert not can_branch(model, [Encoded((5, 6, 7), 1)], 0)
    assert not can_branch(model, examples(longest=CONTEXT), 0)
