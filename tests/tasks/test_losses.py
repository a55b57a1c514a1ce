"""Losses and accuracies of K lanes at once, against one row at a time."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.tiny import FAMILIES, tiny
from torch.overrides import TorchFunctionMode

from olora_viz.lanes.adapters import attach
from olora_viz.lanes.lane import Lane
from olora_viz.tasks.batches import collate
from olora_viz.tasks.encoding import Encoded
from olora_viz.tasks.evaluation import evaluate
from olora_viz.tasks.losses import lane_losses, own_losses, supervised_logits
from olora_viz.tasks.unpadded import can_unpad

LANES = [Lane("olora", r=4, seed=0), Lane("pissa", r=2), Lane("gaussian", r=4)]


def moved(family: str):
    """A tiny model with three lanes that have left their start."""
    model = tiny(family, torch.float64)
    lanes = attach(model, LANES)
    noise = torch.randn(lanes.theta.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        lanes.theta += 0.3 * noise * (lanes.theta != 0)
    return model, lanes


def random_examples(choices: int = 0) -> list[Encoded]:
    generator = torch.Generator().manual_seed(2)
    made = []
    for length in (3, 9, 6, 12, 5):
        ids = tuple(torch.randint(3, 64, (length,), generator=generator).tolist())
        begin = max(1, length - 3)
        options = [ids]
        for _ in range(choices - 1):
            extra = int(torch.randint(0, 3, (), generator=generator))
            other = torch.randint(3, 64, (length - begin + extra,), generator=generator).tolist()
            options.append(ids[:begin] + tuple(other))
        right = length % choices if choices else -1
        if choices:
            options[0], options[right] = options[right], options[0]
        made.append(Encoded(ids, begin, tuple(Encoded(o, begin) for o in options if choices), right))
    return made


def alone(model, encoded: Encoded) -> tuple[torch.Tensor, int]:
    """Return a sequence's token losses and how many of its tokens are the likeliest."""
    logits = model(input_ids=torch.tensor([encoded.ids])).logits[0]
    logits = logits[encoded.supervised_from - 1 : -1]
    targets = torch.tensor(encoded.ids[encoded.supervised_from :])
    hits = int((logits.argmax(-1) == targets).sum())
    return F.cross_entropy(logits, targets, reduction="none"), hits


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_at_the_supervised_tokens_are_the_full_logits_there(family):
    model, lanes = moved(family)
    batch = collate(random_examples(), 0)
    some = supervised_logits(model, batch, 3)
    full = model(input_ids=batch.input_ids.repeat(3, 1)).logits.unflatten(0, (3, -1))
    torch.testing.assert_close(some, full.flatten(1, 2)[:, batch.index])
    assert lanes.count == 3


@pytest.mark.parametrize("choices", [0, 2, 4])
def test_an_evaluation_of_k_lanes_is_that_of_each_lane_one_row_at_a_time(choices):
    model, lanes = moved("llama")
    examples = random_examples(choices)
    found = evaluate(model, examples, 3, pad_id=0, batch_size=4)
    for k in range(3):
        with lanes.only(k), torch.no_grad():
            losses = torch.cat([alone(model, e)[0] for e in examples])
            right = 0
            for e in examples:
                if choices:
                    scores = [float(alone(model, c)[0].sum()) for c in e.choices]
                    right += scores.index(min(scores)) == e.correct
                else:
                    right += alone(model, e)[1] == len(e.ids) - e.supervised_from
        np.testing.assert_allclose(found.loss[k], losses.mean().item(), rtol=1e-6)
        assert found.accuracy[k] == right / len(examples)


def test_in_a_plain_text_accuracy_counts_tokens():
    model, lanes = moved("llama")
    examples = [Encoded(e.ids, 1) for e in random_examples()]
    found = evaluate(model, examples, 3, pad_id=0, batch_size=4, plain_text=True)
    with lanes.only(1), torch.no_grad():
        hits = sum(alone(model, e)[1] for e in examples)
    assert found.accuracy[1] == hits / sum(len(e.ids) - 1 for e in examples)


def test_a_lane_s_loss_is_the_mean_over_its_supervised_tokens():
    model, lanes = moved("gpt2")
    examples = random_examples()
    together = lane_losses(model, collate(examples, 0), 3)
    for k in range(3):
        with lanes.only(k), torch.no_grad():
            expected = torch.cat([alone(model, e)[0] for e in examples]).mean()
        torch.testing.assert_close(together[k].detach(), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_padding_losses_and_gradients_are_those_with_it_from_fewer_tokens(family):
    can = can_unpad(tiny(family))
    assert can == (family != "gemma3"), "whose layers look back a few tokens only"
    if not can:
        return
    model, lanes = moved(family)
    examples, seen = random_examples(), []
    own = [collate(some, 0) for some in (examples[:3], examples[3:], examples[1:2])]
    layer = model.get_submodule(lanes.layers[0])
    layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[:-1].numel()))
    for batches, padded, without in ((own, 3 * 3 * 11, 3 * 16), ([collate(examples, 0)] * 3, 3 * 5 * 11, 3 * 32)):
        seen.clear()
        results = []
        for without_padding in (False, True):
            lanes.theta.grad = None
            losses = own_losses(model, batches, 7, without_padding=without_padding)
            losses.sum().backward()
            results.append((losses.detach(), lanes.theta.grad))
        torch.testing.assert_close(*results)
        assert seen == [padded, without]


def test_without_padding_attention_is_in_float32_and_losses_in_bfloat16_are_those_with_it():
    model, batches = tiny("llama", torch.bfloat16), [collate(random_examples(), 0)]
    assert can_unpad(model)
    attended = []

    class Attended(TorchFunctionMode):
        def __torch_function__(self, function, _, args=(), kwargs=None):
            if function is F.scaled_dot_product_attention:
                attended.append({each.dtype for each in args[:3]})
            return function(*args, **(kwargs or {}))

    with Attended():
        losses = [own_losses(model, batches, 0, without_padding=without) for without in (False, True)]
    assert attended == [{torch.bfloat16}] * 2 + [{torch.float32}] * 2
    torch.testing.assert_close(*losses, rtol=1e-3, atol=0)


@pytest.mark.parametrize(("family", "without"), [("gpt2", "position_ids"), ("llama", "unpadded")])
def test_a_model_that_counts_positions_itself_or_mixes_tokens_elsewhere_keeps_its_padding(family, without):
    model = tiny(family)
    assert can_unpad(model)
    forward = model.forward
    model.forward = lambda **given: forward(**{key: value for key, value in given.items() if key != without})
    assert not can_unpad(model)
    del model.forward
    model.config._attn_implementation = "eager"
    assert not can_unpad(model)
