"""The models inside the ``glassllm`` package, as Llamas that transformers can run."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .rope import pairs_to_halves

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

LANGUAGES = {"glassllm": "en", "glassllm-pt": "pt"}
"""The names of the package's models, and the languages of their files."""

# The package's four special tokens come first in its vocabulary, in this order.
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
SPACE = "▁"
# Chunks that merges never cross: a newline, spaces with the text after them, trailing spaces.
CHUNK = r"\n|▁*[^▁\n]+|▁+"


def _state(arrays: dict[str, np.ndarray], n_heads: int, n_kv_heads: int) -> dict[str, torch.Tensor]:
    """Return the package's arrays with the names and orientation of transformers' Llama."""
    state = {"model.embed_tokens.weight": arrays["E"], "model.norm.weight": arrays["norm_f.gamma"]}
    for i in range(sum(name.endswith("attn.W_Q") for name in arrays)):
        layer = {
            name.removeprefix(f"blocks.{i}."): w.T  # stored (in, out); a vector stays as it is
            for name, w in arrays.items()
            if name.startswith(f"blocks.{i}.")
        }
        state |= {
            f"model.layers.{i}.{name}.weight": w
            for name, w in {
                "input_layernorm": layer["norm1.gamma"],
                "self_attn.q_proj": pairs_to_halves(layer["attn.W_Q"], n_heads),
                "self_attn.k_proj": pairs_to_halves(layer["attn.W_K"], n_kv_heads),
                "self_attn.v_proj": layer["attn.W_V"],
                "self_attn.o_proj": layer["attn.W_O"],
                "post_attention_layernorm": layer["norm2.gamma"],
                "mlp.gate_proj": layer["ffn.W1"],
                "mlp.up_proj": layer["ffn.W3"],
                "mlp.down_proj": layer["ffn.W2"],
            }.items()
        }
    return {
        name: torch.from_numpy(np.ascontiguousarray(w, np.float32)) for name, w in state.items()
    }


@lru_cache(maxsize=len(LANGUAGES))
def _stored(language: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read a model's shape and weights, once for all models made of them: 3.4 MB."""
    path = resources.files("glassllm") / "weights" / f"{language}.npz"
    with resources.as_file(path) as file, np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    shape = json.loads(str(arrays.pop("__config__")))
    return shape, _state(arrays, shape["n_heads"], shape["n_kv_heads"])


def load_tokenizer(name: str = "glassllm") -> PreTrainedTokenizerFast:
    """Build one of the package's byte-pair tokenizers as a fast one, with offsets.

    Text is normalized to NFC and spaces become "▁". Strings such as "<eos>" inside a text are plain
    characters, as in the package; only the token ids are special.

    Parameters
    ----------
    name : a key of ``LANGUAGES``.

    Returns
    -------
    PreTrainedTokenizerFast
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    path = resources.files("glassllm") / "weights" / f"{LANGUAGES[name]}.tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    merges = [(left, right) for left, right in data["merges"]]
    pieces = [*SPECIALS, *data["alphabet"], *(left + right for left, right in merges)]
    vocab = {piece: i for i, piece in enumerate(pieces)}

    core = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=False))
    core.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" ", SPACE)])
    core.pre_tokenizer = pre_tokenizers.Split(Regex(CHUNK), behavior="isolated")
    core.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Fuse()])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        padding_side="right",
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
        model_max_length=128,
    )


def load_glassllm(name: str = "glassllm") -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Read the weights from the installed package; float32, on the CPU.

    Parameters
    ----------
    name : a key of ``LANGUAGES``.

    Returns
    -------
    (LlamaForCausalLM, PreTrainedTokenizerFast)
        d 128, 4 layers, 4 heads over 2 key-value heads, feed-forward 341, context 128.

    References
    ----------
    Dias de Farias, the glassllm package, MIT licence.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    shape, state = _stored(LANGUAGES[name])
    config = LlamaConfig(
        vocab_size=shape["vocab_size"],
        hidden_size=shape["d_model"],
        intermediate_size=len(state["model.layers.0.mlp.gate_proj.weight"]),
        num_hidden_layers=shape["n_layers"],
        num_attention_heads=shape["n_heads"],
        num_key_value_heads=shape["n_kv_heads"],
        max_position_embeddings=shape["max_len"],
        rope_parameters={"rope_type": "default", "rope_theta": shape["rope_base"]},
        rms_norm_eps=shape["eps"],
        tie_word_embeddings=True,
        pad_token_id=SPECIALS.index("<pad>"),
        bos_token_id=SPECIALS.index("<bos>"),
        eos_token_id=SPECIALS.index("<eos>"),
    )
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten below
        model = LlamaForCausalLM(config)
    tied = {"lm_head.weight": state["model.embed_tokens.weight"]}
    model.load_state_dict(state | tied, strict=True)  # copies them
    model.tie_weights()
    model.config._name_or_path = name  # what an exported adapter names as its base
    model.name_or_path = name
    return model, load_tokenizer(name)
