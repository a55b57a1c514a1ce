"""A Llama in a GGUF file → a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from olora_viz.machine.files import write_tensors
from olora_viz.machine.numbers import rounded
from olora_viz.machine.progress import Progress

from .rope import pairs_to_halves

if TYPE_CHECKING:
    from gguf import GGUFReader
    from tokenizers import Tokenizer

# GGUF's name of a tensor → transformers' name; {i} is the block.
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "model.layers.{i}.input_layernorm",
    "attn_q": "model.layers.{i}.self_attn.q_proj",
    "attn_k": "model.layers.{i}.self_attn.k_proj",
    "attn_v": "model.layers.{i}.self_attn.v_proj",
    "attn_output": "model.layers.{i}.self_attn.o_proj",
    "ffn_norm": "model.layers.{i}.post_attention_layernorm",
    "ffn_gate": "model.layers.{i}.mlp.gate_proj",
    "ffn_up": "model.layers.{i}.mlp.up_proj",
    "ffn_down": "model.layers.{i}.mlp.down_proj",
}
CONTROL = 3  # GGUF's token type for special tokens


def hf_name(name: str) -> str:
    """Translate the name of a tensor.

    Examples
    --------
    >>> hf_name("blk.7.attn_q.weight")
    'model.layers.7.self_attn.q_proj.weight'
    """
    *block, kind, suffix = name.split(".")
    return f"{NAMES[kind].format(i=block[-1] if block else '')}.{suffix}"


def _field(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise ValueError(f"the GGUF file has no {key!r}")
    return field.contents()


def _tensors(reader: GGUFReader, report: Progress) -> dict[str, torch.Tensor]:
    """Unpack the quantized blocks, exactly, with query and key rows in transformers' order."""
    from gguf import dequantize

    heads = {
        "attn_q": int(_field(reader, "llama.attention.head_count")),
        "attn_k": int(_field(reader, "llama.attention.head_count_kv")),
    }
    state = {}
    for n, tensor in enumerate(reader.tensors):
        w = dequantize(tensor.data, tensor.tensor_type)  # (out, in), or (features,)
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            w = pairs_to_halves(w, heads[kind])
        state[hf_name(tensor.name)] = torch.from_numpy(np.array(w, order="C"))
        report((n + 1) / len(reader.tensors), "unpacking the weights")
    return state


def _tokenizer(reader: GGUFReader) -> tuple[Tokenizer, list[str]]:
    """Build the byte-level tokenizer that the file describes, and list its special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    pieces = _field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in _field(reader, "tokenizer.ggml.merges")]
    types = _field(reader, "tokenizer.ggml.token_type")
    vocab = {piece: i for i, piece in enumerate(pieces)}
    core = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    # "smollm" is GPT-2's byte-level splitting, after every digit has been split off.
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    core.decoder = decoders.ByteLevel()
    special = [piece for piece, kind in zip(pieces, types, strict=True) if kind == CONTROL]
    core.add_special_tokens(
        [AddedToken(piece, normalized=False, special=True) for piece in special]
    )
    return core, special


def convert(source: Path, target: Path, report: Progress) -> None:
    """Write a GGUF Llama with a SmolLM tokenizer as a Hugging Face folder.

    Parameters
    ----------
    source : the GGUF file.
    target : an existing folder.
    report : called with the progress.

    Raises
    ------
    ValueError
        If the file is not GGUF, or describes another kind of model or tokenizer.
    """
    from gguf import GGUFReader
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    report(0.0, "reading the file")
    reader = GGUFReader(source)
    for key, known in {"general.architecture": "llama", "tokenizer.ggml.pre": "smollm"}.items():
        if _field(reader, key) != known:
            raise ValueError(f"{key} is {_field(reader, key)!r} in the GGUF file, not {known!r}")
    state = _tensors(reader, report)
    write_tensors(target / "model.safetensors", state)

    def token_id(kind: str) -> int:
        return int(_field(reader, f"tokenizer.ggml.{kind}_token_id"))

    LlamaConfig(
        architectures=["LlamaForCausalLM"],
        dtype="float32",
        vocab_size=state["model.embed_tokens.weight"].shape[0],
        hidden_size=int(_field(reader, "llama.embedding_length")),
        intermediate_size=int(_field(reader, "llama.feed_forward_length")),
        num_hidden_layers=int(_field(reader, "llama.block_count")),
        num_attention_heads=int(_field(reader, "llama.attention.head_count")),
        num_key_value_heads=int(_field(reader, "llama.attention.head_count_kv")),
        max_position_embeddings=int(_field(reader, "llama.context_length")),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": float(_field(reader, "llama.rope.freq_base")),
        },
        # Stored as a float32; the nearest short decimal is the intended value.
        rms_norm_eps=rounded(_field(reader, "llama.attention.layer_norm_rms_epsilon"), 6),
        tie_word_embeddings="output.weight" not in {tensor.name for tensor in reader.tensors},
        bos_token_id=token_id("bos"),
        eos_token_id=token_id("eos"),
        pad_token_id=token_id("padding"),
    ).save_pretrained(target)

    core, special = _tokenizer(reader)
    pieces = _field(reader, "tokenizer.ggml.tokens")
    PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=pieces[token_id("bos")],
        eos_token=pieces[token_id("eos")],
        pad_token=pieces[token_id("padding")],
        unk_token=pieces[token_id("unknown")],
        extra_special_tokens=special[3:],
        chat_template=_field(reader, "tokenizer.chat_template"),
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_max_length=int(_field(reader, "llama.context_length")),
    ).save_pretrained(target)
