"""Tiny random mixtures of experts, whose experts are 3-D parameters."""

import torch
import transformers as hf
from support.tiny import VOCABULARY, exact_norms, tokens

from olora_viz.lanes.adapters import Lanes
from olora_viz.lanes.lane import Lane

SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 40, "initializer_range": 0.2,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip

CONFIGS = {
    "mixtral": lambda: hf.MixtralConfig(**SIZES, num_local_experts=4),
    "qwen3_moe": lambda: hf.Qwen3MoeConfig(**SIZES, moe_intermediate_size=12, num_experts=6, num_experts_per_tok=3),
    # Its experts are stored as (experts, in, out), with biases, gates between the others.
    "gpt_oss": lambda: hf.GptOssConfig(
        **SIZES, num_local_experts=4, num_experts_per_tok=2, rope_parameters={"rope_type": "default"}
    ),
}

MIXTURES = tuple(CONFIGS)

EXPERTS = ("experts.gate_up_proj", "experts.down_proj")


def mixture(family: str, dtype: torch.dtype = torch.float32, experts: str | None = None) -> hf.PreTrainedModel:
    """Build a tiny mixture, in eval mode; in float64 its norms are exact, see `tiny`.

    Args:
        family: one of ``MIXTURES``.
        dtype: of the weights.
        experts: how transformers compute the experts; None: their choice.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = hf.AutoModelForCausalLM.from_config(CONFIGS[family](), dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    if experts or dtype == torch.float64:  # which grouped_mm does not know
        model.set_experts_implementation(experts or "eager")
    if dtype == torch.float64:
        exact_norms(model)
    return model.to(dtype).eval()


IDS = tokens(2, 9)
MIXED = (Lane("lora", r=4), Lane("olora", r=2, alpha=5), Lane("pissa", r=6, alpha=3, rslora=True))


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-6) -> None:
    """Compare up to what routers leave, which compute in float32 whatever the dtype."""
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def logits(model, K: int = 1) -> torch.Tensor:
    return model(input_ids=IDS.repeat(K, 1), use_cache=False).logits


def disturb(lanes: Lanes) -> None:
    """Move every lane away from its start, as training would: the padding stays zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        noise = torch.randn(lanes.theta.shape, generator=generator).to(lanes.theta)
        lanes.theta += 0.1 * noise * lanes.trained()
