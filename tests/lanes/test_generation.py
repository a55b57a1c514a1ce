"""Answers of all lanes at once are what each lane says to each prompt by itself, greedily."""

import pytest
import torch
from support.tiny import CONTEXT, FAMILIES, tiny, tokens

from olora_viz.lanes.adapters import attach
from olora_viz.lanes.generation import drawn, greedy
from olora_viz.lanes.lane import Lane

LANES = [Lane("olora", r=2), Lane("lora", r=3, seed=1), Lane("pissa", r=1)]


@pytest.mark.parametrize("family", FAMILIES)
def test_padded_prompts_of_all_lanes_go_on_token_by_token_as_each_alone(family, capfd) -> None:
    lanes = attach(tiny(family), LANES)
    with torch.no_grad():
        lanes.theta += 0.3 * torch.randn_like(lanes.theta)
    prompts = [tokens(1, length, seed=length)[0].tolist() for length in (2, 7, 25, 1)]
    together = greedy(lanes.model, prompts, 12, len(LANES), 0)
    assert capfd.readouterr() == ("", "")
    for k, said in enumerate(together):
        for prompt, added in zip(prompts, said, strict=True):
            assert len(added) == min(12, CONTEXT + 1 - len(prompt))
            with lanes.only(k), torch.no_grad():
                for n, token in enumerate(added):
                    ids = torch.tensor([prompt + added[:n]])
                    logits = lanes.model(input_ids=ids, use_cache=False).logits
                    assert int(logits[0, -1].argmax()) == token


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_of_a_prompt_that_is_read_once_are_those_of_as_many_prompts(family) -> None:
    model = tiny(family).double()
    prompts = [tokens(1, length, seed=length)[0].tolist() for length in (2, 7, 20, 1)]
    shared = drawn(model, prompts, 8, [5, 6], 0, 22, samples=3)
    assert shared == drawn(model, [prompt for prompt in prompts for _ in range(3)], 8, [5, 6], 0, 22)
    assert len({tuple(tokens) for tokens in shared}) > 6
