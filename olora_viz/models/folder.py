"""A local Hugging Face folder → (model, tokenizer), from safetensors alone."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from olora_viz.machine.checks import unknown
from olora_viz.machine.files import read_json_object, reason
from olora_viz.machine.four_bit import is_four_bit
from olora_viz.machine.memory import check_memory
from olora_viz.machine.wording import listed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def pairs_to_halves(w: np.ndarray, n_heads: int) -> np.ndarray:
    """Reorder the rows of a query or key matrix from RoPE in pairs to RoPE in halves.

    One convention rotates coordinates (2i, 2i + 1) of a head together, transformers rotates
    (i, i + d/2). Moving the even rows of each head before its odd rows turns one into the other;
    attention scores, sums over a head's coordinates, stay the same.

    Args:
        w: (n_heads · d, in)
        n_heads: number of heads in ``w``

    Returns:
        (n_heads · d, in)

    Examples:
        >>> pairs_to_halves(np.arange(8).reshape(8, 1), n_heads=2).ravel().tolist()
        [0, 2, 1, 3, 4, 6, 5, 7]
    """
    return w.reshape(n_heads, -1, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
FILES_READ = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json",
)  # fmt: skip
"""The JSON files that transformers reads besides the weights, if they exist."""

INDEX = "model.safetensors.index.json"
"""The file that says in which one each tensor is, if they are several."""

HEADS = ("ForCausalLM", "LMHeadModel")
NOTHING_FETCHED = {"local_files_only": True, "trust_remote_code": False}
"""Arguments of transformers: nothing is fetched, and no code of a folder runs."""


def _check_config(folder: Path) -> None:
    """Check that the folder holds a plain causal language model without its own code."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    model, adapter = ((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
    if adapter:  # if PEFT is installed, transformers would load it into the frozen model
        raise ValueError(
            f"{str(folder)!r} holds a PEFT adapter next to its model (adapter_config.json), which "
            "would be loaded with it; move the adapter to a folder of its own"
            if model
            else f"{str(folder)!r} holds a PEFT adapter, not a model; name its base model instead"
        )
    if not model:
        raise ValueError(f"{str(folder)!r} is not a Hugging Face model folder: it has no config.json")
    read = {name: read_json_object(folder / name) for name in FILES_READ if (folder / name).is_file()}
    config = read["config.json"]
    if "auto_map" in config or "auto_map" in read.get("tokenizer_config.json", {}):
        raise ValueError(f"the model in {str(folder)!r} needs its own code (auto_map), which is never executed")
    quantization = config.get("quantization_config")
    if quantization is not None and not is_four_bit(quantization):
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        raise ValueError(
            f"the model in {str(folder)!r} is quantized (quant_method {method!r}); adapters need its plain weights; "
            "of quantized ones only those of bitsandbytes in four bits are read"
        )
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING_NAMES:
        known = unknown("model_type", str(kind), MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) if kind else "no model_type"
        raise ValueError(f"the model in {str(folder)!r} is no known causal language model: {known} (in config.json)")
    head = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    says = config.get("architectures") or [head]
    if not isinstance(head, str) or head not in says or not head.endswith(HEADS):
        what = says[0] if isinstance(says, list) and says[0] else f"model_type {kind!r}"
        raise ValueError(f"the model in {str(folder)!r} is not a causal language model: {what}")


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files that hold a folder's weights.

    Returns:
        One file, or every shard that the index names.

    Raises:
        ValueError: if there are no safetensors, or a shard is missing.
    """
    single, index = folder / "model.safetensors", folder / INDEX
    if single.is_file():
        return [single]
    if index.is_file():
        shards = read_json_object(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ValueError(f"{str(index)!r} lists no shards")
        # A name with folders in it could lead out of the model's folder.
        files = [folder / Path(str(name)).name for name in sorted(set(shards.values()))]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise ValueError(f"{str(folder)!r} is missing {missing[0]!r}, which its index lists")
        return files
    pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
    if pickled:
        raise ValueError(
            f"{str(folder)!r} holds its weights as a pickle ({pickled[0]}), which can run code "
            "when it is opened; save the model as safetensors first"
        )
    raise ValueError(f"{str(folder)!r} has no weights: model.safetensors is missing")


def check_folder(folder: Path) -> int:
    """Check a folder without loading it.

    Returns:
        Number of stored weights.
    """
    from safetensors import SafetensorError, safe_open

    _check_config(folder)
    count = 0
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt") as stored:
                for name in stored.keys():  # noqa: SIM118 (safe_open cannot be iterated)
                    count += torch.Size(stored.get_slice(name).get_shape()).numel()
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{str(file)!r} is damaged: {reason(error)}") from error
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ValueError(f"{str(folder)!r} has no tokenizer (no {TOKENIZER_FILES[0]})")
    return count


@contextmanager
def quiet() -> Generator[None]:
    """Silence the progress bars and warnings of transformers."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder that `check_folder` accepts, without executing its code."""
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(folder, **NOTHING_FETCHED))
    except Exception as error:  # a folder of unknown origin can fail anywhere in transformers
        raise ValueError(f"cannot load the model in {str(folder)!r}: {reason(error)}") from error
    if not tokenizer.is_fast:
        raise ValueError(f"the tokenizer in {str(folder)!r} has no fast form (tokenizer.json)")
    return tokenizer


def skeleton(folder: Path) -> PreTrainedModel:
    """Build the model of a folder without its weights, on torch's meta device: it takes no memory.

    Raises:
        ValueError: it is no folder of a causal language model, or transformers does not know the model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    if not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is not a folder on this machine")
    _check_config(folder)
    try:
        with quiet(), torch.device("meta"):
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, **NOTHING_FETCHED))
    except Exception as error:  # a folder of unknown origin can fail anywhere in transformers
        raise ValueError(f"cannot build the model in {str(folder)!r}: {reason(error)}") from error


def load_folder(
    folder: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    base: str | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model from safetensors, without executing code from the folder.

    Args:
        device: the device that the weights will move to; only its memory is checked.
        base: name of this model in exported adapters; the folder itself by default.
        weights: in place of those in the folder's files, which are in four bits.

    Returns:
        On the CPU.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    check_memory(check_folder(folder) * dtype.itemsize, device, f"model {base or str(folder)!r}")
    tokenizer = load_tokenizer(folder)
    try:
        with quiet():
            loaded: Any
            how: dict[str, Any] = {"dtype": dtype, "output_loading_info": True, **NOTHING_FETCHED}
            if weights is None:
                loaded = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, **how)
            else:
                config: Any = AutoConfig.from_pretrained(folder, **NOTHING_FETCHED)
                del config.quantization_config
                loaded = type(skeleton(folder)).from_pretrained(None, config=config, state_dict=weights, **how)
            model, report = loaded
    except Exception as error:  # a folder of unknown origin can fail anywhere in transformers
        raise ValueError(f"cannot load the model in {str(folder)!r}: {reason(error)}") from error
    for fault in ("missing_keys", "mismatched_keys"):
        if report[fault]:
            raise ValueError(
                f"the weights in {str(folder)!r} do not fit its config: "
                f"{fault.split('_')[0]} {listed(sorted(map(str, report[fault])), 3)}"
            )
    rows = model.get_input_embeddings().weight.shape[0]
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= rows:
        raise ValueError(
            f"the tokenizer in {str(folder)!r} has token {largest}, but the model has embeddings for {rows} only"
        )
    if base is not None:
        model.config._name_or_path = base
        model.name_or_path = base
    elif weights is not None:
        model.stored_in_four_bits = True
        model.config._name_or_path = model.name_or_path = str(folder)
    return model, tokenizer
