"""What a race in the reader's browser reads: glassllm's weights, and tasks as tokens, in one JSON text."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from olora_viz.background.race import FINAL_ANSWERS
from olora_viz.lanes.generation import covering
from olora_viz.machine.tables import one_line
from olora_viz.measures.factors import pictured_layers
from olora_viz.models import load_model
from olora_viz.races.config import RaceConfig
from olora_viz.races.data import ModelCache, RaceData, task_of
from olora_viz.tasks import TASKS, Encoded, batch_indices

MODEL = "glassllm"

LIVE_TASKS = ("sentiment", "number-words", "addition")
"""The tasks that race there: they need no network, and their loss is that of all tokens of the answers."""

MOST_STEPS = 120
"""Steps of a race there."""

SEEDS = 3
"""Orders of batches, one for each seed from 0 on."""

SHAPE = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps",
)  # fmt: skip


def live_data(tasks: Sequence[str] = LIVE_TASKS) -> str:
    """Return the JSON text of `Data` in ``live/types.d.ts``.

    Raises:
        ValueError: the weights are not float16, or a task has choices or tokens that are no part of its loss.
    """
    model, tokenizer = load_model(MODEL, device="cpu")
    cache = ModelCache()
    parameters = dict(model.named_parameters())
    shape = {name: getattr(model.config, name) for name in SHAPE}
    data = {
        "weights": base64.b64encode(_halves(parameters.values())).decode(),
        "entries": [[name, list(W.shape)] for name, W in parameters.items()],
        "shape": shape | {"rope_theta": model.config.rope_parameters["rope_theta"]},
        "batchSize": RaceConfig.batch_size,
        "mostSteps": MOST_STEPS,
        "pictured": pictured_layers([name for name, each in model.named_modules() if _is_adapted(name, each)]),
        "tokenizer": _tokenizer(tokenizer),
        "tasks": {},
    }
    for name in tasks:
        config = RaceConfig(model=MODEL, task=name, device="cpu")
        data["tasks"][name] = _task(name, config, RaceData(config, task_of(config), model, tokenizer, cache))
    return one_line(data)


def _tokenizer(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the byte-pair encoding of a tokenizer, see ``live/tokenizer.js``."""
    read = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = read["model"]["vocab"]
    return {
        "tokens": sorted(vocabulary, key=vocabulary.__getitem__),
        "merges": [" ".join(pair) for pair in read["model"]["merges"]],
        "special": [each["content"] for each in read["added_tokens"]],
        "end": tokenizer.eos_token_id,
    }


def _halves(weights: Iterable[torch.Tensor]) -> bytes:
    """Return weights as float16, which they are exactly."""
    flat = torch.cat([W.detach().flatten() for W in weights])
    if not torch.equal(flat.half().to(flat), flat):
        raise ValueError(f"the weights of {MODEL!r} are not float16")
    return flat.half().numpy().astype("<f2").tobytes()


def _is_adapted(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and ".layers." in name


def _task(name: str, config: RaceConfig, data: RaceData) -> dict[str, Any]:
    card, size, train = TASKS[name], config.batch_size, data.train
    if card.choices or data.about_held_out.deciding < data.about_held_out.supervised:
        raise ValueError(f"not all supervised tokens of {name!r} count in its loss")
    orders = [
        [at for step in range(MOST_STEPS) for at in batch_indices(len(train), size, seed, step)]
        for seed in range(SEEDS)
    ]
    read = [[train[at] for at in order] for order in orders] + [data.held_out]
    batches = [each[at : at + size] for each in read for at in range(0, len(each), size)]
    return {
        "name": name,
        "summary": card.summary,
        "prompt": card.prompt,
        "answer": card.answer,
        "train": list(map(_numbers, train)),
        "heldOut": list(map(_numbers, data.held_out)),
        "asked": [data.held_out.index(example) for example in covering(data.held_out, FINAL_ANSWERS)],
        "orders": orders,
        "width": 4 * -(-max(len(e.ids) - 1 for batch in batches for e in batch) // 4),
        "supervised": max(sum(len(e.ids) - e.supervised_from for e in batch) for batch in batches),
    }


def _numbers(example: Encoded) -> list[int]:
    """Return the place of an example's first answer token, and its tokens."""
    return [example.supervised_from, *example.ids]
