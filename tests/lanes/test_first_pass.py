"""Before a race the model runs once: it must be causal, and what it never calls is not adapted."""

import itertools
from dataclasses import replace

import pytest
import torch
import transformers as hf
from support.races import small
from support.tiny import CONTEXT, FAMILIES, VOCABULARY, tiny, tiny_tokenizer

from olora_viz.lanes.passes import bypassed_modules
from olora_viz.races.race import race
from olora_viz.tasks.losses import context_of

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": CONTEXT + 2,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
XLNET = {"vocab_size": VOCABULARY, "d_model": 24, "n_layer": 2, "n_head": 4, "d_inner": 40}


def made(config: hf.PretrainedConfig, dtype: torch.dtype = torch.float32) -> hf.PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return hf.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        *itertools.product(
            (hf.BertConfig(**SIZES), hf.RobertaConfig(**SIZES)), (torch.float32, torch.float64, torch.bfloat16)
        ),
        (hf.XLNetConfig(**XLNET), torch.float32),
    ],
    ids=lambda value: getattr(value, "model_type", str(value)),
)
def test_a_model_that_reads_later_tokens_is_not_raced(config, dtype):
    model, tokenizer = made(config, dtype), tiny_tokenizer(pad_token="<pad>")
    with pytest.raises(ValueError, match=f"'{type(model).__name__}' is not causal: its logits"):
        race(small(max_length=30), model=model, tokenizer=tokenizer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_causal_in_every_precision(family, dtype):
    bypassed_modules(tiny(family).to(dtype), family)


@pytest.mark.parametrize(
    "config",
    [
        hf.BertConfig(**SIZES, is_decoder=True),
        hf.MixtralConfig(**SIZES, num_key_value_heads=2, num_local_experts=4),
        hf.XLNetConfig(**XLNET, attn_type="uni"),
    ],
    ids=lambda config: config.model_type,
)
def test_decoders_and_mixtures_of_experts_are_causal(config):
    bypassed_modules(made(config), "it")


def test_a_context_of_minus_one_is_no_limit():
    model = made(hf.XLNetConfig(**XLNET, attn_type="uni"))
    assert model.config.max_position_embeddings == -1
    assert context_of(model) is None


def test_a_model_whose_forward_pass_fails_is_refused_in_a_sentence():
    model = tiny("llama")
    model.model.layers[1].mlp.down_proj = torch.nn.Linear(7, 24)
    with pytest.raises(ValueError, match="the forward pass of 'LlamaForCausalLM' fails: mat1 and"):
        race(small(), model=model, tokenizer=tiny_tokenizer(pad_token="<pad>"))


def grouped(config: type[hf.PretrainedConfig], **changes) -> hf.PretrainedConfig:
    values = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "num_experts_per_tok": 1}
    return config(**{**values, "num_local_experts": 4, **changes})


MAMBA = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "state_size": 4}

LEFT_OUT = {
    "mamba": (hf.MambaConfig(**MAMBA, time_step_rank=4, pad_token_id=0), "dt_proj"),
    "phimoe": (grouped(hf.PhimoeConfig, num_experts_per_tok=2), "router"),
    "llama4_text": (grouped(hf.Llama4TextConfig, intermediate_size_mlp=40), "router"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_no_plain_linear_layer_or_is_never_called_gets_no_adapter(name):
    config, layer = LEFT_OUT[name]
    model = made(config)
    named = [path for path, module in model.named_modules() if path.endswith(layer)]
    assert all(isinstance(model.get_submodule(path), torch.nn.Linear) for path in named)
    pair, tokenizer = small(max_length=30, steps=2), tiny_tokenizer(pad_token="<pad>")
    running = race(pair, model=model, tokenizer=tokenizer)
    assert len(named) == 2
    assert running.lanes.layers
    assert not set(named) & set(running.lanes.layers)
    assert all(step.loss.tolist() for step in running)
    running.lanes.detach()
    with pytest.raises(ValueError, match=f"no linear layer's name ends in '{layer}'; choose from"):
        race(replace(pair, targets=(layer,)), model=model, tokenizer=tokenizer)


def test_every_layer_that_gets_an_adapter_there_has_a_gradient():
    for name, (config, _) in LEFT_OUT.items():
        running = race(small(max_length=30, steps=1), model=made(config), tokenizer=tiny_tokenizer(pad_token="<pad>"))
        list(running)
        norms = torch.stack(
            [
                torch.cat([p.flatten() for p in (g.A, g.B)]).norm()
                for layer in running.lanes.layers
                for g in [running.lanes.gradient(layer, 0)]
            ]
        )
        assert (norms > 0).all(), name
