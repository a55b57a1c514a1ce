"""A race runs a model of one's own without dropout, and leaves every module in its own mode."""

import pytest
import torch
from support.races import small
from transformers import LlamaConfig, LlamaForCausalLM

from olora_viz.lanes.lane import Lane
from olora_viz.models import load_model
from olora_viz.races.race import race

LANES = (Lane("lora", r=2), Lane("eva", r=2))


def with_dropout():
    """Return glassllm with dropout in its attention, of mixed modes, and its tokenizer."""
    model, tokenizer = load_model("glassllm")
    dropping = LlamaForCausalLM(LlamaConfig(**{**model.config.to_dict(), "attention_dropout": 0.5}))
    dropping.load_state_dict(model.state_dict())
    dropping.train()
    dropping.model.layers[0].eval()
    return dropping, tokenizer


def modes(model) -> list[bool]:
    return [module.training for module in model.modules()]


def test_a_model_in_training_mode_races_as_it_does_in_eval_mode():
    model, tokenizer = with_dropout()
    config = small(LANES, steps=3)
    running = race(config, model=model, tokenizer=tokenizer)
    assert not any(modes(model))
    steps = list(running)
    model.eval()
    running.lanes.detach()
    assert steps == list(race(config, model=model, tokenizer=tokenizer))


END = {
    "end": lambda running: list(running),
    "close": lambda running: running.close(),
    "detach": lambda running: running.lanes.detach(),
}


@pytest.mark.parametrize("end", END)
def test_every_module_is_in_its_own_mode_again_once_the_race_is_over(end):
    model, tokenizer = with_dropout()
    before = modes(model)
    running = race(small(LANES, steps=2), model=model, tokenizer=tokenizer)
    next(running)
    END[end](running)
    assert modes(model) == before
    if end != "detach":
        assert running.answers(2) == running.answers(2)
        assert modes(model) == before


def test_a_set_up_that_fails_leaves_the_modes_alone():
    model, tokenizer = with_dropout()
    before = modes(model)
    with pytest.raises(ValueError, match="rank 1000 exceeds"):
        race(small((Lane("lora", r=1000),)), model=model, tokenizer=tokenizer)
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="before any training"):
        race(small(LANES), model=model, tokenizer=tokenizer)
    assert modes(model) == before


def test_a_race_taken_back_after_its_end_goes_on_without_dropout():
    model, tokenizer = with_dropout()
    running = race(small(LANES, steps=3), model=model, tokenizer=tokenizer)
    next(running)
    there = running.snapshot()
    rest = list(running)
    running.restore(there)
    assert [step.loss.tolist() for step in running] == [step.loss.tolist() for step in rest]
