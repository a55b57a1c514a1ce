"""Tiny random models of every family: two layers, a few thousand weights, no square luck.

The shapes are chosen so that a transposed or swapped matrix cannot pass unseen: the width (24),
the heads together (4 · 8 = 32), the key-value heads (2 · 8 = 16), the feed-forward layer (40) and
the vocabulary (64) all differ where the family allows it. Norm weights and biases are random too.
"""

from pathlib import Path

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn

VOCABULARY = 64
CONTEXT = 32

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 40}

_CONFIGS = {
    "llama": lambda: hf.LlamaConfig(**_GROUPED, tie_word_embeddings=True),
    "mistral": lambda: hf.MistralConfig(**_GROUPED, sliding_window=None),
    "gemma": lambda: hf.GemmaConfig(**_GROUPED),
    "gemma3": lambda: hf.Gemma3TextConfig(
        **_GROUPED, query_pre_attn_scalar=8, sliding_window=8, layer_types=["sliding_attention", "full_attention"]
    ),
    "opt": lambda: hf.OPTConfig(
        **{k: v for k, v in _SIZES.items() if k != "initializer_range"},
        init_std=0.2,
        ffn_dim=40,
        word_embed_proj_dim=16,  # as OPT-350m: two linear layers outside the blocks
        dropout=0.0,
    ),
    "gpt2": lambda: hf.GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=CONTEXT,
        n_embd=24,
        n_layer=2,
        n_head=4,
        n_inner=40,
        initializer_range=0.2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    ),
    # Qwen2 has no head_dim of its own: its query projection is square.
    "qwen2": lambda: hf.Qwen2Config(**{k: v for k, v in _GROUPED.items() if k != "head_dim"}),
    "qwen3": lambda: hf.Qwen3Config(**_GROUPED),
}

FAMILIES = tuple(_CONFIGS)


def exact_norms(model: nn.Module) -> None:
    """Swap every RMSNorm for torch's own, which does not drop to float32 inside."""
    for parent in list(model.modules()):
        for name, norm in list(parent.named_children()):
            if not type(norm).__name__.endswith("RMSNorm"):
                continue
            eps = getattr(norm, "variance_epsilon", None) or norm.eps
            plus_one = type(norm).__name__.startswith("Gemma")
            exact = nn.RMSNorm(norm.weight.shape[0], eps=eps)
            exact.weight = nn.Parameter(norm.weight.detach() + float(plus_one))
            setattr(parent, name, exact)


def tiny(family: str, dtype: torch.dtype = torch.float32, seed: int = 0, blocks: int = 2) -> hf.PreTrainedModel:
    """Build a tiny random causal language model: eval mode, frozen, the same for the same seed.

    In float64 the norms are exact too: transformers' own RMSNorms compute in float32 whatever
    the dtype, which turns a difference of 1e-16 into one of 1e-8.

    Args:
        family: one of ``FAMILIES``.
        dtype: of the weights.
        seed: of the weights; the global generator is left as it was.
        blocks: number of them, of a family whose config does not list their kinds.
    """
    config = _CONFIGS[family]()
    config.num_hidden_layers = blocks
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = hf.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter += 0.1 * torch.randn_like(parameter)
    if dtype == torch.float64:
        exact_norms(model)
    return model.to(dtype).eval().requires_grad_(False)


def tokens(rows: int = 3, length: int = 9, seed: int = 0) -> torch.Tensor:
    """Draw random token ids, (rows, length), none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (rows, length), generator=generator)


def tiny_tokenizer(**special) -> hf.PreTrainedTokenizerFast:
    """Build a byte-level tokenizer of single characters for the vocabulary above.

    Args:
        special: such as ``eos_token="</s>"``; "<pad>", "<s>" and "</s>" are ids 0, 1 and 2.
    """
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456"
    pieces = ["<pad>", "<s>", "</s>", "Ġ", *letters]  # Ġ is how byte level writes a space
    vocab = {piece: i for i, piece in enumerate(pieces[:VOCABULARY])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return hf.PreTrainedTokenizerFast(tokenizer_object=core, **special)


def tiny_folder(family: str, folder: Path, **special) -> Path:
    """Write a tiny model and its tokenizer as a Hugging Face folder.

    Args:
        family: one of ``FAMILIES``.
        folder: is made.
        special: for ``tiny_tokenizer``; by default all three special tokens are named.
    """
    special = special or {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    tiny(family).save_pretrained(folder)
    tiny_tokenizer(**special).save_pretrained(folder)
    return folder
