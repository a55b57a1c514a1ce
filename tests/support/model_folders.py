"""Small models of every kind in folders of several files, and adapters that were started on them."""

import json
from functools import cache
from pathlib import Path

import peft
import torch
import transformers as hf
from support.mixtures import MIXTURES, mixture
from support.tiny import tiny

from olora_viz.lanes.started_folder import FolderStart
from olora_viz.machine.files import read_tensors, write_tensors
from olora_viz.models.shards import read_shards

FUSED = hf.Phi3Config(
    vocab_size=64, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, pad_token_id=0,
)  # fmt: skip


@cache
def model_of(family: str, dtype: torch.dtype = torch.float32) -> hf.PreTrainedModel:
    if family in MIXTURES:
        return mixture(family, dtype)
    if family == "phi3":
        torch.manual_seed(0)
        return hf.AutoModelForCausalLM.from_config(FUSED, dtype=dtype).eval()
    return tiny(family, dtype)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() if file.is_file() else b"" for file in path.iterdir()}


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for shard in read_shards(path) for name, tensor in read_tensors(shard.file).items()}


def train(adapter: Path) -> None:
    """Change the factors of an adapter, as training would."""
    file = adapter / "adapter_model.safetensors"
    generator = torch.Generator().manual_seed(0)
    factors = {n: f + 0.05 * torch.randn(f.shape, generator=generator) for n, f in sorted(read_tensors(file).items())}
    write_tensors(file, factors)


def edit(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def loaded(started: FolderStart) -> torch.nn.Module:
    """Load an adapter by PEFT, on the model that it names."""
    config = peft.PeftConfig.from_pretrained(str(started.out))
    base = hf.AutoModelForCausalLM.from_pretrained(config.base_model_name_or_path)
    return peft.PeftModel.from_pretrained(base, started.out, is_trainable=True).eval()
